"""Compare candidate models on labelled clips, to choose one: must-have rules, scores with intervals, speed, memory, a tier.

    python -m ser.compare librosa opensmile run:outputs/X transformers:DIR_OR_NAME --data.root DIR --output outputs/choice
    python -m ser.compare embeddings:yamnet.npz speechbrain:DIR transformers:exported/model.onnx --data.root DIR
    python -m ser.compare --data.root DIR                     # the ready list (needs network; what can't be reached is listed)

These are models to choose from, as they are; `python -m ser.compare_experiments` trains configs of your own side by side.
librosa, opensmile and embeddings are fitted to the labelled clips and scored out of fold, speakers apart where they are known.
Answers are mapped to neutral, happy, sad, angry, fear, surprise, disgust. Written are choice.md, choice.csv and choice.png.
"""

from __future__ import annotations

from typing import Literal

from ser.config import build_parser, output_folder, parse
from ser.report.tables import text_table
from ser.runtime.errors import UserError, run_command
from ser.runtime.progress import say


def main(argv: list[str]) -> None:
    """Judge every candidate, then write the table."""
    parser = build_parser("compare", __doc__, sections=["data"], usage="[CANDIDATE ...] --data.root DIR [--output DIR] [--use commercial]")
    parser.add_argument(
        "candidates", type=str, nargs="*", help="KIND:PLACE, librosa, opensmile, or names of the ready list (default: all)."
    )
    parser.add_argument("--output", type=str, default="outputs/choice", help="Folder to write the comparison to.")
    parser.add_argument("--use", type=Literal["research", "commercial"], default="research", help="What the licence has to allow.")
    parser.add_argument("--language", type=str, help="Language of the labelled clips (en, ko, …), which candidates fitted here then know.")
    parser.add_argument("--folds", type=int, default=5, help="Folds for candidates that are fitted here.")
    parser.add_argument("--seed", type=int, default=0, help="Of the folds.")
    config, arguments = parse(parser, argv)
    if config.data.multi_label:
        raise UserError("data.multi_label: candidates are compared by the one label of a clip. `ser.evaluate` scores one with several.")
    # Not at the top: --help answers at once, and a wrong word before all that judges is imported.
    from ser.compare.candidates import check_one_label, read_candidates, ready_list

    candidates = read_candidates(arguments.candidates) if arguments.candidates else ready_list()
    from ser.compare.judging import judge
    from ser.compare.labelled import read_labelled
    from ser.compare.table import SHOWN, write_choice
    from ser.runtime.device import make_accelerator

    output = output_folder(arguments.output)
    if (output / "choice.md").exists():
        say(f"{output} holds an earlier comparison, which this one will replace (another --output keeps both)")
    check_one_label(candidates)
    labelled = read_labelled(config.data, arguments.folds, arguments.seed)
    accelerator = make_accelerator("auto")
    judged = []
    for candidate in candidates:
        judged.append(judge(candidate, labelled, accelerator, arguments.use, arguments.language, arguments.seed))
        say(f"{candidate.name}: {judged[-1].told}")
    table = write_choice(judged, labelled, output)
    print(text_table(table[list(SHOWN)]))
    made = "choice.md, choice.csv" + (", choice.png" if (output / "choice.png").exists() else "")
    print(f"compared {len(judged)} candidates on {len(labelled.table)} clips ({labelled.split}) → {output}: {made}")


if __name__ == "__main__":
    run_command(main)
