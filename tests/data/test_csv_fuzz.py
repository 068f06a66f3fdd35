"""Random CSVs, read here and by pandas. Run: pytest -m slow tests/data -s; one again: SER_SEED=17 SER_CASES=1."""

import csv
import io
import os
import random
import re
import time
from collections import Counter

import pandas as pd
import pytest

from ser.data.csv_input import read_csv_input
from ser.runtime.errors import UserError

FIRST, CASES = int(os.environ.get("SER_SEED", "0")), int(os.environ.get("SER_CASES", "500"))
CELLS = [
    "a",
    "0012",
    "1.0",
    "NA",
    "x y",
    "한국",
    "a,b",
    "a;b",
    "a\tb",
    'say "hi"',
    "two\nlines",
    "",
    " ",
    "=1+1",
    "0",
    "./train/a.wav",
    "nan",
]
SECONDS_ALLOWED = 5.0


def draw(rng: random.Random) -> tuple[bytes, str, str, list[list[str]]]:
    """A file, its text without what Excel adds around it, its delimiter, and the rows in it (the header first)."""
    names = rng.sample(["id", "path", "label", "speaker", "text", "emotion"], rng.randint(2, 5))
    rows = [[f"c{number}", *rng.choices(CELLS, k=len(names) - 1)] for number in range(rng.randint(1, 8))]
    delimiter = rng.choice([",", ",", ",", ";", "\t"])
    ends = rng.choice(["\n", "\r\n", "\r"])
    body = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if ends == "\r" else rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])  # Python leaves a \n bare beside a \r
    writer = csv.writer(body, delimiter=delimiter, lineterminator=ends, quoting=quoting)
    writer.writerow(names)
    for row in rows:
        if rng.random() < 0.1:
            body.write(rng.choice(["", " ", delimiter * (len(names) - 1)]) + ends)
        writer.writerow(row)
    plain = body.getvalue()
    text = plain + rng.choice(["", "", ends, delimiter * (len(names) - 1) + ends, " " + ends, "\x1a", "\0" * 9])
    if rng.random() < 0.2:
        text = f"sep={delimiter}{ends}{text}"
    text = rng.choice(["", "", "\ufeff", "\ufeff\ufeff", "\u200b"]) + text
    return text.encode(rng.choice(["utf-8", "utf-16", "utf-8-sig"])), plain, delimiter, [names, *rows]


def by_pandas(text: str, delimiter: str) -> list[list[str]]:
    """pandas' rows, the header first, without those that are blank."""
    table = pd.read_csv(io.StringIO(text), sep=delimiter, dtype=str, keep_default_na=False, index_col=False)
    return [list(table.columns), *(row for row in table.to_numpy().tolist() if any(cell.strip() for cell in row))]


def read(path) -> list[list[str]]:
    source = read_csv_input(path)
    return [list(source.header), *map(list, source.rows)]


@pytest.mark.slow
def test_500_random_csvs_are_read_as_written_and_as_pandas_reads_them(tmp_path):
    agreed, path = 0, tmp_path / "a.csv"
    for seed in range(FIRST, FIRST + CASES):
        data, plain, delimiter, rows = draw(random.Random(seed))  # noqa: S311
        path.write_bytes(data)
        started = time.monotonic()
        assert read(path) == rows, f"seed {seed}\n{data!r}"
        assert time.monotonic() - started < SECONDS_ALLOWED, f"seed {seed}"
        agreed += by_pandas(plain, delimiter) == rows
    print(f"\n{CASES} CSVs read as written; what Excel adds taken out, pandas reads {agreed} of them alike")
    assert agreed >= 0.9 * CASES


@pytest.mark.slow
def test_500_damaged_csvs_are_refused_or_read_whole(tmp_path):
    counts, path = Counter(), tmp_path / "a.csv"
    for seed in range(FIRST, FIRST + CASES):
        rng = random.Random(seed)  # noqa: S311
        data, *_ = draw(rng)
        data = bytearray(data)
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        path.write_bytes(data)
        started = time.monotonic()
        try:
            found = read(path)
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 1000, f"seed {seed}"
            counts["refused"] += 1
            continue
        finally:
            assert time.monotonic() - started < SECONDS_ALLOWED, f"seed {seed}"
        counts["read"] += 1
        text = path.read_bytes().decode("utf-8", "replace").replace("\ufeff", "").replace("\u200b", "")
        if "\0" not in text and "�" not in text:
            counts["compared"] += 1
            kept = Counter(re.findall(r"\w+", "\n".join(cell for row in found for cell in row)))
            lost = Counter(re.findall(r"\w+", re.sub(r"\Asep=.[\r\n]", "", text))) - kept
            assert not lost, f"seed {seed}: {lost}\n{text}"
    print(f"\n{CASES} damaged CSVs: {dict(counts)}, no traceback")
