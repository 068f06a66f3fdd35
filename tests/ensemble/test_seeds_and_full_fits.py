"""Members that are several seeds of one experiment, and models of all clips, which predict without being judged."""

import shutil

import numpy as np
import pandas as pd
import pytest
from scipy.stats import gmean

from runs import LABELS, edit_csv, make_run, predictions, probability_table
from ser.config import Config, DataConfig, RunConfig, save_config
from ser.ensemble import __main__ as ensemble
from ser.ensemble.blend import blend_runs
from ser.inference.runs import read_run
from ser.inference.seed_runs import read_seeds, seed_folders
from ser.inference.unfinished import unfinished
from ser.runtime.errors import UserError
from ser.runtime.files import read_json, write_csv, write_json


@pytest.fixture
def group(tmp_path):
    """outputs/three of the seeds 0, 1, 2."""
    folder = tmp_path / "outputs" / "three"
    for seed in (0, 1, 2):
        make_run(folder / f"seed_{seed}", seed=seed, speakers=6, data_root=tmp_path / "input")
    save_config(Config(data=DataConfig(root=str(tmp_path / "input")), run=RunConfig(seeds=[0, 1, 2])), folder / "config.yaml")
    return folder


@pytest.fixture
def other(tmp_path):
    return make_run(tmp_path / "outputs" / "other", seed=9, speakers=6, data_root=tmp_path / "input")


def add_full_fit(run, seed=5):
    ids = list(read_run(run).test_ids)
    rng = np.random.default_rng(seed)
    test = predictions(rng.integers(0, 6, len(ids)), 6, 2.0, rng)
    write_csv(run / "full_fit" / "test.csv", probability_table(ids, test, LABELS))
    write_json(run / "full_fit" / "metrics.json", {"fold": None, "epoch": 4, "scores": None})
    return run / "full_fit"


def test_of_run(run):
    parts = [pd.read_csv(run / f"fold_{fold}" / "test.csv", index_col="id").to_numpy() for fold in range(3)]
    return np.mean(parts, axis=0)


test_of_run.__test__ = False


def test_seeds_are_one_member_with_the_mean_of_their_probabilities(group, other, tmp_path):
    record = blend_runs([group, other], tmp_path / "submissions" / "blend.csv")
    assert [run["weight"] for run in record["runs"]] == [0.5, 0.5] and record["runs"][1]["seeds"] is None
    seeds = [read_run(group / f"seed_{seed}") for seed in (0, 1, 2)]
    blended = (np.mean([run.oof for run in seeds], axis=0) + read_run(other).oof) / 2
    assert record["oof"]["accuracy"] == pytest.approx((blended.argmax(1) == seeds[0].labels).mean())
    mean = np.mean([test_of_run(group / f"seed_{seed}") for seed in (0, 1, 2)], axis=0)
    labels = pd.read_csv(tmp_path / "submissions" / "blend.csv")["label"].to_numpy()
    assert (labels == ((mean + test_of_run(other)) / 2).argmax(1)).all()
    accuracies = [(run.oof.argmax(1) == run.labels).mean() for run in seeds]
    told = record["runs"][0]["seeds"]
    assert told["sd"]["accuracy"] == pytest.approx(np.std(accuracies, ddof=1)) and told["names"] == ["seed_0", "seed_1", "seed_2"]


def test_the_spread_between_seeds_is_told_beside_the_score(group, tmp_path, capsys):
    ensemble.main([str(group), "--output", str(tmp_path / "submissions" / "three.csv")])
    told = capsys.readouterr().out
    assert "Over 3 seeds accuracy is" in told and "standard deviation" in told and "by the seed alone" in told and "paired" in told


def test_a_seed_that_is_missing_or_of_another_split_is_told(group, tmp_path):
    (group / "seed_2" / "fold_1" / "metrics.json").unlink()
    with pytest.raises(UserError, match=r"seed_2: 2 of 3 folds are finished"):
        blend_runs([group], tmp_path / "x.csv")
    edit_csv(group / "seed_1" / "folds.csv", lambda table: table.assign(fold=(table["fold"] + 1) % 3))
    for fold in range(3):  # the files of the other split, so that only the split itself is wrong
        (group / "seed_1" / f"fold_{fold}").rename(group / "seed_1" / f"was_{fold}")
    for fold in range(3):
        (group / "seed_1" / f"was_{fold}").rename(group / "seed_1" / f"fold_{(fold + 1) % 3}")
        path = group / "seed_1" / f"fold_{(fold + 1) % 3}" / "metrics.json"
        write_json(path, read_json(path) | {"fold": (fold + 1) % 3})
    with pytest.raises(UserError, match="other clips or folds"):
        read_seeds(group, allow_missing_folds=True)
    with pytest.raises(UserError, match="holds runs of several seeds; here one is needed"):
        read_run(group)
    (group / "config.yaml").unlink()
    with pytest.raises(UserError, match="doesn't say which"):
        seed_folders(group)


