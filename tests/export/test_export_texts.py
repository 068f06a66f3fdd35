"""Text encoders and fusions as ONNX: the same answers from the same texts, and a card that speaks of texts."""

import importlib.util
import json

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from checkpoints import make_text_checkpoint, waves
from ser import predict
from ser.config import FusionConfig, ModelConfig, TextEncoderConfig
from ser.data.utterance import Utterance
from ser.export import __main__ as export
from ser.models.frontend_json import frontend_as_json, frontend_from_json
from ser.models.registry import build_model, load_model
from ser.runtime.errors import UserError

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")), reason="requirements-export.txt"
    ),
]
LABELS = ("angry", "sad", "happy")
TEXTS = ("화가 난다", "눈물이 난다 너무 슬프다 오늘은", "정말 좋다", "좋다", "아주 아주 행복하다, 정말로 화가 나지 않는다")
CLIPS = [Utterance(wave, text) for wave, text in zip(waves(0.3, 1.4, 0.7, 0.5, 0.9), TEXTS, strict=True)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_text_checkpoint(tmp_path_factory.mktemp("text") / "checkpoint", TEXTS)


def shaken(model):
    """With weights large enough that logits differ."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.15 * torch.randn_like(parameter)
    return model.eval()


@pytest.fixture(scope="module")
def text_encoder(checkpoint):
    return shaken(build_model(ModelConfig(kind="text_encoder", text_encoder=TextEncoderConfig(name=str(checkpoint))), LABELS, 15.0))


def fusion(text, checkpoint):
    own = FusionConfig(text=text, text_encoder=str(checkpoint), ngram_size=4)
    model = shaken(build_model(ModelConfig(kind="fusion", fusion=own), LABELS, 4.0))
    model.fit_statistics(CLIPS, np.arange(len(CLIPS)) % 3)
    return model


def logits(model, clips=CLIPS):
    with torch.inference_mode():
        return model(**model.frontend.collate([model.frontend.prepare(clip) for clip in clips])).numpy()


@pytest.fixture(scope="module")
def exported(text_encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    text_encoder.save(folder / "model")
    export.main([str(folder / "model"), "--output", str(folder / "exported"), "--language", "ko"])
    return folder / "exported"


def test_text_encoder_gives_the_same_through_onnx_padded_or_alone(text_encoder, exported):
    opened = load_model(exported / "model.onnx")
    assert (opened.takes, opened.label_names) == ("text", LABELS)
    in_torch = logits(text_encoder)
    assert np.ptp(in_torch, axis=0).max() > 0.05, "texts must differ, or nothing is tested"
    np.testing.assert_allclose(logits(opened), in_torch, atol=1e-4)
    np.testing.assert_allclose(logits(opened), np.concatenate([logits(opened, [clip]) for clip in CLIPS]), atol=1e-5)
    for model in (opened, text_encoder):
        model.read_at_most(5)
    np.testing.assert_allclose(logits(opened), logits(text_encoder), atol=1e-4)
    text_encoder.read_at_most(text_encoder.max_tokens)


@pytest.mark.parametrize("text", [pytest.param("encoder", marks=pytest.mark.slow), "ngrams"])
def test_fusion_gives_the_same_through_onnx_with_and_without_words(text, checkpoint, tmp_path):
    model = fusion(text, checkpoint)
    model.save(tmp_path / "model")
    export.main([str(tmp_path / "model"), "--output", str(tmp_path / "exported")])
    opened = load_model(tmp_path / "exported" / "model.onnx")
    assert opened.takes == "audio and text"
    clips = [*CLIPS, CLIPS[0]._replace(text="")]
    in_torch = logits(model, clips)
    assert np.abs(in_torch[0] - in_torch[-1]).max() > 0.01, "words must count"
    np.testing.assert_allclose(logits(opened, clips), in_torch, atol=1e-4)
    np.testing.assert_allclose(logits(opened, clips), np.concatenate([logits(opened, [clip]) for clip in clips]), atol=1e-5)


def test_preprocessing_of_words_survives_json(text_encoder, checkpoint):
    for frontend in (text_encoder.frontend, fusion("ngrams", checkpoint).frontend):
        copy = frontend_from_json(json.loads(json.dumps(frontend_as_json(frontend))))
        for clip in CLIPS:
            once, again = frontend.collate([frontend.prepare(clip)]), copy.collate([copy.prepare(clip)])
            assert once.keys() == again.keys()
            for name, values in once.items():
                torch.testing.assert_close(again[name], values, atol=1e-6, rtol=0)


def test_exported_texts_predict_and_open_in_transformers(exported, tmp_path):
    from transformers import pipeline

    pd.DataFrame({"id": range(len(TEXTS)), "text": TEXTS}).to_csv(tmp_path / "t.csv", index=False)
    tables = []
    for model in (exported, exported / "model.onnx"):
        predict.main(["--model", str(model), str(tmp_path / "t.csv"), "--output", str(tmp_path / "p.csv")])
        tables.append(pd.read_csv(tmp_path / "p.csv"))
    columns = [f"p_{name}" for name in LABELS]
    np.testing.assert_allclose(tables[0][columns], tables[1][columns], atol=1e-5)
    answer = pipeline("text-classification", model=str(exported))(TEXTS[0])[0]
    assert answer["label"] == tables[0]["label"][0]


def test_card_of_a_text_model_speaks_of_texts(exported):
    card = (exported / "README.md").read_text(encoding="utf-8")
    header = yaml.safe_load(card.split("---\n")[1])
    assert (header["pipeline_tag"], header["language"]) == ("text-classification", ["ko"])
    assert "emotions in texts" in card and "id,text" in card and "texts of" in card
    assert "microphones" not in card and "clip.wav" not in card
    assert not (exported / "preprocessor_config.json").exists()


def test_ngrams_say_why_they_cannot_be_exported(tmp_path):
    from ser.data.inputs import Store

    model = build_model(ModelConfig(kind="text_ngrams"), LABELS, 15.0)
    model.fit(Store.of_texts(TEXTS * 2), np.arange(10), np.arange(10) % 3, 0)
    model.save(tmp_path / "model")
    with pytest.raises(UserError, match=r"text_ngrams model: scikit-learn on n-grams that are counted, no graph"):
        export.main([str(tmp_path / "model"), "--output", str(tmp_path / "out")])
