"""Blending runs into a submission: alignment, methods, honest estimates, and everything that is refused."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss

from runs import LABELS, damage_column, edit_csv, edit_json, make_run
from ser.ensemble import __main__ as ensemble
from ser.ensemble.blend import blend_runs
from ser.ensemble.members import read_members
from ser.ensemble.methods import METHODS, nested_predictions
from ser.ensemble.submission import make_submission
from ser.runtime.errors import UserError
from ser.runtime.files import read_json, write_csv


@pytest.fixture
def two(tmp_path):
    return [make_run(tmp_path / "outputs" / name, seed=seed) for seed, name in enumerate("ab")]


@pytest.fixture
def output(tmp_path):
    return tmp_path / "submissions" / "blend.csv"


def hand_mean(run, folds):
    """Mean over the folds' test files, by id."""
    tables = [pd.read_csv(run / f"fold_{fold}" / "test.csv", index_col="id").sort_index() for fold in folds]
    return sum(tables) / len(tables)


def nothing_written(output):
    return not output.parent.exists() or list(output.parent.iterdir()) == []


# --- what is written ---


def test_submission_has_exactly_the_sample_ids_in_its_order_and_integer_labels(two, output):
    sample = two[0].parent / "input" / "sample_submission.csv"
    edit_csv(sample, lambda table: table.sample(frac=1, random_state=3))
    blend_runs(two, output)
    written = pd.read_csv(output)
    assert list(written.columns) == ["id", "label"]
    assert list(written["id"]) == list(pd.read_csv(sample)["id"])
    expected = ((hand_mean(two[0], range(3)) + hand_mean(two[1], range(3))) / 2).loc[written["id"]].to_numpy().argmax(axis=1)
    assert written["label"].dtype == np.int64 and list(written["label"]) == list(expected)


def test_ids_that_look_like_numbers_or_missing_values_stay_what_they_are(tmp_path, output):
    run = make_run(tmp_path / "run", test_clips=3)
    names = {"TEST_0000": "007", "TEST_0001": "NA", "TEST_0002": "1e3"}
    edit_json(run / "data.json", test=[{"id": name, "audio_hash": "x"} for name in names.values()])
    for path in [*run.glob("fold_*/test.csv"), tmp_path / "input" / "sample_submission.csv"]:
        edit_csv(path, lambda table: table.assign(id=table["id"].map(names)))
    blend_runs([run], output)
    assert [line.split(",")[0] for line in output.read_text().splitlines()] == ["id", "007", "NA", "1e3"]


def test_sample_with_label_names_gets_label_names(two, output):
    sample = two[0].parent / "input" / "sample_submission.csv"
    blend_runs(two, output)
    numbers = pd.read_csv(output)["label"]
    edit_csv(sample, lambda table: table.assign(label="neutral"))
    blend_runs(two, output)
    assert list(pd.read_csv(output)["label"]) == [LABELS[number] for number in numbers]


def test_record_says_what_went_in_and_what_it_scored(two, output):
    record = blend_runs(two, output)
    assert read_json(output.with_suffix(".json")) == record
    assert [run["run"] for run in record["runs"]] == [str(run) for run in two]
    assert [run["folds"] for run in record["runs"]] == [[0, 1, 2]] * 2
    assert [run["weight"] for run in record["runs"]] == [0.5, 0.5]
    assert record["sha256"] == hashlib.sha256(output.read_bytes()).hexdigest()
    assert sum(record["label_counts"].values()) == record["test_clips"] == 20
    counts = pd.read_csv(output)["label"].value_counts()
    assert record["label_counts"] == {name: counts.get(number, 0) for number, name in enumerate(LABELS)}
    assert record["data_fingerprint"] == read_json(two[0] / "data.json")["fingerprint"]
    assert record["oof"]["accuracy_low"] <= record["oof"]["accuracy"] <= record["oof"]["accuracy_high"]


def test_blend_score_is_that_of_the_blended_out_of_fold_predictions(two, output):
    members = read_members(two)
    record = blend_runs(two, output)
    blended = members.oof.mean(axis=0)
    assert record["oof"]["accuracy"] == pytest.approx(accuracy_score(members.labels, blended.argmax(axis=1)))
    assert record["oof"]["log_loss"] == pytest.approx(log_loss(members.labels, blended))
    best = max(run["oof"]["accuracy"] for run in record["runs"])
    assert record["gain_over_best_run"]["difference"] == pytest.approx(record["oof"]["accuracy"] - best)


