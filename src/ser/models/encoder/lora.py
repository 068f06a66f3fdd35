"""Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685) in an encoder, by peft, and the plain encoder that they become."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import nn

from ser.models.encoder.freezing import transformer
from ser.runtime.errors import UserError


def add_adapters(encoder: nn.Module, rank: int, modules: Sequence[str], last_layers: int | None) -> None:
    """Put adapters on the named linear modules of the (last) transformer layers; they alone are trained afterwards.

    modules: ends of names, e.g. q_proj. Raises UserError, listing the names there are, where one fits nothing.
    """
    stack = transformer(encoder)
    prefix = "layers." if stack is encoder else "encoder.layers."
    first = 0 if last_layers is None else len(stack.layers) - last_layers
    linear = [
        f"{prefix}{index}.{name}"
        for index in range(first, len(stack.layers))
        for name, module in stack.layers[index].named_modules()
        if isinstance(module, nn.Linear)
    ]
    known = sorted({name.rsplit(".", 1)[-1] for name in linear})
    if unknown := [name for name in modules if name not in known]:
        raise UserError(f"model.lora_modules: {unknown[0]!r} is no linear module of this encoder's layers; there are {', '.join(known)}.")
    targets = [name for name in linear if name.rsplit(".", 1)[-1] in modules]
    from peft import LoraConfig, inject_adapter_in_model  # slow to import

    encoder.requires_grad_(False)
    # Scaled by 2, whatever the rank, so that a change of rank needs no other learning rate.
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets), encoder)


def without_adapters(encoder: nn.Module) -> nn.Module:
    """A plain encoder that answers the same: adapters are added to the weights of a copy. The encoder itself where it has none."""
    adapted = [name for name, module in encoder.named_modules() if hasattr(module, "lora_A")]
    if not adapted:
        return encoder
    plain = copy.deepcopy(encoder)
    for name in adapted:
        module = plain.get_submodule(name)
        module.merge(safe_merge=True)
        plain.set_submodule(name, module.get_base_layer())
    return plain
