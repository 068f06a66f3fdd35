"""Small Korean texts with emotions, as a competition folder: some words tell the emotion, most don't."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ser.files import write_csv

TELLING = {
    "angry": ("화가", "짜증", "열받네"),
    "sad": ("슬퍼", "눈물이", "그립다"),
    "disgust": ("역겨워", "더러워", "토나와"),
    "happy": ("행복해", "좋아요", "최고예요"),
    "fear": ("무서워", "떨린다", "소름"),
    "surprise": ("깜짝", "세상에", "놀랍네"),
}
OTHER = ("오늘", "우리", "집에서", "친구가", "그냥", "다시", "영화를", "아침에", "진짜", "정말로", "저녁", "버스")


def make_texts(folder: Path, texts: int = 72, test_texts: int = 12, seed: int = 0, wrong: float = 0.1) -> Path:
    """Write train.csv `id,text,label`, test.csv `id,text` and sample_submission.csv; returns the folder. wrong: share of wrong words."""
    rng = np.random.default_rng(seed)
    names = list(TELLING)
    rows = []
    for number in range(texts + test_texts):
        label = names[number % len(names)]
        told = label if rng.random() > wrong else rng.choice(names)
        words = [*rng.choice(OTHER, rng.integers(2, 6)), rng.choice(TELLING[told])]
        rows.append({"id": f"T{number:04d}", "text": " ".join(rng.permutation(words)), "label": label})
    table = pd.DataFrame(rows)
    write_csv(folder / "train.csv", table[:texts])
    write_csv(folder / "test.csv", table[texts:][["id", "text"]])
    write_csv(folder / "sample_submission.csv", pd.DataFrame({"id": table["id"][texts:], "label": 0}))
    return folder
