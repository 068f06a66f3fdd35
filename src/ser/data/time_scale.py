"""Speech made longer or shorter at its pitch, or higher and lower at its length, in the time domain.

Whole periods of the voice are left out or said again, with a fade where the two sides are most alike: pointer interval controlled
overlap and add (PICOLA; Morita and Itakura, Acoustical Society of Japan 1986), periods found by normalized cross-correlation as in WSOLA
(Verhelst and Roelands, ICASSP 1993). Between fades every sample stays as it was said, which keeps a voice's roughness and its attacks, and
costs little. Made for one voice: music and crowds have no common period, a phase vocoder serves them better.
"""

from __future__ import annotations

import math

import numpy as np
import soxr
from numpy.lib.stride_tricks import as_strided
from scipy import fft

from ser.audio import SAMPLE_RATE

THINNED = 4  # periods are looked for at 4 kHz, and to a sample by a parabola through the best three lags
PLACE = 160  # fades begin at multiples of 10 ms
FADE = 2 * PLACE  # and half of that where fades follow close on each other (rates beyond 0.8 and 1.25)
SHORTEST, LONGEST = 10, 64  # lags, thinned: 2.5 to 16 ms, periods of 400 to 62 Hz
VOICED = 0.5  # mismatch above which there is no period, of 0 (alike) to 2 (inverted)
SHORT_LAGS = 0.15  # mismatch that one period may have more than several
FLOOR = 0.01  # of the clip's mean energy: what is quieter can't be told from silence
LATE = 16  # samples that a fade may come early or late to find a better place


def time_stretch(samples: np.ndarray, rate: float) -> np.ndarray:
    """Say it `rate` times as fast, at the same pitch.

    samples: finite float32 (T,), 16 kHz. rate: 0.65 to 1.5. Returns float32 (round(T / rate),); a sound at t is found at t / rate to within
    about half a period. Clips too short for a fade (under 50 ms) are cut, or followed by silence.
    """
    length = round(len(samples) / rate)
    if length in (0, len(samples)):
        return samples[:length].copy()
    tempo = max(rate, 1 / rate) - 1
    fade = FADE if tempo <= 0.25 else FADE // 2
    return _fitted(_faded(samples, *_splices(samples, length, fade), fade, shorter=rate > 1), length)


def pitch_shift(samples: np.ndarray, semitones: float) -> np.ndarray:
    """Say it higher, or below 0 lower, at the same speed; the formants move along, as from a smaller or larger speaker.

    samples: finite float32 (T,), 16 kHz. semitones: -12 to 12; from 9 on the last 10 to 15 ms are silent. Returns float32 (T,).
    """
    factor = 2 ** (semitones / 12)
    stretched = time_stretch(samples, 1 / factor)
    return _fitted(soxr.resample(stretched, SAMPLE_RATE * factor, SAMPLE_RATE, quality="MQ"), len(samples))  # 16 bits, as the clips have


def _fitted(samples: np.ndarray, length: int) -> np.ndarray:
    """Cut, or followed by silence: of what was resampled a sample, of what is too short for a fade more."""
    missing = length - len(samples)
    return np.concatenate([samples, np.zeros(missing, samples.dtype)]) if missing > 0 else samples[:length]


