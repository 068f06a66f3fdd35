"""Models of texts: through the same folds, loop, files and commands as models of audio."""

import json
import unicodedata

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from soak import compare
from transformers import AutoModelForSequenceClassification, pipeline

from checkpoints import make_text_checkpoint
from ser import check_data, predict
from ser.config import Config, build_parser, load_config, parse
from ser.data.inputs import Store
from ser.data.utterance import EMPTY, Utterance
from ser.ensemble import __main__ as ensemble
from ser.inference.runs import read_run
from ser.models.registry import build_model, load_model
from ser.models.text import emotion_words
from ser.models.text.emotion_words import EmotionWords, read_emotion_words
from ser.models.text.text_tokens import learn_tokenizer
from ser.runtime.errors import UserError
from ser.runtime.files import read_json, write_csv
from ser.train import __main__ as train
from ser.train import training
from ser.train.experiment import open_experiment
from stops import steps_are_counted, train_in_pieces  # noqa: F401 - a fixture
from texts import make_texts
from tiny import write_tiny_config

pytestmark = pytest.mark.usefixtures("undrawn")

SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "initializer_range": 0.2}
TINY_BERT = {"model_type": "bert", **SIZES}
SCRATCH = {
    "kind": "text_encoder",
    "from_scratch": None,
    "freeze": "feature_encoder",
    "text_encoder": {"from_scratch": TINY_BERT, "vocabulary": 150},
}
NGRAMS = {"kind": "text_ngrams", "from_scratch": None, "freeze": "feature_encoder"}
TRAIN = {"epochs": 2, "batch_size": 8, "learning_rate": 3e-3, "head_learning_rate": 3e-3}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_texts(tmp_path_factory.mktemp("input"), texts=144)


def config_of(folder, data, model, **train):
    folder.mkdir(exist_ok=True)
    balanced = {} if model is NGRAMS else {"class_weights": "balanced"}  # which n-grams are always
    return load_config(write_tiny_config(folder / "tiny.yaml", data, model=model, train=TRAIN | balanced | train))


@pytest.fixture(scope="module")
def ngrams(data, tmp_path_factory):
    config = config_of(tmp_path_factory.mktemp("ngrams"), data, NGRAMS)
    return config.run.output, training.train(config)


@pytest.fixture(scope="module")
def scratch(data, tmp_path_factory):
    config = config_of(tmp_path_factory.mktemp("scratch"), data, SCRATCH, epochs=15)
    return config.run.output, training.train(config)


@pytest.mark.parametrize(("kind", "least"), [("ngrams", 0.6), ("scratch", 0.35)])
def test_words_are_learnt(kind, least, request):
    _, report = request.getfixturevalue(kind)
    assert report["oof"]["macro_f1"] > least
    assert report["oof"]["majority"] == pytest.approx(1 / 6)


@pytest.mark.parametrize("kind", ["ngrams", "scratch"])
def test_predict_repeats_what_training_predicted_for_the_test_texts(kind, request, data, tmp_path, capsys):
    folder, _ = request.getfixturevalue(kind)
    predict.main(["--model", str(folder), str(data / "test.csv"), "--output", str(tmp_path / "p.csv")])
    assert "predicted 12 of 12 rows" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "p.csv")
    run = read_run(folder)
    assert table["id"].tolist() == list(run.test_ids)
    np.testing.assert_allclose(table[[f"p_{name}" for name in run.label_names]], run.test, atol=1e-6)
    assert table["label"].tolist() == [run.label_names[i] for i in run.test.argmax(1)]


def test_runs_of_texts_are_blended_into_a_submission(ngrams, scratch, data, tmp_path):
    ensemble.main([str(ngrams[0]), str(scratch[0]), "--output", str(tmp_path / "both.csv"), "--method", "weighted"])
    record = read_json(tmp_path / "both.json")
    assert len(pd.read_csv(tmp_path / "both.csv")) == record["test_clips"] == 12
    assert record["oof"]["n"] == 144


def test_interrupted_training_ends_byte_identical(data, tmp_path):
    from ser.train.fold import train_fold
    from ser.train.signals import Stopper

    whole = config_of(tmp_path / "whole", data, SCRATCH)
    train_fold(open_experiment(whole), 0, Stopper())
    pieces = config_of(tmp_path / "pieces", data, SCRATCH)
    assert train_in_pieces(pieces, 3) >= 2
    assert compare(tmp_path / "whole", tmp_path / "pieces") == []


