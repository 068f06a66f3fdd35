"""Stationary noise (hiss, hum, a fan) taken out of a clip by FFmpeg's spectral filter `afftdn`, through PyAV."""

from __future__ import annotations

import numpy as np

from ser.audio.recording import SAMPLE_RATE, to_float

FRAME = 320  # 20 ms
QUIET_SHARE = 10  # percentile of the frames' levels that counts as the noise between the words
FLOOR_DB = (-80.0, -20.0)  # what afftdn takes
DELAY = 400  # samples by which its answer comes late at 16 kHz
LEAD = 2_048  # silence before the clip, so that its first samples aren't the filter's first, which it fades in


def reduce_noise(samples: np.ndarray) -> np.ndarray:
    """int16 (T,) at 16 kHz -> int16 (T,), each frequency's noise damped by up to 12 dB.

    The noise level is that of the clip's own quietest frames; a clip without noise stays as it is to within rounding. The same
    samples give the same result.
    """
    import av

    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=SAMPLE_RATE, format="s16", layout="mono", time_base=f"1/{SAMPLE_RATE}")
    denoise = graph.add("afftdn", f"noise_floor={noise_level(samples):.2f}")
    to_int16 = graph.add("aformat", "sample_fmts=s16:channel_layouts=mono")
    sink = graph.add("abuffersink")
    for before, after in ((source, denoise), (denoise, to_int16), (to_int16, sink)):
        before.link_to(after)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(np.pad(samples, (LEAD, DELAY))[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts = SAMPLE_RATE, 0
    graph.push(frame)
    graph.push(None)
    blocks = []
    while True:
        try:
            blocks.append(graph.pull().to_ndarray()[0])
        except (av.EOFError, av.BlockingIOError):
            return np.concatenate(blocks)[LEAD + DELAY :]


def noise_level(samples: np.ndarray) -> float:
    """RMS level of the quietest frames in dBFS, within what the filter takes."""
    whole = len(samples) // FRAME * FRAME
    frames = to_float(samples[:whole] if whole else samples).reshape(-1, FRAME if whole else len(samples))
    power = np.mean(np.square(frames, dtype=np.float64), axis=1)
    return float(np.clip(np.percentile(10 * np.log10(power + 1e-12), QUIET_SHARE), *FLOOR_DB))
