"""Splitting texts into sentences, and the shares of emotions in a diary."""

import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sentences import EXAMPLES, SECOND_EXAMPLES
from ser.config import load_config
from ser.diary import __main__ as diary
from ser.diary.sentences import split_sentences
from ser.diary.shares import EMPTY_MESSAGE, Diary, analyze_diary_percent, percent
from ser.runtime.errors import UserError
from ser.runtime.files import read_json
from ser.train import __main__ as train
from ser.train import training
from texts import make_texts
from tiny import write_tiny_config

TINY_BERT = {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    make_texts(folder / "input", texts=144)
    config = load_config(
        write_tiny_config(
            folder / "tiny.yaml", folder / "input", model={"kind": "text_ngrams", "from_scratch": None, "freeze": "feature_encoder"}
        )
    )
    training.train(config)
    return config.run.output


@pytest.mark.parametrize("sentences", EXAMPLES, ids=lambda sentences: sentences[0][:12])
def test_sentences_end_where_a_reader_ends_them(sentences):
    assert split_sentences(" ".join(sentences)) == sentences


def test_most_unseen_texts_are_split_as_a_reader_does():
    right = sum(split_sentences(" ".join(sentences)) == sentences for sentences in SECOND_EXAMPLES)
    assert right >= 23, f"{right} of {len(SECOND_EXAMPLES)}"


def test_line_ends_end_sentences_and_blank_lines_are_none():
    assert split_sentences("오늘은\n\n  비가 왔다\r\n 우울\t\n") == ["오늘은", "비가 왔다", "우울"]
    assert split_sentences("...\n!!\n ㅡㅡ?") == ["ㅡㅡ?"]
    assert split_sentences(" \n") == []


def test_unclosed_quotation_swallows_nothing():
    assert split_sentences('그가 "왜? 라고 했다. 나는 웃었다.') == ['그가 "왜?', "라고 했다.", "나는 웃었다."]


@settings(max_examples=int(os.environ.get("SER_EXAMPLES", 100)), deadline=None)
@given(st.text(alphabet="가다요했습니 .?!…\"'“”()3\nㅋㅠa/:", max_size=80))
def test_splitting_loses_and_moves_nothing(text):
    sentences = split_sentences(text)
    kept = "".join(letter for letter in text if letter.isalnum())
    assert "".join(letter for letter in "".join(sentences) if letter.isalnum()) == kept
    assert all(sentence == sentence.strip() and any(map(str.isalnum, sentence)) for sentence in sentences)


def test_splitting_a_long_line_ends():
    assert len(split_sentences("정말 좋은 하루였다. " * 20_000)) == 20_000
    assert len(split_sentences('"' * 50_000 + "가.")) >= 1


@settings(max_examples=int(os.environ.get("SER_EXAMPLES", 100)), deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20).filter(lambda shares: sum(shares) > 1e-3))
def test_percents_add_up_to_exactly_100(shares):
    values = percent(shares)
    assert sum(round(100 * value) for value in values) == 10_000
    np.testing.assert_allclose(values, 100 * np.array(shares) / sum(shares), atol=0.01 + 1e-9)


def test_shares_by_hand():
    diary = Diary(("a", "b", "c"), ("sad", "happy"), np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]]))
    assert list(diary.by_count.items()) == [("happy", 66.67), ("sad", 33.33)]
    assert list(diary.by_probability.items()) == [("sad", 50.0), ("happy", 50.0)]


def test_library_call_gives_shares_and_on_request_the_sentences(model):
    text = "오늘 정말 행복해요. 최고예요! 그런데 무서워 소름 돋았다."
    shares = analyze_diary_percent(text, model=model)
    assert sum(shares.values()) == pytest.approx(100)
    assert next(iter(shares)) == "happy"
    details = analyze_diary_percent(text, return_details=True, model=model)
    assert details["by_count"] == shares
    assert [row["sentence"] for row in details["sentences"]] == split_sentences(text)
    mean = np.mean([list(row["probabilities"].values()) for row in details["sentences"]], 0)
    assert max(details["by_probability"].values()) == pytest.approx(100 * mean.max(), abs=0.01)


@pytest.mark.parametrize("text", ["", " \n\t", "..."])
def test_empty_text_is_a_message_and_an_empty_result(text, capsys):
    assert analyze_diary_percent(text, model="nowhere") == {}
    assert EMPTY_MESSAGE in capsys.readouterr().out
    assert analyze_diary_percent(text, return_details=True) == {"n": 0, "by_count": {}, "by_probability": {}, "sentences": []}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp949", "utf-8"])
def test_command_writes_shares_sentences_and_a_picture(model, tmp_path, encoding, capsys):
    (tmp_path / "d.txt").write_text("정말 행복해, 최고예요!\n=눈물이 난다.", encoding=encoding)
    diary.main([str(tmp_path / "d.txt"), "--model", str(model), "--output", str(tmp_path / "out")])
    assert "analysed 2 sentences" in capsys.readouterr().out
    written = read_json(tmp_path / "out" / "diary.json")
    assert written["n"] == 2
    assert written["sentences"][1]["sentence"] == "=눈물이 난다."
    table = pd.read_csv(tmp_path / "out" / "sentences.csv")
    assert table["sentence"][1] == "'=눈물이 난다."  # no formula for a spreadsheet
    assert len(table) == 2
    assert Image.open(tmp_path / "out" / "diary.png").size[0] > 300


def test_command_on_an_empty_file_is_a_message(tmp_path, capsys):
    (tmp_path / "d.txt").write_text("\n")
    diary.main([str(tmp_path / "d.txt"), "--output", str(tmp_path / "out")])
    assert EMPTY_MESSAGE in capsys.readouterr().out
    assert read_json(tmp_path / "out" / "diary.json")["n"] == 0
    with pytest.raises(UserError, match="no such file"):
        diary.main([str(tmp_path / "none.txt")])


def test_model_of_audio_is_refused(tmp_path):
    from checkpoints import make_checkpoint

    folder = make_checkpoint(tmp_path / "wav2vec2", "wav2vec2-layer", label_names=("sad", "happy"))
    with pytest.raises(UserError, match="lacks weights"):
        analyze_diary_percent("안녕하세요.", model=folder)


def test_max_len_cuts_what_a_text_encoder_reads(tmp_path):
    make_texts(tmp_path / "input")
    config = write_tiny_config(
        tmp_path / "tiny.yaml",
        tmp_path / "input",
        model={
            "kind": "text_encoder",
            "from_scratch": None,
            "freeze": "feature_encoder",
            "text_encoder": {"from_scratch": TINY_BERT | {"initializer_range": 0.5}},
        },
        train={"epochs": 1},
    )
    train.main(["--config", str(config), "--folds", "0"])
    model = load_config(config).run.output
    start, end = "오늘 우리 집에서", "깜짝 놀랍네 세상에"
    whole, short, start_alone = (
        analyze_diary_percent(text, max_len=length, return_details=True, model=model)["sentences"][0]["probabilities"]
        for text, length in ((f"{start} {end}", 256), (f"{start} {end}", 5), (f"{start} 진짜 정말로", 5))
    )
    assert short == pytest.approx(start_alone, abs=1e-6)
    assert whole != pytest.approx(short, abs=1e-4)
    with pytest.raises(UserError, match="max_len"):
        analyze_diary_percent("안녕", max_len=0, model=model)