def shares(text):
    """By hand: an emotion's words in the text, by one more than the words of all emotions."""
    table = pd.read_csv(emotion_words.LIST, index_col="emotion")["words"]
    found = {emotion: len([word for word in words.split() if word in text.replace(" ", "")]) for emotion, words in table.items()}
    return {emotion: count / (1 + sum(found.values())) for emotion, count in found.items()}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_emotion_words_are_counted_whatever_blanks_and_letters_form(form):
    text = "오늘 너무 무섭 고 안타 깝다"
    words = EmotionWords(read_emotion_words(), 1.0)
    assert shares(text) == {"angry": 0, "disgust": 0, "fear": 1 / 3, "happy": 0, "sad": 1 / 3, "surprise": 0}
    counted = words.transform([unicodedata.normalize(form, text), "nothing Korean"]).toarray()
    np.testing.assert_allclose(counted, [list(shares(text).values()), [0] * 6])


def test_texts_without_any_emotion_word_are_told_by_their_ngrams():
    store = Store.of_texts(["good good day", "so very good", "bad bad day", "so very bad"] * 3)
    model = build_model(Config().model.__class__(kind="text_ngrams"), ("happy", "sad"), 15.0)
    model.fit(store, np.arange(12), np.array([0, 0, 1, 1] * 3), 0)
    assert model.predict(store, np.arange(4)).argmax(1).tolist() == [0, 0, 1, 1]


def test_ngrams_equal_scikit_learns_pipeline(ngrams, data):
    folder, _ = ngrams
    table = pd.read_csv(data / "train.csv")
    run = read_run(folder)
    inside = run.fold_of != 0
    # Sorted by id, as the fold fits them.
    views = [("char_wb", (1, 2), None), ("char", (1, 3), None), ("char_wb", (2, 5), lambda text: unicodedata.normalize("NFD", text))]
    vectorizers = [
        (str(i), TfidfVectorizer(analyzer=analyzer, ngram_range=sizes, preprocessor=prepare, min_df=2, sublinear_tf=True))
        for i, (analyzer, sizes, prepare) in enumerate(views)
    ]
    words = make_pipeline(FunctionTransformer(lambda texts: [list(shares(text).values()) for text in texts]), StandardScaler())
    weights = {str(i): 3**-0.5 for i in range(3)} | {"words": 0.05}
    ridge = make_pipeline(
        FeatureUnion([*vectorizers, ("words", words)], transformer_weights=weights), RidgeClassifier(2.0, class_weight="balanced")
    )
    expected = ridge.fit(table["text"][inside], run.labels[inside]).decision_function(table["text"][~inside])
    logs = np.log(run.oof[~inside])
    ours = (logs - logs.mean(1, keepdims=True)) / read_json(f"{folder}/fold_0/model/ser_model.json")["sharpness"]
    np.testing.assert_allclose(ours, expected - expected.mean(1, keepdims=True), atol=1e-3)


def test_rare_label_that_a_fold_lacks_gets_no_probability():
    store = Store.of_texts(["좋아 좋아 정말", "좋아 최고 정말", "싫어 정말 싫어", "싫어 별로 정말"] * 3)
    model = build_model(Config().model.__class__(kind="text_ngrams"), ("happy", "fear", "angry"), 15.0)
    model.fit(store, np.arange(12), np.array([0, 0, 2, 2] * 3), 0)
    probabilities = model.predict(store, np.arange(12))
    assert probabilities.argmax(1).tolist() == [0, 0, 2, 2] * 3
    assert probabilities[:, 1].max() < 0.01


def test_damaged_ngram_folder_is_refused(ngrams, tmp_path):
    import shutil

    folder = shutil.copytree(f"{ngrams[0]}/fold_0/model", tmp_path / "model")
    (folder / "vocabulary.json").write_text(json.dumps({"in_words": ["가", "나"]}))
    with pytest.raises(UserError, match="not a whole model"):
        load_model(folder)


