"""Looking for leaks: the same audio, or the same speaker, where it makes a score look better than it is.

Audio is the same when its decoded samples are (equal hash). A re-encoded or trimmed copy isn't found.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ser.config.data import ALWAYS_TRAINED
from ser.data.csv_input import shown
from ser.data.label_matrix import label_sets, listed
from ser.data.tables import Table

# In order of harm, with what each means to a reader.
KINDS = {
    "train_test": "same audio in train and test",
    "across_folds": "same audio in several folds: validation clips were trained on",
    "different_labels": "same audio under different labels",
    "within_fold": "same audio twice in train, not across folds",
    "within_test": "same audio twice in test",
    "speaker_across_folds": "same speaker in several folds: the score says little about new voices",
}
SHOWN = 5  # of each kind


@dataclass(frozen=True)
class Finding:
    """One leak: its kind (a key of KINDS), the clips it is about, and what to read."""

    kind: str
    ids: tuple[str, ...]
    detail: str


def find_duplicates(
    train: Table,
    train_hashes: Sequence[str],
    folds: np.ndarray | None = None,
    test: Table | None = None,
    test_hashes: Sequence[str] = (),
    label_names: Sequence[str] = (),
) -> list[Finding]:
    """Every group of clips with equal audio, and every speaker in several folds, in order of harm.

    Hashes are of decoded audio, one per row; an empty or missing hash (an unusable clip) is equal to nothing. Without folds,
    clips of train count as being in one fold.
    """
    in_train, in_test = _rows_by_hash(train_hashes), _rows_by_hash(test_hashes)
    findings = []
    for audio_hash, rows in in_train.items():
        ids = tuple(train.ids[row] for row in rows)
        if audio_hash in in_test:
            others = tuple(test.ids[row] for row in in_test[audio_hash])
            findings.append(Finding("train_test", ids + others, f"train {_listed(ids)} = test {_listed(others)}"))
        if len(rows) > 1:
            findings += _within_train(train, rows, ids, folds, label_names)
    for rows in in_test.values():
        if len(rows) > 1:
            ids = tuple(test.ids[row] for row in rows)
            findings.append(Finding("within_test", ids, _listed(ids)))
    if folds is not None and train.speakers is not None:
        findings += _speakers_across(train, folds)
    return sorted(findings, key=lambda finding: list(KINDS).index(finding.kind))


def describe_duplicates(findings: Sequence[Finding], what: str = "audio") -> str:
    """The findings as text: a line per kind with its count, then the first few. what: that was compared, e.g. text."""
    if not findings:
        return f"No duplicate {what} found."
    counts = Counter(finding.kind for finding in findings)
    lines = []
    for kind, meaning in KINDS.items():
        if counts[kind]:
            lines.append(f"{meaning.replace('audio', what)}: {counts[kind]}")
            of_kind = [finding.detail for finding in findings if finding.kind == kind]
            lines += [f"  {detail}" for detail in of_kind[:SHOWN]]
            lines += [f"  and {counts[kind] - SHOWN} more"] if counts[kind] > SHOWN else []
    return "\n".join(lines)


def _within_train(
    train: Table, rows: list[int], ids: tuple[str, ...], folds: np.ndarray | None, label_names: Sequence[str]
) -> Iterable[Finding]:
    if folds is not None and len({int(folds[row]) for row in rows}) > 1:
        yield Finding("across_folds", ids, _listed(f"{train.ids[row]} (fold {folds[row]})" for row in rows))
    else:
        yield Finding("within_fold", ids, _listed(ids))
    if train.labels is not None and len(set(label_sets(train.labels[rows]).tolist())) > 1:
        names = _labels_of(train.labels[rows], label_names)
        yield Finding("different_labels", ids, _listed(f"{name} ({label})" for name, label in zip(ids, names, strict=True)))


def _labels_of(labels: np.ndarray, label_names: Sequence[str]) -> list[str]:
    if labels.ndim == 2:
        return [names or "no label" for names in listed(labels, label_names or range(labels.shape[1]))]
    return [label_names[label] if label_names else f"label {label}" for label in labels]


def _speakers_across(train: Table, folds: np.ndarray) -> Iterable[Finding]:
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, speaker in enumerate(train.speakers):
        rows_of[speaker].append(row)
    for speaker, rows in sorted(rows_of.items()):
        where = sorted({int(folds[row]) for row in rows})
        if len(where) > 1:
            ids = tuple(train.ids[row] for row in rows)
            places = "those trained on and those held out" if ALWAYS_TRAINED in where else f"folds {', '.join(map(str, where))}"
            yield Finding("speaker_across_folds", ids, f"{shown([speaker])}: {len(rows)} clips in {places}")


def _rows_by_hash(hashes: Sequence[str]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = defaultdict(list)
    for row, audio_hash in enumerate(hashes):
        if isinstance(audio_hash, str) and audio_hash:
            rows[audio_hash].append(row)
    return rows


def _listed(values: Iterable[str]) -> str:
    return shown(values, 6)
