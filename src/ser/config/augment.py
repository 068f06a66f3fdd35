"""Keys of the augmentation: a class for each transform."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from jsonargparse.typing import ClosedUnitInterval

from ser.config.ranges import Amplitude, BitRate, CenterHz, ClippedPercent, Decibels, Reflections, Semitones, StretchRate
from ser.runtime.errors import UserError


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
class ImpulseConfig:
    """A room or a loudspeaker, from impulse responses you have: the clip is convolved with one of them, and stays as loud."""

    p: ClosedUnitInterval = 0.0
    """Probability."""
    folder: str | None = None
    """Folder of impulse responses, audio files of any kind, also in folders below it."""


@dataclass
class BackgroundConfig:
    """Sounds you have behind the clip: a street, a crowd, music."""

    p: ClosedUnitInterval = 0.0
    """Probability."""
    folder: str | None = None
    """Folder of sounds, audio files of any kind, also in folders below it; of each the first minute is used, a short one is repeated."""
    min_snr_db: Decibels = 5.0
    """Lowest ratio of the clip to the sound in dB (loudest sound)."""
    max_snr_db: Decibels = 30.0
    """Highest ratio in dB."""


@dataclass
class CodecConfig:
    """Encoded and decoded again, as in films, messengers and telephones."""

    p: ClosedUnitInterval = 0.0
    """Probability."""
    kinds: list[Literal["aac", "mp3", "opus", "telephone"]] = field(default_factory=lambda: ["aac", "mp3", "opus", "telephone"])
    """Which codecs, equally often. telephone: G.711 at 8 kHz, whatever the bit rate."""
    min_kbps: BitRate = 32
    """Lowest bit rate in kilobits a second, of one channel; between the two each doubling is equally likely."""
    max_kbps: BitRate = 128
    """Highest bit rate."""

    def __post_init__(self) -> None:
        if not self.kinds:
            raise UserError("augment.codec.kinds: given an empty list; name at least one of aac, mp3, opus, telephone.")


@dataclass
class AugmentConfig:
    """Augmentation of training clips; every transform is off until its p is set."""

    gain: GainConfig = field(default_factory=GainConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    snr_noise: SnrNoiseConfig = field(default_factory=SnrNoiseConfig)
    time_stretch: TimeStretchConfig = field(default_factory=TimeStretchConfig)
    pitch_shift: PitchShiftConfig = field(default_factory=PitchShiftConfig)
    shift: ShiftConfig = field(default_factory=ShiftConfig)
    filter: FilterConfig = field(default_factory=FilterConfig)
    room: RoomConfig = field(default_factory=RoomConfig)
    clipping: ClippingConfig = field(default_factory=ClippingConfig)
    impulse: ImpulseConfig = field(default_factory=ImpulseConfig)
    background: BackgroundConfig = field(default_factory=BackgroundConfig)
    codec: CodecConfig = field(default_factory=CodecConfig)

    @property
    def active(self) -> list[str]:
        """The transforms that are on."""
        return [name for name, transform in vars(self).items() if transform.p > 0]
