"""A small source-filter voice: glottal pulses and noise, shaped by formants, spoken with an emotion.

The source is Rosenberg's glottal pulse (Rosenberg 1971, type C) with jitter and shimmer; the vocal tract is a cascade of
resonators (Fant 1960; Klatt 1980) that moves from sound to sound. How an emotion changes a voice follows the tables of Scherer
(2003, Speech Communication 40, table 2) and Juslin & Laukka (2003, Psychological Bulletin 129, table 7): anger, fear and happiness
are high and fast, sadness low, slow and soft; anger and happiness have a wide pitch range and strong high frequencies; fear trembles;
disgust is slow, creaky and constricted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ser.runtime.seeds import seed_of

SAMPLE_RATE = 16_000
MIN_SECONDS, MAX_SECONDS = 1.3, 2.5
PEAK = 0.9  # nothing is louder than this share of full scale, so nothing clips
OVERSAMPLING = 2  # of the glottal pulse, whose sharp closure would sound through its alias
PULSE_STEPS = 4096  # of a period, in the table of the pulse
FRAME = 80  # samples between two control points: 5 ms
WINDOW, FFT = 384, 640  # samples; the difference is room for the vocal tract's response

# Formants in Hz of an average vocal tract, after Hillenbrand et al. (1995).
VOWELS = {
    "a": (770, 1330, 2520),
    "e": (560, 1900, 2620),
    "i": (320, 2350, 3050),
    "o": (510, 950, 2500),
    "u": (360, 1050, 2350),
    "@": (550, 1480, 2450),
}
# Kind of consonant, then centre and width in Hz of its noise (for voiced ones: their formants).
CONSONANTS = {
    "s": ("fricative", 5600, 1500),
    "x": ("fricative", 3300, 1200),
    "f": ("fricative", 5000, 3500),
    "h": ("fricative", 1500, 1500),
    "p": ("stop", 1000, 900),
    "t": ("stop", 4200, 1600),
    "k": ("stop", 2100, 900),
    "m": ("voiced", 260, 1000, 2200),
    "n": ("voiced", 280, 1500, 2500),
    "l": ("voiced", 350, 1150, 2700),
    "w": ("voiced", 320, 700, 2200),
    "j": ("voiced", 290, 2200, 2900),
}
# Twelve sentences said by everybody with every emotion, as in CREMA-D; a space is a word boundary.
SENTENCES = (
    "ti ma so lu ne ka",
    "jo nelu fi tasa",
    "ki waso mel@ nu",
    "sa tine xo mala",
    "no paki lu wesi",
    "ha lumi ta ke sojo",
    "f@ nasi komu le",
    "wi seta no pali",
    "xe lako ni tum@",
    "ma josi te fula",
    "li kane so h@mi",
    "tu sela pi nowa",
)


@dataclass(frozen=True)
class Emotion:
    """How a voice departs from the speaker's own neutral one."""

    pitch: float  # semitones
    pitch_range: float  # semitones from valley to accent
    contour: float  # semitones from the beginning of a sentence to its end
    rate: float  # factor of the speaking rate
    level: float  # dB
    tilt: float  # dB per octave, more is brighter
    jitter: float  # share of a glottal period
    tremor: float  # semitones
    breath: float  # aspiration noise against the glottal pulses
    attack: float  # s, onset of a vowel
    pause: float  # s between words
    formants: tuple[float, float]  # factors of F1 and F2


EMOTIONS = {
    "angry": Emotion(3.5, 5.0, -2.0, 1.12, 7.0, 2.5, 0.014, 0.0, 0.04, 0.012, 0.02, (1.08, 1.00)),
    "fear": Emotion(6.0, 1.8, 0.5, 1.20, 0.0, -0.5, 0.018, 0.6, 0.22, 0.020, 0.05, (0.97, 1.02)),
    "sad": Emotion(-1.5, 1.4, -2.5, 0.80, -6.0, -3.0, 0.012, 0.1, 0.20, 0.055, 0.09, (0.96, 0.98)),
    "disgust": Emotion(-1.5, 3.0, -3.5, 0.84, 0.5, 0.5, 0.030, 0.0, 0.08, 0.030, 0.05, (1.12, 0.88)),
    "neutral": Emotion(0.0, 2.4, -2.0, 1.00, 0.0, 0.0, 0.006, 0.0, 0.08, 0.025, 0.03, (1.00, 1.00)),
    "happy": Emotion(4.5, 6.0, 0.5, 1.08, 3.5, 1.2, 0.006, 0.0, 0.07, 0.018, 0.02, (1.03, 1.07)),
}


