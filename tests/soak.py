"""Kill training at random moments, start it again each time, and compare the end with an uninterrupted run, byte by byte.

    python tests/soak.py                        5 seeds, 10 kills each (about a quarter of an hour on 2 cores)
    python tests/soak.py --seeds 1 --kills 3    a short one

Everything random is on: augmentation, dropout, layer drop, SpecAugment, mixup, accumulation; 0 and 2 loader workers in turn.
Half of the kills come at any moment, the others while something is being written: the clip store, a checkpoint, a fold's files.
Compared are all files of the run (but for timings and the config, which names its folder) and the submission made of it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent / "fixtures"), str(Path(__file__).parents[1] / "src")]

from ser.ensemble import __main__ as ensemble  # noqa: E402 - found by the path above
from tiny import make_tiny_data, write_tiny_config  # noqa: E402

DIFFER_BY_NATURE = ("timing.csv", "config.yaml", "report.html")
EVERYTHING_RANDOM = {
    "model": {"layer_drop": 0.2, "mask_time_prob": 0.1, "head_dropout": 0.2},
    "augment": {"gain": {"p": 0.5}, "noise": {"p": 0.5}, "shift": {"p": 0.5}},
    "train": {"epochs": 8, "batch_size": 4, "accumulation": 2, "mixup": 0.4, "label_smoothing": 0.1, "early_stopping": 7},
}
# What a kill waits for: any moment, or a file that the process {pid} is writing (below the seed's folder).
ANY = None
STORE = "cache/clips-*/audio-*"
CHECKPOINT = "outputs/tiny/fold_*/checkpoints/.*.tmp-{pid}*"
FOLD_FILES = "outputs/tiny/fold_*/.*.tmp-{pid}*"
NAMES = {STORE: "in the clip store", CHECKPOINT: "in a checkpoint", FOLD_FILES: "in a fold's files"}
AIMS = (STORE, ANY, CHECKPOINT, ANY, CHECKPOINT, ANY, FOLD_FILES, ANY, CHECKPOINT, ANY)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--kills", type=int, default=10, help="kills per seed")
    given = parser.parse_args()
    started, same, kills = time.monotonic(), 0, Counter()
    with tempfile.TemporaryDirectory() as folder:
        data = make_tiny_data(Path(folder) / "demo")
        for seed in range(given.seeds):
            differences, killed = soak(Path(folder) / str(seed), data, seed, given.kills)
            same, kills = same + (not differences), kills + killed
            print(f"seed {seed}: {_told(killed)}; {'identical' if not differences else f'DIFFERENT: {differences}'}", flush=True)
    minutes = (time.monotonic() - started) / 60
    print(f"{same} of {given.seeds} seeds ended byte-identical after {_told(kills)}, in {minutes:.1f} minutes")
    sys.exit(same != given.seeds)


def soak(folder: Path, data: Path, seed: int, kills: int, epochs: int = 8) -> tuple[list[str], Counter]:
    """One seed: an uninterrupted run and a killed one.

    Returns the names of the files in which they differ, and how many kills came at any moment and during which writes.
    """
    _ended_well(_train(folder / "whole", data, seed, epochs))
    dice, killed = random.Random(seed), Counter()  # noqa: S311 - moments to kill at, no secrets
    while killed.total() < kills:
        process = _train(folder / "killed", data, seed, epochs)
        moment = _kill(process, folder / "killed", dice, AIMS[killed.total() % len(AIMS)])
        if moment is None:  # it ended before: everything is done
            break
        killed[moment] += 1
    _ended_well(_train(folder / "killed", data, seed, epochs))
    for run in ("whole", "killed"):
        _submit(folder / run)
    return compare(folder / "whole", folder / "killed"), killed


def compare(whole: Path, killed: Path) -> list[str]:
    """Names of the files (below outputs/ and submissions/) that are in one of two places only, or differ in a byte."""
    contents = [dict(_files(place)) for place in (whole, killed)]
    if not any("model.safetensors" in name for name in contents[0]):
        return ["no model was written"]
    return sorted(name for name in contents[0].keys() | contents[1].keys() if contents[0].get(name) != contents[1].get(name))


def _files(place: Path) -> Iterator[tuple[str, bytes]]:
    for path in [*place.glob("outputs/**/*"), *place.glob("submissions/*.csv")]:
        if path.is_file() and path.name not in DIFFER_BY_NATURE:
            yield str(path.relative_to(place)), path.read_bytes()


def _train(place: Path, data: Path, seed: int, epochs: int) -> subprocess.Popen:
    place.mkdir(parents=True, exist_ok=True)
    sections = EVERYTHING_RANDOM | {
        "train": EVERYTHING_RANDOM["train"]
        | {"workers": 2 * (seed % 2), "epochs": epochs, "learning_rate": 1e-3, "head_learning_rate": 1e-3},
        "run": {"seed": seed, "checkpoint_steps": 2, "output": str(place / "outputs" / "tiny")},
    }
    config = write_tiny_config(place / "tiny.yaml", data, **sections)
    command = [sys.executable, "-u", "-m", "ser.train", "--config", str(config)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_environment())


def _submit(place: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        ensemble.main([str(place / "outputs" / "tiny"), "--output", str(place / "submissions" / "tiny.csv")])


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "src"), "OMP_NUM_THREADS": "1"}


def _wait_for_start(process: subprocess.Popen) -> None:
    """Until the data is read and the folds begin."""
    while (line := process.stdout.readline()) and "Split:" not in line:
        pass


def _ended_well(process: subprocess.Popen) -> None:
    process.communicate()
    if process.returncode:
        raise SystemExit(f"the run failed by itself with exit code {process.returncode}")


def _kill(process: subprocess.Popen, place: Path, dice: random.Random, aim: str | None) -> str | None:
    """Kill at some moment of the training, or when something of `aim` is being written.

    Returns what was half-written then, or None when the run ended before. Moments are counted in checkpoints made, not in
    seconds, so that on a busy machine, too, some training is done between two kills, and not all of it.
    """
    if aim != STORE:
        _wait_for_start(process)
        _wait_for_checkpoints(process, place, dice.randint(0, 2))
        time.sleep(dice.uniform(0, 0.1))
    while process.poll() is None and aim and not _exists(place, aim.format(pid=process.pid)):
        time.sleep(0.0005)
    ended = process.poll() is not None
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()  # loader workers hold the other end for some seconds
    if ended:
        if process.returncode:
            raise SystemExit(f"the run failed by itself with exit code {process.returncode}")
        return None
    if aim == STORE:  # its file stays, so that its being there tells nothing later
        return NAMES[STORE]
    writing = (name for pattern, name in NAMES.items() if pattern != STORE and _exists(place, pattern.format(pid=process.pid)))
    return next(writing, "between two writes")


def _wait_for_checkpoints(process: subprocess.Popen, place: Path, count: int) -> None:
    seen = before = {path.name for path in place.glob("outputs/tiny/fold_*/checkpoints/step_*")}
    while process.poll() is None and len(seen - before) < count:
        with contextlib.suppress(FileNotFoundError):
            seen = seen | {path.name for path in place.glob("outputs/tiny/fold_*/checkpoints/step_*")}
        time.sleep(0.001)


def _exists(place: Path, pattern: str) -> bool:
    try:
        return any(place.glob(pattern))
    except FileNotFoundError:  # a folder went while it was looked at
        return False


def _told(kills: Counter) -> str:
    return f"{kills.total()} kills ({', '.join(f'{count} {moment}' for moment, count in kills.most_common())})"


if __name__ == "__main__":
    main()
