"""What a prediction in bf16 tells of itself."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from checkpoints import LABELS, make_classifier
from ser import predict
from ser.runtime.errors import UserError
from tiny import make_tiny_data

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return make_tiny_data(tmp_path_factory.mktemp("input") / "demo", 24, 10) / "train"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_classifier(tmp_path_factory.mktemp("model") / "base", "wav2vec2-layer", LABELS)


def predicted(model, clips, output, precision):
    predict.main(["--model", str(model), *clips, "--output", str(output), "--precision", precision])
    return pd.read_csv(output).set_index("id")


def test_bf16_says_how_far_it_is_from_float32_on_clips_spread_over_all(model, clips, tmp_path, capsys):
    fast = predicted(model, [str(clips)], tmp_path / "fast.csv", "bf16")
    told = capsys.readouterr().out
    exact = predicted(model, [str(clips)], tmp_path / "exact.csv", "fp32")
    assert "beside float32" not in capsys.readouterr().out
    rows = [0, 23]  # a tenth of 24
    names = [name for name in fast if name.startswith("p_")]
    off = np.abs(fast[names].to_numpy() - exact[names].to_numpy())[rows].max()
    other = (fast["label"] != exact["label"]).to_numpy()[rows].sum()
    said = re.search(r"on (\d+) of 24 clips \(others may be further off\): probabilities up to (\S+) off, (\d+) other label", told)
    count, change, labels = said.groups()
    assert (int(count), int(labels)) == (len(rows), other)
    assert float(change) == pytest.approx(off, rel=0.06) and off > 0
    assert told.strip().splitlines()[-1].startswith("predicted 24 of 24 files")


def test_clips_that_cannot_be_used_are_left_out_of_the_comparison(model, clips, tmp_path, capsys):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no audio")
    predicted(model, [str(broken), str(sorted(clips.iterdir())[0])], tmp_path / "one.csv", "bf16")
    assert "beside float32: probabilities up to" in capsys.readouterr().out
    predicted(model, [str(broken)], tmp_path / "none.csv", "bf16")
    assert "beside float32" not in capsys.readouterr().out


def test_batches_of_no_clips_are_refused(model, clips):
    with pytest.raises(UserError, match="--batch_size: given 0"):
        predict.main(["--model", str(model), str(clips), "--batch_size", "0"])


def test_answers_that_are_no_numbers_are_an_error_and_no_label(clips, tmp_path):
    broken = make_classifier(tmp_path / "broken", "wav2vec2-layer", LABELS)
    weights = load_file(broken / "model.safetensors")
    weights["classifier.bias"] = torch.full_like(weights["classifier.bias"], torch.nan)
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"answers 24 of 24 clips with no number .* in precision bf16"):
        predicted(broken, [str(clips)], tmp_path / "none.csv", "bf16")
    assert not (tmp_path / "none.csv").exists()
