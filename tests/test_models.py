"""Building models: heads, labels, layer weights, learning-rate groups, weights from scratch."""

import numpy as np
import pytest
import torch

from checkpoints import NAMED, make_checkpoint
from ser.config import ModelConfig
from ser.errors import UserError
from ser.models import build_model

LABELS = ("angry", "fear", "sad", "disgust", "neutral", "happy")
SCRATCH = {
    "model_type": "wav2vec2",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [16, 16],
    "conv_kernel": [10, 8],
    "conv_stride": [10, 32],
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
}


def waves(*seconds, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(scale=0.1, size=round(16_000 * length)).astype(np.float32) for length in seconds]


def run(model, clips):
    with torch.no_grad():
        return model(**model.frontend.collate([model.frontend.prepare(clip) for clip in clips]))


@pytest.mark.parametrize("pooling", ["mean", "attentive"])
@pytest.mark.parametrize("kind", NAMED)
def test_head_has_exactly_one_output_per_label(tmp_path, kind, pooling):
    """Fault 4: a head with more outputs than labels."""
    folder = make_checkpoint(tmp_path, kind)
    for labels in (LABELS, LABELS[:2]):
        model = build_model(ModelConfig(name=str(folder), pooling=pooling), labels, 3.0).eval()
        assert run(model, waves(1.0, 1.0)).shape == (2, len(labels))


def test_one_label_or_repeated_labels_are_refused():
    for labels in (("angry",), ("angry", "angry")):
        with pytest.raises(UserError, match="at least two, all different"):
            build_model(ModelConfig(from_scratch=SCRATCH, freeze="none"), labels, 3.0)
