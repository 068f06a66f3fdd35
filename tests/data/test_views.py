"""Views of a clip: what each makes of it, against independent references."""

import numpy as np
import pytest
from scipy.signal import resample

from ser.data.inputs import Store
from ser.data.views import View, ViewedClips, needed_seconds, read_views, view_of
from ser.runtime.errors import UserError

RATE = 16_000
MOST = 4 * RATE


def tone(seconds, hertz=300.0, level=8000):
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.int16)


def pitch(samples):
    return np.argmax(np.abs(np.fft.rfft(samples * np.hanning(len(samples))))) * RATE / len(samples)


def test_speed_changes_length_and_pitch_together():
    faster = View("speed", 1.25).of(tone(2.0), MOST)
    assert len(faster) == round(2.0 * RATE / 1.25)
    assert pitch(faster) == pytest.approx(300 * 1.25, abs=2)
    reference = resample(tone(2.0).astype(float), len(faster))
    assert np.corrcoef(faster[2000:-2000], reference[2000:-2000])[0, 1] > 0.999


def test_a_faster_view_of_a_long_clip_hears_more_of_it():
    clip = np.concatenate([tone(4.0, 300), tone(1.0, 900)])
    faster = View("speed", 1.25).of(clip, MOST)
    assert len(faster) == MOST
    assert pitch(faster[-RATE // 2 :]) == pytest.approx(900 * 1.25, abs=3)


def test_gain_is_decibels_and_never_wraps_around():
    assert np.abs(View("gain", -6).of(tone(1.0), MOST)).max() == pytest.approx(8000 * 10 ** (-6 / 20), abs=2)
    loud = View("gain", 40).of(tone(1.0), MOST)
    assert loud.max() == 32767 and loud.min() == -32768


def test_a_shift_moves_and_leaves_silence():
    clip = tone(1.0)
    later, earlier = View("shift", 0.1).of(clip, MOST), View("shift", -0.1).of(clip, MOST)
    assert not later[:1600].any() and np.array_equal(later[1600:], clip[:-1600])
    assert not earlier[-1600:].any() and np.array_equal(earlier[:-1600], clip[1600:])


def test_crops_lie_evenly_from_the_first_stretch_to_the_last():
    clip = np.arange(10 * RATE) % 30_000
    first, middle, last = View("crops", 0.0), *read_views("crops:3")
    assert np.array_equal(first.of(clip, MOST), clip[:MOST])
    assert np.array_equal(middle.of(clip, MOST), clip[3 * RATE : 7 * RATE])
    assert np.array_equal(last.of(clip, MOST), clip[-MOST:])
    assert needed_seconds(read_views("crops:3,gain:6"), 4.0) == 12.0
    assert View("crops", 1.0).changes(np.array([MOST, MOST + 1]), MOST).tolist() == [False, True]


@pytest.mark.parametrize("word", ["speed:0.9", "speed:1.1", "gain:-6", "shift:0.2", "crops:2"])
def test_a_view_is_as_long_as_the_store_says_and_has_a_name_of_its_own(word):
    clips = [tone(seconds) for seconds in (0.025, 0.7, 3.99, 4.0, 6.3)]
    store = Store.of_samples(clips)
    seen = view_of(store, read_views(word)[0], 4.0)
    assert [len(seen.clips.samples(row)) for row in range(len(clips))] == seen.frames.tolist()
    assert max(seen.frames) <= MOST and min(seen.frames) >= 400
    assert not set(seen.report["audio_hash"]) & set(store.report["audio_hash"])
    part = seen.clips.take([4, 1])
    assert isinstance(part, ViewedClips) and np.array_equal(part.samples(0), seen.clips.samples(4))


@pytest.mark.parametrize("wrong", ["speed:2", "speed", "gain:loud", "crops:1", "crops:2.5", "echo:1", "speed:nan"])
def test_what_is_no_view_is_told_with_what_is_allowed(wrong):
    with pytest.raises(UserError, match=rf"--predict.views: given {wrong}; allowed are speed:F"):
        read_views(f"gain:3,{wrong}")


@pytest.mark.parametrize("same", ["speed:1", "speed:1.00", "gain:0", "gain:-0.0", "shift:0"])
def test_a_view_that_is_the_clip_as_it_is_is_refused_because_it_would_count_twice(same):
    with pytest.raises(UserError, match=rf"--predict.views: given {same}, which is the clip as it is.* would count twice: take it out"):
        read_views(f"gain:3,{same}")


def test_a_view_twice_and_a_view_of_texts_are_refused():
    with pytest.raises(UserError, match=r"speed:0\.9 is there twice, which would double its weight"):
        read_views("speed:0.9,speed:0.90")
    with pytest.raises(UserError, match="the same stretch of a clip is there twice"):
        read_views("crops:2,crops:3")
    with pytest.raises(UserError, match="reads texts"):
        view_of(Store.of_texts(["good"]), View("gain", 3.0), 4.0)