def test_saved_encoder_opens_in_the_library_pipeline(scratch, data):
    folder, _ = scratch
    text = pd.read_csv(data / "test.csv")["text"][0]
    classify = pipeline("text-classification", model=f"{folder}/fold_0/model", top_k=None, device="cpu")
    theirs = {row["label"]: row["score"] for row in classify([text])[0]}
    ours = pd.read_csv(f"{folder}/fold_0/test.csv").iloc[0]
    for name, share in theirs.items():
        assert ours[f"p_{name}"] == pytest.approx(share, abs=1e-5)


def test_padding_changes_no_probability(scratch):
    model = load_model(f"{scratch[0]}/fold_0/model")
    prepared = [model.frontend.prepare(Utterance(text=text)) for text in ("짧아", "아주 길고 긴 " * 30)]
    with torch.inference_mode():
        together = model(**model.frontend.collate(prepared))
        alone = torch.cat([model(**model.frontend.collate([one])) for one in prepared])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    assert len(model.frontend.prepare(Utterance(text="가나 " * 5000))) == 256


def test_tokenizer_is_a_function_of_the_training_texts_alone():
    texts = [f"오늘은 {i}번째로 좋은 날이에요" for i in range(40)]
    first, again = learn_tokenizer(texts, 120), learn_tokenizer(texts[::-1], 120)
    assert first.backend_tokenizer.to_str() == again.backend_tokenizer.to_str()
    assert first.pad_token_id == 0
    assert len(first) <= 120
    assert learn_tokenizer(texts, 120, pad_id=1).pad_token_id == 1


def test_pretrained_encoder_keeps_its_weights_and_gets_a_new_head(data, tmp_path):
    folder = make_text_checkpoint(tmp_path / "roberta", pd.read_csv(data / "train.csv")["text"])
    config = config_of(tmp_path, data, NGRAMS | {"kind": "text_encoder", "text_encoder": {"name": str(folder)}}).model
    model = build_model(config, ("sad", "happy"), 15.0)
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    inside = model.encoder.state_dict()
    assert all(torch.equal(inside[name], value) for name, value in weights.items() if name in inside)
    assert model.max_tokens == 64  # RoBERTa's positions begin behind the padding token
    groups = model.parameter_groups()
    assert {name.split(".")[1] for name, _ in groups["head"]} == {"classifier"}
    assert model.network.config.id2label == {0: "sad", 1: "happy"}


@pytest.mark.parametrize(("freeze", "trained"), [("embeddings", {"encoder", "classifier"}), ("encoder", {"classifier"})])
def test_frozen_parts_of_a_text_encoder_are_not_trained(freeze, trained, data, tmp_path):
    config = config_of(tmp_path, data, SCRATCH | {"text_encoder": {"from_scratch": TINY_BERT, "freeze": freeze}}).model
    model = build_model(config, ("sad", "happy"), 15.0).train()
    names = [name for group in model.parameter_groups().values() for name, _ in group]
    assert {name.removeprefix("network.bert.").removeprefix("network.").split(".")[0] for name in names} - {"pooler"} == trained
    assert not model.network.bert.embeddings.training


def test_foreign_text_classifier_is_opened_by_its_own_labels(tmp_path, data):
    tokenizer = learn_tokenizer(pd.read_csv(data / "train.csv")["text"], 100)
    from transformers import BertConfig

    config = BertConfig(vocab_size=len(tokenizer), id2label={0: "기쁨", 1: "anger"}, label2id={"기쁨": 0, "anger": 1}, **SIZES)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "foreign")
    tokenizer.save_pretrained(tmp_path / "foreign")
    assert load_model(tmp_path / "foreign").label_names == ("happy", "angry")


def test_empty_text_is_never_trained_on_and_gets_the_prior_in_a_test_set(data, tmp_path):
    table = pd.read_csv(data / "train.csv")
    table.loc[[3, 40], "text"] = ["", "  \n "]
    test = pd.read_csv(data / "test.csv")
    test.loc[5, "text"] = ""
    write_csv(tmp_path / "input" / "train.csv", table)
    write_csv(tmp_path / "input" / "test.csv", test)
    config = config_of(tmp_path, tmp_path / "input", NGRAMS)
    with pytest.raises(UserError, match=f"2 of 144 training clips can't be used:\n.*{EMPTY}"):
        training.train(config)
    config.data.on_bad_audio = "drop"
    assert training.train(config)["oof"]["n"] == 142
    run = read_run(config.run.output)
    prior = np.bincount(run.labels, minlength=6) / 142
    np.testing.assert_allclose(run.test[5], prior, atol=1e-9)
    assert run.test_prior == ({"id": "T0149", "status": EMPTY},)


