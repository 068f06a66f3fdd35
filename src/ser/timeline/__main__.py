"""A timeline of emotions over a long recording (a call, a lecture, a film): overlapping windows, each predicted like a clip.

    python -m ser.timeline --model outputs/demo call.m4a --output call.csv
    python -m ser.timeline --model outputs/demo/fold_0 film.mp4 --output film.csv --window 4 --step 1 --audio_track 2

Writes a CSV with one row per window, and the picture call.png beside it. The recording is read block by block: two hours take no
more memory than a minute.
"""

from __future__ import annotations

from jsonargparse.typing import PositiveInt

from ser.audio.tracks import AUDIO_TRACK_HELP
from ser.config import build_parser, output_file, parse
from ser.runtime.errors import UserError, run_command
from ser.timeline.windows import predict_timeline, write_timeline


def main(argv: list[str]) -> None:
    parser = build_parser("timeline", __doc__, sections=[], usage="--model RUN FILE --output FILE.csv [--window 5] [--step 2.5]")
    parser.add_argument("--model", type=str, required=True, help="Run folder (outputs/X), fold folder, model folder or hub name.")
    parser.add_argument("--output", type=str, required=True, help="CSV to write; the picture goes beside it.")
    parser.add_argument("--window", type=float | None, default=None, help="Seconds per window; default 5, or what the model hears.")
    parser.add_argument("--step", type=float | None, default=None, help="Seconds from one window to the next; default half a window.")
    parser.add_argument("--audio_track", type=int | None, default=None, help=AUDIO_TRACK_HELP)
    parser.add_argument("--batch_size", type=PositiveInt, default=16, help="Windows in one forward pass.")
    parser.add_argument("--precision", type=str, default="auto", help="auto, fp32, bf16 or fp16.")
    parser.add_argument("path", type=str, help="Audio or video file of any length.")
    _, arguments = parse(parser, argv)
    output = output_file(arguments.output, ".csv")
    from ser.inference.prediction import Predictor

    predictor = Predictor(arguments.model, arguments.batch_size, arguments.precision)
    timeline = predict_timeline(predictor, arguments.path, arguments.window, arguments.step, audio_track=arguments.audio_track)
    if not len(timeline.windows):
        raise UserError(f"{arguments.path} can't be used: {timeline.status} ({timeline.detail}).")
    written = write_timeline(timeline, output)
    for name, share in timeline.shares.items():
        print(f"{name}  {100 * share:.0f} %")
    if timeline.track:
        print(f"{arguments.path}: {timeline.track}; another with --audio_track")
    if timeline.status != "ok":
        print(f"warning: {arguments.path} is {timeline.status} ({timeline.detail}); the windows cover {timeline.seconds:.1f} s of it")
    print(f"made {' and '.join(map(str, written))}: {len(timeline.windows)} windows over {timeline.seconds:.1f} s")


if __name__ == "__main__":
    run_command(main)