@dataclass(frozen=True)
class Speaker:
    """A voice without emotion."""

    name: str
    pitch: float  # Hz
    tract: float  # factor of all formants: a shorter vocal tract has higher ones
    rate: float  # syllables per second
    level: float  # dB full scale, RMS of speech
    tilt: float  # dB per octave
    open_quotient: float  # share of a glottal period with open glottis
    jitter: float  # share of a glottal period
    strength: float  # how much of an emotion is let out
    noise: float  # dB full scale, RMS of the room


def make_speaker(name: str, seed: int) -> Speaker:
    """The voice that belongs to a name, e.g. `S03`; every second one is low, the others high."""
    random = _generator(seed, "speaker", name)
    low = int(name[1:]) % 2 == 0
    between = random.uniform
    return Speaker(
        name=name,
        pitch=between(92, 138) if low else between(165, 225),
        tract=between(0.90, 1.01) if low else between(1.04, 1.18),
        rate=between(4.7, 5.7),
        level=between(-27, -23),
        tilt=between(-1.2, 1.2),
        open_quotient=between(0.55, 0.72),
        jitter=between(0.002, 0.006),
        strength=between(1.0, 1.3),
        noise=between(-66, -56),
    )


def speak(speaker: Speaker, emotion: str, sentence: int, seed: int, clip_id: str) -> np.ndarray:
    """One clip, int16 (T,) at 16 kHz, 1.3 to 2.5 s. A function of its arguments only."""
    random = _generator(seed, "clip", clip_id)
    manner = _manner(EMOTIONS[emotion], speaker, random)
    score = _score(SENTENCES[sentence], manner, speaker, random)
    source = _source(score, manner, speaker, random)
    noise = random.uniform(-1.0, 1.0, len(source))
    speech = _vocal_tract(source, noise, score, manner.tilt + speaker.tilt, speaker.tract)
    loud = np.abs(speech) > 0.1 * np.abs(speech).max()
    speech *= 10 ** ((speaker.level + manner.level) / 20) / np.sqrt(np.mean(speech[loud] ** 2))
    speech += 10 ** (speaker.noise / 20) * np.sqrt(3) * random.uniform(-1.0, 1.0, len(speech))
    speech *= min(1.0, PEAK / np.abs(speech).max())
    return np.round(speech * 32767).astype(np.int16)


def _generator(*names: int | str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed_of(*names)))


def _manner(emotion: Emotion, speaker: Speaker, random: np.random.Generator) -> Emotion:
    """The emotion as this speaker shows it this time: weaker or stronger, and never twice alike."""
    neutral, strength = EMOTIONS["neutral"], speaker.strength * random.uniform(0.9, 1.2)

    def toward(name: str, spread: float) -> float:
        base = getattr(neutral, name)
        return base + strength * (getattr(emotion, name) - base) + spread * random.uniform(-1, 1)

    return Emotion(
        pitch=toward("pitch", 1.5),
        pitch_range=max(0.5, toward("pitch_range", 0.8)),
        contour=toward("contour", 1.0),
        rate=toward("rate", 0.07),
        level=toward("level", 2.5),
        tilt=toward("tilt", 0.8),
        jitter=max(0.001, toward("jitter", 0.002)) + speaker.jitter,
        tremor=max(0.0, toward("tremor", 0.05)),
        breath=max(0.01, toward("breath", 0.03)),
        attack=max(0.008, toward("attack", 0.006)),
        pause=max(0.0, toward("pause", 0.02)),
        formants=tuple(1 + strength * (factor - 1) + 0.02 * random.uniform(-1, 1) for factor in emotion.formants),
    )


@dataclass(frozen=True)
class _Score:
    """Control curves, one value per 5 ms."""

    pitch: np.ndarray  # semitones against the speaker's pitch, (N,)
    voice: np.ndarray  # amplitude of the glottal source, (N,)
    hiss: np.ndarray  # amplitude of consonant noise, (N,)
    hiss_center: np.ndarray  # Hz, (N,)
    hiss_width: np.ndarray  # Hz, (N,)
    formants: np.ndarray  # Hz, (N, 3)


