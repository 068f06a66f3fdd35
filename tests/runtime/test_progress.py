"""Long work is told about: a bar in a terminal, a line now and then where there is none."""

import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ser
from ser.runtime import progress
from ser.runtime.progress import ProgressBar, say


@pytest.fixture(autouse=True)
def lines_come_often(monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.1)


def test_without_a_terminal_a_line_says_what_how_far_how_fast_and_how_long(capsys):
    with ProgressBar(what="fold 0", total=40, initial=10) as bar:
        bar.update(10)
        bar.set_postfix(loss=0.5, refresh=False)
        time.sleep(0.5)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 2
    assert re.fullmatch(r"fold 0: 20 of 40 clips \(50 %\), [\d.]+clip/s, \d\d:\d\d gone, \d\d:\d\d left, loss=0.5", lines[0]), lines


def test_a_line_comes_though_one_step_takes_minutes_and_none_after_the_end(capsys):
    for _ in ProgressBar(range(2), "slow", unit="file"):
        time.sleep(0.25)
    said = capsys.readouterr().err
    assert "slow: 0 of 2 files (0 %)" in said
    assert "slow: 1 of 2 files (50 %)" in said
    time.sleep(0.25)
    assert capsys.readouterr().err == ""


def test_two_bars_at_once_leave_no_control_codes_and_unknown_ends_no_share(capsys):
    with ProgressBar(what="outer", total=2), ProgressBar(what="film", unit="s") as inner:
        inner.update(7)
        time.sleep(0.3)
        say("a message")
    out, err = capsys.readouterr()
    assert "film: 7 ss, " not in err
    assert "film: 7 s, " in err
    assert "outer: 0 of 2 clips" in err
    assert "\x1b" not in err
    assert "\r" not in err
    assert out == "a message\n"


PIPED = """
import time
from ser.runtime import progress
from ser.runtime.errors import run_command
progress.LINE_SECONDS = 0.2
run_command(lambda words: time.sleep(1), [])
with progress.busy("solving"):
    time.sleep(1)
for _ in progress.ProgressBar(range(2), "slow", unit="file"):
    time.sleep(0.5)
print("over", flush=True)
time.sleep(60)
"""


def test_through_a_pipe_the_lines_come_while_the_work_is_going_on():
    """nohup, a log file, a notebook: nothing waits in a buffer until the end."""
    variables = os.environ | {"PYTHONPATH": str(Path(ser.__file__).parents[1])}
    process = subprocess.Popen([sys.executable, "-c", PIPED], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=variables)
    lines = []
    while (line := process.stdout.readline()) and line != "over\n":
        lines.append(line)
    running = process.poll() is None
    process.kill()
    process.communicate()
    assert running
    assert len([line for line in lines if re.fullmatch(r"solving: \d\d:\d\d gone\n", line)]) >= 2, lines
    assert len([line for line in lines if re.fullmatch(r"-c: at work, \d\d:\d\d gone\n", line)]) >= 2, lines
    assert any(line.startswith("slow: 1 of 2 files (50 %), ") and line.endswith(" left\n") for line in lines), lines


def test_hidden_or_quick_work_and_an_iterable_nobody_reads_write_nothing(capsys):
    list(ProgressBar(range(3), "quick"))
    ProgressBar(range(3), "never read")
    with ProgressBar(what="hidden", total=3, hidden=True):
        time.sleep(0.3)
    assert capsys.readouterr().err == ""


TOGETHER = """
import time
from ser.runtime import progress
from ser.runtime.errors import run_command
progress.LINE_SECONDS, progress.WITHOUT_STEPS_TURN, progress.COMMANDS_TURN = 0.5, 1.4, 1.6
def main(words):
    with progress.busy("solving"), progress.ProgressBar(what="early", total=9, delay=0.05):
        time.sleep(0.6)
    time.sleep(0.1)
    with progress.ProgressBar(what="late", total=9, delay=0.05):
        time.sleep(0.45)
    time.sleep(1)
run_command(main, [])
"""


def test_the_commands_own_line_comes_only_where_no_bar_has_one():
    """A bar that begins late in the command's silence takes its turn; the command speaks when no bar is there, and no silence is long."""
    variables = os.environ | {"PYTHONPATH": str(Path(ser.__file__).parents[1])}
    script = [sys.executable, "-c", TOGETHER]
    lines = subprocess.run(script, stderr=subprocess.PIPE, text=True, env=variables, check=True).stderr.splitlines()
    assert [line.split(":")[0] for line in lines] == ["early", "late", "-c"], lines


class Stream(io.StringIO):
    """A pipe that takes its time for every write, as a busy machine's does."""

    def __init__(self):
        super().__init__()
        self.parts = []

    def write(self, text):
        self.parts.append(text)
        time.sleep(0.001)
        return len(text)


def test_each_line_is_one_write_whoever_writes_it(monkeypatch):
    stream = Stream()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress.never_silent("predict"), ProgressBar(what="outer", total=2), ProgressBar(what="inner", total=2):
        time.sleep(0.4)
    with progress.never_silent("predict"):
        time.sleep(0.3)
    assert {part.split(":")[0] for part in stream.parts} == {"outer", "inner", "predict"}
    assert all(part.count("\n") == 1 and part.endswith("\n") for part in stream.parts), stream.parts
