"""The same work on more clips, each amount in a process of its own: seconds a clip should stay, memory too.

Clips are a tenth of a second, so that 20,000 of them fit on any disk: what is measured is what a clip costs besides its samples. A
ratio is between the seconds for one clip among the fewest and one among so many: 1 is linear, less is worse.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from benchmarks.clips import RATE
from benchmarks.measuring import Case, Options

WORK = """
import sys, time
import numpy as np
from benchmarks.measuring import peak_memory_mb, quietly
from ser.config import DataConfig
from ser.data.batches import training_groups
from ser.data.inputs import open_store
from ser.data.tables import read_dataset
started = time.perf_counter()
with quietly():
    config = DataConfig(root=sys.argv[1], cache=sys.argv[2], min_seconds=0.05)
    store = open_store("audio", read_dataset(config).train, config)
    total = sum(float(store[row].samples[0]) for group in training_groups(store.frames, np.arange(len(store)), 16, 0) for row in group)
print(time.perf_counter() - started, peak_memory_mb())
"""


def cases(options: Options) -> Iterator[Case]:
    most = options.clips or (40 if options.quick else 4000)
    amounts = [most // 4, most // 2, most]
    with tempfile.TemporaryDirectory() as place:
        folder = make_short_clips(Path(place) / "data", most)
        table = pd.read_csv(folder / "train.csv")
        for what, again in (("decode, store, read", False), ("open again, read", True)):
            seconds: dict[str, list[float]] = {f"{amount} clips, for one": [] for amount in amounts}
            memory: dict[int, float] = {}
            for number in range(min(options.rounds, 3)):
                for amount, rounds in zip(amounts, seconds.values(), strict=True):
                    table.head(amount).to_csv(folder / "train.csv", index=False)
                    cache = Path(place) / (f"cache-{amount}" if again else f"cache-{amount}-{number}")
                    if again and not number:
                        work(folder, cache)
                    taken, memory[amount] = work(folder, cache)
                    rounds.append(taken / amount)
            yield Case(what, seconds, notes={"peak memory in MB": {amount: round(value) for amount, value in memory.items()}})


def work(folder: Path, cache: Path) -> tuple[float, float]:
    """Seconds, and the most memory the process held."""
    command = [sys.executable, "-c", WORK, str(folder), str(cache)]
    taken, memory = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(taken), float(memory)


def make_short_clips(folder: Path, count: int) -> Path:
    draw = np.random.default_rng(0)
    (folder / "train").mkdir(parents=True)
    for number in range(count):
        soundfile.write(folder / "train" / f"{number}.wav", 0.1 * draw.standard_normal(RATE // 10), RATE)
    rows = {"id": [f"c{n}" for n in range(count)], "path": [f"./train/{n}.wav" for n in range(count)], "label": np.arange(count) % 6}
    pd.DataFrame(rows).to_csv(folder / "train.csv", index=False)
    return folder
