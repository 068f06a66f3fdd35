"""What time stretch and pitch shift leave of speech: this project's beside audiomentations' (Signalsmith Stretch), on clips of yours.

    python benchmarks/stretch_quality.py --data FOLDER                # 40 clips, six minutes on one core
    python benchmarks/stretch_quality.py --data FOLDER --clips 10

Every result is held against the original at the times (and for pitch, of the original played faster) that it should have: the mean over
clips, and the mean difference between the two with its 95 % interval over clips.

    pitch off     median distance of the fundamental from where it should be, cents (pYIN, in steps of 10)
    voicing       share of frames that are voiced in both or in neither, %
    spectrum off  mean distance of log-mel bands (64, 25 ms, down to 60 dB below the loudest), dB
    onsets        correlation of spectral flux; 1 where every attack comes in time and as sharp as it was
    attack        the flux of the sharpest twentieth of frames, as a share of the original's
    level         change of RMS, dB
"""

from __future__ import annotations

import argparse
from pathlib import Path

import librosa
import numpy as np
import soxr
from audiomentations import PitchShift, TimeStretch

from ser.data import transforms

RATE, HOP, RANGE_DB = 16_000, 80, 60
WAYS = {"audiomentations": (TimeStretch, PitchShift), "here": (transforms.TimeStretch, transforms.PitchShift)}
CHANGES = [("rate", value) for value in (0.8, 0.9, 1.1, 1.25)] + [("semitones", value) for value in (-4, -2, 2, 4)]


def changed(wave: np.ndarray, way: str, kind: str, value: float) -> np.ndarray:
    """float32 (T,) -> float32, changed by just that much."""
    time, pitch = WAYS[way]
    transform = time(value, value, leave_length_unchanged=False, p=1.0) if kind == "rate" else pitch(value, value, p=1.0)
    return transform(wave, RATE)


def fundamental(wave: np.ndarray) -> np.ndarray:
    """Hz every 10 ms, NaN where nothing is voiced."""
    return librosa.pyin(wave, fmin=65, fmax=600, sr=RATE, frame_length=1024, hop_length=2 * HOP)[0]


def log_mel(wave: np.ndarray) -> np.ndarray:
    """dB (64, frames), a frame each 5 ms."""
    return 10 * np.log10(librosa.feature.melspectrogram(y=wave, sr=RATE, n_fft=400, hop_length=HOP, n_mels=64) + 1e-12)


def at(bands: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Bands at times between frames."""
    return np.stack([np.interp(times, np.arange(len(band)), band) for band in np.atleast_2d(bands)])


def flux(bands: np.ndarray) -> np.ndarray:
    return np.maximum(0, bands[:, 2:] - bands[:, :-2]).mean(axis=0)


def measured(wave: np.ndarray, pitch: np.ndarray, result: np.ndarray, kind: str, value: float) -> dict[str, float]:
    """The figures of one result. pitch: the original's."""
    rate, factor = (value, 1.0) if kind == "rate" else (1.0, 2 ** (value / 12))
    found = fundamental(result)
    due = pitch[np.minimum(np.rint(np.arange(len(found)) * rate).astype(int), len(pitch) - 1)] * factor
    original = log_mel(soxr.resample(wave, RATE * factor, RATE) if factor != 1 else wave)
    floor, bands = original.max() - RANGE_DB, log_mel(result)
    times = np.arange(bands.shape[1]) * rate / factor
    bands, original = np.maximum(bands, floor), np.maximum(original, floor)
    attacks, attacks_due = flux(bands), at(flux(original), times[:-2])[0]
    sharpest = max(1, len(attacks) // 20)
    both = ~np.isnan(found) & ~np.isnan(due)
    return {
        "pitch off": float(np.median(np.abs(1200 * np.log2(found[both] / due[both])))) if both.any() else np.nan,
        "voicing": 100 * float(np.mean(np.isnan(found) == np.isnan(due))),
        "spectrum off": float(np.abs(bands - at(original, times)).mean()),
        "onsets": float(np.corrcoef(attacks, attacks_due)[0, 1]),
        "attack": float(np.sort(attacks)[-sharpest:].mean() / np.sort(attacks_due)[-sharpest:].mean()),
        "level": float(10 * np.log10(np.mean(np.square(result, dtype=float)) / np.mean(np.square(wave, dtype=float)))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of wav files, also in folders below it")
    parser.add_argument("--clips", type=int, default=40, help="how many of them, two or more (default: 40)")
    given = parser.parse_args()
    paths = sorted(given.data.rglob("*.wav"))
    if not paths:
        parser.error(f"--data: no wav file in {given.data}")
    paths = [paths[number] for number in np.random.default_rng(0).permutation(len(paths))[: given.clips]]
    waves = [librosa.load(path, sr=RATE, duration=5.0)[0] for path in paths]
    waves = [wave for wave in waves if len(wave) > RATE // 2 and wave.any()]
    if len(waves) < 2:
        parser.error(f"--data, --clips: {len(waves)} of the {len(paths)} clips taken are longer than 0.5 s and not silent; two are needed")
    pitches = [fundamental(wave) for wave in waves]
    for kind, value in CHANGES:
        figures = {
            way: [measured(wave, pitch, changed(wave, way, kind, value), kind, value) for wave, pitch in zip(waves, pitches, strict=True)]
            for way in WAYS
        }
        print(f"\n{kind} {value:g} ({len(waves)} clips){'audiomentations':>22}{'here':>10}   difference")
        for name in figures["here"][0]:
            plain, own = (np.array([one[name] for one in figures[way]]) for way in WAYS)
            gap = (own - plain)[~np.isnan(own - plain)]
            half = 1.96 * gap.std(ddof=1) / np.sqrt(len(gap)) if len(gap) > 1 else np.nan
            print(f"  {name:28}{np.nanmean(plain):10.3f}{np.nanmean(own):10.3f}   {gap.mean():+.3f} ± {half:.3f}", flush=True)


if __name__ == "__main__":
    main()
