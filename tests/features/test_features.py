"""Features of clips, against librosa, scipy and tones whose features are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser.config import DataConfig
from ser.data.store import ClipStore
from ser.features import SOURCES, extraction, librosa_statistics, load_features, opensmile_sets
from ser.features.alignment import align, alignment_cost, learn_template
from ser.features.descriptors import SCALARS, describe
from ser.features.functionals import functionals, statistics
from ser.features.own_statistics import extract
from ser.features.pitch import track_pitch
from ser.features.trim import speech_bounds, trim
from ser.runtime.errors import UserError
from sounds import tone, write_wav

RATE = 16_000


def harmonic(hz: float, seconds: float = 0.6) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return 0.3 * sum(np.sin(2 * np.pi * hz * part * time) / part for part in range(1, 6))


@given(st.floats(70, 550))
@settings(max_examples=25, deadline=None)
def test_pitch_of_a_harmonic_tone_is_its_fundamental_within_one_percent(hz):
    pitch = track_pitch(harmonic(hz))
    inside = slice(6, -6)  # whole windows only
    assert np.isfinite(pitch.log2_hz[inside]).all()
    np.testing.assert_allclose(2 ** pitch.log2_hz[inside], hz, rtol=0.01)
    assert pitch.periodicity[inside].min() > 0.9


def test_pitch_follows_a_glide_and_noise_has_none():
    time = np.arange(RATE) / RATE
    hz = 120 * 2**time  # an octave in a second
    glide = np.sin(2 * np.pi * np.cumsum(hz) / RATE) + 0.5 * np.sin(4 * np.pi * np.cumsum(hz) / RATE)
    found = track_pitch(0.3 * glide).log2_hz[6:-6]
    np.testing.assert_allclose(2**found, 120 * 2 ** (np.arange(101)[6:-6] / 100), rtol=0.02)
    noise = np.random.default_rng(0).normal(0, 0.1, RATE)
    assert np.isnan(track_pitch(noise).log2_hz).mean() > 0.9


def test_mel_bands_and_mfcc_equal_librosas():
    import librosa

    wave = tone(1.3).astype(np.float64)
    frames = describe(wave)
    power = librosa.feature.melspectrogram(
        y=wave, sr=RATE, n_fft=1024, win_length=512, hop_length=160, n_mels=64, fmin=50, fmax=8000, pad_mode="constant"
    )
    decibels = librosa.power_to_db(power, top_db=None)
    np.testing.assert_allclose(frames.mel_db, decibels.T, atol=1e-4)
    np.testing.assert_allclose(frames.mfcc, librosa.feature.mfcc(S=decibels, n_mfcc=25).T, atol=1e-4)


def test_each_librosa_statistic_has_its_name():
    import librosa

    wave = trim(tone(0.6))
    found = dict(zip(librosa_statistics.NAMES, librosa_statistics.extract(wave)["librosa"], strict=True))
    mfcc = librosa.feature.mfcc(y=wave, sr=RATE, n_mfcc=40)
    assert found["MFCC 7, mean"] == pytest.approx(mfcc[7].mean(), rel=1e-4)
    assert found["rolloff, deviation"] == pytest.approx(librosa.feature.spectral_rolloff(y=wave, sr=RATE)[0].std(), rel=1e-4)
    assert found["zero crossings, mean"] == pytest.approx(librosa.feature.zero_crossing_rate(wave)[0].mean(), rel=1e-4)
    assert found["contrast 6, mean"] == pytest.approx(librosa.feature.spectral_contrast(y=wave, sr=RATE)[6].mean(), rel=1e-4)


@pytest.mark.parametrize("samples", [1, 511, 2048, 9_000])
def test_zero_crossings_are_librosas(samples):
    import librosa

    wave = np.random.default_rng(samples).normal(0, 0.1, samples).astype(np.float32)
    wave[::7] = 0
    wave[3:200] = -0.0
    np.testing.assert_allclose(librosa_statistics._zero_crossing_rate(wave), librosa.feature.zero_crossing_rate(wave), atol=1e-7)


def test_spectral_descriptors_equal_librosas():
    import librosa

    wave = (tone(0.8) + np.random.default_rng(1).normal(0, 0.02, 12_800)).astype(np.float64)
    frames = describe(wave)
    magnitude = np.abs(librosa.stft(wave, n_fft=1024, win_length=512, hop_length=160, pad_mode="constant"))
    column = {name: frames.scalars[:, number] for number, name in enumerate(SCALARS)}
    np.testing.assert_allclose(column["centroid"], librosa.feature.spectral_centroid(S=magnitude**2, sr=RATE)[0], rtol=1e-6)
    spread = librosa.feature.spectral_bandwidth(S=magnitude**2, sr=RATE)[0]
    np.testing.assert_allclose(column["spread"], spread, rtol=1e-6)
    rolloff = librosa.feature.spectral_rolloff(S=magnitude**2, sr=RATE, roll_percent=0.9)[0]
    np.testing.assert_allclose(column["rolloff_90"], rolloff, atol=RATE / 1024)
    flatness = librosa.feature.spectral_flatness(S=magnitude[4:], amin=1e-12)[0]
    np.testing.assert_allclose(column["log_flatness"], np.log(flatness), atol=1e-3)


def test_first_harmonic_above_the_second_is_measured_in_decibels():
    time = np.arange(RATE) / RATE
    wave = 0.4 * np.sin(2 * np.pi * 200 * time) + 0.1 * np.sin(2 * np.pi * 400 * time)
    h1_h2 = describe(wave).scalars[10:-10, SCALARS.index("h1_h2")]
    np.testing.assert_allclose(h1_h2, 20 * np.log10(4), atol=0.5)


def test_speech_is_found_between_silences():
    silence = np.random.default_rng(0).normal(0, 1e-4, RATE)
    start, stop = speech_bounds(np.concatenate([silence, tone(1.0), silence]))
    assert abs(start - (RATE - 800)) <= 800
    assert abs(stop - (2 * RATE + 800)) <= 800
    assert speech_bounds(tone(0.1)) == (0, 1600)


def test_statistics_equal_scipys():
    from scipy import stats

    values = np.random.default_rng(0).gamma(2.0, 1.0, (200, 3))
    found = statistics(values)
    np.testing.assert_allclose(found["skewness"], stats.skew(values), rtol=1e-4)
    np.testing.assert_allclose(found["log_kurtosis"], np.log(stats.kurtosis(values, fisher=False)), rtol=1e-4)
    np.testing.assert_allclose(found["p75"], np.percentile(values, 75, axis=0))
    slope = [stats.linregress(np.linspace(-1, 1, 200), column).slope for column in values.T]
    np.testing.assert_allclose(found["slope"], slope)


@pytest.mark.parametrize(
    "wave",
    [np.full(1_600, 0.5), np.random.default_rng(0).normal(0, 0.1, 1_600), tone(0.1), tone(15.0), np.eye(1, 20_000)[0], np.zeros(8_000)],
    ids=["constant", "short noise", "short tone", "long", "click", "zeros"],
)
def test_any_clip_has_finite_features_of_the_same_number(wave):
    features = extract(wave)
    assert features["functionals"].shape == (2736,)
    assert features["contents"].shape[1] == 56
    assert len(features["contents"]) == len(features["timbre"])
    assert all(np.isfinite(values).all() for values in features.values())


def test_functionals_do_not_depend_on_loudness_where_they_should_not():
    quiet, loud = (functionals(describe(harmonic(180) * gain)) for gain in (0.1, 0.8))
    np.testing.assert_allclose(quiet["pitch_contour"], loud["pitch_contour"], atol=1e-3)
    assert abs(quiet["level_contour"][0] - loud["level_contour"][0]) > 10


def brute_force_cost(distance: np.ndarray, i: int, j: int) -> float:
    if i == j == 0:
        return distance[0, 0]
    before = [(i - 1, j - 1), (i - 1, j), (i, j - 1)]
    return distance[i, j] + min(brute_force_cost(distance, *cell) for cell in before if min(cell) >= 0)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_alignment_costs_what_the_best_of_all_paths_costs(rows, columns, seed):
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(rows, 3)), rng.normal(size=(columns, 3))
    distance = np.linalg.norm(first[:, None] - second, axis=2)
    assert alignment_cost(first, second) * (rows + columns) == pytest.approx(brute_force_cost(distance, rows - 1, columns - 1))


def test_alignment_equals_librosas_path():
    import librosa

    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(40, 4)).cumsum(0), rng.normal(size=(30, 4)).cumsum(0)
    _, path = librosa.sequence.dtw(first.T, second.T)
    values = rng.normal(size=(40, 2))
    expected = [values[path[path[:, 1] == place, 0]].mean(axis=0) for place in range(30)]
    np.testing.assert_allclose(align(values, first, second), expected)


def test_a_slowed_clip_lies_on_the_template_as_the_clip_itself():
    rng = np.random.default_rng(0)
    clip = rng.normal(size=(50, 6)).cumsum(axis=0).astype(np.float32)
    slowed = np.repeat(clip, 2, axis=0)
    np.testing.assert_allclose(align(slowed, slowed, clip), clip, atol=1e-5)


def test_template_is_of_median_length_and_near_all_clips():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(60, 8)).cumsum(axis=0)
    base = (base - base.mean(axis=0)) / base.std(axis=0)
    clips = []
    for length in (45, 50, 55, 60, 65, 70, 75):
        where = np.interp(np.linspace(0, 59, length), np.arange(60), np.arange(60))
        clips.append((base[where.round().astype(int)] + rng.normal(0, 0.2, (length, 8))).astype(np.float32))
    template = learn_template(clips)
    assert len(template) in (55, 60, 65)
    other = rng.normal(size=(60, 8)).cumsum(axis=0)
    assert alignment_cost(base, template) < 0.5 * alignment_cost((other - other.mean(0)) / other.std(0), template)


@pytest.fixture
def store(tmp_path):
    waves = [tone(0.6 + 0.1 * number, hz=120 + 20 * number, seed=number) for number in range(5)]
    paths = [write_wav(tmp_path / f"{number}.wav", wave) for number, wave in enumerate(waves)]
    return ClipStore.open(paths, DataConfig(cache=str(tmp_path / "cache")))


def test_a_clips_features_do_not_depend_on_its_neighbours_or_their_order(store, tmp_path):
    """Fault 10: features that change with the other rows of the batch."""
    together = load_features(store, range(5), "voice")
    backwards = load_features(store, [4, 3, 2, 1, 0], "voice")
    store.folder = tmp_path / "elsewhere" / store.folder.name
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "cache" / store.folder.name).rename(store.folder)
    alone = load_features(store, [3], "voice")
    for name in SOURCES["voice"].features:
        np.testing.assert_array_equal(together[name][3], alone[name][0])
        np.testing.assert_array_equal(together[name][3], backwards[name][1])


def test_features_are_computed_once_and_found_by_content(store, monkeypatch, tmp_path):
    first = load_features(store, range(5), "librosa")
    monkeypatch.setattr(extraction, "_compute", lambda *_: pytest.fail("computed again"))
    copies = [write_wav(tmp_path / f"copy{number}.wav", tone(0.8, hz=160, seed=2)) for number in range(2)]
    again = ClipStore.open(copies, DataConfig(cache=str(tmp_path / "cache")))
    for values in load_features(again, [0, 1], "librosa")["librosa"]:
        np.testing.assert_array_equal(values, first["librosa"][2])


def test_interrupted_features_go_on_with_the_next_file_and_a_damaged_file_is_made_again(store, monkeypatch):
    monkeypatch.setattr(extraction, "CLIPS_PER_FILE", 2)
    monkeypatch.setattr(
        extraction, "_extract_all", lambda store, chunks, source: (extraction.extract_rows(store, c, source) for c in chunks)
    )

    class Stop(Exception):
        pass

    def stop():
        raise Stop

    with pytest.raises(Stop):
        load_features(store, range(5), "librosa", stop)
    folder = store.folder.parent / "features-librosa-1"
    (done,) = folder.glob("*.safetensors")
    before = done.stat().st_mtime_ns
    whole = load_features(store, range(5), "librosa")
    assert len(list(folder.glob("*.safetensors"))) == 3
    assert done.stat().st_mtime_ns == before
    done.write_bytes(done.read_bytes()[:100])
    for values, expected in zip(load_features(store, range(5), "librosa")["librosa"], whole["librosa"], strict=True):
        np.testing.assert_array_equal(values, expected)


def test_many_clips_are_extracted_in_processes_with_the_same_result(store, monkeypatch):
    monkeypatch.setattr(extraction, "CLIPS_PER_FILE", 3)
    parallel = load_features(store, range(5), "librosa")["librosa"]
    for row in range(5):
        np.testing.assert_array_equal(parallel[row], extraction.extract_rows(store, [row], "librosa")[0]["librosa"])


def test_missing_opensmile_is_told_with_the_way_out(monkeypatch):
    monkeypatch.setattr(opensmile_sets, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"requirements-opensmile\.txt"):
        SOURCES["compare"].load()


def test_opensmile_sets_have_their_official_sizes():
    pytest.importorskip("opensmile")
    wave = tone(0.7)
    assert opensmile_sets.egemaps(wave)["egemaps"].shape == (88,)
    assert opensmile_sets.compare(wave)["compare"].shape == (6373,)
