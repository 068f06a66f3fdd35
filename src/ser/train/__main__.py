"""Train the folds of one experiment.

    python -m ser.train --config configs/wav2vec2_base.yaml
    python -m ser.train --config configs/wav2vec2_base.yaml --folds 0,3 --train.batch_size 4
    python -m ser.train --config configs/demo.yaml --run.output outputs/try --train.epochs 2
    python -m ser.train --config configs/mfcc_cnn.yaml --seeds 0,1,2         # one split, three trainings, and how far they lie apart
    python -m ser.train --config configs/mfcc_cnn.yaml --cv.full_fit true    # and a model of all clips after the folds
    python -m ser.train --config configs/wavlm_large.yaml --launcher ray     # folds on a cluster (RAY_ADDRESS), or on this machine's GPUs
    torchrun --standalone --nproc_per_node 2 -m ser.train --config configs/wav2vec2_base.yaml    # two GPUs, each fold on both

Run the same command again after an interruption: finished folds are skipped, the running one goes on.
"""

from __future__ import annotations

from ser.config import add_list, build_parser, parse
from ser.runtime.errors import Interrupted, UserError, run_command


def main(argv: list[str]) -> None:
    parser = build_parser("train", __doc__)
    add_list(parser, "--folds", "Train only these folds, e.g. 0,3; the report is made when all are there.")
    add_list(parser, "--seeds", "Train once for each of these seeds, e.g. 0,1,2 (the key run.seeds); the report tells their spread.")
    parser.add_argument("--launcher", choices=("here", "ray"), help="Who starts the folds (the key run.launcher): ray makes tasks of them.")
    config, arguments = parse(parser, argv)
    if arguments.seeds is not None:
        config.run.seeds = chosen_seeds(arguments.seeds)
    config.run.launcher = arguments.launcher or config.run.launcher
    # Not at the top: --help and a wrong word answer before torch is imported.
    from ser.train.helping import leading
    from ser.train.training import train

    try:
        with leading() as leads:
            if leads:
                train(config, chosen_folds(arguments.folds, config.cv.n))
    except Interrupted as stopped:
        if config.run.start_over:
            raise Interrupted(f"{stopped} But without --run.start_over, which would throw it away.") from None
        raise


def chosen_folds(text: str | None, n: int) -> list[int] | None:
    """`0,3` as [0, 3]; None means all."""
    if text is None:
        return None
    words = text.strip("[]").replace(" ", "").split(",")
    if not all(word.isdecimal() and int(word) < n for word in words):
        allowed = f"numbers from 0 to {n - 1} with commas between, e.g. 0,{n - 1}" if n > 1 else "0, the one model of cv.n 1"
        raise UserError(f"--folds: given {text!r}; allowed are {allowed}.")
    return sorted({int(word) for word in words})


def chosen_seeds(text: str) -> list[int]:
    """`0,1,2` as [0, 1, 2]."""
    words = text.strip("[]").replace(" ", "").split(",")
    if not all(map(str.isdecimal, words)):
        raise UserError(f"--seeds: given {text!r}; allowed are whole numbers with commas between, e.g. 0,1,2.")
    return list(map(int, words))


if __name__ == "__main__":
    run_command(main)