def _windows(values: np.ndarray, width: int, step: int = 1) -> np.ndarray:
    """(T,) -> (windows, width), one every `step`; a view, for a tenth of the cost of NumPy's own."""
    values = np.ascontiguousarray(values)
    shape = max(0, (len(values) - width) // step + 1), width
    return as_strided(values, shape, (step * values.itemsize, values.itemsize), writeable=False)


def _mismatch(samples: np.ndarray, longest: int, fade: int) -> np.ndarray:
    """How unlike the sound at each place is to the sound a lag later, over a fade's length.

    samples: (T,). longest: thinned. fade: samples. Returns float32 (places, longest + 1): 0 alike, 1 unrelated or silent, 2 inverted.
    """
    step, width = PLACE // THINNED, fade // THINNED
    end = len(samples) // THINNED * THINNED
    thin = sum(samples[start:end:THINNED] for start in range(1, THINNED)) + samples[:end:THINNED]
    thin /= max(float(np.abs(thin).max(initial=0)), 1e-20)
    places = (len(thin) - longest - width) // step + 1
    if places < 1:
        return np.empty((0, longest + 1), np.float32)
    blocks = fade // PLACE
    parts = _windows(thin, step + longest, step)[: places - 1 + blocks]
    size = fft.next_fast_len(step + longest, real=True)
    spectra, begins = fft.rfft(parts, size), fft.rfft(parts[:, :step], size)
    spectra *= np.conjugate(begins, out=begins)
    products = fft.irfft(sum(spectra[block : block + places] for block in range(blocks)), size)[:, : longest + 1]
    summed = np.zeros(len(thin) + 1)
    np.cumsum(thin * thin, out=summed[1:])
    energy = (summed[width:] - summed[:-width]).astype(np.float32)
    both = _windows(energy, longest + 1, step)[:places]
    quiet = FLOOR * 2 * width * float(summed[-1]) / len(thin) + 1e-9
    return 1 - 2 * products / (both + both[:, :1] + np.float32(quiet))


def _periods(mismatch: np.ndarray, shortest: int) -> tuple[np.ndarray, np.ndarray]:
    """The best lag at each place, and its mismatch.

    Sounds without a period get the lag at which they are least related to themselves: a hiss repeated where it is most alike would hum.
    mismatch: (places, lags). shortest: thinned. Returns int (places,) in samples, float (places,).
    """
    allowed = mismatch[:, shortest:-1]
    hiss = allowed.min(axis=1) > VOICED
    sought = np.where(hiss[:, None], np.abs(allowed - 1), allowed)
    sought += np.arange(allowed.shape[1], dtype=np.float32) * np.float32(SHORT_LAGS / LONGEST)
    best = sought.argmin(axis=1) + shortest
    rows = np.arange(len(best))
    before, at, after = (mismatch[rows, best + side] for side in (-1, 0, 1))
    curve = before - 2 * at + after
    vertex = np.where(curve > 1e-6, 0.5 * (before - after) / np.maximum(curve, 1e-6), 0)
    return np.rint((best + np.clip(vertex, -0.5, 0.5)) * THINNED).astype(int), at


def _splices(samples: np.ndarray, length: int, fade: int) -> tuple[list[int], list[int]]:
    """Where to fade and over which lags, so that every sound comes when it is due and the lags add up to the change of length.

    Returns places and lags in samples, the places in order, no two fades over the same samples.
    """
    missing, shorter = abs(len(samples) - length), length < len(samples)
    due = missing / len(samples)  # samples of lag for each sample that is read
    # The next fade waits for the end of this one: a lag must be long enough to last until then.
    needed = (fade + PLACE) * missing / length if shorter else fade * due
    shortest = max(SHORTEST, math.ceil(1.05 * needed / THINNED))
    longest = max(LONGEST, shortest + LONGEST - SHORTEST)
    mismatch = _mismatch(samples, longest + 1, fade)
    lags, costs = _periods(mismatch, shortest) if len(mismatch) else (np.empty(0, int), np.empty(0))
    begins = np.arange(len(lags)) * PLACE
    # A fade is on time when in its middle half of its lag is due.
    debts = ((begins + (lags + fade) / 2) * due - lags / 2).tolist()
    chosen, paid, place, best = [], 0, 0, None
    lags, costs = lags.tolist(), costs.tolist()
    while place < len(lags) and missing - paid > longest * THINNED:
        debt = debts[place] - paid
        if debt >= -LATE and (best is None or (debt <= LATE and costs[place] < costs[best])):
            best = place
        place += 1
        if best is not None and (debt > LATE or place == len(lags)):
            chosen.append((best * PLACE, lags[best]))
            paid += lags[best]
            place, best = best - (-(fade + (lags[best] if shorter else 0)) // PLACE), None
    rest = missing - paid
    if place < len(lags) and rest <= longest * THINNED:
        late = np.abs((begins[place:] + (rest + fade) / 2) * due - rest / 2 - paid) / (longest * THINNED)
        chosen.append((int(begins[place + np.argmin(mismatch[place:, round(rest / THINNED)] + 0.5 * late)]), rest))
    return [begin for begin, _ in chosen], [lag for _, lag in chosen]


def _faded(samples: np.ndarray, places: list[int], lags: list[int], fade: int, shorter: bool) -> np.ndarray:
    """The clip with a fade at each place, from there to a lag later (shorter), or from a lag later to there."""
    if not places:
        return samples.copy()
    begins = np.array(places)
    windows = _windows(samples, fade)
    early, late = windows[begins], windows[begins + np.array(lags)]
    going, coming = (early, late) if shorter else (late, early)
    rise = np.sin(np.pi / 2 * (np.arange(fade, dtype=np.float32) + 0.5) / fade) ** 2
    fall = 1 - rise
    # As loud in the middle as at both ends, however much alike the two sounds are.
    size = np.sqrt(np.einsum("kw,kw->k", early, early)) * np.sqrt(np.einsum("kw,kw->k", late, late))
    alike = np.clip(np.einsum("kw,kw->k", early, late) / np.maximum(size, 1e-20), 0, 1)[:, None]
    mixed = (going * fall + coming * rise) / np.sqrt(fall**2 + rise**2 + 2 * alike * fall * rise)
    parts, read = [], 0
    for number, (place, lag) in enumerate(zip(places, lags, strict=True)):
        leave, enter = (place, place + lag) if shorter else (place + lag, place)
        parts += [samples[read:leave], mixed[number]]
        read = enter + fade
    return np.concatenate([*parts, samples[read:]])
