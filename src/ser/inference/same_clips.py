"""Which clips are the same: of two runs, or of a run and of clips at hand.

A clip is its file's bytes, however it was decoded.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ser.inference.runs import Run


def different_clips(first: Run, other: Run) -> list[str]:
    """The ids, of those that both runs have, whose files differ, in training and test.

    Of runs made before files' hashes were kept, the decoded sound is compared; one that hears and one that reads have nothing to compare.
    """
    by_file = all(first.file_hashes) and all(other.file_hashes)
    if (first.input == "text") != (other.input == "text") or not (by_file or first.input == other.input):
        return []
    contents = []
    for run in (first, other):
        train, test = (run.file_hashes, run.test_file_hashes) if by_file else (run.audio_hashes, run.test_audio_hashes)
        contents.append(dict(zip((*run.ids, *run.test_ids), (*train, *test), strict=True)))
    return [name for name, content in contents[0].items() if contents[1].get(name, content) != content]


def places_in_run(file_hashes: Sequence[str], audio_hashes: Sequence[str], report: pd.DataFrame) -> list[int | None]:
    """Where each clip of a store's report stands among the clips of a run; None for a new one.

    By the file's bytes; else by the sound, if the store decodes as the run did: that finds copies in another format, too, and clips of runs
    made before files' hashes were kept.
    """
    of_file = {name: row for row, name in enumerate(file_hashes) if name}
    of_sound = {name: row for row, name in enumerate(audio_hashes) if name}
    hashes = zip(report["file_hash"], report["audio_hash"], strict=True)
    return [of_file.get(file, of_sound.get(sound)) for file, sound in hashes]
