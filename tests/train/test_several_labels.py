"""Several labels a clip, from the table to the diary: what is trained, what is told, and which commands say that they need one label."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import f1_score, roc_auc_score
from transformers import pipeline

from ser import calibrate, predict
from ser.compare import __main__ as compare
from ser.compare_experiments import __main__ as compare_experiments
from ser.config import ModelConfig, TrainConfig
from ser.data.inputs import Store
from ser.diary import __main__ as diary
from ser.diary.shares import Diary, analyze_diary_percent
from ser.ensemble import __main__ as ensemble
from ser.evaluate import __main__ as evaluate
from ser.export import __main__ as export
from ser.inference.prediction import Predictor
from ser.inference.runs import read_run
from ser.korean.engine import create_inference_engine
from ser.models.registry import build_model, load_model
from ser.report.multi_label_report import FITTED_ELSEWHERE
from ser.runtime.errors import UserError
from ser.runtime.files import read_json
from ser.scoring.thresholds import fit_thresholds
from ser.subtitle import __main__ as subtitle
from ser.sweep import __main__ as sweep
from ser.train import __main__ as train
from ser.train.objective import Objective
from texts import make_multi_label_texts
from tiny import write_tiny_config

PLAIN = {"from_scratch": None, "freeze": "feature_encoder"}
NGRAMS = {"kind": "text_ngrams", **PLAIN}
BERT = {
    "kind": "text_encoder",
    **PLAIN,
    "text_encoder": {
        "from_scratch": {
            "model_type": "bert",
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
        },
        "vocabulary": 120,
    },
}
SEVERAL = ["--data.multi_label", "true"]
DIARY = "정말 행복해 좋아요. 무서워 눈물이 난다! 오늘 버스."


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_multi_label_texts(tmp_path_factory.mktemp("input"))


@pytest.fixture(scope="module")
def config(data, tmp_path_factory):
    place = tmp_path_factory.mktemp("run") / "ngrams.yaml"
    return write_tiny_config(place, data, model=NGRAMS)


@pytest.fixture(scope="module")
def run(config):
    train.main(["--config", str(config), *SEVERAL])
    return config.parent / "outputs" / "ngrams"


@pytest.fixture(scope="module")
def network(data, tmp_path_factory):
    """The run of a small BERT, one epoch."""
    place = tmp_path_factory.mktemp("network") / "bert.yaml"
    train.main(["--config", str(write_tiny_config(place, data, model=BERT, train={"epochs": 1, "metric": "macro_f1"})), *SEVERAL])
    return place.parent / "outputs" / "bert"


def test_files_and_report_of_a_run_hold_together(run, data):
    read, report = read_run(run, multi_label=True), read_json(run / "report.json")
    table = pd.read_csv(data / "train.csv", keep_default_na=False)
    oof = pd.read_csv(run / "oof.csv", keep_default_na=False)
    truth = np.array([[name in label.split("|") for name in read.label_names] for label in table["label"]])
    np.testing.assert_array_equal(read.labels, truth)
    assert [set(label.split("|")) for label in oof["label"]] == [set(label.split("|")) for label in table["label"]]
    given = np.array([[name in label.split("|") for name in read.label_names] for label in oof["given"]])
    assert report["oof"]["macro_f1"] == pytest.approx(f1_score(truth, given, average="macro"))
    assert report["oof"]["micro_f1"] > report["oof"]["micro_f1_baseline"] + 0.2, "words tell these emotions"
    assert report["oof"]["without_label"] == (table["label"] == "").sum() == 24
    frequent = [place for place, row in enumerate(report["classes"]) if row["n"] > 2]
    assert np.nanmean([report["classes"][place]["auc"] for place in frequent]) == pytest.approx(
        roc_auc_score(truth[:, frequent], read.oof[:, frequent])
    )
    for fold in (0, 1):  # the folds' answers come from the other fold's thresholds
        rows = read.fold_of == fold
        np.testing.assert_array_equal(given[rows], read.oof[rows] >= fit_thresholds(truth[~rows], read.oof[~rows]))
    saved = read_json(run / "thresholds.json")["thresholds"]
    np.testing.assert_allclose([saved[name] for name in read.label_names], fit_thresholds(truth, read.oof))
    assert "stratified by the rarest label" in (run / "report.md").read_text()
    page = (run / "report.html").read_text()
    assert "micro-F1" in page and "labels a clip" in page and "Confusion" not in page


def test_prediction_gives_the_labels_above_the_runs_thresholds(run, data, tmp_path):
    predict.main(["--model", str(run), str(data / "test.csv"), "--output", str(tmp_path / "p.csv")])
    found = pd.read_csv(tmp_path / "p.csv", keep_default_na=False)
    thresholds = read_json(run / "thresholds.json")["thresholds"]
    folds = np.mean([pd.read_csv(run / f"fold_{fold}" / "test.csv").iloc[:, 1:].to_numpy() for fold in (0, 1)], axis=0)
    np.testing.assert_allclose(found[[f"p_{name}" for name in thresholds]], folds, atol=1e-8)
    for label, likely in zip(found["label"], folds, strict=True):
        expected = [name for name, p, least in zip(thresholds, likely, thresholds.values(), strict=True) if p >= least]
        assert label.split("|") == (expected or [""])
    assert (found["label"].str.count(r"\|") > 0).any()


def test_a_diary_has_several_emotions_a_sentence_and_its_shares_add_up(run, tmp_path, capsys):
    (tmp_path / "d.txt").write_text(DIARY, encoding="utf-8")
    diary.main([str(tmp_path / "d.txt"), "--model", str(run), "--output", str(tmp_path / "out")])
    told = capsys.readouterr().out
    assert "A sentence may have several" in told and "of_sentences_percent" in told
    written = read_json(tmp_path / "out" / "diary.json")
    labels = [row["label"] for row in written["sentences"]]
    assert set(labels[1].split("|")) >= {"fear", "sad"}
    assert sum(written["by_count"].values()) == pytest.approx(100) == pytest.approx(sum(written["by_probability"].values()))
    assert written["by_sentence"]["fear"] == pytest.approx(100 * sum("fear" in label.split("|") for label in labels) / 3, abs=0.01)
    assert written["without_emotion"] == labels.count("")
    assert analyze_diary_percent(DIARY, model=run) == written["by_count"]
    assert (tmp_path / "out" / "diary.png").stat().st_size > 0


def test_shares_of_several_emotions_by_hand():
    found = Diary(("a", "b", "c", "d"), ("sad", "happy"), np.array([[0.9, 0.6], [0.2, 0.6], [0.4, 0.7], [0, 0]]), np.array([0.5, 0.5]))
    assert found.labels == ["sad|happy", "happy", "happy", ""]
    assert found.by_count == {"happy": 75.0, "sad": 25.0} and found.by_sentence == {"happy": 75.0, "sad": 25.0}
    none = Diary(("a",), ("sad", "happy"), np.array([[0.1, 0.2]]), np.array([0.5, 0.5]))
    assert none.labels == [""] and none.by_count == none.by_sentence == {}
    assert "1 sentences, of which 1 have none" in diary.describe(none)


def test_evaluation_uses_the_runs_thresholds_and_tells_clips_it_was_trained_on(run, data, tmp_path, capsys):
    evaluate.main(["--model", str(run), "--data.root", str(data / "train.csv"), *SEVERAL, "--output", str(tmp_path)])
    assert "96 of 96 clips were in this model's training data" in capsys.readouterr().out
    found = pd.read_csv(tmp_path / "predictions.csv", keep_default_na=False)
    names = list(read_json(run / "thresholds.json")["thresholds"])
    truth, given = (np.array([[name in label.split("|") for name in names] for label in found[column]]) for column in ("true", "label"))
    assert read_json(tmp_path / "report.json")["scores"]["micro_f1"] == pytest.approx(f1_score(truth, given, average="micro"))


def test_evaluation_says_of_thresholds_what_they_were_fitted_to(run, data, tmp_path):
    def told(model, source):
        evaluate.main(["--model", str(model), "--data.root", str(source), *SEVERAL, "--output", str(tmp_path / "e")])
        return (tmp_path / "e" / "report.md").read_text()

    assert "fitted to 96 of these 96 clips themselves" in told(run / "fold_0", data / "train.csv")
    table = pd.read_csv(data / "train.csv", keep_default_na=False)
    table.assign(text="새 글 " + table["text"]).to_csv(tmp_path / "new.csv", index=False)
    assert FITTED_ELSEWHERE in told(run, tmp_path / "new.csv")
    shutil.copytree(run / "fold_0" / "model", tmp_path / "alone")
    assert "no fitted ones (thresholds.json) with this model, so it is 0.5 for all" in told(tmp_path / "alone", data / "train.csv")


def test_evaluation_of_a_label_that_the_model_lacks_names_the_key(run, tmp_path):
    pd.DataFrame({"id": [1, 2], "text": ["a b", "c d"], "label": ["shy|sad", "sad"]}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(UserError, match=r"no label for shy of the data.*--data\.labels own"):
        evaluate.main(["--model", str(run), "--data.root", str(tmp_path / "t.csv"), *SEVERAL, "--output", str(tmp_path / "e")])


def test_one_label_alone_is_refused_before_anything_is_written(config, tmp_path):
    rows = {"id": range(8), "text": [f"글 {number}" for number in range(8)], "label_joy": [0, 1] * 4}
    pd.DataFrame(rows).to_csv(tmp_path / "one.csv", index=False)
    with pytest.raises(UserError, match=r"one\.csv: the one label happy; a classifier needs at least two"):
        train.main(["--config", str(config), *SEVERAL, "--data.root", str(tmp_path / "one.csv"), "--run.output", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_subtitles_refuse_a_model_before_the_film_is_decoded(run, tmp_path):
    (tmp_path / "film.mp4").write_bytes(b"no film at all")
    words = [str(tmp_path / "film.mp4"), "--model", str(run), "--output", str(tmp_path / "s"), "--cache", str(tmp_path / "cache")]
    with pytest.raises(UserError, match=r"several labels \(data.multi_label\)"):
        subtitle.main(words)
    model = build_model(ModelConfig(kind="text_ngrams"), ("angry", "happy"), 0.0)
    model.fit(Store.of_texts(["화가 짜증", "행복해 좋아요"]), np.arange(2), np.array([0, 1]), 0)
    model.save(tmp_path / "reads")
    with pytest.raises(UserError, match="subtitles need one that takes audio alone"):
        subtitle.main([*words[:2], str(tmp_path / "reads"), *words[3:]])
    assert not (tmp_path / "cache").exists()


def test_evaluation_of_clips_that_lack_a_label_writes_its_report_and_says_so(run, data, tmp_path, capsys):
    table = pd.read_csv(data / "train.csv", keep_default_na=False)
    alone = max(table["label"]).split("|")[0]
    table[table["label"].isin(["", alone])].to_csv(tmp_path / "few.csv", index=False)
    evaluate.main(["--model", str(run), "--data.root", str(tmp_path / "few.csv"), *SEVERAL, "--output", str(tmp_path / "report")])
    assert "no clip of the data has" in capsys.readouterr().out
    assert None in [row["auc"] for row in read_json(tmp_path / "report" / "report.json")["classes"]]
    assert "no clip of the data has" in (tmp_path / "report" / "report.md").read_text()


def test_the_loss_is_binary_cross_entropy_and_hits_are_whole_sets():
    labels = np.array([[1, 0, 1], [0, 0, 0]])
    objective = Objective(labels, 3, TrainConfig(), torch.device("cpu"))
    logits = torch.tensor([[2.0, -1.0, 0.3], [0.5, -2.0, -1.0]])
    p, targets = torch.sigmoid(logits).numpy(), objective.targets(torch.as_tensor(labels))
    expected = -(labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean(axis=1).sum()
    assert float(objective.loss_sum(logits, targets)) == pytest.approx(expected, abs=1e-6)
    assert int(objective.hits(logits, targets)) == 1


def test_a_network_answers_label_by_label_as_the_librarys_pipeline_does(network, data):
    report = read_json(network / "report.json")
    assert report["multi_label"] and report["oof"]["n"] == 96
    texts = pd.read_csv(data / "test.csv")["text"].tolist()
    answers = pipeline("text-classification", model=str(network / "fold_0" / "model"), top_k=None)(texts)
    saved = pd.read_csv(network / "fold_0" / "test.csv").set_index("id")
    assert (saved.sum(axis=1) - 1).abs().max() > 0.1, "sigmoid, not softmax"
    for scores, row in zip(answers, saved.to_dict("records"), strict=True):
        assert {f"p_{answer['label']}": pytest.approx(answer["score"], abs=1e-5) for answer in scores} == row
    assert load_model(network / "fold_0" / "model").multi_label


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--model.kind", "fusion"], "model.kind fusion gives each clip one label"),
        (["--model.kind", "mfcc_cnn"], "model.kind mfcc_cnn gives each clip one label"),
        (["--train.class_weights", "balanced"], "train.class_weights: given balanced"),
        (["--train.sampler", "balanced"], "train.sampler: given balanced"),
        (["--train.label_smoothing", "0.1"], "train.label_smoothing: given 0.1"),
        (["--train.focal_gamma", "2"], "train.focal_gamma: given 2"),
        (["--train.mixup", "0.2"], "train.mixup: words can't be mixed"),
        (["--cv.full_fit", "true"], "cv.full_fit: given true"),
        (["--seeds", "0,1"], r"run.seeds: given \[0, 1\].*set it to an empty list"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_settings_of_one_label_are_refused_before_any_work(config, tmp_path, words, says):
    with pytest.raises(UserError, match=says):
        train.main(["--config", str(config), "--run.output", str(tmp_path / "run"), *SEVERAL, *words])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "call",
    [
        lambda run, network, place: ensemble.main([str(run), str(network), "--output", str(place / "s.csv")]),
        lambda run, network, place: ensemble.main([str(run), "--output", str(place / "s.csv")]),
        lambda run, network, place: calibrate.main([str(run)]),
        lambda run, network, place: export.main([str(network / "fold_0"), "--output", str(place / "onnx"), "--license", "mit"]),
        lambda run, network, place: evaluate.main(
            ["--model", str(run), "--data.root", str(_one_label(place)), "--output", str(place / "e")]
        ),
        lambda run, network, place: compare.main([f"run:{run}", "--data.root", str(_one_label(place)), "--output", str(place / "c")]),
        lambda run, network, place: compare.main(
            [f"transformers:{network / 'fold_0' / 'model'}", "--data.root", str(place), "--output", str(place / "c")]
        ),
        lambda run, network, place: create_inference_engine(str(run)),
        lambda run, network, place: Predictor(network),
        lambda run, network, place: predict.main(["--model", str(run), "--predict.views", "gain:3", "--output", str(place / "v")]),
    ],
    ids=[
        "ensemble",
        "ensemble_of_one",
        "calibrate",
        "export",
        "evaluate",
        "compare_run",
        "compare_model",
        "engine_and_serve",
        "predictor",
        "views",
    ],
)
def test_commands_of_one_label_say_so_of_a_run_of_several(run, network, tmp_path, call):
    with pytest.raises(UserError, match=r"several labels \(data.multi_label\), and here one is needed"):
        call(run, network, tmp_path)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda *words: _compare(*words), "experiments are compared by"),
        (lambda *words: _sweep(*words), "a sweep compares"),
        (lambda config, *words: compare.main(["librosa", "--data.root", "nowhere", *words]), "candidates are compared by"),
    ],
    ids=["compare_experiments", "sweep", "compare"],
)
def test_comparing_trainings_is_refused_before_any_work(config, tmp_path, call, says):
    with pytest.raises(UserError, match=f"data.multi_label: {says}"):
        call(str(config), "--output", str(tmp_path / "out"), *SEVERAL)
    assert not list(tmp_path.glob("out/*"))


def test_a_model_of_one_label_is_none_of_several(data, tmp_path):
    model = build_model(ModelConfig(kind="text_ngrams"), ("angry", "happy"), 0.0)
    model.fit(Store.of_texts(["화가 짜증", "행복해 좋아요", "짜증 화가", "좋아요 행복해"]), np.arange(4), np.array([0, 1, 0, 1]), 0)
    model.save(tmp_path / "model")
    words = ["--model", str(tmp_path / "model"), "--data.root", str(data / "train.csv"), "--output", str(tmp_path / "e")]
    with pytest.raises(UserError, match="gives each clip one label"):
        evaluate.main([*words, *SEVERAL])


def _compare(config, *words):
    other = config.replace("ngrams.yaml", "other.yaml")
    shutil.copy(config, other)
    compare_experiments.main([config, other, *words])


def _sweep(config, *words):
    sweep.main(["--config", config, "--space", "no such space.yaml", *words])


def _one_label(folder):
    """A table of texts with one label each."""
    rows = [
        {
            "id": number,
            "text": f"{'화가 짜증' if number % 2 else '행복해 좋아요'} 오늘 {number}",
            "label": "angry" if number % 2 else "happy",
        }
        for number in range(12)
    ]
    pd.DataFrame(rows).to_csv(folder / "one.csv", index=False)
    return folder / "one.csv"
