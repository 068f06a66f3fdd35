"""A small source-filter voice: glottal pulses and noise, shaped by formants, spoken with an emotion.

The source is Rosenberg's glottal pulse (Rosenberg 1971, type C) with jitter and shimmer; the vocal tract is a cascade of
resonators (Fant 1960; Klatt 1980) that moves from sound to sound.
"""

from __future__ import annotations

import numpy as np

from ser.make_demo.score import FRAME, SAMPLE_RATE, SENTENCES, Score, score_of
from ser.make_demo.voices import EMOTIONS, Emotion, Speaker, generator_of, manner_of

PEAK = 0.9  # nothing is louder than this share of full scale, so nothing clips
OVERSAMPLING = 2  # of the glottal pulse, whose sharp closure would sound through its alias
PULSE_STEPS = 4096  # of a period, in the table of the pulse
WINDOW, FFT = 384, 640  # samples; the difference is room for the vocal tract's response


def speak(speaker: Speaker, emotion: str, sentence: int, seed: int, clip_id: str) -> np.ndarray:
    """One clip, int16 (T,) at 16 kHz, 1.3 to 2.5 s. A function of its arguments only."""
    random = generator_of(seed, "clip", clip_id)
    manner = manner_of(EMOTIONS[emotion], speaker, random)
    score = score_of(SENTENCES[sentence], manner, speaker, random)
    source = _source(score, manner, speaker, random)
    noise = random.uniform(-1.0, 1.0, len(source))
    speech = _vocal_tract(source, noise, score, manner.tilt + speaker.tilt, speaker.tract)
    loud = np.abs(speech) > 0.1 * np.abs(speech).max()
    speech *= 10 ** ((speaker.level + manner.level) / 20) / np.sqrt(np.mean(speech[loud] ** 2))
    speech += 10 ** (speaker.noise / 20) * np.sqrt(3) * random.uniform(-1.0, 1.0, len(speech))
    speech *= min(1.0, PEAK / np.abs(speech).max())
    return np.round(speech * 32767).astype(np.int16)


def _source(score: Score, manner: Emotion, speaker: Speaker, random: np.random.Generator) -> np.ndarray:
    """Derivative of the glottal flow with the breath that goes with it, (T,)."""
    step = FRAME * OVERSAMPLING
    frames = np.arange(len(score.pitch))
    at = np.arange(len(frames) * step) / step
    pitch = speaker.pitch * 2 ** (np.interp(at, frames, score.pitch) / 12) / (SAMPLE_RATE * OVERSAMPLING)
    cycle = np.cumsum(pitch).astype(int)
    wobble = random.uniform(-1, 1, (2, 2 * cycle[-1] + 2)) * manner.jitter * np.sqrt(3)
    phase = np.cumsum(pitch * (1 + wobble[0, cycle]))
    cycle = phase.astype(int)
    phase -= cycle
    opening = speaker.open_quotient * np.clip(1 - 0.05 * manner.tilt, 0.7, 1.25)
    flow = _glottal_derivative(np.arange(PULSE_STEPS) / PULSE_STEPS, opening)
    pulse = flow[(phase * PULSE_STEPS).astype(int)] * (1 + 4 * wobble[1, cycle])
    pulse = pulse.reshape(-1, OVERSAMPLING).mean(axis=1)
    amplitude = np.interp(at[::OVERSAMPLING], frames, score.voice)
    breath = 4 * manner.breath * random.uniform(-1, 1, len(pulse)) * np.where(phase[::OVERSAMPLING] < opening, 1.0, 0.4)
    return (pulse + breath) * amplitude


def _glottal_derivative(phase: np.ndarray, opening: float) -> np.ndarray:
    """One period of the derivative of Rosenberg's pulse C: it rises, falls to a sharp closure, and rests."""
    rise, fall = 0.68 * opening, 0.32 * opening
    falling = -np.sin(np.pi / 2 * np.clip((phase - rise) / fall, 0, 1)) / fall
    return np.where(phase < rise, np.sin(np.pi * phase / rise) / rise, np.where(phase < opening, falling, 0.0))


def _vocal_tract(source: np.ndarray, noise: np.ndarray, score: Score, tilt: float, tract: float) -> np.ndarray:
    """Shape source and consonant noise by filters that move with the sounds: spectra of windows, overlapped and added."""
    hop = WINDOW // 3
    starts = np.arange(len(source) // hop + 3) * hop
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)  # sums to 1.5 at this hop
    middle = np.clip((starts + WINDOW // 2 - 2 * hop) // FRAME, 0, len(score.pitch) - 1)

    def spectra(signal: np.ndarray) -> np.ndarray:
        padded = np.pad(signal, (2 * hop, WINDOW))
        return np.fft.rfft(np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[starts] * window, FFT)

    frequency = np.arange(FFT // 2 + 1) * SAMPLE_RATE / FFT
    slope = 10 ** (tilt * np.log2(np.maximum(frequency, 250.0) / 500.0) / 20)
    higher = _resonances(np.array([[3500.0 * tract, 4500.0 * tract]]), (200.0, 260.0), frequency)
    output = spectra(source) * (slope * higher) * _resonances(score.formants[middle], (70.0, 90.0, 130.0), frequency)
    hissing = score.hiss[middle] > 0.001
    center, width = score.hiss_center[middle[hissing], None], score.hiss_width[middle[hissing], None]
    hiss = 3.0 * score.hiss[middle[hissing], None] * np.exp(-0.5 * ((frequency - center) / width) ** 2)
    output[hissing] += spectra(noise)[hissing] * hiss
    pieces = np.fft.irfft(output, FFT) / 1.5
    total = np.zeros(starts[-1] + FFT)
    for offset in range(0, FFT, hop):  # a column of pieces at a time: they don't overlap within a column
        total[offset : offset + len(starts) * hop] += pieces[:, offset : offset + hop].reshape(-1)
    return total[2 * hop : 2 * hop + len(source)]


def _resonances(formants: np.ndarray, widths: tuple[float, ...], frequency: np.ndarray) -> np.ndarray:
    """Response of a cascade of digital resonators (Klatt 1980): formants in Hz (N, K), widths in Hz (K,) -> (N, bins) complex."""
    z = np.exp(-2j * np.pi * frequency / SAMPLE_RATE)
    below, gain = np.ones(len(frequency), complex), 1.0
    for center, width in zip(formants.T, widths, strict=True):
        radius = np.exp(-np.pi * width / SAMPLE_RATE)
        cosine = 2 * radius * np.cos(2 * np.pi * center[:, None] / SAMPLE_RATE)
        below = below * ((1 + radius**2 * z**2) - cosine * z)
        gain = gain * (1 - cosine + radius**2)
    return gain / below