def test_test_clips_given_the_prior_are_counted_in_record_and_last_line(tmp_path, output, capsys):
    run = make_run(tmp_path / "run", data={"test_prior": [{"id": "TEST_0004", "status": "silent"}]})
    ensemble.main([str(run), "--output", str(output)])
    assert read_json(output.with_suffix(".json"))["test_clips_given_the_prior"] == ["TEST_0004"]
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"wrote {output} (20 rows, 1 of them the prior")
    assert len(pd.read_csv(output)) == 20


def test_same_command_gives_the_same_bytes(two, output):
    for method in METHODS:
        blend_runs(two, output, method)
        first = output.read_bytes(), output.with_suffix(".json").read_bytes()
        blend_runs(two, output, method)
        assert (output.read_bytes(), output.with_suffix(".json").read_bytes()) == first


def test_summary_shows_members_correlation_and_gain(two, output, capsys):
    ensemble.main([*map(str, two), "--output", str(output), "--method", "weighted"])
    text = capsys.readouterr().out
    for part in (str(two[0]), str(two[1]), "correlation of errors", "against the best run", "against the plain mean", "nested", "majority"):
        assert part in text


# --- alignment and fold averaging ---


@pytest.mark.parametrize("folds", [2, 3, 11])
def test_fault_8_test_probabilities_are_divided_by_the_number_of_folds_there_are(tmp_path, folds):
    run = make_run(tmp_path / "run", folds=folds)
    members = read_members([run])
    assert members.test[0] == pytest.approx(hand_mean(run, range(folds)).loc[list(members.test_ids)].to_numpy())
    assert members.test[0].sum(axis=1) == pytest.approx(np.ones(20))


def test_fault_8_folds_are_matched_by_number_and_rows_by_id_never_by_listing_order(tmp_path):
    # With eleven folds a sorted listing puts fold_10 before fold_2.
    run = make_run(tmp_path / "run", folds=11, clips=110)
    oof = read_members([run]).oof[0]
    for row, clip in enumerate(read_json(run / "data.json")["train"]):
        fold = pd.read_csv(run / "folds.csv").set_index("id").loc[clip["id"], "fold"]
        valid = pd.read_csv(run / f"fold_{fold}" / "valid.csv").set_index("id")
        assert np.array_equal(oof[row], valid.loc[clip["id"]].to_numpy())


def test_fault_8_missing_folds_are_left_out_of_sum_and_count_when_allowed(tmp_path, output):
    run = make_run(tmp_path / "run")
    (run / "fold_1" / "metrics.json").unlink()
    record = blend_runs([run], output, allow_missing_folds=True)
    members = read_members([run], allow_missing_folds=True)
    assert members.test[0] == pytest.approx(hand_mean(run, [0, 2]).to_numpy())
    assert record["runs"][0]["folds"] == [0, 2] and record["runs"][0]["missing_folds"] == [1]
    assert record["oof"]["n"] == 40
    assert any("2 of 3 folds are finished, missing: 1. What is finished is taken." in line for line in record["warnings"])
    assert any("over the 40 of 60 training clips" in line for line in record["warnings"])


def test_fault_13_runs_with_another_label_order_are_refused_never_realigned_by_guess(tmp_path, output):
    first = make_run(tmp_path / "a", label_names=LABELS)
    second = make_run(tmp_path / "b", label_names=LABELS[::-1])
    with pytest.raises(UserError, match="different labels or another order"):
        blend_runs([first, second], output)
    assert nothing_written(output)


def test_fault_13_integer_labels_follow_the_order_the_run_recorded(tmp_path, output):
    order = ("sad", "happy", "neutral", "angry", "fear", "disgust")
    run = make_run(tmp_path / "run", label_names=order)
    blend_runs([run], output)
    names = hand_mean(run, range(3)).idxmax(axis=1).str.removeprefix("p_")
    assert [order[number] for number in pd.read_csv(output, index_col="id").sort_index()["label"]] == list(names)


