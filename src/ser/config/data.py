"""Keys of the data and of its folds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt


@dataclass
class DataConfig:
    """Data: which clips, and what to do with those that can't be used."""

    root: str = "input"
    """A competition folder (train.csv, test.csv, sample_submission.csv), a folder with one subfolder per emotion, or a CSV."""
    labels: str = "auto"
    """Label set: auto (integers mean competition6, names mean those found), a set the registry knows, e.g. korean15, or own: any labels,
    their names as they stand, in sorted order."""
    multi_label: bool = False
    """Several labels a clip, or none: columns label_<emotion> of 0 and 1, or a column label with lists, joy|sadness. For texts."""
    speakers: str | None = None
    """CSV `id,speaker`, with `gender` where known. Without it, train_speakers.csv beside the clips' table is used when it is there."""
    transcripts: str | None = None
    """CSV `id,text`: what is said in each clip, for models that read. Without it, the table's own column `text` is used."""
    max_seconds: PositiveFloat = 15.0
    """Longer clips are cut to their first seconds; the cut is reported."""
    min_seconds: PositiveFloat = 0.1
    """Shorter clips are unusable (status too_short)."""
    noise_reduction: bool = False
    """Damp stationary noise (hiss, hum, a fan) in every clip by a spectral filter. Stored with the model: prediction does the same."""
    on_bad_audio: Literal["stop", "drop"] = "stop"
    """When training clips (or texts) are unusable: stop with the list, or go on without them. Test clips always keep their row."""
    allow_absolute_paths: bool = False
    """Let the CSV name files outside its own folder. Off, because a stranger's CSV could name any file."""
    cache: str = "outputs/cache"
    """Folder of the packed clip store: every file is decoded and resampled once, then shared by folds, epochs and runs."""


ALWAYS_TRAINED = -1
"""The fold of clips that are held out by no model, as in scikit-learn's PredefinedSplit; there with cv.n 1 alone."""


@dataclass
class FoldsConfig:
    """Cross-validation: how the training clips are split."""

    n: PositiveInt = 5
    """Number of folds. 1: one model alone, judged by the clips that `file` holds out."""
    split: Literal["auto", "stratified", "speaker", "text"] = "auto"
    """stratified by label; speaker keeps each speaker in one fold (and stratifies), text each sentence; auto takes speaker when
    speakers are known."""
    file: str | None = None
    """Read `id,fold` from this CSV instead of making folds, e.g. to blend runs over one split. With n 1: fold 0 is held out, fold -1 is
    always trained on (as in scikit-learn's PredefinedSplit)."""
    seed: NonNegativeInt | None = None
    """Seed of the split; without it run.seed, which also seeds the training."""
    full_fit: bool = False
    """After the folds, train one model more on all training clips, for as many epochs as the folds found best (their median). It has no
    out-of-fold score and is a member of its own in the ensemble: outputs/X/full_fit."""
