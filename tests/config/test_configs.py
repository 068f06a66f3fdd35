"""Every config is run by the real command; a named checkpoint is replaced by a tiny folder of the same architecture and norm kind."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from checkpoints import make_checkpoint, make_text_checkpoint
from ser.runtime.files import read_json
from ser.train import __main__ as train
from texts import make_texts
from tiny import make_tiny_data

pytestmark = pytest.mark.usefixtures("undrawn")

CONFIGS = sorted(path for path in (Path(__file__).parents[2] / "configs").rglob("*.yaml") if path.parent.name not in ("sweeps", "cloud"))
TINY_KIND = {
    "facebook/wav2vec2-base": "wav2vec2-group",
    "facebook/wav2vec2-large-robust": "wav2vec2-layer",
    "facebook/hubert-large-ll60k": "hubert-layer",
    "microsoft/wavlm-large": "wavlm-layer",
    "kresnik/wav2vec2-large-xlsr-korean": "wav2vec2-layer",
    "openai/whisper-base": "whisper",
    "openai/whisper-small": "whisper",
    "openai/whisper-large-v3": "whisper",
}
TEXT_TYPE = {"klue/roberta-base": "roberta", "beomi/KcELECTRA-base-v2022": "electra"}
LAYERS = ({"num_hidden_layers": 5}, {"encoder_layers": 16})
EXPERIMENT_OF_PRESET = "xlsr_korean_15.yaml"
"""What configs/gpu_*.yaml are layered on."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_tiny_data(tmp_path_factory.mktemp("input") / "demo", clips=36, test_clips=6)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One for all: the clips are decoded once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    return make_texts(tmp_path_factory.mktemp("texts"), texts=48, test_texts=6)


@pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.stem, marks=() if path.stem == "demo" else pytest.mark.long) for path in CONFIGS]
)
def test_config_trains_with_the_real_command(path, data, texts, cache, tmp_path):
    layers = [path.with_name(EXPERIMENT_OF_PRESET), path] if path.name.startswith("gpu_") else [path]
    content = yaml.safe_load(layers[0].read_text())
    reads = content.get("model", {}).get("kind", "encoder").startswith("text")
    assert len(path.read_text().splitlines()) <= 35, "a config holds only what differs from the defaults"
    options = {
        "--data.root": texts if reads else data,
        "--data.cache": cache,
        "--run.output": tmp_path / "run",
        "--cv.n": 2,
        "--train.epochs": 1,
        "--train.workers": 0,
    }
    if name := content.get("model", {}).get("name"):
        kind = TINY_KIND[name]
        options["--model.name"] = make_checkpoint(tmp_path / "checkpoint", kind, **LAYERS[kind == "whisper"])
    if content.get("model", {}).get("classical", {}).get("voices") == "ge2e":  # tests of it have the clips it takes, and its weights
        options |= {"--model.classical.voices": "features", "--model.classical.speaker_normalization": "none"}
    if name := content.get("model", {}).get("text_encoder", {}).get("name"):
        words = pd.read_csv(texts / "train.csv")["text"]
        options["--model.text_encoder.name"] = make_text_checkpoint(tmp_path / "checkpoint", words, TEXT_TYPE[name])
    if content.get("model", {}).get("kind") == "fusion":
        ids = pd.read_csv(data / "train.csv")["id"].tolist() + pd.read_csv(data / "test.csv")["id"].tolist()
        said = ["정말 좋아요", "너무 화가 나요", "그냥 그래요"]
        options["--data.transcripts"] = tmp_path / "said.csv"
        pd.DataFrame({"id": ids, "text": [said[i % 3] for i in range(len(ids))]}).to_csv(tmp_path / "said.csv", index=False)
        if content["model"]["fusion"].get("text") != "ngrams":
            options["--model.fusion.text_encoder"] = make_text_checkpoint(tmp_path / "checkpoint", said * 9)
    if "compare" in content.get("model", {}).get("classical", {}).get("features", []):
        pytest.importorskip("opensmile")
    if content.get("data", {}).get("labels") == "korean15":
        options["--data.labels"] = "auto"  # the demo has disgust, which the fifteen lack
    argv = [str(word) for pair in options.items() for word in pair]
    train.main([*(word for layer in layers for word in ("--config", str(layer))), *argv, "--folds", "0"])
    metrics = read_json(tmp_path / "run" / "fold_0" / "metrics.json")
    assert metrics["scores"]["n"] > 0
    assert len(metrics["label_names"]) == 6
