"""`ser.calibrate` with labelled clips: the mean of a run's folds, judged on clips that chose nothing."""

import numpy as np
import pytest

from ser import calibrate
from ser.config import Config, DataConfig
from ser.data.tables import read_dataset
from ser.inference.prediction import predict_files
from ser.inference.runs import read_run
from ser.make_demo.folder import make_demo
from ser.runtime.errors import UserError
from ser.runtime.files import read_json
from ser.scoring.calibration import fit_temperature, scaled
from ser.train import __main__ as train
from tiny import make_tiny_data, write_tiny_config

pytestmark = pytest.mark.usefixtures("undrawn")


def test_labelled_clips_give_the_mean_of_folds_its_temperature_and_training_clips_are_refused(tmp_path, capsys):
    data = make_tiny_data(tmp_path / "demo", clips=24, test_clips=6)
    make_demo(tmp_path / "new", 60, 6, 7)
    train.main(["--config", str(write_tiny_config(tmp_path / "tiny.yaml", data, train={"epochs": 1, "batch_size": 8}))])
    run, cache = tmp_path / "outputs" / "tiny", str(tmp_path / "cache")
    labelled = DataConfig(root=str(tmp_path / "new"), cache=cache)
    table = read_dataset(labelled).train
    names = read_run(run).label_names
    plain = predict_files(run, list(table.paths), labelled)[[f"p_{name}" for name in names]].to_numpy()
    calibrate.main([str(run), "--data.root", str(tmp_path / "new"), "--data.cache", cache])
    result, told = read_json(run / "calibration.json") if (run / "calibration.json").exists() else {}, capsys.readouterr().out
    assert "the mean of 2 folds" in told and "n 60" in told
    wanted = fit_temperature(table.labels, plain)
    served = predict_files(run, list(table.paths), labelled)[[f"p_{name}" for name in names]].to_numpy()
    if "unscaled, since scaling gains no more than chance could" in told.split("the mean of")[1]:
        wanted = 1.0
    assert result.get("temperature_of_the_mean", 1.0) == pytest.approx(wanted, rel=1e-3)
    np.testing.assert_allclose(served, scaled(plain, wanted), atol=1e-5)
    with pytest.raises(UserError, match="0 usable clips that no fold has trained on, and 24 others"):
        calibrate.calibrate(read_run(run), read_dataset(DataConfig(root=str(data))), Config(data=DataConfig(root=str(data), cache=cache)))
