"""The report of a run, and which run folders are refused."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix

from runs import LABELS, damage_column, edit_csv, edit_json, make_run
from ser.inference.run_files import IN_ONE_GO
from ser.inference.runs import read_run
from ser.report.fold_report import fold_report
from ser.report.pictures import plot_confusion, plot_history
from ser.report.run_report import run_report
from ser.runtime.errors import UserError
from ser.runtime.files import read_json
from ser.scoring.suspicions import chance_in_training, suspicions


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "outputs" / "one")


def test_oof_has_every_training_clip_once_in_table_order_from_its_own_fold(run):
    run_report(run)
    oof = pd.read_csv(run / "oof.csv")
    assert list(oof.columns) == ["id", "fold", "label", *(f"p_{name}" for name in LABELS)]
    assert list(oof["id"]) == [clip["id"] for clip in read_json(run / "data.json")["train"]]
    for fold, part in oof.groupby("fold"):
        valid = pd.read_csv(run / f"fold_{fold}" / "valid.csv").set_index("id")
        assert np.array_equal(part.set_index("id").loc[valid.index, valid.columns], valid)


def test_report_scores_are_those_of_the_oof_file(run):
    report = run_report(run)
    oof = pd.read_csv(run / "oof.csv")
    predicted = oof[[f"p_{name}" for name in LABELS]].to_numpy().argmax(axis=1)
    assert report["oof"]["accuracy"] == pytest.approx(accuracy_score(oof["label"], predicted))
    assert report["oof"]["n"] == len(oof) == 60
    counts = confusion_matrix(oof["label"], predicted)
    assert [row["recall"] for row in report["classes"]] == pytest.approx(np.diag(counts) / counts.sum(axis=1))
    assert read_json(run / "report.json") == json.loads(json.dumps(report))


def test_report_names_the_company_of_accuracy_and_how_folds_and_epochs_were_chosen(run):
    run_report(run)
    text = (run / "report.md").read_text(encoding="utf-8")
    for part in ("95 % interval by clip", "majority", "macro-F1", "UAR", "3-fold, stratified by label", "slightly optimistic"):
        assert part in text
    assert "speaker-disjoint split can't be made from the competition's CSV" in text
    assert "left out as unusable: 0" in text and "given the prior: 0 of 20" in text


def test_report_counts_clips_dropped_and_clips_given_the_prior(tmp_path):
    data = {
        "dropped": [{"id": "TRAIN_9001", "status": "silent"}, {"id": "TRAIN_9002", "status": "missing"}],
        "test_prior": [{"id": "TEST_0003", "status": "truncated"}],
        "cut": {"training": 3, "test": 0},
    }
    run = make_run(tmp_path / "run", data=data)
    run_report(run)
    text = (run / "report.md").read_text(encoding="utf-8")
    assert "left out as unusable: 2 (1 missing, 1 silent)" in text and "given the prior: 1 of 20 (1 truncated)" in text
    assert "Longer than data.max_seconds, and cut: 3 training clips." in text


def test_known_speakers_give_an_interval_by_speaker_and_are_counted_across_folds(tmp_path):
    random = run_report(make_run(tmp_path / "random", speakers=5))
    assert random["oof"]["interval_by"] == "speaker"
    assert random["speakers"] == 5 and {leak["kind"] for leak in random["leaks"]} == {"speaker_across_folds"}
    assert "5 of 5 speakers are in more than one fold" in (tmp_path / "random" / "report.md").read_text(encoding="utf-8")


def test_same_audio_on_both_sides_is_found_and_warned_of(run):
    data = read_json(run / "data.json")
    fold_of = pd.read_csv(run / "folds.csv").set_index("id")["fold"]
    first, other = data["train"][0], next(clip for clip in data["train"] if fold_of[clip["id"]] != fold_of["TRAIN_0000"])
    other["audio_hash"] = first["audio_hash"]
    data["test"][2]["audio_hash"] = data["train"][30]["audio_hash"]
    edit_json(run / "data.json", **data)
    report = run_report(run)
    found = {leak["kind"]: leak["ids"] for leak in report["leaks"]}
    assert found["train_test"] == [data["train"][30]["id"], "TEST_0002"]
    assert found["across_folds"] == ["TRAIN_0000", other["id"]]
    text = (run / "report.md").read_text(encoding="utf-8")
    assert "**Warning:** same audio in train and test: 1" in text and "same audio in several folds" in text


def test_folds_of_more_than_one_precision_are_warned_of(run):
    assert "precision" not in " ".join(run_report(run)["warnings"])
    for fold, precision in enumerate(("bf16", "fp32")):
        edit_json(run / f"fold_{fold}" / "metrics.json", precisions=[precision])
    (warning,) = (line for line in run_report(run)["warnings"] if "precision" in line)
    assert "(bf16: 0; fp32: 1)" in warning and warning in (run / "report.md").read_text()
    edit_json(run / "fold_1" / "metrics.json", precisions=["bf16", "fp32"])
    assert "(bf16: 0; bf16, then fp32: 1)" in " ".join(run_report(run)["warnings"])
    edit_json(run / "fold_1" / "metrics.json", precisions=["bf16"])
    assert "precision" not in " ".join(run_report(run)["warnings"])


def test_report_is_the_same_when_made_again(run):
    names = ("report.json", "report.md", "oof.csv", "confusion.png")
    run_report(run)
    first = {name: (run / name).read_bytes() for name in names}
    run_report(run)
    assert {name: (run / name).read_bytes() for name in names} == first


def test_score_too_good_to_be_true_is_called_a_suspected_leak(tmp_path):
    assert any("suspect a leak" in line for line in run_report(make_run(tmp_path / "leak", skill=20))["warnings"])
    assert run_report(make_run(tmp_path / "honest", skill=1))["warnings"] == []


def test_where_one_label_has_nearly_all_clips_a_high_accuracy_is_neither_a_leak_nor_chance():
    """Fault: 64 clips of one label and 10 of others: 0.92 on new clips was called a leak, all right in training was called chance."""
    history = pd.DataFrame({"train_accuracy": [1.0]})
    metrics = {"chance": 0.88, "train_clips": 58, "scores": {"majority": 0.87}}
    assert suspicions({"accuracy": 0.92, "majority": 0.87}, {0: (metrics, history)}) == []
    assert any("leak" in line for line in suspicions({"accuracy": 0.99, "majority": 0.87}, {}))
    stuck = pd.DataFrame({"train_accuracy": [0.89]})
    assert any("did not converge" in line for line in suspicions({"accuracy": 0.5, "majority": 0.5}, {0: (metrics, stuck)}))


def test_train_accuracy_stuck_at_chance_is_called_not_converged(run):
    edit_csv(run / "fold_1" / "history.csv", lambda table: table.assign(train_accuracy=[0.16, 0.18, 0.17]))
    warnings = [line for line in run_report(run)["warnings"] if "converge" in line]
    assert len(warnings) == 1 and "fold 1 did not converge" in warnings[0]
    assert "fold 1 did not converge" in fold_report(run / "fold_1")


def test_a_model_without_epochs_at_chance_is_not_told_to_change_its_rates():
    metrics = {"chance": 0.17, "train_clips": 500, "scores": {"majority": 0.17}, "epoch_chosen_by": IN_ONE_GO}
    (told,) = suspicions({"accuracy": 0.17, "majority": 0.17}, {0: (metrics, pd.DataFrame({"train_accuracy": [0.17]}))})
    assert "learnt nothing" in told and "train." not in told


def test_train_accuracy_clearly_above_chance_is_no_alarm():
    history = pd.DataFrame({"train_accuracy": [0.18, 0.35]})
    metrics = {"scores": {"majority": 0.18}, "train_clips": 500}
    assert suspicions({"accuracy": 0.4, "majority": 0.2}, {0: (metrics, history)}) == []


def test_a_balanced_sampler_has_the_chance_of_equal_labels_and_is_not_accused():
    history, metrics = pd.DataFrame({"train_accuracy": [0.31, 0.467]}), {"scores": {"majority": 0.6}, "train_clips": 300}
    labels = np.repeat(np.arange(6), [180, 40, 30, 20, 20, 10])
    assert chance_in_training(labels, "balanced") == pytest.approx(1 / 6)
    assert chance_in_training(labels, "shuffled") == pytest.approx(0.6)
    for sampler, accused in (("balanced", 0), ("shuffled", 1)):
        fold = metrics | {"chance": chance_in_training(labels, sampler)}
        assert len(suspicions({"accuracy": 0.4, "majority": 0.2}, {0: (fold, history)})) == accused


def test_fold_report_shows_scores_and_every_label(run):
    text = fold_report(run / "fold_2")
    assert text.startswith("fold 2: best epoch 3 of 3")
    for name in (*LABELS, "majority", "macro-F1", "recall", "n 20"):
        assert name in text


def test_a_model_fitted_in_one_go_has_no_epochs(run):
    for fold in range(3):
        edit_json(run / f"fold_{fold}" / "metrics.json", epoch=1, epoch_chosen_by=IN_ONE_GO)
    assert fold_report(run / "fold_2").startswith("fold 2: fitted in one go, split")
    report = run_report(run)
    assert report["folds"][0]["epoch"] is None
    text = (run / "report.md").read_text(encoding="utf-8")
    assert "Each model was fitted in one go" in text and "epoch |" not in text


def png_size(path):
    head = path.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


def test_pictures_are_written_whole_and_grow_with_the_labels(run, tmp_path):
    plot_history(run / "fold_0" / "history.csv", tmp_path / "history.png", best_epoch=2)
    plot_confusion([0, 1], np.eye(2), ["a", "b"], tmp_path / "two.png")
    plot_confusion(np.arange(15), np.eye(15), [f"label {i}" for i in range(15)], tmp_path / "fifteen.png")
    assert png_size(tmp_path / "history.png")[0] > 800
    assert png_size(tmp_path / "fifteen.png")[0] > 2 * png_size(tmp_path / "two.png")[0]
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["fifteen.png", "history.png", "two.png"]


def test_no_report_is_written_for_an_unfinished_run(run):
    (run / "fold_1" / "metrics.json").unlink()
    with pytest.raises(UserError, match=r"2 of 3 folds are finished, missing: 1"):
        run_report(run)
    assert not (run / "report.md").exists() and not (run / "oof.csv").exists()


def test_row_order_inside_the_files_changes_nothing(run, tmp_path):
    expected = read_run(run)
    shuffled = tmp_path / "shuffled"
    shutil.copytree(run, shuffled)
    for number, path in enumerate([shuffled / "folds.csv", *shuffled.rglob("valid.csv"), *shuffled.rglob("test.csv")]):
        edit_csv(path, lambda table, seed=number: table.sample(frac=1, random_state=seed))
    again = read_run(shuffled)
    assert np.array_equal(again.oof, expected.oof) and np.array_equal(again.test, expected.test)


def test_dropped_clips_need_no_prediction(run):
    lost = read_json(run / "data.json")["train"][5]["id"]
    edit_csv(run / "folds.csv", lambda table: table[table["id"] != lost])
    for path in run.glob("fold_*/valid.csv"):
        edit_csv(path, lambda table: table[table["id"] != lost])
    with pytest.raises(UserError, match=f"gives no fold for 1 training clips, first {lost}"):
        read_run(run)
    edit_json(run / "data.json", dropped=[{"id": lost, "status": "silent"}])
    assert lost not in read_run(run).ids and len(read_run(run).ids) == 59


@pytest.mark.parametrize("name", ["valid.csv", "test.csv"])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (damage_column("p_sad", 3, "nan"), "1 of 20 rows hold probabilities that are NaN"),
        (damage_column("p_sad", 3, "inf"), "NaN or infinite"),
        (damage_column("p_sad", 3, ""), "can't be read as a number"),
        (damage_column("p_sad", 3, "x"), "can't be read as a number"),
        (damage_column("p_sad", 3, -0.2), "negative"),
        (damage_column("p_sad", 3, 1.5), "not summing to one"),
        (lambda table: table.drop(index=4), r"1 missing \(T"),
        (lambda table: pd.concat([table, table.iloc[[0]].assign(id="STRANGER")]), r"1 too many \(STRANGER"),
        (lambda table: pd.concat([table, table.iloc[[0]]]), "is there more than once"),
        (lambda table: table.rename(columns={"p_sad": "p_joy"}), "are expected, in this order"),
        (lambda table: table[["id", "p_fear", "p_angry", *table.columns[3:]]], "are expected, in this order"),
    ],
)
def test_damaged_predictions_are_refused_by_name(run, name, change, says):
    edit_csv(run / "fold_1" / name, change)
    with pytest.raises(UserError, match=says) as caught:
        read_run(run)
    assert re.search(rf"fold_1.{name}", str(caught.value))


def test_file_cut_short_by_a_crash_is_refused(run):
    path = run / "fold_0" / "test.csv"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"test\.csv"):
        read_run(run)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda run: (run / "data.json").unlink(), r"data\.json is missing"),
        (lambda run: (run / "data.json").write_text("{"), r"data\.json can't be read"),
        (lambda run: (run / "data.json").write_text("{}"), r"data\.json lacks fingerprint, label_names"),
        (lambda run: edit_json(run / "data.json", test=[{"id": "x"}]), r"KeyError: 'audio_hash'"),
        (lambda run: edit_json(run / "data.json", train=[{"id": "x", "label": "sad", "audio_hash": ""}]), "isn't as"),
        (lambda run: edit_json(run / "data.json", train=[{"id": 7, "label": 0, "audio_hash": ""}]), "must be text"),
        (lambda run: edit_json(run / "data.json", label_names=["a"]), "need labels from 0 to 0"),
        (lambda run: edit_csv(run / "folds.csv", damage_column("fold", 0, 10**30)), "isn't a whole number"),
        (lambda run: (run / "folds.csv").unlink(), r"folds\.csv: no such file"),
        (lambda run: (run / "folds.csv").write_text("id,part\nTRAIN_0000,1\n"), "id, fold are expected"),
        (lambda run: edit_csv(run / "folds.csv", damage_column("fold", 0, "x")), "isn't a whole number"),
        (lambda run: shutil.copy(run / "fold_0" / "metrics.json", run / "fold_1"), "is of fold 0"),
        (lambda run: edit_json(run / "fold_2" / "metrics.json", label_names=["a", "b"]), "with labels a, b"),
        (lambda run: shutil.rmtree(run), "no such run folder"),
    ],
)
def test_run_folder_that_does_not_hold_together_is_refused(run, damage, says):
    damage(run)
    with pytest.raises(UserError, match=says):
        read_run(run)


@pytest.mark.parametrize(("takes", "heard", "other"), [("audio", "voice", "writer"), ("text", "writer", "voice")])
def test_those_on_both_sides_are_voices_or_of_texts_writers(tmp_path, takes, heard, other):
    for speakers in (0, 4):
        run = make_run(tmp_path / f"{speakers}", speakers=speakers)
        edit_json(run / "data.json", input=takes)
        run_report(run)
        notes = (run / "report.md").read_text(encoding="utf-8").split("## How to read")[1].split("## Folds")[0]
        assert heard in notes and other not in notes, notes
