"""One thread per process (the tests' networks are tiny, and two threads that wait for each other are slower than one), no tracking."""

import os
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
# Of its own for each of pytest's processes: two that compile into one cache at once have ended in a crash.
os.environ["NUMBA_CACHE_DIR"] = str(Path(__file__).parents[1] / ".pytest_cache" / f"numba-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}")
os.environ["WANDB_MODE"] = "disabled"

import torch

torch.set_num_threads(1)

LONG_FIRST = {
    "test_train_robust.py", "test_tracking.py", "test_compare_experiments.py", "test_notebooks.py", "test_disk_full.py", "test_configs.py",
    "test_export.py", "test_subtitle_films.py", "test_out_of_memory.py", "test_controls.py", "test_fusion.py", "test_ensemble.py",
}  # fmt: skip


def pytest_collection_modifyitems(items):
    """Files that take a minute or more begin first, so that no worker is left with one of them at the end."""
    items.sort(key=lambda item: item.path.name not in LONG_FIRST)
