"""Who speaks in the demo data, and how an emotion changes a voice.

The changes follow the tables of Scherer (2003, Speech Communication 40, table 2) and Juslin & Laukka (2003, Psychological Bulletin
129, table 7): anger, fear and happiness are high and fast, sadness low, slow and soft; anger and happiness have a wide pitch range and
strong high frequencies; fear trembles; disgust is slow, creaky and constricted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ser.runtime.seeds import seed_of


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
    random = generator_of(seed, "speaker", name)
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


def generator_of(*names: int | str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed_of(*names)))


def manner_of(emotion: Emotion, speaker: Speaker, random: np.random.Generator) -> Emotion:
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
