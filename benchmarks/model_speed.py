"""Speed and memory of training steps: attention kernels and frozen parts, beside the hub's model as it comes.

    python benchmarks/model_speed.py --size tiny                    CPU, under a minute: shows that it runs, its ratios mean little
    python benchmarks/model_speed.py --size base --size large       a GPU: true sizes, random weights, bf16

Every row is forward + backward + AdamW on the same clips. The ways take turns, round after round, so a busy machine slows
all of them alike; the best round counts. "hub" is what a script around AutoModelForAudioClassification and Trainer
runs: everything trained, with the library's own SpecAugment and layer drop (a tenth of the layers). TFLOP/s and MFU
count what the step really computes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import CONFIG_MAPPING, AutoModelForAudioClassification

from ser.config import ModelConfig
from ser.models.registry import build_model

LABELS = ("angry", "fear", "sad", "disgust", "neutral", "happy")
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
PRE_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
TINY = {"hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 192, "conv_dim": [32] * 7}
SIZES = {"tiny": TINY, "base": {}, "large": LARGE | PRE_NORM}
# Dense bf16 peak in TFLOP/s, from the makers' data sheets.
PEAK = {"H200": 989, "H100": 989, "A100": 312, "L40S": 362, "L4": 121, "4090": 165, "3090": 71}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", action="append", choices=SIZES, help="may be given more than once; default tiny")
    parser.add_argument("--family", default="wav2vec2", choices=["wav2vec2", "hubert", "wavlm"])
    parser.add_argument("--batch", type=int, default=None, help="clips in a batch; default 32 on a GPU, 2 on a CPU")
    parser.add_argument("--seconds", type=float, default=None, help="length of a clip; default 2.5 on a GPU (CREMA-D's mean), 1 on a CPU")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=None, help="steps in a round; default 20 on a GPU, 2 on a CPU")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    options.batch = options.batch or (32 if device.type == "cuda" else 2)
    options.seconds = options.seconds or (2.5 if device.type == "cuda" else 1.0)
    options.steps = options.steps or (20 if device.type == "cuda" else 2)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}; torch {torch.__version__}; {options.family}, batches of {options.batch} x {options.seconds} s")
    for size in options.size or ["tiny"]:
        measure(size, options, device, name)


def measure(size: str, options: argparse.Namespace, device: torch.device, name: str) -> None:
    wave = torch.randn(options.batch, round(16_000 * options.seconds), device=device) * 0.1
    labels = torch.arange(options.batch, device=device) % len(LABELS)
    ways = variants(SIZES[size] | {"model_type": options.family}, device)
    best, notes = {}, {}
    for round_number in range(options.rounds + 1):
        for way, make in ways.items():
            if round_number == 0 or way in best:
                seconds, note = timed(make, wave, labels, device, options.steps, count=round_number == 0)
                notes.setdefault(way, note)
                if round_number:  # the first round warms up
                    best[way] = min(seconds, best[way])
                else:
                    best[way] = float("inf")
    base = best["hub fp32"]
    peak = next((tflops for key, tflops in PEAK.items() if key in name), None)
    print(f"\n{size}{'':28}clips/s  ratio  GFLOP/step  TFLOP/s   MFU  {'peak GB' if device.type == 'cuda' else ''}")
    for way, seconds in best.items():
        flops, memory = notes[way]
        rate = flops / seconds / 1e12
        use = f"{rate / peak:5.0%}" if peak and "bf16" in way else "    -"
        print(
            f"{way:32}{options.batch / seconds:8.1f}{base / seconds:7.2f}{flops / 1e9:12.1f}{rate:9.3f} {use}"
            f"{f'{memory / 2**30:9.1f}' if memory else ''}"
        )


def variants(keys: dict, device: torch.device) -> dict[str, Callable]:
    """Name -> function that makes (network, precision)."""

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
        "ser bf16": lambda: ours(bf16, freeze="none"),
        "ser bf16, convolutions frozen": lambda: ours(bf16, freeze="feature_encoder"),
        "  and layer weights": lambda: ours(bf16, freeze="feature_encoder", layer_weights=True),
        "  and gradient checkpointing": lambda: ours(bf16, freeze="feature_encoder", gradient_checkpointing=True),
        "  and last 2 layers only": lambda: ours(bf16, train_last_layers=2),
        "ser bf16, encoder frozen": lambda: ours(bf16, freeze="encoder"),
    }


def timed(make: Callable, wave: torch.Tensor, labels: torch.Tensor, device: torch.device, steps: int, count: bool) -> tuple[float, tuple]:
    """Seconds a step, and (floating-point operations a step, peak bytes of GPU memory) when `count` is set."""
    torch.manual_seed(0)
    network, forward, precision = make()
    optimizer = torch.optim.AdamW([parameter for parameter in network.parameters() if parameter.requires_grad], lr=1e-5)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype=precision, enabled=precision is not None):
            logits = forward(wave)
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    note = (0, 0)
    if count:
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        with FlopCounterMode(display=False) as counter:
            step()
        step()
        note = (counter.get_total_flops(), torch.cuda.max_memory_allocated() if device.type == "cuda" else 0)
    step()
    wait(device)
    started = time.perf_counter()
    for _ in range(steps):
        step()
    wait(device)
    return (time.perf_counter() - started) / steps, note


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
