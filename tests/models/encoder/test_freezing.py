"""Which parameters move after one optimizer step, for every way to freeze and every family."""

import numpy as np
import pytest
import torch

from checkpoints import LABELS, NAMED, make_checkpoint, waves
from ser.config import ModelConfig
from ser.data.utterance import Utterance
from ser.models.encoder.freezing import transformer
from ser.models.registry import build_model
from ser.runtime.errors import UserError

PRE_NORM = ("ast", "wav2vec2-layer", "hubert-layer", "wavlm-layer", "whisper", "conformer")


def build(tmp_path, kind, **settings):
    folder = make_checkpoint(tmp_path, kind)
    torch.manual_seed(0)
    return build_model(ModelConfig(name=str(folder), mask_time_prob=0.3, **settings), LABELS, 2.0).train()


def moved(model) -> set[str]:
    """Names of the parameters that one optimizer step changes."""
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 (transformers draws its masks there)
    optimizer = torch.optim.SGD([p for group in model.parameter_groups().values() for _, p in group], lr=100.0)
    batch = model.frontend.collate([model.frontend.prepare(Utterance(clip)) for clip in waves(1.0, 1.5)])
    torch.nn.functional.cross_entropy(model(**batch), torch.tensor([0, 3])).backward()
    optimizer.step()
    return {name for name, parameter in learnable(model) if not torch.equal(before[name], parameter)}


def learnable(model) -> list[tuple[str, torch.nn.Parameter]]:
    """Attention is blind to a bias of the keys: its gradient is zero but for rounding."""
    return [(name, parameter) for name, parameter in model.named_parameters() if not name.endswith("k_proj.bias")]


def encoder_names(model) -> set[str]:
    inside = {id(parameter) for parameter in model.encoder.parameters()}
    return {name for name, parameter in learnable(model) if id(parameter) in inside}


@pytest.mark.parametrize("kind", NAMED)
def test_freeze_none_moves_everything(tmp_path, kind):
    model = build(tmp_path, kind, freeze="none")
    still = encoder_names(model) - moved(model)
    # Whisper's sinusoids are no parameters to learn; WavLM's gate constants barely move at this size.
    assert {name.rsplit(".", 2)[-2] for name in still} <= {"embed_positions"}


@pytest.mark.parametrize("kind", [*NAMED, "sew", "mms", "w2v-bert", "ast"])
def test_freeze_feature_encoder_keeps_the_convolutions_and_moves_the_rest(tmp_path, kind):
    model = build(tmp_path, kind, freeze="feature_encoder")
    others = {"whisper": ("encoder.conv1.", "encoder.conv2.", "embed_positions"), "ast": ("patch_embeddings.",)}
    convolutions = others.get(kind, ("feature_extractor.",))
    still = encoder_names(model) - moved(model)
    assert still == {name for name in encoder_names(model) if any(part in name for part in convolutions)}
    assert still or kind == "w2v-bert", "which has no convolutions: its filter bank is fixed anyway"


@pytest.mark.parametrize("pooling", ["mean", "attentive"])
@pytest.mark.parametrize("kind", NAMED)
def test_freeze_encoder_moves_the_head_alone(tmp_path, kind, pooling):
    model = build(tmp_path, kind, freeze="encoder", pooling=pooling, layer_weights=True)
    assert not model.parameter_groups()["encoder"]
    changed = moved(model)
    assert not changed & encoder_names(model)
    assert changed == {name for name, _ in model.parameter_groups()["head"]}


@pytest.mark.parametrize("kind", [*NAMED, "sew", "conformer", "w2v-bert", "ast"])
def test_train_last_layers_moves_those_layers_and_the_norm_after_them(tmp_path, kind):
    model = build(tmp_path, kind, train_last_layers=1)
    stack = transformer(model.encoder)
    wanted = {id(parameter) for parameter in stack.layers[-1].parameters()}
    if kind in PRE_NORM:
        wanted |= {id(parameter) for parameter in (stack.layernorm if kind == "ast" else stack.layer_norm).parameters()}
    if kind == "sew":  # its frames are stretched again after the layers
        wanted |= {id(parameter) for parameter in stack.upsample.parameters()}
    expected = {name for name, parameter in model.named_parameters() if id(parameter) in wanted} & encoder_names(model)
    assert moved(model) & encoder_names(model) == expected
    assert {name for name, _ in model.parameter_groups()["head"]} == {"head.classifier.weight", "head.classifier.bias"}


@pytest.mark.parametrize("kind", NAMED)
@pytest.mark.parametrize("settings", [{"freeze": "encoder"}, {"train_last_layers": 1}, {"freeze": "feature_encoder"}])
def test_frozen_parts_stay_in_eval_mode_and_record_no_gradient(tmp_path, kind, settings):
    model = build(tmp_path, kind, layer_drop=0.5, **settings)
    frozen = [module for part in model.frozen() for module in part.modules()]
    assert frozen and not any(module.training for module in frozen)
    assert model.head.classifier.training
    recorded = []
    for module in frozen:
        module.register_forward_hook(lambda module, inputs, output: recorded.append(_requires_grad(output)))
    batch = model.frontend.collate([model.frontend.prepare(Utterance(clip)) for clip in waves(1.0, 1.5)])
    assert model(**batch).requires_grad
    assert recorded and not any(recorded)


def _requires_grad(output) -> bool:
    values = [output] if isinstance(output, torch.Tensor) else output if isinstance(output, tuple) else output.values()
    return any(isinstance(value, torch.Tensor) and value.requires_grad for value in values)


@pytest.mark.parametrize("kind", NAMED)
def test_frozen_encoder_gives_the_same_states_in_training_as_in_prediction(tmp_path, kind):
    """No dropout, no layer drop, no SpecAugment on what is frozen: its outputs could be cached."""
    model = build(tmp_path, kind, freeze="encoder", layer_drop=0.9, head_dropout=0.0)
    batch = model.frontend.collate([model.frontend.prepare(Utterance(clip)) for clip in waves(1.0, 1.0)])
    with torch.no_grad():
        assert torch.equal(model.train()(**batch), model.eval()(**batch))


def test_more_layers_than_there_are_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match=r"train_last_layers: given 4; this encoder has 3 layers"):
        build(tmp_path, "wav2vec2-group", train_last_layers=4)
