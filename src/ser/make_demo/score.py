"""What is said in the demo data: sentences as sounds, and the curves by which a voice speaks them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ser.make_demo.voices import Emotion, Speaker

SAMPLE_RATE = 16_000
MIN_SECONDS, MAX_SECONDS = 1.3, 2.5
FRAME = 80  # samples between two control points: 5 ms

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
class Score:
    """Control curves, one value per 5 ms."""

    pitch: np.ndarray  # semitones against the speaker's pitch, (N,)
    voice: np.ndarray  # amplitude of the glottal source, (N,)
    hiss: np.ndarray  # amplitude of consonant noise, (N,)
    hiss_center: np.ndarray  # Hz, (N,)
    hiss_width: np.ndarray  # Hz, (N,)
    formants: np.ndarray  # Hz, (N, 3)


def score_of(sentence: str, manner: Emotion, speaker: Speaker, random: np.random.Generator) -> Score:
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
    return Score(
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