def test_unfinished_seeds_are_refused_all_at_once_and_left_out_when_allowed(group, tmp_path):
    shutil.rmtree(group / "seed_1")
    (group / "seed_2" / "fold_1" / "metrics.json").unlink()
    with pytest.raises(UserError, match=r"seed_1: not begun; seed_2: 2 of 3 folds are finished, missing: 1\. Run the same .*allow_missing"):
        blend_runs([group], tmp_path / "x.csv")
    record = blend_runs([group], tmp_path / "submissions" / "some.csv", allow_missing_folds=True)
    runs = [read_run(group / f"seed_{seed}", allow_missing_folds=True) for seed in (0, 2)]
    expected = np.mean([run.oof for run in runs], axis=0)[runs[1].predicted]
    assert record["oof"]["accuracy"] == pytest.approx((expected.argmax(1) == runs[0].labels[runs[1].predicted]).mean())
    assert record["runs"][0]["seeds"]["names"] == ["seed_0", "seed_2"] and record["runs"][0]["missing_folds"] == [1]
    told = "seed_1: not begun; seed_2: 2 of 3 folds are finished, missing: 1. What is finished is taken."
    assert any(told in line for line in record["warnings"])
    shutil.rmtree(group / "seed_2")
    assert blend_runs([group], tmp_path / "submissions" / "one.csv", allow_missing_folds=True)["runs"][0]["seeds"] is None
    shutil.rmtree(group / "seed_0" / "fold_0")
    assert unfinished(group / "seed_0") == f"{group / 'seed_0'}: 2 of 3 folds are finished, missing: 0"


def test_seeds_that_are_no_longer_asked_for_are_in_no_blend_and_named(group, tmp_path):
    save_config(Config(data=DataConfig(root=str(tmp_path / "input")), run=RunConfig(seeds=[0, 1])), group / "config.yaml")
    record = blend_runs([group], tmp_path / "submissions" / "two.csv")
    mean = np.mean([test_of_run(group / f"seed_{seed}") for seed in (0, 1)], axis=0)
    assert (pd.read_csv(tmp_path / "submissions" / "two.csv")["label"].to_numpy() == mean.argmax(1)).all()
    assert record["runs"][0]["seeds"]["names"] == ["seed_0", "seed_1"]
    assert any("is of seed_0, seed_1" in line and "Trained before and not taken: seed_2." in line for line in record["warnings"])


@pytest.mark.parametrize("method", ["mean", "gmean"])
def test_a_full_fit_predicts_the_test_clips_and_changes_no_score(other, tmp_path, method, capsys):
    full, output = add_full_fit(other), tmp_path / "submissions" / "both.csv"
    alone = blend_runs([other], tmp_path / "submissions" / "alone.csv", method)
    ensemble.main([str(other), str(full), "--output", str(output), "--method", method])
    record = read_json(output.with_suffix(".json"))
    assert record["oof"] == alone["oof"] and record["full_fits"][0]["weight"] == 0.5 and record["full_fits"][0]["epoch"] == 4
    parts = np.stack([test_of_run(other), pd.read_csv(full / "test.csv", index_col="id").to_numpy()])
    expected = parts.mean(axis=0) if method == "mean" else gmean(parts, axis=0)
    assert (pd.read_csv(output)["label"].to_numpy() == expected.argmax(1)).all()
    assert "1 of 2 members were trained on all clips" in capsys.readouterr().out


def test_a_full_fit_is_refused_where_out_of_fold_predictions_are_needed(other, tmp_path):
    full = add_full_fit(other)
    for method in ("weighted", "stack"):
        with pytest.raises(UserError, match=f"--method {method} learns from out-of-fold predictions, and .*full_fit"):
            blend_runs([other, full], tmp_path / "x.csv", method)
    with pytest.raises(UserError, match="nothing would say what the submission scores"):
        blend_runs([full], tmp_path / "x.csv")
    with pytest.raises(UserError, match="no out-of-fold predictions, which are needed here"):
        read_run(full)
    (full / "metrics.json").unlink()
    with pytest.raises(UserError, match="no finished full fit"):
        blend_runs([other, full], tmp_path / "x.csv")
    assert not (tmp_path / "x.csv").exists()
