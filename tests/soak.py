"""Kill training at random moments, start it again each time, and compare the end with an uninterrupted run, byte by byte.

    python tests/soak.py                        5 seeds, 10 kills each (about half an hour on 2 cores)
    python tests/soak.py --seeds 1 --kills 3    a short one

Everything random is on: augmentation, dropout, layer drop, SpecAugment, mixup, accumulation, loader workers.
Every third kill is aimed at the moment a checkpoint is being written.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "src")]

from tiny import make_tiny_data, write_tiny_config  # noqa: E402 - found by the path above

COMPARED = ("history.csv", "valid.csv", "test.csv", "metrics.json", "oof.csv", "report.json", "folds.csv", "data.json", "model.safetensors")
EVERYTHING_RANDOM = {
    "model": {"layer_drop": 0.2, "mask_time_prob": 0.1, "head_dropout": 0.2},
    "augment": {"gain": {"p": 0.5}, "noise": {"p": 0.5}, "shift": {"p": 0.5}},
    "train": {"epochs": 6, "batch_size": 4, "accumulation": 2, "mixup": 0.4, "label_smoothing": 0.1, "early_stopping": 5},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--kills", type=int, default=10, help="kills per seed")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = make_tiny_data(Path(folder) / "demo")
        results = [soak(Path(folder), data, seed, given.kills) for seed in range(given.seeds)]
    same = sum(same for same, _ in results)
    print(f"{same} of {given.seeds} seeds ended byte-identical after {sum(kills for _, kills in results)} kills")
    sys.exit(same != given.seeds)


def soak(folder: Path, data: Path, seed: int, kills: int) -> tuple[bool, int]:
    """One seed: an uninterrupted run and a killed one. Returns whether they ended the same, and how often it was killed."""
    workers = 2 * (seed % 2)
    whole, duration = _command(folder, data, f"whole_{seed}", seed, workers), time.monotonic()
    if subprocess.run(whole, stdout=subprocess.DEVNULL, env=_environment()).returncode:
        raise SystemExit("the uninterrupted run failed")
    duration = time.monotonic() - duration
    killed, rng, done = 0, random.Random(seed), False  # noqa: S311 - moments to kill at, no secrets
    command = _command(folder, data, f"killed_{seed}", seed, workers)
    while not done:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_environment())
        if killed < kills:
            done = not _kill(process, folder / "outputs" / f"killed_{seed}", rng, duration / 3, aim=killed % 3 == 2)
            killed += not done
        else:
            process.communicate()
            done = True
        if done and process.returncode:
            raise SystemExit(f"the run failed by itself with exit code {process.returncode}")
    differences = compare(folder / "outputs" / f"whole_{seed}", folder / "outputs" / f"killed_{seed}")
    print(f"seed {seed}: {killed} kills, {'identical' if not differences else f'DIFFERENT: {differences}'}", flush=True)
    return not differences, killed


def compare(whole: Path, killed: Path) -> list[str]:
    """Names of the files that are missing in one of two runs or differ in a byte."""
    names = {str(path.relative_to(run)) for run in (whole, killed) for path in run.rglob("*") if path.name in COMPARED}
    if not any("model.safetensors" in name for name in names):
        return ["no model was written"]
    return sorted(
        name for name in names if not ((whole / name).exists() and (killed / name).exists()) or _differ(whole / name, killed / name)
    )


def _differ(first: Path, second: Path) -> bool:
    # report.json names its run folder.
    return first.read_bytes().replace(b"whole_", b"killed_") != second.read_bytes()


def _command(folder: Path, data: Path, name: str, seed: int, workers: int) -> list[str]:
    sections = EVERYTHING_RANDOM | {
        "train": EVERYTHING_RANDOM["train"] | {"workers": workers, "learning_rate": 1e-3, "head_learning_rate": 1e-3},
        "run": {"seed": seed, "checkpoint_steps": 3, "output": str(folder / "outputs" / name)},
    }
    config = write_tiny_config(folder / f"{name}.yaml", data, **sections)
    return [sys.executable, "-u", "-m", "ser.train", "--config", str(config)]


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "src")}


def _kill(process: subprocess.Popen, run: Path, rng: random.Random, within: float, aim: bool) -> bool:
    """Kill at a random moment after the data is read, or while a checkpoint is being written. False if it ended before."""
    while (line := process.stdout.readline()) and "Split:" not in line:
        pass
    moment = time.monotonic() + rng.uniform(0, within)
    while process.poll() is None and time.monotonic() < moment:
        time.sleep(0.001)
    while aim and process.poll() is None and not list(run.glob("fold_*/checkpoints/.*")):
        time.sleep(0.0005)
    ended = process.poll() is not None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return not ended


if __name__ == "__main__":
    main()
