"""Pack runs for a code competition: everything that predicts a test folder on a machine without network, in one folder.

    python -m ser.bundle outputs/wav2vec2_base --output bundles/base
    python -m ser.bundle outputs/a outputs/b --method weighted --output bundles/two --clips 20000 --slower 2

Written are predict.py and predict_kaggle.ipynb, the models (files that several share once), the blend, the code, wheels.txt and a
README. The submission is the very file that `ser.ensemble` writes for the same runs, method and test clips.

While bundling, the bundle predicts a sample of the test clips in a process of its own. That shows that it runs, compares it with what
the runs predicted, and gives the time for --clips clips on a machine --slower times slower than this one.
"""

from __future__ import annotations

from typing import Literal

from jsonargparse import Namespace
from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt

from ser.config import build_parser, output_folder, parse
from ser.ensemble.methods import DEFAULT, METHODS
from ser.runtime.errors import run_command


def main(argv: list[str]) -> None:
    """Read the words, then make the bundle."""
    given = read_arguments(argv)
    output = output_folder(given.output)
    from ser.bundle.making import make_bundle

    make_bundle(given, output)


def read_arguments(argv: list[str]) -> Namespace:
    parser = build_parser("bundle", __doc__, sections=[], usage="RUN [RUN ...] --output DIR [--method mean]")
    parser.add_argument(
        "runs",
        type=str,
        nargs="+",
        help="Run folders, of one seed or several, e.g. outputs/wav2vec2_base; and models of all clips, outputs/X/full_fit.",
    )
    parser.add_argument("--output", type=str, required=True, help="Folder to write, e.g. bundles/base.")
    parser.add_argument("--method", type=Literal[tuple(METHODS)], default=DEFAULT, help="How runs are blended, as in ser.ensemble.")
    parser.add_argument("--sample", type=str, help="Sample submission; by default sample_submission.csv in the data folder of the runs.")
    parser.add_argument(
        "--allow_missing_folds",
        action="store_true",
        help="Take runs with missing folds too, and one of a single model (cv.n 1).",
    )
    parser.add_argument("--estimate", type=NonNegativeInt, default=64, help="Test clips to try it out on; 0 leaves that out.")
    parser.add_argument("--clips", type=PositiveInt, help="Clips that the organiser will have; by default those of the runs' test set.")
    parser.add_argument("--slower", type=PositiveFloat, default=1.0, help="How many times slower the organiser's machine is.")
    return parse(parser, argv)[1]


if __name__ == "__main__":
    run_command(main)
