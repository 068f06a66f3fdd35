"""Several seeds on one split, and the model of all clips after the folds: what they leave, and that a kill costs nothing of it."""

import multiprocessing
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from soak import compare

from ser.config import load_config
from ser.evaluate.evaluation import seen_in_training
from ser.inference.opening import load_models, model_folders
from ser.inference.seed_runs import seed_folders
from ser.inference.unfinished import told_of_run
from ser.runtime.device import make_accelerator
from ser.runtime.errors import UserError
from ser.runtime.files import read_json
from ser.train import __main__ as command
from ser.train.training import train
from tiny import TINY_CNN, make_tiny_data, write_tiny_config

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("undrawn")]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_tiny_data(tmp_path_factory.mktemp("input") / "demo", 24, 6)


def write_config(folder, data, **run):
    return write_tiny_config(
        folder / "tiny.yaml",
        data,
        cv={"n": 2, "full_fit": True},
        model=TINY_CNN,
        train={"epochs": 3, "threads": 1, "average": 2},
        run={"output": str(folder / "outputs" / "tiny"), "checkpoint_steps": 1, **run},
    )


def killed_when(config, pattern):
    """Train in a process of its own and kill it, by SIGKILL, as soon as there is such a file."""
    process = multiprocessing.get_context("fork").Process(target=train, args=(config,))
    process.start()
    while process.is_alive() and not any(Path(config.run.output).glob(pattern)):
        time.sleep(0.005)
    process.kill()
    process.join()
    return process.exitcode


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """The folder that holds outputs/tiny, two seeds with a full fit each; killed in the first full fit and in the last fold."""
    folder = tmp_path_factory.mktemp("whole")
    path = write_config(folder, data)
    config = load_config(path)
    config.run.seeds = [4, 7]
    for pattern in ("seed_4/full_fit/checkpoints/step_*", "seed_7/fold_1/checkpoints/step_*"):
        assert killed_when(config, pattern) == -9, pattern
    assert not (folder / "outputs/tiny/report.json").exists()
    command.main(["--config", str(path), "--seeds", "4,7"])
    return folder


def test_all_seeds_have_the_split_of_the_run_and_trainings_of_their_own(whole):
    group = whole / "outputs" / "tiny"
    first, second = group / "seed_4", group / "seed_7"
    assert (first / "folds.csv").read_bytes() == (second / "folds.csv").read_bytes()
    assert (first / "fold_0/valid.csv").read_bytes() != (second / "fold_0/valid.csv").read_bytes()
    assert load_config(first / "config.yaml").run.seed == 4 and load_config(second / "config.yaml").cv.seed == 0


def test_their_report_is_of_the_average_and_tells_the_spread(whole):
    group = whole / "outputs" / "tiny"
    report = read_json(group / "report.json")
    oof = [pd.read_csv(group / f"seed_{seed}" / "oof.csv") for seed in (4, 7)]
    columns = [name for name in oof[0] if name.startswith("p_")]
    values, labels = np.stack([table[columns].to_numpy() for table in oof]), oof[0]["label"].to_numpy()
    right = (values.argmax(axis=2) == labels).mean(axis=1)
    assert report["oof"]["accuracy"] == pytest.approx((values.mean(axis=0).argmax(axis=1) == labels).mean())
    assert report["spread"]["mean"]["accuracy"] == pytest.approx(right.mean())
    assert report["spread"]["sd"]["accuracy"] == pytest.approx(abs(right[0] - right[1]) / np.sqrt(2))
    np.testing.assert_allclose(pd.read_csv(group / "oof.csv")[columns], values.mean(axis=0), rtol=1e-8)
    text = (group / "report.md").read_text()
    assert "standard deviation" in text and "seed_4" in text and "paired" in text


def test_a_full_fit_trains_on_every_clip_as_long_as_the_folds_found_best_and_has_no_score(whole):
    run = whole / "outputs" / "tiny" / "seed_4"
    full, first, second = (read_json(run / name / "metrics.json") for name in ("full_fit", "fold_0", "fold_1"))
    assert full["train_clips"] == first["train_clips"] + first["valid_clips"] == 24
    assert full["epoch"] == len(pd.read_csv(run / "full_fit" / "history.csv")) == max(first["epoch"], second["epoch"])
    assert full["scores"] is None and full["fold"] is None and not (run / "full_fit" / "valid.csv").exists()
    assert not any(name.startswith("valid") for name in pd.read_csv(run / "full_fit" / "history.csv"))
    assert len(pd.read_csv(run / "full_fit" / "test.csv")) == 6


