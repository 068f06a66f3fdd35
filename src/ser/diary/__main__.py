"""The emotions of a diary: its sentences classified, and the share of each emotion in percent.

    python -m ser.diary diary.txt --model outputs/text_ngrams
    python -m ser.diary diary.txt --model outputs/klue_roberta_text --output outputs/diary

Shares are shown by count (how many sentences have the emotion) and by mean probability; each adds up to 100.00. With --output,
diary.json (shares and sentences), sentences.csv and diary.png (bars) are written. The file may be in UTF-8 or cp949.

The model is a run, a fold or a model folder of texts, e.g. of configs/text_ngrams.yaml or configs/klue_roberta_text.yaml. One that was
trained with data.multi_label gives a sentence several emotions, or none: then an emotion's share by count is its share of all emotions
found, and beside it stands the percent of the sentences that have it, which add up to more than 100.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ser.config import build_parser, output_folder, parse
from ser.data.text_input import decode_text
from ser.diary.shares import DEFAULT_MODEL, EMPTY_MESSAGE, Diary, plot_shares, read_diary
from ser.report.tables import text_table, without_formulas
from ser.runtime.errors import UserError, run_command
from ser.runtime.files import write_csv, write_json

SHOWN = 20


def main(argv: list[str]) -> None:
    """Read the file, classify its sentences, show and write the shares."""
    parser = build_parser("diary", __doc__, sections=[], usage="FILE --model RUN [--output DIR]")
    parser.add_argument("file", type=str, help="Text file.")
    parser.add_argument("--model", type=str, default=DEFAULT_MODEL, help="Run folder (outputs/X), fold folder, or model folder.")
    parser.add_argument("--max_len", type=int, default=256, help="Tokens of a sentence that a text encoder reads.")
    parser.add_argument("--output", type=str, help="Folder to write diary.json, sentences.csv and diary.png to.")
    _, given = parse(parser, argv)
    path, output = Path(given.file), output_folder(given.output) if given.output else None
    if not path.is_file():
        raise UserError(f"{path}: no such file. Give a text file.")
    diary = read_diary(decode_text(path), given.model, given.max_len)
    print(describe(diary) if diary.sentences else f"{path}: {EMPTY_MESSAGE}")
    if output:
        _write(diary, output)
    print(f"analysed {len(diary.sentences)} sentences of {path}" + (f" → {output}" if output else ""))


def describe(diary: Diary) -> str:
    """The first sentences with their emotions, and the shares, as text."""
    lines = [
        f"{label or '–':>10} {row.max():.2f}  {sentence}"
        for sentence, label, row in zip(diary.sentences, diary.labels, diary.probabilities, strict=True)
    ]
    if len(lines) > SHOWN:
        lines = [*lines[:SHOWN], f"… and {len(lines) - SHOWN} more"]
    if diary.thresholds is not None:
        return "\n".join([*lines, "", *_several(diary)])
    shares = pd.DataFrame(
        {
            "emotion": list(diary.by_count),
            "sentences_percent": [f"{value:.2f}" for value in diary.by_count.values()],
            "probability_percent": [f"{diary.by_probability[name]:.2f}" for name in diary.by_count],
        }
    )
    return "\n".join([*lines, "", text_table(shares)])


def _several(diary: Diary) -> list[str]:
    """The shares of the emotions found, where a sentence may have several, and how they add up."""
    shares = pd.DataFrame(
        {
            "emotion": list(diary.by_sentence),
            "of_sentences_percent": [f"{value:.2f}" for value in diary.by_sentence.values()],
            "of_emotions_percent": [f"{diary.by_count[name]:.2f}" for name in diary.by_sentence],
            "probability_percent": [f"{diary.by_probability[name]:.2f}" for name in diary.by_sentence],
        }
    )
    found = diary.found
    told = (
        f"{int(found.sum())} emotions in {len(found)} sentences, of which {int((~found.any(axis=1)).sum())} have none. A sentence may have "
        "several: of_sentences adds up to more than 100 where they do, of_emotions and probability to 100 over all emotions."
    )
    return [text_table(shares), told] if len(shares) else [told]


def _write(diary: Diary, folder: Path) -> None:
    write_json(folder / "diary.json", diary.as_json())
    table = pd.DataFrame({"sentence": diary.sentences, "label": diary.labels})
    for number, name in enumerate(diary.label_names):
        table[f"p_{name}"] = diary.probabilities[:, number]
    write_csv(folder / "sentences.csv", without_formulas(table))
    if diary.by_count:
        plot_shares(diary, folder / "diary.png")


if __name__ == "__main__":
    run_command(main)