def shuffle_rows(run, seed):
    data, rng = read_json(run / "data.json"), np.random.default_rng(seed)
    edit_json(run / "data.json", **{part: rng.permutation(data[part]).tolist() for part in ("train", "test")})
    for number, path in enumerate([run / "folds.csv", *sorted(run.rglob("valid.csv")), *sorted(run.rglob("test.csv"))]):
        edit_csv(path, lambda table, seed=seed + number: table.sample(frac=1, random_state=seed))


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10_000), method=st.sampled_from(sorted(METHODS)))
def test_order_of_rows_in_the_files_changes_nothing(tmp_path_factory, seed, method):
    root = tmp_path_factory.mktemp("rows")
    runs = [make_run(root / name, seed=number, clips=36, folds=2) for number, name in enumerate("ab")]
    first = blend_runs(runs, root / "out" / "x.csv", method)
    shuffle_rows(runs[1], seed)
    assert blend_runs(runs, root / "out" / "x.csv", method) == first


def test_different_folds_are_blended_with_a_warning_and_scores_stay_per_clip(tmp_path, output):
    runs = [make_run(tmp_path / name, seed=number, fold_seed=number) for number, name in enumerate("ab")]
    record = blend_runs(runs, output)
    assert any("different folds" in line for line in record["warnings"])
    alone = blend_runs(runs[1:], output)
    assert record["runs"][1]["oof"] == alone["oof"]
    assert "as the runs' folds differ" in blend_runs(runs, output, "weighted")["estimate"]


def test_random_and_speaker_disjoint_runs_together_are_warned_of(two, output):
    edit_json(two[1] / "data.json", split="3-fold, speaker-disjoint")
    warnings = blend_runs(two, output)["warnings"]
    assert any("split differently (3-fold, stratified by label; 3-fold, speaker-disjoint)" in line for line in warnings)


def test_speakers_known_to_one_run_serve_the_interval_of_all(tmp_path, output):
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", seed=1, speakers=6)]
    assert blend_runs(runs, output)["oof"]["interval_by"] == "speaker"


# --- learned methods ---


def test_blend_of_identical_runs_gives_the_submission_of_the_run(tmp_path, output):
    run = make_run(tmp_path / "a")
    shutil.copytree(run, tmp_path / "b")
    blend_runs([run], output)
    alone = output.read_bytes()
    for method in ("mean", "gmean", "weighted"):
        blend_runs([run, tmp_path / "b"], output, method)
        assert output.read_bytes() == alone


def test_reported_score_of_learned_methods_is_the_nested_one(two, output):
    members = read_members(two)
    for method in ("weighted", "stack"):
        record = blend_runs(two, output, method)
        nested = nested_predictions(method, members.oof, members.labels, members.folds[0])
        assert record["oof"]["log_loss"] == pytest.approx(log_loss(members.labels, nested, labels=range(6)))
        assert record["estimate"].startswith("nested: fitted on the other folds")


def test_learned_method_that_loses_against_the_mean_says_so(tmp_path, output):
    runs = [make_run(tmp_path / str(seed), seed=seed, clips=48, skill=1.5) for seed in range(6)]
    record = blend_runs(runs, output, "stack")
    assert record["gain_over_plain_mean"]["difference"] < 0
    assert any("stack isn't worth it here" in line for line in record["warnings"])


# --- what is refused, with nothing written ---


def one_line_error(argv, output, capsys):
    with pytest.raises(UserError) as caught:
        ensemble.main([str(word) for word in argv])
    assert nothing_written(output)
    assert "wrote" not in capsys.readouterr().out
    return str(caught.value)


def other_sound(run):
    first, *others = read_json(run / "data.json")["train"]
    return [first | {"audio_hash": "another"}, *others]


