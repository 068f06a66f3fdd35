"""What each frame of a clip attends to, layer by layer and head by head."""

from __future__ import annotations

import numpy as np
import torch

from ser.data.utterance import Utterance
from ser.models.encoder.encoder import EncoderModel
from ser.models.encoder.freezing import transformer
from ser.models.encoder.states import hidden_states


@torch.inference_mode()
def attention_maps(model: EncoderModel, clip: Utterance) -> np.ndarray:
    """(layers, heads, frames, frames): rows attend to columns and sum to one.

    The usual attention (SDPA) never writes its weights down, so the plain one is switched on for this clip.
    """
    encoder = model.encoder
    batch = model.frontend.collate([model.frontend.prepare(clip)])
    batch = {name: value.to(encoder.device) for name, value in batch.items()}
    found: list[torch.Tensor] = []
    hooks = [_self_attention(layer).register_forward_hook(lambda *call: found.append(call[2][1])) for layer in transformer(encoder).layers]
    usual = encoder.config._attn_implementation
    try:
        encoder.set_attn_implementation("eager")
        hidden_states(encoder.eval(), batch, every_layer=True)
    finally:
        encoder.set_attn_implementation(usual)
        for hook in hooks:
            hook.remove()
    return torch.cat(found).float().cpu().numpy()


def _self_attention(layer: torch.nn.Module) -> torch.nn.Module:
    """Whisper calls it self_attn, the family of Wav2Vec2 attention."""
    return layer.self_attn if hasattr(layer, "self_attn") else layer.attention