def test_empty_texts_are_told_by_predict_and_not_predicted(ngrams, tmp_path):
    (tmp_path / "t.csv").write_text("id,text\n007,너무 행복해\nb,\n", encoding="cp949")
    predict.main(["--model", str(ngrams[0]), str(tmp_path / "t.csv"), "--output", str(tmp_path / "p.csv")])
    table = pd.read_csv(tmp_path / "p.csv", dtype=str)
    assert table["id"].tolist() == ["007", "b"]
    assert table["status"].tolist() == ["ok", EMPTY]
    assert table["label"].isna().tolist() == [False, True]


def test_texts_without_ids_are_numbered(ngrams, tmp_path):
    (tmp_path / "t.csv").write_text("text\n너무 행복해\n눈물이\n", encoding="utf-8-sig")
    predict.main(["--model", str(ngrams[0]), str(tmp_path / "t.csv"), "--output", str(tmp_path / "p.csv")])
    assert pd.read_csv(tmp_path / "p.csv")["id"].tolist() == [1, 2]


def test_decomposed_hangul_is_the_same_text():
    composed, decomposed = Store.of_texts(["정말 좋아요"]), Store.of_texts([unicodedata.normalize("NFD", " 정말  좋아요\n")])
    assert composed[0].text == decomposed[0].text
    assert composed.report["audio_hash"].tolist() == decomposed.report["audio_hash"].tolist()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--train.mixup", "0.2"], "train.mixup"),
        (["--augment.gain.p", "0.5"], "augment.gain"),
        (["--model.name", "x/y"], "model.name"),
    ],
)
def test_keys_of_sound_are_refused_for_models_of_texts(words, message):
    with pytest.raises(UserError, match=message):
        train.main(["--model.kind", "text_encoder", *words])


def test_model_of_audio_refuses_a_table_of_texts_and_the_reverse(data, tmp_path, ngrams):
    with pytest.raises(UserError, match="no column path"):
        training.train(load_config(write_tiny_config(tmp_path / "a.yaml", data)))
    (tmp_path / "audio.csv").write_text("id,path\na,a.wav\n")
    with pytest.raises(UserError, match="there are none"):
        predict.main(["--model", str(ngrams[0]), str(tmp_path / "audio.csv")])
    with pytest.raises(UserError, match="one CSV"):
        predict.main(["--model", str(ngrams[0]), str(tmp_path / "audio.wav")])
    with pytest.raises(UserError, match="names no audio to check"):
        check_data.main(["--data.root", str(data)])


@pytest.mark.parametrize(
    ("kind", "key", "words"),
    [
        ("text_encoder", "model.text_encoder.name", ["--model.text_encoder.name", "./nowhere"]),
        ("fusion", "model.fusion.text_encoder", ["--model.fusion.text_encoder", "./nowhere"]),
    ],
)
def test_missing_text_encoder_is_a_message_that_names_its_key(kind, key, words, tmp_path):
    config, _ = parse(build_parser("train", ""), ["--model.kind", kind, *words])
    with pytest.raises(UserError, match=f"{key}: given './nowhere'"):
        build_model(config.model, ("sad", "happy"), 15.0)


def test_transcripts_come_from_their_own_csv(tmp_path, data):
    table = pd.read_csv(data / "train.csv")
    write_csv(tmp_path / "in" / "train.csv", table[["id", "label"]].assign(path=table["id"] + ".wav"))
    write_csv(tmp_path / "words.csv", table[["id", "text"]].iloc[::-1])
    config = config_of(tmp_path, tmp_path / "in", NGRAMS)
    with pytest.raises(UserError, match=r"data\.transcripts"):
        training.train(config)
    config.data.transcripts = str(tmp_path / "words.csv")
    run = open_experiment(config)
    assert list(run.train_store.texts) == table["text"].tolist()
    write_csv(tmp_path / "words.csv", table[["id", "text"]].assign(id=[f"x{i}" for i in range(144)]))
    with pytest.raises(UserError, match="not one is the same"):
        training.train(config)
