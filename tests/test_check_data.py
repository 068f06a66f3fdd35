"""The command that checks a data set: a row for every file, whatever is wrong with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ser
from broken import VICTIMS, broken_bytes, examples
from ser.audio import STATUSES, UNUSABLE
from ser.check_data import MEANINGS, main, without_formulas
from ser.data.paths import is_audio_name
from sounds import KINDS, tone, write_soundfile, write_wav


@pytest.fixture
def run(tmp_path, capsys):
    """Run the command in this process: (exit code, screen, table)."""

    def run(root: Path, *arguments: str) -> tuple[int, str, pd.DataFrame]:
        output = tmp_path / "table" / "check.csv"
        code = 0
        try:
            main(["--data.root", str(root), "--data.cache", str(tmp_path / "cache"), "--output", str(output), *arguments])
        except SystemExit as stop:
            code = stop.code
        return code, capsys.readouterr().out, pd.read_csv(output, keep_default_na=False)

    return run


@pytest.fixture
def competition(tmp_path):
    """Four training and two test clips in the competition's form, one test clip equal to a training clip."""
    root = tmp_path / "input"
    for name in ("train", "test"):
        (root / name).mkdir(parents=True)
    for number in range(4):
        write_wav(root / "train" / f"TRAIN_{number:04}.wav", tone(1 + number / 2, hz=100 + number))
    for number in range(2):
        write_wav(root / "test" / f"TEST_{number:04}.wav", tone(1 + number / 2, hz=100 + 50 * number))
    rows = [f"TRAIN_{number:04},./train/TRAIN_{number:04}.wav,{number}" for number in range(4)]
    (root / "train.csv").write_text("\n".join(["id,path,label", *rows]) + "\n")
    (root / "test.csv").write_text("id,path\nTEST_0000,./test/TEST_0000.wav\nTEST_0001,./test/TEST_0001.wav\n")
    return root


def test_a_sound_data_set_ends_with_exit_code_0_and_a_summary(competition, run, tmp_path):
    code, screen, table = run(competition)
    assert code == 0
    assert table["id"].tolist() == ["TRAIN_0000", "TRAIN_0001", "TRAIN_0002", "TRAIN_0003", "TEST_0000", "TEST_0001"]
    assert table["part"].tolist() == ["train"] * 4 + ["test"] * 2
    assert set(table["status"]) == {"ok"}
    assert table["seconds"].tolist() == [1.0, 1.5, 2.0, 2.5, 1.0, 1.5]
    samples = sum(path.stat().st_size for path in (tmp_path / "cache").glob("clips-*/audio-*")) / 1e6
    line = next(line for line in screen.splitlines() if line.startswith("cache "))
    assert f"/cache: {samples:.1f} MB (clips {samples:.1f} MB" in line and "it can be deleted" in line, line
    assert "16000 Hz with 1 channel: 6" in screen
    assert "same audio in train and test: 1" in screen
    assert "TRAIN_0000 = test TEST_0000" in screen
    last = screen.strip().splitlines()[-1]
    assert last == f"checked 6 files of {competition}: none unusable; the table is in {tmp_path}/table/check.csv"


def test_unusable_and_missing_files_are_named_and_end_with_exit_code_1(competition, run):
    (competition / "train" / "TRAIN_0001.wav").unlink()
    (competition / "test" / "TEST_0001.wav").write_bytes(b"")
    code, screen, table = run(competition)
    assert code == 1
    assert table["status"].tolist() == ["ok", "missing", "ok", "ok", "ok", "undecodable"]
    assert "train/TRAIN_0001.wav: missing, no such file" in screen
    assert "test/TEST_0001.wav: undecodable, the file is empty" in screen
    assert "2 unusable" in screen.strip().splitlines()[-1]