def _score(sentence: str, manner: Emotion, speaker: Speaker, random: np.random.Generator) -> _Score:
    """Turn a sentence into control curves: sounds, their lengths, pitch accents, pauses."""
    sounds = _sounds(sentence, manner, 1 / (speaker.rate * manner.rate), random)
    lead, trail = random.uniform(0.08, 0.2), random.uniform(0.1, 0.25)
    spoken = sum(length for _, length, _ in sounds)
    squeeze = min(1.0, (MAX_SECONDS - lead - trail - 0.02) / spoken)
    trail += max(0.0, MIN_SECONDS + 0.02 - lead - trail - spoken)
    sounds = [(" ", lead, 0.0), *((sound, length * squeeze, accent) for sound, length, accent in sounds), (" ", trail, 0.0)]

    ends = np.round(np.cumsum([length for _, length, _ in sounds]) * SAMPLE_RATE / FRAME).astype(int)
    frames = np.diff(ends, prepend=0)
    targets = np.repeat(np.array([_target(sound) for sound, _, _ in sounds]), frames, axis=0)
    accents = np.repeat([accent for _, _, accent in sounds], frames)

    time = np.arange(len(targets)) * FRAME / SAMPLE_RATE
    progress = np.clip((time - lead) / max(time[-1] - lead - trail, 0.1), 0, 1)
    tremor = manner.tremor * np.sin(2 * np.pi * (random.uniform(5.5, 7.5) * time + random.uniform()))
    pitch = manner.pitch + manner.contour * (progress - 0.5) + manner.pitch_range * (_smooth(accents, 0.12) - 0.3) + tremor
    formants = _smooth(targets[:, 4:], 0.045) * speaker.tract * np.array([*manner.formants, 1.0])
    return _Score(
        pitch=pitch,
        voice=_smooth(targets[:, 0], 2 * manner.attack),
        hiss=_smooth(targets[:, 1], 0.015),
        hiss_center=targets[:, 2],
        hiss_width=targets[:, 3],
        formants=formants,
    )


def _sounds(sentence: str, manner: Emotion, syllable: float, random: np.random.Generator) -> list[tuple[str, float, float]]:
    """Sounds of a sentence as (letter, seconds, accent 0 to 1); the last vowel is longer, as in all speech."""
    sounds, last = [], sentence.rindex(next(letter for letter in reversed(sentence) if letter in VOWELS))
    accent = 0.0
    for place, letter in enumerate(sentence):
        if letter == " ":
            if (pause := manner.pause * random.uniform(0.5, 1.5)) > 0.015:
                sounds.append((" ", pause, accent))
        elif letter in CONSONANTS:
            kind = CONSONANTS[letter][0]
            accent = random.uniform(0.0, 1.0)
            if kind == "stop":
                sounds += [(" ", 0.25 * syllable * random.uniform(0.8, 1.2), accent), (letter, 0.022, accent)]
            else:
                share = 0.36 if kind == "fricative" else 0.3
                sounds.append((letter, share * syllable * random.uniform(0.8, 1.2), accent))
        else:
            stretch = 1.5 if place == last else random.uniform(0.8, 1.2)
            sounds.append((letter, 0.66 * syllable * stretch, accent))
    return sounds


def _target(sound: str) -> tuple[float, ...]:
    """Voice amplitude, noise amplitude, noise centre and width in Hz, and three formants in Hz."""
    if sound in VOWELS:
        return (1.0, 0.0, 3000.0, 2000.0, *VOWELS[sound])
    if sound == " ":
        return (0.0, 0.0, 3000.0, 2000.0, *VOWELS["@"])
    kind, *rest = CONSONANTS[sound]
    if kind == "voiced":
        return (0.35, 0.0, 3000.0, 2000.0, *rest)
    return (0.0, 0.9 if kind == "stop" else 0.6, *rest, *VOWELS["@"])


def _smooth(curve: np.ndarray, seconds: float) -> np.ndarray:
    """Moving average over time with a raised-cosine window; the ends are held."""
    half = max(1, round(seconds * SAMPLE_RATE / FRAME / 2))
    window = np.hanning(2 * half + 3)[1:-1]
    padded = np.pad(curve, [(half, half)] + [(0, 0)] * (curve.ndim - 1), mode="edge")
    slices = np.lib.stride_tricks.sliding_window_view(padded, len(window), axis=0)
    return slices @ (window / window.sum())


def _source(score: _Score, manner: Emotion, speaker: Speaker, random: np.random.Generator) -> np.ndarray:
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


def _vocal_tract(source: np.ndarray, noise: np.ndarray, score: _Score, tilt: float, tract: float) -> np.ndarray:
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
