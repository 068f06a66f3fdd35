"""Export a trained network: an ONNX file and a folder ready for the hub.

    python -m ser.export outputs/wav2vec2_base/fold_2 --output exported
    python -m ser.export outputs/logmel_crnn --output exported --license cc-by-nc-4.0 --data_name RAVDESS --language en
    python -m ser.predict --model exported/model.onnx clip.wav

Written are the weights, model.onnx (batch and length free, masks as inputs), labels.json, preprocessor_config.json (of texts the
tokenizer) and a model card (README.md) filled from the run. The ONNX file is run beside the network on clips or texts of random length
before anything is kept. Of a run the first finished fold is taken: name a fold for another. Needs
`pip install -r requirements-export.txt`.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from ser.config import add_list, build_parser, output_folder, parse
from ser.runtime.errors import run_command


def main(argv: list[str]) -> None:
    parser = build_parser("export", __doc__, sections=[], usage="RUN_OR_FOLD --output DIR [--license ID] [--data_name NAME] ...")
    parser.add_argument("model", type=str, help="Run folder (outputs/X), fold folder (outputs/X/fold_0), or model folder.")
    parser.add_argument("--output", type=str, required=True, help="Folder to write; it must not hold anything yet.")
    parser.add_argument("--name", type=str, help="Title of the model card; the run's name where not given.")
    parser.add_argument("--license", type=str, help="Licence of the weights as the hub names it, e.g. apache-2.0, cc-by-nc-4.0.")
    add_list(parser, "--language", "Codes of the languages spoken in the training data, e.g. ko or en,ko.")
    parser.add_argument("--data_name", type=str, help="What the training data is called.")
    parser.add_argument("--data_license", type=str, help="Licence of the training data.")
    _, arguments = parse(parser, argv)
    # Not at the top: --help and a wrong word answer before torch is imported.
    from ser.export.folder import export_folder
    from ser.export.model_card import Facts
    from ser.export.source import read_source

    output = output_folder(arguments.output)
    source = read_source(arguments.model)
    if source.folds > 1 and source.model.resolve().parents[1] == Path(arguments.model).resolve():
        print(
            f"{arguments.model} has {source.folds} folds: exporting fold {source.fold}. Name another one to export that, e.g. its fold_1."
        )
    facts = Facts(**{part.name: arguments[part.name] for part in fields(Facts)})
    parity = export_folder(source, output, facts)
    print(f"compared: {parity}")
    print(f"exported {source.model} → {output}: {', '.join(sorted(path.name for path in output.iterdir()))}")


if __name__ == "__main__":
    run_command(main)