def test_every_kind_of_file_gets_its_row(tmp_path, run):
    root, expected = tmp_path / "clips", {}
    for number, kind in enumerate(KINDS.values()):
        folder = root / f"{number:02}"
        folder.mkdir(parents=True)
        path = kind.make(folder)
        if os.path.lexists(path) and (is_audio_name(path.name) or kind.status == "ok"):  # by its content where the name says nothing
            expected[f"{number:02}/{path.name}"] = kind.status
    code, screen, table = run(root, "--data.allow_absolute_paths", "true")
    assert code == 1
    assert dict(zip(table["id"], table["status"], strict=True)) == expected
    counts = pd.Series(expected).value_counts()
    for status in counts.index:
        assert f"{status} {counts[status]}" in " ".join(screen.split())


def test_silence_is_no_duplicate_of_silence(tmp_path, run):
    for name in ("a.wav", "b.wav"):
        write_wav(tmp_path / name, tone() * 0)
    _, screen, _ = run(tmp_path)
    assert "No duplicate audio found." in screen


def test_duplicates_are_found_across_formats_and_labels(tmp_path, run):
    for folder in ("Angry", "Sad"):
        (tmp_path / folder).mkdir()
    wave = np.round(tone() * 32768) / 32768
    write_wav(tmp_path / "Angry" / "a.wav", wave)
    write_soundfile(tmp_path / "Sad" / "b.flac", wave, 16_000, "FLAC")
    _, screen, table = run(tmp_path)
    assert table["audio_hash"][0] == table["audio_hash"][1]
    assert "same audio under different labels: 1" in screen


def test_a_table_for_people_can_not_run_formulas(tmp_path, run):
    for name in ("=1+1.wav", "+a.wav", "-a.wav", "@a.wav", "a.wav"):
        write_wav(tmp_path / name, tone())
    _, _, table = run(tmp_path)
    assert sorted(table["id"]) == ["'+a.wav", "'-a.wav", "'=1+1.wav", "'@a.wav", "a.wav"]
    assert (table["peak_db"] < 0).all(), "numbers stay numbers"


def test_only_cells_that_begin_like_a_formula_change():
    table = pd.DataFrame({"text": ["=A1", "a=b", "", "\t=A1", "분노"], "number": [-1.5, 1, 2, 3, 4]})
    assert without_formulas(table)["text"].tolist() == ["'=A1", "a=b", "", "'\t=A1", "분노"]
    assert without_formulas(table)["number"].tolist() == table["number"].tolist()


def test_every_status_has_its_meaning():
    assert tuple(MEANINGS) == STATUSES
    assert {status for status, text in MEANINGS.items() if not text.startswith("used")} == UNUSABLE


def test_what_is_no_data_set_ends_with_one_message_and_exit_code_2(tmp_path):
    run = command(tmp_path / "nowhere", tmp_path)
    assert run.returncode == 2
    assert run.stderr.startswith("error: data.root:")
    assert "Traceback" not in run.stderr


def test_damaged_files_can_not_stop_the_command(tmp_path):
    check_damaged(tmp_path, examples(100))


@pytest.mark.slow
def test_a_thousand_damaged_files_can_not_stop_the_command(tmp_path):
    check_damaged(tmp_path, examples(1000))


def check_damaged(folder: Path, count: int) -> None:
    root = folder / "clips"
    root.mkdir()
    for number in range(count):
        victim = VICTIMS[number % len(VICTIMS)]
        (root / f"{number:04}.wav").write_bytes(broken_bytes(victim, number))
    run = command(root, folder)
    assert run.returncode == 1, run.stderr
    assert "Traceback" not in run.stderr
    table = pd.read_csv(folder / "check.csv", keep_default_na=False)
    assert len(table) == count
    assert set(table["status"]) <= set(STATUSES)
    assert f"checked {count} files" in run.stdout.splitlines()[-1]


def command(root: Path, folder: Path) -> subprocess.CompletedProcess:
    """The real command, in a process of its own."""
    words = ["--data.root", root, "--data.cache", folder / "cache", "--output", folder / "check.csv"]
    environment = os.environ | {"PYTHONPATH": str(Path(ser.__file__).parents[1])}
    return subprocess.run(
        [sys.executable, "-m", "ser.check_data", *map(str, words)], capture_output=True, text=True, env=environment, timeout=280
    )
