"""Decoding: the right status for every kind of file, and the right samples."""

from __future__ import annotations

import pytest

from ser.audio import SAMPLE_RATE, STATUSES, UNUSABLE, decode
from sounds import KINDS


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_file_gets_its_status(name, tmp_path):
    kind = KINDS[name]
    clip = decode(kind.make(tmp_path))
    assert (clip.status, clip.notes) == (kind.status, kind.notes), clip.detail
    assert (clip.samples is None) == (kind.status in UNUSABLE), "an unusable file has no samples, not even zeros"
    assert clip.detail or not clip.notes, "every note says why"
    if clip.usable:
        assert clip.source_rate == kind.rate
        assert clip.seconds == pytest.approx(kind.seconds, abs=0.1)  # encoders pad by a frame or two
        assert len(clip.samples) == pytest.approx(min(15.0, clip.seconds) * SAMPLE_RATE, abs=1)


def test_every_status_is_produced_by_some_file():
    assert {kind.status for kind in KINDS.values()} == set(STATUSES)
