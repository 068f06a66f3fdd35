"""Predict audio files, folders, a CSV, or texts with a trained run (the mean of its folds), one fold or a model folder.

    python -m ser.predict --model outputs/demo clip.wav
    python -m ser.predict --model outputs/demo/fold_0 recordings/ --output predictions.csv
    python -m ser.predict --model outputs/demo input/test.csv --output predictions.csv
    python -m ser.predict --model outputs/text_ngrams comments.csv --output predictions.csv

A model of texts takes a CSV `id,text`; one of audio and text a CSV `id,path,text`, or `id,path` and --data.transcripts.
The audio is prepared exactly as in training: what that was is stored in the model's folder.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ser.config import DataConfig, build_parser, parse
from ser.data.csv_input import shown
from ser.data.inputs import Input
from ser.data.tables import Table, read_clips, read_paths
from ser.inference.prediction import predict_files
from ser.inference.texts import input_of_model, predict_table
from ser.report.tables import without_formulas
from ser.runtime.errors import UserError, run_command
from ser.runtime.files import write_csv, write_json

SHOWN = 20


def main(argv: list[str]) -> None:
    parser = build_parser(
        "predict", __doc__, sections=["data"], usage="--model RUN PATH [PATH ...] [--output FILE] [--section.key value ...]"
    )
    parser.add_argument("--model", type=str, required=True, help="Run folder (outputs/X), fold folder, or model folder.")
    parser.add_argument("--output", type=str, help="CSV or JSON to write; without it the first rows are shown.")
    parser.add_argument("--batch_size", type=int, default=16, help="Clips in one forward pass.")
    parser.add_argument("--precision", type=str, default="auto", help="auto, fp32, bf16 or fp16.")
    parser.add_argument("paths", type=str, nargs="+", help="Audio files, folders of audio files, or CSVs with a path column.")
    config, arguments = parse(parser, argv)
    what = input_of_model(arguments.model)
    if what == "audio":
        files, ids = files_to_predict(arguments.paths, config.data)
        table = predict_files(arguments.model, files, config.data, arguments.batch_size, arguments.precision)
    else:
        clips = table_to_predict(arguments.paths, config.data, what)
        ids, table = clips.ids, predict_table(arguments.model, clips, config.data, arguments.batch_size, arguments.precision)
    table.insert(0, "id", ids)
    unusable = int(table["label"].isna().sum())
    _show(table)
    if arguments.output:
        _write(table, Path(arguments.output))
    print(
        f"predicted {len(table) - unusable} of {len(table)} {'files' if what == 'audio' else 'rows'}"
        + (f" → {arguments.output}" if arguments.output else "")
    )
    if unusable:
        print(f"{unusable} could not be used: see their status")


def files_to_predict(paths: list[str], data: DataConfig) -> tuple[list[Path], list[str]]:
    """The audio files behind files, folders and CSVs, in order, and an id for each (a CSV's own, else the path)."""
    files, ids = [], []
    for given in map(Path, paths):
        is_listing = given.is_dir() or given.suffix.lower() == ".csv"
        found, names = read_paths(given, data) if is_listing else ([given], [str(given)])
        files += found
        ids += names
    return files, ids


def table_to_predict(paths: list[str], data: DataConfig, what: Input) -> Table:
    """The rows of the one CSV given to a model that reads. Raises UserError for anything else."""
    path = Path(paths[0])
    if len(paths) > 1 or path.suffix.lower() != ".csv":
        raise UserError(f"this model takes {what}: give one CSV with a column text, and id; given {shown(paths)}.")
    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    return read_clips(path, data)


def _show(table: pd.DataFrame) -> None:
    for row in table.head(SHOWN).itertuples():
        known = isinstance(row.label, str)
        print(f"{shown([row.id])}  {row.label} {row.confidence:.2f}" if known else f"{shown([row.id])}  not predicted: {row.status}")
    if len(table) > SHOWN:
        print(f"… and {len(table) - SHOWN} more")


def _write(table: pd.DataFrame, path: Path) -> None:
    if path.suffix.lower() == ".json":
        rows = [{key: (None if pd.isna(value) else value) for key, value in row.items()} for row in table.to_dict("records")]
        write_json(path, rows)
    elif path.suffix.lower() == ".csv":
        write_csv(path, without_formulas(table))
    else:
        raise UserError(f"--output: given {path}; allowed endings are .csv and .json.")


if __name__ == "__main__":
    run_command(main)
