"""Training steps: attention kernels and frozen parts, beside the hub's model as it comes.

Every way is forward + backward + AdamW on the same clips. "hub" is what a script around AutoModelForAudioClassification and Trainer
runs: everything trained, with the library's own SpecAugment and layer drop (a tenth of the layers). TFLOP/s and MFU count what the
step really computes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import CONFIG_MAPPING, AutoModelForAudioClassification

from benchmarks.clips import LABELS, PEAK, SIZES, on_gpu, wait
from benchmarks.measuring import Case, Options, in_turn
from ser.config import ModelConfig
from ser.models.registry import build_model


def cases(options: Options) -> Iterator[Case]:
    device = torch.device("cuda" if on_gpu() else "cpu")
    batch, seconds, steps = (options.batch or 32, 2.5, 20) if on_gpu() else (options.batch or 2, 1.0, 2)
    sizes = options.sizes or (["base", "large"] if on_gpu() else ["tiny"])
    for family, size in [
        (family, size) for size in sizes if size in SIZES for family in ("wav2vec2", "wavlm")[: 1 if options.quick else 2]
    ]:
        wave = torch.randn(batch, round(16_000 * seconds), device=device) * 0.1
        # Emulated bf16 on a CPU is over ten times slower, and says nothing.
        ways = {way: make for way, make in variants(SIZES[size] | {"model_type": family}, device).items() if on_gpu() or "bf16" not in way}
        if options.quick:
            ways = dict(list(ways.items())[:2])
        yield compare(f"{steps} steps, {family} {size}", ways, wave, steps, options.rounds)


def compare(name: str, ways: dict[str, Callable], wave: torch.Tensor, steps: int, rounds: int) -> Case:
    figures: dict[str, str] = {}
    runs = {way: (lambda make=make: timed(make, wave, steps)) for way, make in ways.items()}
    seconds = in_turn(runs, rounds)
    peak = next((tflops for key, tflops in PEAK.items() if on_gpu() and key in torch.cuda.get_device_name()), None)
    for way, make in ways.items():
        flops, memory = counted(make, wave)
        rate = flops * steps / statistics.median(seconds[way]) / 1e12
        use = f", MFU {rate / peak:.0%}" if peak and "fp32" not in way else ""
        figures[way] = f"{rate:.3f} TFLOP/s{use}{f', {memory / 2**30:.1f} GB' if memory else ''}"
    return Case(name, seconds, steps * len(wave), "clips", {"batch": f"{len(wave)} x {wave.shape[1] / 16_000:g} s", **figures})


def variants(keys: dict, device: torch.device) -> dict[str, Callable]:
    """Name -> function that makes (network, forward, precision)."""

    def hub(precision: torch.dtype | None) -> tuple:
        settings = {key: value for key, value in keys.items() if key != "model_type"}
        config = CONFIG_MAPPING[keys["model_type"]](**settings, num_labels=len(LABELS))
        network = AutoModelForAudioClassification.from_config(config).to(device).train()
        return network, lambda wave: network(wave).logits, precision

    def ours(precision: torch.dtype | None, attention: str = "sdpa", **settings) -> tuple:
        model = build_model(ModelConfig(from_scratch=keys, mask_time_prob=0.05, layer_drop=0.0, **settings), LABELS, 30.0)
        if keys["model_type"] != "wavlm":  # WavLM has one attention only
            model.encoder.set_attn_implementation(attention)
        model = model.to(device).train()
        return model, lambda wave: model(input_values=wave), precision

    bf16 = torch.bfloat16
    return {
        "hub fp32": lambda: hub(None),
        "hub bf16": lambda: hub(bf16),
        "ser fp32, eager attention": lambda: ours(None, attention="eager", freeze="none"),
        "ser fp32": lambda: ours(None, freeze="none"),
        "ser fp32, convolutions frozen": lambda: ours(None, freeze="feature_encoder"),
        "ser bf16": lambda: ours(bf16, freeze="none"),
        "ser bf16, convolutions frozen": lambda: ours(bf16, freeze="feature_encoder"),
        "ser bf16, and layer weights": lambda: ours(bf16, freeze="feature_encoder", layer_weights=True),
        "ser bf16, and gradient checkpointing": lambda: ours(bf16, freeze="feature_encoder", gradient_checkpointing=True),
        "ser bf16, and last 2 layers only": lambda: ours(bf16, train_last_layers=2),
        "ser bf16, encoder frozen": lambda: ours(bf16, freeze="encoder"),
    }


def step_of(make: Callable, wave: torch.Tensor) -> Callable[[], None]:
    """One training step of a freshly made network."""
    torch.manual_seed(0)
    network, forward, precision = make()
    optimizer = torch.optim.AdamW([parameter for parameter in network.parameters() if parameter.requires_grad], lr=1e-5)
    labels = torch.arange(len(wave), device=wave.device) % len(LABELS)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(wave.device.type, dtype=precision, enabled=precision is not None):
            logits = forward(wave)
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    return step


def counted(make: Callable, wave: torch.Tensor) -> tuple[int, int]:
    """Floating-point operations of a step, and the most GPU memory that two of them need, in bytes."""
    if on_gpu():
        torch.cuda.reset_peak_memory_stats()
    step = step_of(make, wave)
    with FlopCounterMode(display=False) as counter:
        step()
    step()
    return counter.get_total_flops(), torch.cuda.max_memory_allocated() if on_gpu() else 0


def timed(make: Callable, wave: torch.Tensor, steps: int) -> float:
    """Seconds of so many steps, after one that warms up."""
    step = step_of(make, wave)
    step()
    wait()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    wait()
    return time.perf_counter() - started
