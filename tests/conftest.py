"""One thread per process (the tests' networks are tiny, and two threads that wait for each other are slower than one), no tracking, and
what every test would otherwise start or compile again done once."""

import gc
import os
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
# Of its own for each of pytest's processes: two that compile into one cache at once have ended in a crash.
os.environ["NUMBA_CACHE_DIR"] = str(Path(__file__).parents[1] / ".pytest_cache" / f"numba-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}")
os.environ["HF_MODULES_CACHE"] = str(Path(__file__).parents[1] / ".pytest_cache" / "modules")  # not the user's
os.environ["WANDB_MODE"] = "disabled"

import pytest
import torch

from ser.audio import pool

torch.set_num_threads(1)
gc.set_threshold(10_000)  # of the time in which transformers and scikit-learn are imported, a seventh went into looking for garbage

LONG_FIRST = {
    "test_train_robust.py", "test_tracking.py", "test_compare_experiments.py", "test_notebooks.py", "test_disk_full.py", "test_configs.py",
    "test_export.py", "test_subtitle_films.py", "test_out_of_memory.py", "test_controls.py", "test_fusion.py", "test_ensemble.py",
}  # fmt: skip
LIBROSA = (
    "audio/test_audio.py", "features/", "make_demo/", "models/classical/", "models/fusion/", "compare/test_compare.py", "test_notebooks.py",
    "[librosa_svm]",
)  # fmt: skip
"""Where librosa itself computes features: on a new machine it is compiled for half a minute first, by each process that uses it."""


def uses_librosa(nodeid: str) -> bool:
    return any(part in nodeid for part in LIBROSA)


def pytest_collection_modifyitems(items):
    """What takes a minute or more begins first, so that no worker is left with it at the end."""
    items.sort(key=lambda item: (not uses_librosa(item.nodeid), item.path.name not in LONG_FIRST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file at a time, and all that uses librosa for one worker."""
    from xdist.scheduler import LoadFileScheduling

    class LibrosaTogether(LoadFileScheduling):
        def _split_scope(self, nodeid):
            return "librosa" if uses_librosa(nodeid) else super()._split_scope(nodeid)

    return LibrosaTogether(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="session", autouse=True)
def no_wait_for_the_disk():
    """A tiny training flushes some seventy files, and no test takes the power away. Processes of their own flush as ever."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="module")
def undrawn():
    """For modules that train and look at no picture: to draw those of a tiny training takes half as long as the training. They stay empty;
    test_pipeline and the tests of the report draw them."""
    from matplotlib.figure import Figure

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda figure, path, **options: Path(path).touch())
        yield


class LastingDecoders(pool.Decoders):
    """Decoding processes that stay after what they were made for."""

    def close(self) -> None: ...


@pytest.fixture(scope="session", autouse=True)
def decoders_stay():
    """A command that reads clips starts its decoding processes and ends them, which takes as long as the rest of what it does with a tiny
    data set. Here they stay for the session, except where a test has changed what they would start with."""
    own, lasting, surroundings = pool.Decoders, LastingDecoders(), _surroundings()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "Decoders", lambda: lasting if _surroundings() == surroundings else own())
        yield
    own.close(lasting)


def _surroundings() -> tuple[str, str | None]:
    return os.getcwd(), os.environ.get("PYTHONPATH")  # noqa: PTH109 - a deleted folder has no Path
