"""Encoders run by OpenVINO: what torch answers, of every architecture and at every length."""

import builtins
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import checkpoints
import ser
from checkpoints import CHECKPOINTS, LABELS, logits, make_checkpoint, make_classifier, waves
from ser import predict
from ser.config import ModelConfig
from ser.inference.opening import model_folders
from ser.models.encoder.compiled import compile_for_cpu
from ser.models.registry import build_model, load_model
from ser.runtime.errors import UserError
from ser.train import __main__ as train
from tiny import make_tiny_data, write_tiny_config

pytest.importorskip("openvino")
pytestmark = pytest.mark.usefixtures("undrawn")

MARKS = {"wav2vec2-group": (), "wav2vec2-layer": pytest.mark.long, "wavlm-layer": pytest.mark.long, "whisper": pytest.mark.long}


def kinds(without=()):
    return [pytest.param(kind, marks=MARKS.get(kind, pytest.mark.slow)) for kind in CHECKPOINTS if kind not in without]


def model_of(folder, kind, **settings):
    model = build_model(ModelConfig(name=str(make_checkpoint(folder, kind)), **settings), LABELS, 3.0).eval()
    model.head.classifier.weight.data *= 50  # at a trained head's size differences can't hide under the tolerance
    return model


def one_by_one(model, clips):
    with torch.no_grad():
        return torch.cat([logits(model, [clip]) for clip in clips])


@pytest.mark.parametrize("kind", kinds())
def test_logits_are_torchs(tmp_path, kind):
    model = model_of(tmp_path, kind, layer_weights=True, pooling="attentive")
    clips = waves(0.4, 2.9, 1.7, 0.05, 1.7)
    expected = one_by_one(model, clips)
    compile_for_cpu(model, bf16=False)
    found = one_by_one(model, clips)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)
    assert (expected - expected[0]).abs().max() > 1e-4, "the test would pass on a model that ignores its input"
    assert not torch.equal(found, expected), "it is torch that answered"


@pytest.mark.parametrize("kind", kinds(without=("sew",)))  # which is refused on a processor with bf16
def test_bf16_is_near_and_no_mask_breaks_in_it(tmp_path, kind):
    model = model_of(tmp_path, kind)
    clips = waves(0.4, 2.9, 1.7)
    expected = one_by_one(model, clips)
    compile_for_cpu(model, bf16=True)
    assert (one_by_one(model, clips) - expected).abs().max() < 0.05 * expected.abs().max()


@pytest.mark.long
def test_nobody_is_told_of_its_use(tmp_path):
    """OpenVINO's package for that writes a folder `intel` into the home and sends each conversion to Google Analytics."""
    script = """
import sys
from pathlib import Path
from ser.models.encoder.compiled import compile_for_cpu
from ser.models.registry import load_model
from checkpoints import logits, waves
model = load_model(sys.argv[1])
compile_for_cpu(model, bf16=False)
logits(model, waves(0.4))
print(sys.modules["openvino_telemetry"], [path.name for path in Path.home().iterdir()])
"""
    folder, home = make_classifier(tmp_path / "model", "wav2vec2-group", LABELS), tmp_path / "home"
    home.mkdir()
    paths = os.pathsep.join([str(Path(ser.__file__).parents[1]), str(Path(checkpoints.__file__).parent)])
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"HOME": str(home), "PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-c", script, folder], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "None []"


@pytest.mark.long
def test_a_graph_that_answers_otherwise_is_refused(tmp_path):
    model = model_of(tmp_path, "wav2vec2-group")
    compile_for_cpu(model, bf16=False)
    one_by_one(model, waves(0.4))
    dense = model.encoder.encoder.layers[1].feed_forward.output_dense
    dense.weight = torch.nn.Parameter(2 * dense.weight)  # the graph was made of what was there before
    with pytest.raises(UserError, match=r"doesn't give what torch gives for this encoder \(wav2vec2\). Leave --engine out"):
        one_by_one(model, waves(0.4))


@pytest.mark.long
def test_predict_gives_what_torch_gives_and_says_how_near(tmp_path, capsys):
    data = make_tiny_data(tmp_path / "demo", 24, 10) / "train"
    model = make_classifier(tmp_path / "model", "wav2vec2-group", LABELS)

    def predicted(*words):
        output = tmp_path / "predictions.csv"
        predict.main(["--model", str(model), str(data), "--output", str(output), *words])
        return pd.read_csv(output).set_index("id"), capsys.readouterr().out

    expected, _ = predicted()
    for precision, most in (("fp32", 1e-5), ("bf16", 0.05)):
        found, told = predicted("--engine", "openvino", "--precision", precision)
        names = [name for name in found if name.startswith("p_")]
        assert np.abs(found[names] - expected[names]).to_numpy().max() < most
        assert "compiling the encoder" in told and "beside float32 by torch, on 2 of the clips" in told


@pytest.mark.long
def test_folds_on_one_frozen_encoder_compile_it_once(tmp_path, capsys):
    data = make_tiny_data(tmp_path / "demo")
    name = make_checkpoint(tmp_path / "checkpoint", "wav2vec2-group")
    frozen = {"name": str(name), "from_scratch": None, "freeze": "encoder", "pooling": "statistics"}
    train.main(["--config", str(write_tiny_config(tmp_path / "frozen.yaml", data, model=frozen))])
    run = tmp_path / "outputs" / "frozen"
    assert len(model_folders(run)) == 2

    def predicted(*words):
        capsys.readouterr()
        predict.main(["--model", str(run), str(data / "test"), "--output", str(tmp_path / "found.csv"), *words])
        return pd.read_csv(tmp_path / "found.csv").set_index("id"), capsys.readouterr().out

    expected, _ = predicted()
    found, told = predicted("--engine", "openvino")
    assert told.count("compiling the encoder") == 1 and "warning" not in told
    names = [name for name in found if name.startswith("p_")]
    assert np.abs(found[names] - expected[names]).to_numpy().max() < 1e-4
    (run / "fold_1" / "metrics.json").unlink()
    _, told = predicted("--precision", "bf16")
    assert told.count("warning: ") == 1, "what is said of the run at the prediction isn't said at the comparison again"


def test_a_model_without_audio_encoder_is_refused():
    scratch = build_model(ModelConfig(kind="mfcc_cnn"), LABELS, 3.0)
    with pytest.raises(UserError, match="for audio encoders on a CPU; here is a model of kind mfcc_cnn: leave --engine out"):
        compile_for_cpu(scratch, bf16=False)


def test_without_the_package_it_says_how_to_get_it(tmp_path, monkeypatch):
    usual = builtins.__import__

    def missing(name, *rest):
        if name == "openvino":
            raise ImportError(name)
        return usual(name, *rest)

    model = load_model(make_classifier(tmp_path, "wav2vec2-group", LABELS))
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match=r"pip install -r requirements-openvino\.txt; or leave --engine out"):
        compile_for_cpu(model, bf16=False)


def test_a_runs_own_clips_in_views_are_refused(tmp_path):
    with pytest.raises(UserError, match="a run's own clips are predicted again by torch"):
        predict.main(
            ["--model", str(tmp_path), "--engine", "openvino", "--predict.views", "speed:0.9", "--output", str(tmp_path / "views")]
        )
