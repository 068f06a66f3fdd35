"""`ser.calibrate` with labelled clips: the mean of a run's folds, judged on clips that chose nothing."""

import shutil

import numpy as np
import pytest

from ser import calibrate
from ser.audio import decode
from ser.config import Config, DataConfig
from ser.data.tables import read_dataset
from ser.inference.prediction import Predictor, predict_files
from ser.inference.runs import read_run
from ser.make_demo.folder import make_demo
from ser.runtime.errors import UserError
from ser.runtime.files import read_json, write_json
from ser.scoring.calibration import fit_temperature, scaled
from ser.train import __main__ as train
from tiny import make_tiny_data, write_tiny_config

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run of two folds in outputs/tiny, its clips in demo, and 60 labelled clips that no fold has trained on in new."""
    place = tmp_path_factory.mktemp("calibrate")
    data = make_tiny_data(place / "demo", clips=24, test_clips=6)
    make_demo(place / "new", 60, 6, 7)
    train.main(["--config", str(write_tiny_config(place / "tiny.yaml", data, train={"epochs": 1, "batch_size": 8}))])
    return place


@pytest.fixture
def run(place, tmp_path):
    """A copy of the run, without any temperature."""
    return shutil.copytree(place / "outputs" / "tiny", tmp_path / "run")


def predicted(model, table, data):
    return predict_files(model, list(table.paths), data).filter(like="p_").to_numpy()


def test_what_a_run_serves_is_the_mean_of_its_folds_scaled_once(place, run):
    """Scaling each fold before the mean leaves it too unsure, or too sure: another temperature than was fitted."""
    data = DataConfig(root=str(place / "new"), cache=str(place / "cache"))
    table = read_dataset(data).train.take(np.arange(12))
    folds = [predicted(run / f"fold_{number}", table, data) for number in (0, 1)]
    wanted = scaled(np.mean(folds, axis=0), 0.1)
    assert np.abs(wanted - np.mean([scaled(fold, 0.1) for fold in folds], axis=0)).max() > 1e-3
    write_json(run / "calibration.json", {"temperature": 3.0, "temperature_of_the_mean": 0.1})
    np.testing.assert_allclose(predicted(run, table, data), wanted, atol=1e-5)
    in_memory = Predictor(run).probabilities([decode(path).samples for path in table.paths])
    np.testing.assert_allclose(in_memory, wanted, atol=1e-5)
    np.testing.assert_allclose(predicted(run / "fold_1", table, data), scaled(folds[1], 3.0), atol=1e-6)


def test_labelled_clips_give_the_mean_of_folds_its_temperature_and_training_clips_are_refused(place, run, capsys):
    cache = str(place / "cache")
    labelled = DataConfig(root=str(place / "new"), cache=cache)
    table = read_dataset(labelled).train
    plain = predicted(run, table, labelled)
    calibrate.main([str(run), "--data.root", str(place / "new"), "--data.cache", cache])
    result, told = read_json(run / "calibration.json") if (run / "calibration.json").exists() else {}, capsys.readouterr().out
    assert "the mean of 2 folds" in told and "n 60" in told
    wanted = fit_temperature(table.labels, plain)
    served = predicted(run, table, labelled)
    if "unscaled, since scaling gains no more than chance could" in told.split("the mean of")[1]:
        wanted = 1.0
    assert result.get("temperature_of_the_mean", 1.0) == pytest.approx(wanted, rel=1e-3)
    np.testing.assert_allclose(served, scaled(plain, wanted), atol=1e-5)


def test_too_few_new_clips_are_refused_before_any_is_heard_and_a_fold_is_told_its_run(place, run, monkeypatch):
    data = DataConfig(root=str(place / "demo"), cache=str(place / "cache"))
    monkeypatch.setattr("ser.evaluate.evaluation.evaluate", None)
    with pytest.raises(UserError, match="0 clips that no fold has trained on, and 24 others; at least 50 are needed"):
        calibrate.calibrate(read_run(run), read_dataset(data), Config(data=data))
    assert not (run / "calibration.json").exists()
    with pytest.raises(UserError, match=f"fold_0 is a part of a run; here the run is needed, with all its folds: {run}"):
        calibrate.main([str(run / "fold_0")])
