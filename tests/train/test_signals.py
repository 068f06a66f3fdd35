import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ser.runtime.errors import Interrupted
from ser.train import signals as stopping
from ser.train.signals import MARGIN_SECONDS, Stopper


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_is_taken_and_the_old_handler_comes_back(number):
    original = signal.signal(number, signal.default_int_handler)  # under nohup SIGHUP would be ignored
    try:
        with Stopper() as stopper:
            assert stopper.reason is None
            os.kill(os.getpid(), number)
            assert number.name in stopper.reason
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, original)


def test_the_end_of_the_terminal_stays_ignored_under_nohup():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stopper() as stopper:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stopper.reason is None
    finally:
        signal.signal(signal.SIGHUP, before)


TAKE_TWO = """
import os, signal, sys, time
from ser.train import signals as stopping
stopping.ECHO_SECONDS = 0.2
with stopping.Stopper() as stopper:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(float(sys.argv[1]))
    os.kill(os.getpid(), signal.SIGTERM)
    print(stopper.reason)
"""


@pytest.mark.parametrize(("pause", "code", "told"), [("0", 0, "SIGINT received\n"), ("0.5", -signal.SIGTERM, "")])
def test_a_second_signal_ends_at_once_unless_it_is_the_first_ones_echo(pause, code, told):
    environment = os.environ | {"PYTHONPATH": str(Path(stopping.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", TAKE_TWO, pause], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, told)


STUCK = """
import ctypes, os, signal, threading
from ser.train import signals
signals.STUCK_SECONDS, signals.MARGIN_SECONDS, libc, mutex = 0.3, 0.1, ctypes.CDLL(None), ctypes.create_string_buffer(128)
with signals.Stopper():
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    for _ in range(2):
        libc.pthread_mutex_lock(mutex)
"""


def test_a_signal_ends_a_command_that_is_stuck_inside_a_library():
    environment = os.environ | {"PYTHONPATH": str(Path(stopping.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", STUCK], env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (75, 1) and "a signal came" in done.stderr


UNHURRIED = """
import ctypes, os, signal, sys, threading, time
from ser.train import signals
signals.STUCK_SECONDS, signals.MARGIN_SECONDS, signals.ECHO_SECONDS = 0.3, 0.1, 0.2
libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(128)
with signals.Stopper() as stopper:
    for after in map(float, sys.argv[2:]):
        threading.Timer(after, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with stopper.unhurried():
        libc.usleep(1_500_000)
        for _ in range(2 * (sys.argv[1] == "stuck")):
            libc.pthread_mutex_lock(mutex)
    libc.usleep(250_000)  # what comes after has its own time, wherever the guard's clock stands
    print(stopper.reason)
"""


@pytest.mark.parametrize(
    ("then", "signals", "code", "told"),
    [
        ("ends", ["0.1"], 0, "SIGTERM received\n"),  # a checkpoint on a slow disk: five times as long as work may be stuck
        ("stuck", ["0.1", "2"], 75, ""),
    ],
)
def test_a_checkpoint_may_take_its_time_after_a_signal_until_another_comes(then, signals, code, told):
    environment = os.environ | {"PYTHONPATH": str(Path(stopping.__file__).parents[2])}
    words = [sys.executable, "-c", UNHURRIED, then, *signals]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (code, told)


def test_work_that_nothing_is_lost_of_ends_in_the_middle():
    with Stopper() as stopper, pytest.raises(Interrupted, match="SIGTERM received"), stopper.at_once():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
        pytest.fail("it went on")


def test_an_interruption_is_caught_by_no_except_clause_for_errors():
    assert not issubclass(Interrupted, Exception)


def test_the_budget_counts_from_the_start_of_train_sh(monkeypatch):
    monkeypatch.setenv("SER_STARTED", str(time.time() - 100))
    assert Stopper("105s").reason is not None  # 5 seconds left are less than the margin for the last checkpoint
    assert Stopper(f"{int(100 + MARGIN_SECONDS + 60)}s").reason is None
