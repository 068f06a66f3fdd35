"""Features of the clips of a store, computed once: in parallel, kept on disk, resumable.

Beside the clip store lies one folder per source and version (`ser.data.clip_cache`), which stores with the same audio share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np

from ser.data.clip_cache import CLIPS_PER_FILE, find_clips, read_clips, write_clips
from ser.data.store import ClipStore
from ser.runtime.progress import ProgressBar


@dataclass(frozen=True)
class Source:
    """A function wave (samples,) -> {feature: array}, by its place; raise the version when what it returns changes."""

    module: str
    function: str
    version: int
    features: tuple[str, ...]

    def load(self) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
        """The function. Raises UserError where a package that it needs isn't installed."""
        module = import_module(self.module)
        if hasattr(module, "check_installed"):
            module.check_installed()
        return getattr(module, self.function)


SOURCES = {
    "voice": Source("ser.features.own_statistics", "extract", 2, ("functionals", "timbre", "contents")),
    "librosa": Source("ser.features.librosa_statistics", "extract", 1, ("librosa",)),
    "egemaps": Source("ser.features.opensmile_sets", "egemaps", 1, ("egemaps",)),
    "compare": Source("ser.features.opensmile_sets", "compare", 1, ("compare",)),
    "ge2e": Source("ser.features.speakers.ge2e", "extract", 2, ("ge2e",)),
}


def load_features(
    store: ClipStore, rows: Sequence[int] | np.ndarray, source: str, after_file: Callable[[], None] = lambda: None
) -> dict[str, list[np.ndarray]]:
    """Features of the given (usable) rows of a store, by name, one array per row in their order.

    What isn't on disk yet is computed. after_file: called whenever some more of it is on disk; may raise to leave the rest for the next
    time. Raises UserError where the source's package isn't installed.
    """
    hashes = store.report["audio_hash"].to_numpy()[np.asarray(rows, np.int64)].tolist()
    if not hashes:
        return {name: [] for name in SOURCES[source].features}
    place = f"features-{source}-{SOURCES[source].version}"
    if store.folder is None:  # waves in memory, e.g. windows of a recording: not worth a file
        known = store.kept(place)
        missing = {name: row for name, row in zip(hashes, rows, strict=True) if name not in known}
        known |= zip(missing, extract_rows(store, list(map(int, missing.values())), source), strict=True)
        return {name: [known[audio_hash][name] for audio_hash in hashes] for name in SOURCES[source].features}
    folder = store.folder.parent / place
    known = _read(folder, set(hashes))
    missing = {name: row for name, row in zip(hashes, rows, strict=True) if name not in known}  # equal audio once
    if missing:
        _compute(store, dict(sorted(missing.items())), source, folder, after_file)
        known |= _read(folder, set(missing))
    return {name: [known[audio_hash][name] for audio_hash in hashes] for name in SOURCES[source].features}


def _read(folder: Path, wanted: set[str]) -> dict[str, dict[str, np.ndarray]]:
    return read_clips(find_clips(folder, wanted))


def _compute(store: ClipStore, rows: dict[str, int], source: str, folder: Path, after_file: Callable[[], None]) -> None:
    """Extract the features of {audio hash: row}, a file at a time."""
    SOURCES[source].load()  # a missing package is told here, not by each process
    names = list(rows)
    chunks = [names[start : start + CLIPS_PER_FILE] for start in range(0, len(names), CLIPS_PER_FILE)]
    with ProgressBar(total=len(names), what=f"{source} features") as bar:
        try:
            extracted = _extract_all(store, [[rows[name] for name in chunk] for chunk in chunks], source)
            for chunk, features in zip(chunks, extracted, strict=True):
                write_clips(folder, dict(zip(chunk, features, strict=True)))
                bar.update(len(chunk))
                after_file()
        except BrokenExecutor:
            after_file()  # a signal to the whole process group ends the processes too
            raise


def _extract_all(store: ClipStore, chunks: list[list[int]], source: str) -> Iterator[list[dict[str, np.ndarray]]]:
    """The features of each chunk of rows, in order: here where there is one chunk, else in a process per processor."""
    from joblib import Parallel, delayed, parallel_config

    if len(chunks) > 1:  # numba compiles into a cache on disk, which processes that begin at once can break for each other
        extract_rows(store, chunks[0][:1], source)
    with parallel_config("loky", inner_max_num_threads=1):
        workers = Parallel(n_jobs=-1 if len(chunks) > 1 else 1, return_as="generator")
        yield from workers(delayed(extract_rows)(store, rows, source) for rows in chunks)


def extract_rows(store: ClipStore, rows: Sequence[int], source: str) -> list[dict[str, np.ndarray]]:
    """The features of some rows of a store, each from its own samples alone."""
    extract = SOURCES[source].load()
    return [extract(store[row]) for row in rows]
