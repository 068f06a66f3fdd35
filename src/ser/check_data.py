"""Check every audio file of a data set before training on it: a status per file, and a summary.

    python -m ser.check_data --data.root input
    python -m ser.check_data --data.root data/emotions --output outputs/check.csv

Files are decoded once into the clip store (data.cache), which training then shares; the size of the cache is told.
Exit code 0: every file can be used, 1: some can't, 2: the data set itself can't be read.
"""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path

import pandas as pd

from ser.audio import STATUSES, UNUSABLE
from ser.config import build_parser, output_file, parse
from ser.data.csv_input import shown
from ser.data.duplicates import describe_duplicates, find_duplicates
from ser.data.label_matrix import describe_absent
from ser.data.store import ClipStore
from ser.data.tables import Dataset, read_dataset
from ser.report.tables import text_table, without_formulas
from ser.runtime.errors import UserError, run_command
from ser.runtime.files import write_csv

EXIT_UNUSABLE = 1
LISTED = 20  # unusable files named on the screen; the table has all
MEANINGS = {
    "missing": "there is no such file",
    "undecodable": "no audio can be made of it",
    "truncated": "less audio than its header promises",
    "non_finite": "samples are NaN or infinite",
    "out_of_scale": "floats far beyond full scale: integers written as floats",
    "too_short": "shorter than data.min_seconds",
    "silent": "nothing above -60 dBFS",
    "incomplete": "used; a part was left out, see its detail",
    "clipped": "used; samples at full scale",
    "too_long": "used; cut to data.max_seconds",
    "downmixed": "used; several channels",
    "resampled": "used; not 16 kHz",
    "ok": "used as it is",
}


def main(argv: list[str]) -> None:
    parser = build_parser(
        "check_data", __doc__, sections=["data"], usage="--data.root DIR_OR_CSV [--output FILE] [--section.key value ...]"
    )
    parser.add_argument("--output", type=str | None, default=None, help="Write the table with a row per file to this CSV.")
    config, given = parse(parser, argv)
    output = output_file(given.output, ".csv") if given.output else None
    dataset = read_dataset(config.data, need_labels=False)
    report = check(dataset, config.data)
    print(describe(report, dataset, config.data.labels))
    if output:
        write_csv(output, without_formulas(report))
    bad = int(report["status"].isin(UNUSABLE).sum())
    where = f"the table is in {output}" if output else "for a table with a row per file add --output FILE.csv"
    print(f"\n{describe_cache(Path(config.data.cache))}")
    print(f"checked {len(report)} files of {config.data.root}: {bad or 'none'} unusable; {where}")
    if bad:
        raise SystemExit(EXIT_UNUSABLE)


def check(dataset: Dataset, config) -> pd.DataFrame:
    """One row per clip: part (train or test), id, and the columns of the clip store's report."""
    parts = []
    for name, table in (("train", dataset.train), ("test", dataset.test)):
        if table is not None and len(table):
            if not table.paths:
                raise UserError(f"{dataset.root}: a table of texts names no audio to check. `ser.train` lists the texts it can't use.")
            report = ClipStore.open(table.paths, config, title=f"{name} clips").report
            report.insert(0, "part", name)
            report.insert(1, "id", table.ids)
            parts.append(report)
    return pd.concat(parts, ignore_index=True)


def describe(report: pd.DataFrame, dataset: Dataset, wanted: str = "auto") -> str:
    """The summary: files by status and part, lengths, rates, unusable files by name, labels without a clip, duplicates.

    wanted: `data.labels`.
    """
    sections = [_statuses(report), _lengths(report), _sources(report)]
    bad = report[report["status"].isin(UNUSABLE)]
    if len(bad):
        lines = [f"  {_one_line(row.path)}: {row.status}, {row.detail}" for row in bad.head(LISTED).itertuples()]
        lines += [f"  and {len(bad) - LISTED} more"] if len(bad) > LISTED else []
        sections.append("unusable files:\n" + "\n".join(lines))
    labels = None if dataset.train is None else dataset.train.labels
    if labels is not None and (absent := describe_absent(labels, dataset.label_names, wanted)):
        sections.append(f"warning: {absent}")
    hashes = {name: part["audio_hash"].tolist() for name, part in report.groupby("part")}
    findings = find_duplicates(
        dataset.train, hashes.get("train", []), None, dataset.test, hashes.get("test", []), label_names=dataset.label_names
    )
    sections.append(describe_duplicates(findings))
    return "\n\n".join(sections)


def describe_cache(folder: Path) -> str:
    """How much lies in the cache, by what it is, and how to get rid of it."""
    sizes = Counter()
    for path in folder.rglob("*"):
        if path.is_file():
            sizes[path.relative_to(folder).parts[0].split("-")[0].removesuffix(".csv")] += path.stat().st_size
    parts = ", ".join(f"{name} {size / 1e6:,.1f} MB" for name, size in sizes.most_common())
    return f"cache {folder}: {sizes.total() / 1e6:,.1f} MB ({parts}); it can be deleted at any time: rm -r {shlex.quote(str(folder))}"


def _one_line(text: str) -> str:
    """A name may hold line ends and terminal codes."""
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def _statuses(report: pd.DataFrame) -> str:
    parts = [name for name in ("train", "test") if name in set(report["part"])]
    counts = pd.crosstab(report["status"], report["part"])[parts]
    counts = counts.reindex([status for status in STATUSES if status in counts.index])
    counts.insert(len(counts.columns), "meaning", [MEANINGS[status] for status in counts.index])
    noted = report["notes"].str.split().explode().value_counts()
    rest = ", ".join(f"{name} {number}" for name, number in noted.items())
    return text_table(counts.reset_index()) + (f"\nall notes (a file can have several): {rest}" if rest else "")


def _lengths(report: pd.DataFrame) -> str:
    known = report[report["seconds"] > 0]
    if not len(known):
        return "no file has a known length"
    of_part = known.groupby("part", sort=False)["seconds"].agg(["count", "min", "median", "mean", "max", "sum"])
    of_part["sum"] /= 3600
    return "length in seconds:\n" + text_table(of_part.rename(columns={"count": "files", "sum": "hours"}).round(2).reset_index())


def _sources(report: pd.DataFrame) -> str:
    known = report[report["source_rate"] > 0]
    counts = known.groupby(["source_rate", "source_channels"]).size().sort_values(ascending=False)
    kinds = [f"{rate} Hz with {channels} channel{'s' if channels > 1 else ''}: {number}" for (rate, channels), number in counts.items()]
    return "sampling rates: " + (shown(kinds, 8) or "none known")


if __name__ == "__main__":
    run_command(main)
