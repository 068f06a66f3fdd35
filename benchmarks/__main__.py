"""What this repository's ways cost beside the ordinary ones, each in turn with the other, round after round.

    python -m benchmarks                                          every part: more than an hour on two idle cores
    python -m benchmarks training prediction --rounds 3           two of them
    python -m benchmarks training --sizes base large --clips 2000     on a GPU
    python -m benchmarks --quick                                  the smallest work there is: shows that all of it runs

A ratio is how many times as fast as the ordinary way (the first one named): the median over the rounds of pairs that ran one right after
the other. Every part runs in a process of its own, whose peak memory is told. All figures and the machine go to a JSON file, the ratios
to a Markdown table beside it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path

import psutil

from benchmarks.measuring import Options, machine, peak_memory_mb
from benchmarks.table import as_table

PARTS = {
    "decoding": "reading clips: librosa.load, soundfile, the packed store",
    "augmentation": "each transform: audiomentations alone (its own time stretch and pitch shift), and through this project's wrapper",
    "training": "a training epoch: run_audio_classification.py's recipe with Trainer, and ser.train",
    "model_steps": "training steps: attention kernels, frozen parts, gradient checkpointing",
    "frozen": "a frozen encoder, or all but its last layers: run in every epoch, and its outputs cached",
    "prediction": "files to probabilities: pipeline('audio-classification'), and ser.predict",
    "ensembling": "20 runs of 5,001 + 1,881 rows: pandas and scipy, and ser.ensemble",
    "checkpoints": "training with checkpoints beside the same without",
    "startup": "import torch and transformers, and --help of every command",
    "serving": "the web service of docs/korean.md under load, and ended amid requests",
    "growth": "the same work on more clips: seconds a clip and memory",
}


BUSY = 20.0
"""Percent of all processors that something else may take before a warning is due."""
NEEDS = {"serving": ("fastapi", "uvicorn", "python_multipart")}
"""Packages of a part that requirements.txt lacks, by the names they are imported by."""


def main(words: list[str]) -> None:
    given = parse(words)
    if given.parts_file:  # a part in a process of its own
        write(Path(given.parts_file), {given.parts[0]: measure(given.parts[0], options_of(given))})
        return
    found = {"machine": machine(), "options": vars(options_of(given)), "parts": {}}
    print("\n".join(f"{name}: {value}" for name, value in found["machine"].items()), flush=True)
    if (busy := psutil.cpu_percent(interval=1.0)) > BUSY:
        print(
            f"warning: something else keeps {busy:.0f} % of this machine busy: small networks' ratios can be far off",
            flush=True,
        )
    failed, left_out = [], []
    for part in given.parts or PARTS:
        print(f"\n== {part}: {PARTS[part]}", flush=True)
        if lacking := [name for name in NEEDS.get(part, ()) if find_spec(name) is None]:
            print(f"left out: {', '.join(lacking)} isn't installed (pip install -r requirements-api.txt)", flush=True)
            left_out.append(part)
            continue
        with tempfile.TemporaryDirectory() as folder:
            figures = Path(folder) / "part.json"
            command = [sys.executable, "-m", "benchmarks", part, *passed_on(given), "--parts_file", str(figures)]
            if subprocess.run(command, check=False).returncode or not figures.exists():
                failed.append(part)
                continue
            found["parts"] |= json.loads(figures.read_text(encoding="utf-8"))
        write(given.output, found)
        write_table(given.output.with_suffix(".md"), found)
    if failed:
        sys.exit(f"error: {', '.join(failed)} failed; the figures of the others are in {given.output}")
    if not found["parts"]:
        sys.exit(f"error: nothing was measured; left out: {', '.join(left_out)}")
    print("\nA ratio above 1 is that many times as fast as the first way named: the median of pairs that ran one right after the other.")
    print(f"made {given.output} ({', '.join(found['parts'])}; the machine, every round) and {given.output.with_suffix('.md')} (a table)")


def parse(words: list[str]) -> argparse.Namespace:
    parts = "\n".join(f"  {name:14}{text}" for name, text in PARTS.items())
    parser = argparse.ArgumentParser("benchmarks", description=f"{__doc__}\nparts:\n{parts}", formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="which parts; all without a name")
    parser.add_argument(
        "--rounds", type=int, default=5, help="default 5; of `training` with wav2vec2-base and 64 clips each took six minutes on two cores"
    )
    parser.add_argument("--clips", type=int, help="how many clips; else each part's own choice, more on a GPU")
    parser.add_argument(
        "--sizes", nargs="+", choices=("tiny", "base", "large", "whisper"), help="networks; default tiny base, on a GPU base large"
    )
    parser.add_argument("--batch", type=int, help="clips in a batch; default 8, on a GPU 16")
    parser.add_argument("--workers", type=int, help="loader workers of both sides; default 0, on a GPU 4")
    parser.add_argument("--quick", action="store_true", help="one round of the smallest work; no figure of it means anything")
    parser.add_argument("--output", type=Path, help="JSON; default outputs/benchmarks.json, with --quick outputs/benchmarks_quick.json")
    parser.add_argument("--parts_file", help=argparse.SUPPRESS)
    given = parser.parse_args(words)
    if wrong := [part for part in given.parts if part not in PARTS]:
        parser.error(f"given {', '.join(wrong)}; allowed are {', '.join(PARTS)}")
    given.output = given.output or Path(f"outputs/benchmarks{'_quick' * given.quick}.json")
    if given.rounds < 1:
        parser.error(f"--rounds: given {given.rounds}; allowed is 1 or more")
    return given


def options_of(given: argparse.Namespace) -> Options:
    options = Options(**{field.name: getattr(given, field.name) for field in fields(Options)})
    if options.quick:
        options.rounds = 1
    return options


def passed_on(given: argparse.Namespace) -> list[str]:
    """The options as words, for the process of a part."""
    words = ["--quick"] if given.quick else []
    for name in ("rounds", "clips", "sizes", "batch", "workers"):
        value = getattr(given, name)
        if value is not None:
            words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return words


def measure(part: str, options: Options) -> dict:
    """The cases of a part, printed as they come."""
    cases = []
    for case in importlib.import_module(f"benchmarks.{part}").cases(options):
        print("\n".join(case.lines()), flush=True)
        cases.append(case.as_plain())
    return {"cases": cases, "peak_memory_mb": round(peak_memory_mb())}


def write_table(path: Path, found: dict) -> None:
    from ser.runtime.files import write_text

    write_text(path, as_table(found))


def write(path: Path, value: dict) -> None:
    from ser.runtime.files import write_json

    write_json(path, value)


if __name__ == "__main__":
    main(sys.argv[1:])
