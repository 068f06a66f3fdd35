"""Adapters: they alone are trained, merging them changes no answer, and what is saved is a plain model."""

import pytest
import torch
from transformers import AutoModelForAudioClassification

from checkpoints import LABELS, logits, make_checkpoint, waves
from ser.config import ModelConfig
from ser.data.utterance import Utterance
from ser.models.registry import build_model, load_model
from ser.runtime.errors import UserError

pytestmark = pytest.mark.usefixtures("undrawn")

MODULES = {"whisper": ["q_proj", "fc1"], "wav2vec2-layer": ["q_proj", "v_proj"]}


def adapted(tmp_path, kind, **settings):
    folder = make_checkpoint(tmp_path / "base", kind)
    return build_model(ModelConfig(name=str(folder), lora_rank=2, **{"lora_modules": MODULES[kind], **settings}), LABELS, 3.0)


@pytest.mark.parametrize("kind", MODULES)
def test_only_adapters_and_head_are_trained_and_merged_they_answer_the_same(tmp_path, kind):
    model = adapted(tmp_path, kind, mask_time_prob=0.0)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all(".lora_" in name or name.startswith("head.") for name in trained)
    assert {name.split(".")[-4] for name in trained if ".lora_A" in name} == set(MODULES[kind])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.AdamW([parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.05)
    clips = waves(1.0, 1.0)
    for _ in range(3):
        batch = model.train().frontend.collate([model.frontend.prepare(Utterance(clip)) for clip in clips])
        model(**batch)[:, 0].sum().backward()
        optimizer.step()
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == trained
    answers = logits(model.eval(), clips)
    model.save(tmp_path / "saved")
    assert torch.equal(logits(model, clips), answers), "saving changes nothing"
    assert torch.allclose(logits(load_model(tmp_path / "saved"), clips), answers, atol=1e-4 * answers.abs().max())
    plain = AutoModelForAudioClassification.from_pretrained(tmp_path / "saved")
    assert not [name for name in plain.state_dict() if "lora" in name or "base_layer" in name]


def test_adapters_of_the_last_layers_only(tmp_path):
    model = adapted(tmp_path, "whisper", train_last_layers=1)
    assert {name.split(".")[2] for name, parameter in model.named_parameters() if ".lora_" in name and parameter.requires_grad} == {"2"}


def test_an_unknown_module_is_a_user_error_that_lists_the_known_ones(tmp_path):
    with pytest.raises(UserError, match="there are fc1, fc2, k_proj, out_proj, q_proj, v_proj"):
        adapted(tmp_path, "whisper", lora_modules=["dense"])
