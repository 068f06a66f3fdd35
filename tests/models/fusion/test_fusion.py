"""Voice and words together: the fusion network, runs of both kinds blended, and splits by sentence."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from soak import compare

from checkpoints import make_text_checkpoint
from ser import predict
from ser.compare_experiments import running
from ser.compare_experiments.experiments import read_experiment
from ser.compare_experiments.report import write_comparison
from ser.config import DataConfig, FoldsConfig, load_config
from ser.data.folds import make_folds
from ser.data.inputs import open_store
from ser.data.tables import Table, read_dataset
from ser.data.text_groups import describe_leak, text_groups
from ser.data.utterance import Utterance
from ser.ensemble import __main__ as ensemble
from ser.inference.runs import read_run
from ser.models.registry import load_model
from ser.runtime.errors import UserError
from ser.runtime.files import read_json, write_csv
from ser.train import training
from ser.train.experiment import open_experiment
from stops import steps_are_counted, train_in_pieces  # noqa: F401 - a fixture
from tiny import write_tiny_config

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("undrawn")]

LABELS = ("angry", "sad", "happy")
WORDS = {"angry": ("화가 난다", "짜증이 난다"), "sad": ("눈물이 난다", "너무 슬프다"), "happy": ("정말 좋다", "아주 행복하다")}
PLAIN = {"from_scratch": None, "freeze": "feature_encoder"}
FUSION = PLAIN | {"kind": "fusion", "fusion": {"text": "ngrams", "ngram_size": 8}}
TRAIN = {"epochs": 12, "batch_size": 8, "head_learning_rate": 3e-3}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """48 clips of 3 emotions: pitch tells angry from the others, words tell sad from happy, neither tells all three."""
    folder = tmp_path_factory.mktemp("input")
    (folder / "audio").mkdir()
    rng, rows = np.random.default_rng(0), []
    for number in range(48):
        label = LABELS[number % 3]
        pitch = 600 if label == "angry" else 150
        time = np.arange(6400) / 16000
        soundfile.write(folder / f"audio/{number}.wav", 0.2 * np.sin(2 * np.pi * pitch * time) + 0.01 * rng.standard_normal(6400), 16000)
        said = rng.choice(["happy", "angry"]) if label == "angry" else label
        text = f"{rng.choice(['오늘은', '어제는', '친구가', '아침에'])} {rng.choice(WORDS[said])} {number}번"
        rows.append({"id": f"c{number:02d}", "path": f"audio/{number}.wav", "label": label, "speaker": f"s{number % 8}", "text": text})
    write_csv(folder / "clips.csv", pd.DataFrame(rows))
    return folder / "clips.csv"


def config_of(folder, data, model=FUSION, **sections):
    folder.mkdir(exist_ok=True)
    sections = {"train": TRAIN} | sections
    return load_config(write_tiny_config(folder / "tiny.yaml", data, model=model, **sections))


@pytest.fixture(scope="module")
def fused(data, tmp_path_factory):
    config = config_of(tmp_path_factory.mktemp("fused"), data)
    return config.run.output, training.train(config)


@pytest.fixture(scope="module")
def of_words(data, tmp_path_factory):
    config = config_of(tmp_path_factory.mktemp("words"), data, PLAIN | {"kind": "text_ngrams"})
    return config.run.output, training.train(config)


@pytest.fixture(scope="module")
def of_voice(data, tmp_path_factory):
    classical = {"kind": "classical", "classical": {"features": ["librosa"], "classifier": "logistic"}}
    config = config_of(tmp_path_factory.mktemp("voice"), data, PLAIN | classical)
    return config.run.output, training.train(config)


def test_both_together_know_what_neither_knows_alone(fused, of_words, of_voice):
    together, words, voice = (report["oof"]["accuracy"] for _, report in (fused, of_words, of_voice))
    assert together > 0.9
    assert together > words + 0.1
    assert together > voice + 0.1


def test_runs_of_voice_and_of_words_are_blended_by_weights_from_out_of_fold(of_words, of_voice, tmp_path, capsys):
    ensemble.main([str(of_voice[0]), str(of_words[0]), "--method", "weighted", "--output", str(tmp_path / "both.csv")])
    assert "no test clips to submit" in capsys.readouterr().out
    record, table = read_json(tmp_path / "both.json"), pd.read_csv(tmp_path / "both.csv")
    best = max(run["oof"]["accuracy"] for run in record["runs"])
    assert record["oof"]["accuracy"] > best + 0.05
    assert all(run["weight"] > 0.05 for run in record["runs"])
    chosen = table[[f"p_{name}" for name in record["label_names"]]].to_numpy().argmax(1)
    assert list(table["label"]) == [record["label_names"][number] for number in chosen]
    assert (table["label"] == table["true"]).mean() == pytest.approx(record["oof"]["accuracy"])


def test_runs_of_one_kind_over_different_clips_are_still_refused(of_words, data, tmp_path):
    table = pd.read_csv(data)
    table.loc[0, "text"] = "다른 말"
    write_csv(tmp_path / "clips.csv", table)
    config = config_of(tmp_path / "other", tmp_path / "clips.csv", PLAIN | {"kind": "text_ngrams"})
    training.train(config)
    with pytest.raises(UserError, match="different data"):
        ensemble.main([str(of_words[0]), config.run.output, "--output", str(tmp_path / "x.csv")])


def test_predict_repeats_the_out_of_fold_probabilities(fused, data, tmp_path):
    folder, run = fused[0], read_run(fused[0])
    predict.main(["--model", f"{folder}/fold_0", str(data), "--output", str(tmp_path / "p.csv"), "--data.cache", str(tmp_path / "cache")])
    table = pd.read_csv(tmp_path / "p.csv")[[f"p_{name}" for name in run.label_names]].to_numpy()
    inside = run.fold_of == 0
    np.testing.assert_allclose(table[inside], run.oof[inside], atol=1e-6)


def test_without_a_transcript_the_audio_decides_and_it_is_counted(data, tmp_path, capsys):
    table = pd.read_csv(data)
    table.loc[::4, "text"] = ""
    write_csv(data.parent / "partly.csv", table)
    config = config_of(tmp_path, data.parent / "partly.csv")
    report = training.train(config)
    assert "12 of 48 training clips have no transcript; their audio alone decides" in capsys.readouterr().out
    assert any("audio alone decided: 12 of 48" in line for line in report["caveats"])
    model = load_model(f"{config.run.output}/fold_0/model")
    store = open_store("audio and text", read_dataset(DataConfig(root=str(data), cache=str(tmp_path / "cache"))).train, config.data)
    wave, other = store[0].samples, store[1].samples
    with torch.inference_mode():
        unknown, unknown_other, known = (
            model(**model.frontend.collate([model.frontend.prepare(Utterance(*clip))])) for clip in ((wave, ""), (other, ""), store[0])
        )
    assert not torch.allclose(unknown, unknown_other, atol=1e-3)
    assert not torch.allclose(unknown, known, atol=1e-3)
    predict.main(["--model", config.run.output, str(data.parent / "partly.csv"), "--output", str(tmp_path / "p.csv")])
    assert (pd.read_csv(tmp_path / "p.csv")["status"] == "no_transcript").sum() == 12


@pytest.mark.slow
def test_interrupted_fusion_ends_byte_identical(data, tmp_path):
    from ser.train.fold import train_fold
    from ser.train.signals import Stopper

    short = {"train": TRAIN | {"epochs": 2}}
    train_fold(open_experiment(config_of(tmp_path / "whole", data, **short)), 0, Stopper())
    assert train_in_pieces(config_of(tmp_path / "pieces", data, **short), 2) >= 2
    assert compare(tmp_path / "whole", tmp_path / "pieces") == []


def test_a_frozen_text_encoder_runs_once_per_text_and_stays_as_it_was(data, tmp_path):
    folder = make_text_checkpoint(tmp_path / "roberta", pd.read_csv(data)["text"])
    model = PLAIN | {"kind": "fusion", "fusion": {"text_encoder": str(folder)}}
    config = config_of(tmp_path / "run", data, model, train=TRAIN | {"epochs": 2})
    training.train(config)
    kept = list((tmp_path / "run" / "cache").glob("text-outputs-*/*.safetensors"))
    written = {path: path.stat().st_mtime_ns for path in kept}
    assert len(kept) == 2  # 48 texts, 32 in a file; the second fold found them there
    config.run.seed, config.run.output = 1, str(tmp_path / "again")
    training.train(config)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "cache").glob("text-outputs-*/*")} == written
    from safetensors.torch import load_file

    before, after = load_file(folder / "model.safetensors"), load_file(tmp_path / "again/fold_0/model/text_encoder/model.safetensors")
    assert all(torch.equal(value, after[name]) for name, value in before.items() if not name.startswith("pooler"))
    run = read_run(tmp_path / "again")
    predict.main(["--model", f"{tmp_path}/again/fold_1", str(data), "--output", str(tmp_path / "p.csv")])
    table = pd.read_csv(tmp_path / "p.csv")[[f"p_{name}" for name in run.label_names]].to_numpy()
    np.testing.assert_allclose(table[run.fold_of == 1], run.oof[run.fold_of == 1], atol=1e-5)


def test_shape_of_the_network_is_as_told(data, tmp_path):
    folder = make_text_checkpoint(tmp_path / "roberta", pd.read_csv(data)["text"])
    from ser.models.registry import build_model

    config = config_of(tmp_path / "run", data, PLAIN | {"kind": "fusion", "fusion": {"text_encoder": str(folder)}})
    model = build_model(config.model, LABELS, 15.0)
    layers = [(layer.in_features, layer.out_features) for layer in model.network.layers if isinstance(layer, torch.nn.Linear)]
    assert layers == [(40 + 16, 256), (256, 128), (128, 3)]
    assert sum(parameter.numel() for parameter in model.encoder.parameters() if parameter.requires_grad) == 0


def test_damaged_fusion_folder_is_refused(fused, tmp_path):
    import shutil

    folder = shutil.copytree(f"{fused[0]}/fold_0/model", tmp_path / "model")
    (folder / "vocabulary.json").unlink()
    with pytest.raises(UserError, match="not a whole model"):
        load_model(folder)


def test_sentences_are_the_same_but_for_marks_and_one_letter():
    texts = [
        "네가 내 곁에 있어 꿈만 같아.",
        "니가 내 곁에 있어, 꿈만 같아!",
        "내 곁에 있어 꿈만 같아",
        "",
        "전혀 다른 말이에요",
        "네",
        "내",
    ]
    groups = text_groups(texts)
    assert groups[0] == groups[1]
    assert groups[3] == -1
    assert len({groups[0], groups[4], groups[5], groups[6]}) == 4
    assert text_groups(["가나다라마바사아자", "가나다라마바사아자차"])[0] == text_groups(["가나다라마바사아자차", "가나다라마바사아자"])[1]
    pair = text_groups(["가나다라마바사아자", "가나다라마바사아자차"])
    assert pair[0] == pair[1]


def test_split_by_text_keeps_every_sentence_in_one_fold():
    rng = np.random.default_rng(0)
    sentences = [f"{i}번째 문장은 이렇게 씁니다" + "가나다라마"[i % 5] * 3 for i in range(20)]
    texts = tuple(sentences[i] + rng.choice([".", "!", ""]) for i in rng.integers(0, 20, 120))
    table = Table(tuple(map(str, range(120))), (), rng.integers(0, 2, 120), texts=texts)
    folds, sentence = make_folds(table, FoldsConfig(n=4, split="text"), 0)
    groups = text_groups(texts)
    assert all(len(set(folds[groups == group])) == 1 for group in set(groups))
    assert "text-disjoint" in sentence
    _, sentence = make_folds(table, FoldsConfig(n=4, split="stratified"), 0)
    assert "sentences in more than one fold" in sentence
    with pytest.raises(UserError, match="needs to know the texts"):
        make_folds(Table(table.ids, (), table.labels), FoldsConfig(n=4, split="text"), 0)


def test_texts_that_give_the_emotion_away_are_told():
    texts = ["나는 정말 행복합니다", "너무너무 화가 납니다"] * 20
    labels, folds = np.tile([0, 1], 20), np.repeat(np.arange(4), 10)
    assert "40 of 40" in describe_leak(texts, labels, folds)
    assert describe_leak(texts, labels, np.tile([0, 1], 20)) is None  # each sentence in a fold of its own
    assert describe_leak(texts, np.random.default_rng(0).integers(0, 2, 40), folds) is None  # sentences that tell nothing


def test_comparison_splits_by_text_where_a_model_reads(data, tmp_path, of_words, of_voice):
    words = config_of(tmp_path / "words", data, PLAIN | {"kind": "text_ngrams"})
    voice = config_of(tmp_path / "voice", data, PLAIN | {"kind": "classical"})
    assert running.wanted_splits([voice, words]) == ["speaker", "text", "stratified"]
    assert running.wanted_splits([voice, voice]) == ["speaker", "stratified"]
    experiments = [
        read_experiment(name, {split: Path(folder) for split in ("speaker", "text")}, 1.0)
        for name, (folder, _) in (("voice", of_voice), ("words", of_words))
    ]
    common = Path(of_words[0]).parents[2]
    write_comparison(experiments, common)
    told = (common / "comparison.md").read_text()
    assert "## New sentences (text-disjoint folds)" in told
    assert "give the emotion away" in told
    model_folder = Path(of_words[0]).parent
    assert running.prediction_speed(model_folder, words) > 1
