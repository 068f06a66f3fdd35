"""How soon every command answers --help, beside what importing torch and transformers alone takes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.measuring import Case, Options, in_turn

SOURCE = Path(__file__).parents[1] / "src"
LIMIT_SECONDS = 1.0


def cases(options: Options) -> Iterator[Case]:
    modules = [path.stem for path in (SOURCE / "ser").glob("*.py") if path.stem != "__init__"]
    commands = sorted(modules + [path.parent.name for path in (SOURCE / "ser").glob("*/__main__.py")])
    ways = {"import torch, transformers": run("-c", "import torch, transformers; transformers.AutoModelForAudioClassification")}
    ways |= {f"ser.{name} --help": run("-m", f"ser.{name}", "--help") for name in (commands[:2] if options.quick else commands)}
    seconds = in_turn(ways, options.rounds)
    slow = [way for way, rounds in list(seconds.items())[1:] if min(rounds) > LIMIT_SECONDS]
    yield Case("start-up", seconds, notes={f"over {LIMIT_SECONDS:g} s in every round": ", ".join(slow) or "none"})


def run(*words: str) -> Callable[[], None]:
    return lambda: subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, cwd=SOURCE) and None