def edit_sample(run, change):
    edit_csv(run.parent / "input" / "sample_submission.csv", change)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda run: edit_json(run / "data.json", train=other_sound(run)), "different data"),
        (lambda run: edit_csv(run / "fold_1" / "test.csv", damage_column("p_sad", 2, "nan")), "NaN"),
        (lambda run: edit_csv(run / "fold_1" / "valid.csv", damage_column("p_sad", 2, 0.99)), "not summing to one"),
        (lambda run: edit_csv(run / "fold_1" / "valid.csv", damage_column("p_sad", 2, -0.99)), "negative"),
        (lambda run: edit_csv(run / "fold_1" / "test.csv", lambda table: table.iloc[1:]), "1 missing"),
        (lambda run: edit_csv(run / "fold_0" / "test.csv", lambda table: pd.concat([table, table[:1]])), "more than once"),
        (lambda run: (run / "fold_2" / "metrics.json").unlink(), "allow_missing_folds"),
        (lambda run: shutil.rmtree(run / "fold_2"), "2 of 3 folds are finished, missing: 2"),
        (lambda run: edit_sample(run, lambda table: table.iloc[:-1]), "1 too many|1 missing"),
        (lambda run: edit_sample(run, lambda table: table.assign(id=table["id"].str.lower())), "20 missing"),
        (lambda run: edit_sample(run, lambda table: pd.concat([table, table[:1]])), "more than once"),
        (lambda run: edit_sample(run, lambda table: table.rename(columns={"label": "emotion"})), "id, emotion"),
        (lambda run: edit_sample(run, lambda table: table[["label", "id"]]), "label, id"),
        (lambda run: edit_sample(run, lambda table: table.assign(label=6)), "shows the label 6"),
        (lambda run: edit_sample(run, lambda table: table.assign(label="bored")), "shows the label 'bored'"),
        (lambda run: (run.parent / "input" / "sample_submission.csv").unlink(), "no sample submission found.*--sample"),
        (lambda run: [path.write_text("data: 3") for path in run.parent.glob("*/config.yaml")], "doesn't say where the data is.*--sample"),
        (lambda run: [path.unlink() for path in run.parent.glob("*/config.yaml")], "doesn't say where the data is.*--sample"),
    ],
)
def test_refused_with_one_message_and_nothing_written(two, output, capsys, damage, says):
    damage(two[1])
    message = one_line_error([*two, "--output", output], output, capsys)
    assert re.search(says, message), message


def test_runs_over_other_clips_or_labels_are_refused(tmp_path, output, capsys):
    first = make_run(tmp_path / "a")
    for name, other, says in [
        ("test", {"test_clips": 19}, "test clips"),
        ("train", {"clips": 54}, "training clips"),
        ("labels", {"label_names": LABELS[:5]}, "different labels"),
    ]:
        run = make_run(tmp_path / name / "b", seed=1, **other)
        assert says in one_line_error([first, run, "--output", output], output, capsys)


def test_runs_that_disagree_on_the_label_of_a_clip_are_refused(two, output, capsys):
    data = read_json(two[1] / "data.json")
    data["train"][4]["label"] = (data["train"][4]["label"] + 1) % 6
    edit_json(two[1] / "data.json", train=data["train"])
    assert "different labels, first TRAIN_0004" in one_line_error([*two, "--output", output], output, capsys)


def test_run_without_test_clips_is_refused(tmp_path, output, capsys):
    run = make_run(tmp_path / "a", test_clips=0)
    assert "no test clips" in one_line_error([run, "--output", output], output, capsys)


def test_blend_without_test_clips_names_the_true_label_and_its_own(tmp_path, output):
    runs = [make_run(tmp_path / name, seed=seed, test_clips=0) for seed, name in enumerate("ab")]
    blend_runs(runs, output)
    written, (one, other) = pd.read_csv(output), [pd.read_csv(run / "fold_0" / "valid.csv", index_col="id") for run in runs]
    columns = [f"p_{name}" for name in LABELS]
    assert list(written.columns) == ["id", "true", "label", *columns]
    mean = (one[columns] + other.loc[one.index, columns]) / 2
    written = written.set_index("id").loc[one.index]
    assert list(written["label"]) == [name.removeprefix("p_") for name in mean.idxmax(axis=1)]
    known = {clip["id"]: LABELS[clip["label"]] for clip in read_json(runs[0] / "data.json")["train"]}
    assert list(written["true"]) == [known[name] for name in one.index]


def test_run_without_any_finished_fold_is_refused_even_when_missing_folds_are_allowed(two, output, capsys):
    for path in two[0].glob("fold_*/metrics.json"):
        path.unlink()
    assert "0 of 3 folds" in one_line_error([two[0], "--output", output, "--allow_missing_folds"], output, capsys)


def test_learned_method_with_a_single_fold_is_refused(two, output, capsys):
    for run in two:
        for fold in (1, 2):
            (run / f"fold_{fold}" / "metrics.json").unlink()
    argv = [*two, "--output", output, "--allow_missing_folds", "--method", "weighted"]
    assert "only one fold is finished" in one_line_error(argv, output, capsys)


