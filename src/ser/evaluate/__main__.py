"""Evaluate a trained model on labelled clips that it hasn't seen: a folder per emotion, a CSV, or a competition's train.csv.

    python -m ser.evaluate --model outputs/xlsr_korean_15 --data.root data/emotions --output reports/emotions
    python -m ser.evaluate --model outputs/demo --data.root input/demo/test_labels.csv --output reports/demo
    python -m ser.evaluate --model outputs/demo/fold_0 --data.root clips.csv --output reports/clips
    python -m ser.evaluate --model outputs/demo --data.root clips.csv --predict.views speed:0.95,speed:1.05 --output reports/views
    python -m ser.evaluate --model OWNER/NAME --data.root data/emotions --output reports/hub --mapping LABEL_0=angry,LABEL_1=sad

Writes report.html (a page to look at and listen to), report.md and report.json, confusion.png, classes.png, reliability.png,
predictions.csv and mistakes.csv (the surest first).
Labels of model and data are matched by the emotion registry, and what was counted as what is told; clips that the model was trained
on are found by their files' bytes (or their sound), and told too.
"""

from __future__ import annotations

from jsonargparse.typing import PositiveInt

from ser.config import add_list, build_parser, output_folder, parse
from ser.data.tables import read_dataset
from ser.report.tables import text_table
from ser.runtime.errors import UserError, run_command
from ser.scoring.metrics import describe


def main(argv: list[str]) -> None:
    parser = build_parser(
        "evaluate", __doc__, sections=["data"], usage="--model RUN --data.root DIR_OR_CSV --output DIR [--section.key value ...]"
    )
    parser.add_argument("--model", type=str, required=True, help="Run folder (outputs/X), fold folder, model folder or hub name.")
    parser.add_argument("--output", type=str, required=True, help="Folder for the report; it is made.")
    add_list(parser, "--mapping", "What labels count as, e.g. calm=neutral,LABEL_0=angry; given again, it adds to them.")
    add_list(parser, "--predict.views", "Views whose predictions are averaged with the clip's own: speed:F, gain:DB, shift:SHARE, crops:N.")
    parser.add_argument("--batch_size", type=PositiveInt, default=16, help="Clips in one forward pass.")
    parser.add_argument("--precision", type=str, default="auto", help="auto, fp32, bf16 or fp16.")
    config, arguments = parse(parser, argv)
    from ser.data.views import read_views
    from ser.evaluate.evaluation import evaluate
    from ser.evaluate.page import write_evaluation_page
    from ser.evaluate.report import write_evaluation
    from ser.evaluate.several_labels import evaluate_several

    mapping, views, output = read_mapping(arguments.mapping or ""), read_views(arguments.predict.views), output_folder(arguments.output)
    dataset = read_dataset(config.data)
    if dataset.renamed:
        print(f"labels of the data by another name: {', '.join(f'{name} as {key}' for name, key in dataset.renamed.items())}")
    if config.data.multi_label:
        if mapping or views:
            raise UserError("data.multi_label: labels are matched by name, and of texts there are no views: take --mapping and views out.")
        print("\n".join(evaluate_several(arguments.model, dataset, config.data, output, arguments.batch_size, arguments.precision)))
        return print(f"made {output}: report.html (open it in a browser), report.md, report.json, predictions.csv")
    found = evaluate(arguments.model, dataset, config.data, mapping, arguments.batch_size, arguments.precision, views)
    write_evaluation(found, output)
    write_evaluation_page(found, dataset.train, config.data, output / "report.html")
    print(text_table(found.classes))
    print(f"{describe(found.result)}; expected calibration error {found.result['ece']:.3f}")
    if found.views:
        print(found.views)
    for warning in found.warnings:
        print(f"warning: {warning}")
    if found.unusable:
        print(f"{len(found.unusable)} clips could not be used: see report.json")
    print(f"made {output}: report.html (open it in a browser), report.md, report.json, pictures, predictions.csv, mistakes.csv")


def read_mapping(text: str) -> dict[str, str]:
    """`calm=neutral,LABEL_0=angry` as a dict. Raises UserError."""
    pairs = [pair.split("=") for pair in text.split(",") if pair.strip()]
    if any(len(pair) != 2 or not all(name.strip() for name in pair) for pair in pairs):
        raise UserError(f"--mapping: given {text!r}; pairs with commas between are expected, e.g. calm=neutral,LABEL_0=angry.")
    return {old.strip(): new.strip() for old, new in pairs}


if __name__ == "__main__":
    run_command(main)