def test_prediction_takes_all_folds_of_all_seeds_and_knows_their_clips(whole, data):
    group = whole / "outputs" / "tiny"
    assert [path.relative_to(group).parts[:2] for path in model_folders(group)] == [
        (f"seed_{seed}", f"fold_{fold}") for seed in (4, 7) for fold in (0, 1)
    ]
    assert model_folders(group / "seed_4" / "full_fit") == [group / "seed_4" / "full_fit" / "model"]
    clips = read_json(group / "seed_4" / "data.json")["train"]
    report = pd.DataFrame(clips)[["file_hash", "audio_hash"]]
    assert seen_in_training(group, report).all() and seen_in_training(group / "seed_4" / "full_fit", report).all()
    assert not seen_in_training(group / "seed_4" / "fold_0", report).all()


def test_prediction_takes_what_is_finished_and_says_which_seeds_and_folds_are_missing(whole, tmp_path, capsys):
    group = tmp_path / "tiny"
    shutil.copytree(whole / "outputs/tiny", group)
    (group / "seed_4/fold_0/metrics.json").unlink()
    assert model_folders(group)[0] == group / "seed_4/fold_1/model" and len(list(load_models(group, make_accelerator("fp32")))) == 3
    assert "tiny, seed_4: 1 of 2 folds is finished, missing: 0. What is finished is taken." in capsys.readouterr().out
    shutil.rmtree(group / "seed_4")
    assert len(model_folders(group)) == 2
    clips = pd.DataFrame(read_json(group / "seed_7" / "data.json")["train"])[["file_hash", "audio_hash"]]
    assert told_of_run(group)[0].startswith(f"{group}, seed_4: not begun.") and seen_in_training(group, clips).all()
    (group / "seed_7/fold_0/metrics.json").unlink()
    (group / "seed_7/fold_1/metrics.json").unlink()
    with pytest.raises(UserError, match=r"no trained model: of seed_4, seed_7 not one fold is finished\. Run the same"):
        model_folders(group)


def test_another_list_of_seeds_takes_those_alone_and_says_what_stays(whole, data, tmp_path, capsys):
    shutil.copytree(whole / "outputs", tmp_path / "outputs")
    config = load_config(write_config(tmp_path, data, seeds=[8, 9]))
    assert train(config, folds=[]) is None  # as killed before the first fold was finished
    told = capsys.readouterr().out
    assert told.count("is of seeds 8, 9 from now on. Trained before and not among them: seed_4, seed_7;") == 1
    assert "are still of seeds 4, 7, until" in told
    group = tmp_path / "outputs" / "tiny"
    assert seed_folders(group) == [group / "seed_8", group / "seed_9"] and len(model_folders(group / "seed_4")) == 2
    assert train(config, folds=[]) is None
    told = capsys.readouterr().out
    assert "from now on" not in told and "are still of seeds 4, 7, until" in told


def test_killed_seeds_and_full_fits_end_in_the_bytes_of_uninterrupted_ones(whole, data, tmp_path):
    shutil.copytree(whole / "outputs", tmp_path / "outputs")
    shutil.rmtree(tmp_path / "outputs/tiny/seed_4/full_fit")
    shutil.rmtree(tmp_path / "outputs/tiny/seed_7/fold_1")
    train(load_config(write_config(tmp_path, data, seeds=[4, 7])))
    assert compare(whole, tmp_path) == []


def test_what_seeds_cannot_be_is_told(whole, data, tmp_path):
    path = str(write_config(tmp_path, data))
    with pytest.raises(UserError, match="--seeds: given '0,x'"):
        command.main(["--config", path, "--seeds", "0,x"])
    with pytest.raises(UserError, match=r"run.seeds: given \[3\]; allowed are two or more"):
        command.main(["--config", path, "--seeds", "3"])
    with pytest.raises(UserError, match="holds a run of one seed"):
        command.main(["--config", path, "--seeds", "0,1", "--run.output", str(whole / "outputs/tiny/seed_4")])