def test_runs_without_a_common_predicted_clip_are_refused(two, output, capsys):
    (two[0] / "fold_0" / "metrics.json").unlink()
    for fold in (1, 2):
        (two[1] / f"fold_{fold}" / "metrics.json").unlink()
    assert "no training clip" in one_line_error([*two, "--output", output, "--allow_missing_folds"], output, capsys)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["{a}", "{a}", "--output", "{out}"], "more than once"),
        (["{a}"], "required: output"),
        (["--output", "{out}"], "required: runs"),
        (["{a}", "--output", "{out}", "--method", "max"], "'mean', 'gmean', 'weighted', 'stack'"),
        (["{a}", "--output", "{out}", "--weights", "1"], "unrecognized arguments"),
        (["{a}", "--output", "{out}.txt"], "ends in .csv"),
        (["{a}", "--output", "{out}", "--sample", "nowhere.csv"], "nowhere.csv: no such file"),
        (["{a}", "--output", "{sample}"], "is the sample submission itself"),
        (["nowhere", "--output", "{out}"], "nowhere: no such run folder"),
    ],
)
def test_wrong_arguments_end_in_one_message(two, output, capsys, words, says):
    sample = two[0].parent / "input" / "sample_submission.csv"
    before = sample.read_bytes()
    argv = [word.format(a=two[0], out=output, sample=sample) for word in words]
    assert says in one_line_error(argv, output, capsys)
    assert sample.read_bytes() == before


def test_sample_can_be_named_and_wins_over_the_data_folder(two, output, tmp_path):
    own = tmp_path / "own.csv"
    ids = [clip["id"] for clip in read_json(two[0] / "data.json")["test"]][::-1]
    write_csv(own, pd.DataFrame({"id": ids, "label": 0}))
    own.write_bytes(b"\xef\xbb\xbf" + own.read_bytes())  # as Excel saves it
    blend_runs(two, output, sample=own)
    assert list(pd.read_csv(output)["id"]) == ids


CELLS = st.one_of(
    st.sampled_from(["id", "label", "a", "b", "0", "5", "6", "-1", "9" * 5000, "sad", "", "nan", '"', "=1+1", "\x00", "é"]),
    st.text(max_size=4),
)
ANY_TABLE = st.lists(st.lists(CELLS, min_size=1, max_size=3), max_size=4)
NEARLY_RIGHT = st.lists(st.tuples(st.sampled_from("aabbc"), CELLS), min_size=1, max_size=3).map(lambda rows: [("id", "label"), *rows])


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=60), ANY_TABLE, NEARLY_RIGHT))
@example([("id", "label"), ("b", "0"), ("a", "5")])
@example([("id", "label"), ("b", "sad"), ("a", "sad")])
def test_sample_of_any_content_gives_a_whole_submission_or_one_message(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any_sample.csv"
    text = content if isinstance(content, bytes) else "\n".join(",".join(row) for row in content).encode("utf-8", "surrogatepass")
    path.write_bytes(text)
    try:
        made = make_submission(path, ("a", "b"), np.array([2, 5]), LABELS)
    except UserError as error:
        assert str(path) in str(error)
    else:
        right = {"a": (2, "sad"), "b": (5, "happy")}
        assert sorted(made["id"]) == ["a", "b"] and all(row.label in right[row.id] for row in made.itertuples())


def test_a_refused_blend_leaves_an_earlier_submission_alone(two, output):
    blend_runs(two, output)
    before = output.read_bytes(), output.with_suffix(".json").read_bytes()
    edit_json(two[1] / "data.json", train=other_sound(two[1]))
    with pytest.raises(UserError):
        blend_runs(two, output)
    assert (output.read_bytes(), output.with_suffix(".json").read_bytes()) == before
    assert {path.suffix for path in output.parent.iterdir()} == {".csv", ".json", ".html"}


def test_command_line_exits_2_with_one_line_and_help_shows_examples(tmp_path):
    def command(*words):
        source = Path(ensemble.__file__).parents[2]
        return subprocess.run(
            [sys.executable, "-m", "ser.ensemble", *words], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(source)}
        )

    wrong = command("nowhere", "--output", str(tmp_path / "x.csv"))
    assert wrong.returncode == 2 and wrong.stderr.startswith("error: nowhere") and len(wrong.stderr.splitlines()) == 1
    shown = command("--help")
    assert shown.returncode == 0 and "python -m ser.ensemble outputs/wav2vec2_base --output" in shown.stdout
