"""Predict audio files, folders, a CSV, or texts with a trained run (the mean of its folds), one fold or a model folder.

    python -m ser.predict --model outputs/demo clip.wav
    python -m ser.predict --model outputs/demo/fold_0 recordings/ --output predictions.csv
    python -m ser.predict --model outputs/demo input/test.csv --output predictions.csv
    python -m ser.predict --model outputs/text_ngrams comments.csv --output predictions.csv
    python -m ser.predict --model outputs/demo clip.wav --predict.views speed:0.95,speed:1.05     # test-time augmentation
    python -m ser.predict --model outputs/demo --predict.views speed:0.95,speed:1.05 --output outputs/demo_views

The last one predicts the run's own clips again, each by the fold that hasn't trained on it, and the test clips: a run folder for
`ser.ensemble`, with its out-of-fold score beside the one without views.
A model of texts takes a CSV `id,text`; one of audio and text a CSV `id,path,text`, or `id,path` and --data.transcripts.
A model of several labels (data.multi_label) gives each row those that reach their thresholds, as joy|sad, or none.
The audio is prepared exactly as in training: what that was is stored in the model's folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from jsonargparse import Namespace
from jsonargparse.typing import PositiveInt

from ser.config import DataConfig, add_list, build_parser, key_words, output_file, output_folder, parse
from ser.data.csv_input import shown
from ser.data.inputs import Input, Store, cut_clips
from ser.data.tables import Table, read_audio, read_clips, with_voices
from ser.report.tables import without_formulas
from ser.runtime.errors import UserError, run_command
from ser.runtime.files import write_csv, write_json

if TYPE_CHECKING:
    from ser.data.views import View

SHOWN = 20
LISTINGS = (".csv", ".tsv", ".txt")  # Excel saves "Unicode text" as .txt


def main(argv: list[str]) -> None:
    parser = build_parser("predict", __doc__, sections=["data"], usage="--model RUN [PATH ...] [--output FILE] [--section.key value ...]")
    parser.add_argument("--model", type=str, required=True, help="Run folder (outputs/X), fold folder, or model folder.")
    parser.add_argument("--output", type=str, help="CSV or JSON to write; without it the first rows are shown. Without PATHs a folder.")
    add_list(parser, "--predict.views", "Views whose predictions are averaged with the clip's own: speed:F, gain:DB, shift:SHARE, crops:N.")
    parser.add_argument("--batch_size", type=PositiveInt, default=16, help="Clips in one forward pass.")
    parser.add_argument(
        "--precision",
        type=str,
        default="auto",
        help="auto (bf16 on a GPU, else fp32), fp32, bf16 or fp16; a network in the last two is compared with fp32.",
    )
    parser.add_argument("paths", type=str, nargs="*", help="Audio files, folders of audio files, or CSVs with a path column.")
    config, arguments = parse(parser, argv)
    # Not at the top: --help and a wrong word answer before torch is imported.
    from ser.data.views import read_views
    from ser.inference.beside_float32 import beside_float32
    from ser.inference.opening import model_folders
    from ser.inference.prediction import predict_table
    from ser.models.registry import load_model

    views = read_views(arguments.predict.views)
    if not arguments.paths:
        return _predict_run(arguments, views, config.data if "data.root" in dict(key_words(argv)) else None)
    output = output_file(arguments.output, ".csv", ".json") if arguments.output else None
    first = load_model(model_folders(arguments.model)[0])
    takes = first.takes
    # Precision is nothing to a model fitted at once and to an ONNX file; what a model makes of a voice depends on all its clips.
    heeds_precision = first.by_epochs and not arguments.model.endswith(".onnx")
    compared = arguments.precision in ("bf16", "fp16") and heeds_precision and not first.uses_voices
    del first  # predict_table holds one model in memory at a time
    clips = clips_to_predict(arguments.paths, config.data, takes)
    table, store = predict_table(
        arguments.model, clips, config.data, arguments.batch_size, arguments.precision, views=views, multi_label=True
    )
    if cut := cut_clips(store):
        print(
            f"warning: {cut} of {len(table)} clips are longer than the model hears at once: only their beginning counts (see ser.timeline)"
        )
    table.insert(0, "id", clips.ids)
    unusable = int(table["label"].isna().sum())
    _show(table, store)
    if output:
        _write(table, output)
    if compared and unusable < len(table):
        print(beside_float32(arguments.model, clips, table, config.data, views))
    print(
        f"predicted {len(table) - unusable} of {len(table)} {'files' if takes == 'audio' else 'rows'}" + (f" → {output}" if output else "")
    )
    if unusable:
        print(f"{unusable} could not be used: see their status")


def _predict_run(arguments: Namespace, views: list[View], data: DataConfig | None) -> None:
    """The clips that a run was made from, predicted again in views, as a run folder."""
    from ser.inference.predicted_again import predict_run_again
    from ser.report.run_report import run_report
    from ser.scoring.metrics import describe

    if not views or not arguments.output:
        raise UserError(
            "PATH: given nothing to predict; allowed are audio files, folders, CSVs. Or, to predict the run's own clips again in views: "
            "--predict.views speed:0.95,speed:1.05 --output outputs/X_views."
        )
    output = output_folder(arguments.output)
    gain = predict_run_again(arguments.model, output, views, data, arguments.batch_size, arguments.precision)
    report = run_report(output)
    print(f"out-of-fold in views: {describe(report['oof'])}")
    print(gain)
    print(f"made {output}: the run's clips in {len(views) + 1} views, oof.csv, report.html (open it in a browser), report.md")


def clips_to_predict(paths: list[str], data: DataConfig, takes: Input) -> Table:
    """The clips behind what was given, in order, with their voices where data.speakers names them.

    For a model that hears: files, folders and CSVs, with an id for each clip (a CSV's own, else the path). For one that reads: one CSV.
    """
    if takes == "audio":
        tables = [_heard(Path(given), data) for given in paths]
        ids, files = (tuple(value for table in tables for value in getattr(table, name)) for name in ("ids", "paths"))
        speakers = tuple(name for table in tables for name in table.speakers or [None] * len(table))
        return with_voices(Table(ids, files, speakers=speakers if any(speakers) else None), data)
    path = Path(paths[0])
    if len(paths) > 1 or path.suffix.lower() not in LISTINGS:
        raise UserError(f"this model takes {takes}: give one CSV with a column text, and id; given {shown(paths)}.")
    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    return with_voices(read_clips(path, data), data)


def _heard(given: Path, data: DataConfig) -> Table:
    is_listing = given.is_dir() or given.suffix.lower() in LISTINGS
    return read_audio(given, data) if is_listing else Table((str(given),), (given,))


def _show(table: pd.DataFrame, store: Store) -> None:
    """The first rows, with what is wrong with a clip, or was left out of it."""
    for row, found in zip(table.head(SHOWN).itertuples(), store.report.itertuples(), strict=False):
        if isinstance(row.label, str):
            print(
                f"{shown([row.id])}  {row.label or 'no label'} {row.confidence:.2f}"
                + (f" ({found.detail})" if _is_worth_telling(found) else "")
            )
        else:
            print(f"{shown([row.id])}  not predicted: {row.status}" + (f", {found.detail}" if found.detail else ""))
    if len(table) > SHOWN:
        print(f"… and {len(table) - SHOWN} more")


def _is_worth_telling(found: object) -> bool:
    return not {"incomplete", "several_tracks"}.isdisjoint(getattr(found, "notes", "").split())


def _write(table: pd.DataFrame, path: Path) -> None:
    if path.suffix.lower() == ".json":
        rows = [{key: (None if pd.isna(value) else value) for key, value in row.items()} for row in table.to_dict("records")]
        write_json(path, rows)
    else:
        write_csv(path, without_formulas(table))


if __name__ == "__main__":
    run_command(main)
