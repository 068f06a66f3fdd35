"""Keys of the augmentation: a class for each transform."""

from __future__ import annotations

from dataclasses import dataclass, field

from jsonargparse.typing import ClosedUnitInterval

from ser.config.ranges import Amplitude, CenterHz, ClippedPercent, Decibels, Reflections, Semitones, StretchRate


@dataclass
class GainConfig:
    """Louder or softer."""

    p: ClosedUnitInterval = 0.0
    """Probability."""
    min_db: Decibels = -6.0
    """Lowest gain in dB."""
    max_db: Decibels = 6.0
    """Highest gain in dB."""


@dataclass
class NoiseConfig:
    """White noise of a random amplitude."""

    p: ClosedUnitInterval = 0.0
    """Probability."""
    min_amplitude: Amplitude = 0.0005
    """Lowest amplitude, full scale is 1."""
    max_amplitude: Amplitude = 0.01
    """Highest amplitude."""


@dataclass
class SnrNoiseConfig:
    """White noise at a random signal-to-noise ratio."""

    p: ClosedUnitInterval = 0.0
    """Probability."""
    min_snr_db: Decibels = 5.0
    """Lowest ratio in dB (most noise)."""
    max_snr_db: Decibels = 40.0
    """Highest ratio in dB."""


@dataclass
class TimeStretchConfig:
    """Faster or slower, same pitch."""

    p: ClosedUnitInterval = 0.0
    """Probability."""
    min_rate: StretchRate = 0.9
    """Slowest rate; the clip gets 1/rate times as long."""
    max_rate: StretchRate = 1.1
    """Fastest rate."""


@dataclass
class PitchShiftConfig:
    """Higher or lower, same speed."""

    p: ClosedUnitInterval = 0.0
    """Probability."""
    min_semitones: Semitones = -2.0
    """Lowest shift."""
    max_semitones: Semitones = 2.0
    """Highest shift."""


@dataclass
class ShiftConfig:
    """Move the clip in time; what falls off is replaced by silence."""

    p: ClosedUnitInterval = 0.0
    """Probability."""
    max_share: ClosedUnitInterval = 0.1
    """Largest shift as a share of the clip."""


@dataclass
class FilterConfig:
    """Band-pass filter, as of a telephone or a cheap microphone."""

    p: ClosedUnitInterval = 0.0
    """Probability."""
    min_center_hz: CenterHz = 300.0
    """Lowest centre frequency."""
    max_center_hz: CenterHz = 3000.0
    """Highest centre frequency."""


@dataclass
class RoomConfig:
    """Simulated room of a random size and damping (slow: 30 to 60 clips/s on a core). Needs pyroomacoustics."""

    p: ClosedUnitInterval = 0.0
    """Probability."""
    max_reflections: Reflections = 6
    """Order of the last reflections; more sound fuller, and cost more (10: five times slower than 6)."""


@dataclass
class ClippingConfig:
    """Clipping distortion."""

    p: ClosedUnitInterval = 0.0
    """Probability."""
    max_percentile: ClippedPercent = 20
    """Largest share of samples clipped, in percent."""


@dataclass
class AugmentConfig:
    """Augmentation of training clips by audiomentations; every transform is off until its p is set."""

    gain: GainConfig = field(default_factory=GainConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    snr_noise: SnrNoiseConfig = field(default_factory=SnrNoiseConfig)
    time_stretch: TimeStretchConfig = field(default_factory=TimeStretchConfig)
    pitch_shift: PitchShiftConfig = field(default_factory=PitchShiftConfig)
    shift: ShiftConfig = field(default_factory=ShiftConfig)
    filter: FilterConfig = field(default_factory=FilterConfig)
    room: RoomConfig = field(default_factory=RoomConfig)
    clipping: ClippingConfig = field(default_factory=ClippingConfig)
