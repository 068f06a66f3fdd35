"""Make synthetic, speech-like demo data in the competition's exact form, to try everything before the real data is there.

    python -m ser.make_demo
    python -m ser.make_demo --output input/demo --clips 600 --test_clips 120 --seed 0

The same settings give the same bytes. A folder that holds other data is never touched.
"""

from __future__ import annotations

from jsonargparse.typing import NonNegativeInt, PositiveInt

from ser.config import build_parser, output_folder, parse
from ser.make_demo.folder import CLIPS, MARKER, TEST_CLIPS, make_demo
from ser.runtime.errors import run_command


def main(argv: list[str]) -> None:
    parser = build_parser("make_demo", __doc__, sections=(), usage="[--output DIR] [--clips N] [--test_clips N] [--seed N]")
    parser.add_argument("--output", type=str, default="input/demo", help="Folder to make; it must not hold other data.")
    parser.add_argument("--clips", type=PositiveInt, default=CLIPS, help="Training clips, at least 6.")
    parser.add_argument("--test_clips", type=PositiveInt, default=TEST_CLIPS, help="Test clips; half by voices that aren't in train.")
    parser.add_argument("--seed", type=NonNegativeInt, default=0, help="Every voice and every clip follows from it.")
    _, given = parse(parser, argv)
    made = make_demo(output_folder(given.output), int(given.clips), int(given.test_clips), int(given.seed))
    if made:
        print(f"{given.output}: {given.clips} training and {given.test_clips} test clips of synthetic demo speech ({MARKER} says so)")
    else:
        print(f"{given.output}: the demo data is there already")


if __name__ == "__main__":
    run_command(main)
