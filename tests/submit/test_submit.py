"""Sending: what is refused before, what the ledger says after, whatever the site does. The sites' libraries call a local server."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

import ser
from runs import edit_json, make_run
from ser.ensemble.blend import blend_runs
from ser.runtime.errors import UserError
from ser.submit import ledger as ledger_module
from ser.submit.__main__ import main
from ser.submit.ledger import open_ledger
from submission_site import Site

TOKEN = "secret-token-1234"  # noqa: S105 - of nobody
STAND_IN = str(Path(__file__).parent / "stand_in")


@pytest.fixture(scope="module")
def blends(tmp_path_factory):
    """base.csv and both.csv with their records."""
    folder = tmp_path_factory.mktemp("blends")
    runs = [make_run(folder / name, seed) for seed, name in enumerate(("a", "b"))]
    blend_runs(runs[:1], folder / "base.csv")
    blend_runs(runs, folder / "both.csv")
    return folder


@pytest.fixture
def site(monkeypatch):
    server = Site()
    monkeypatch.setenv("PYTHONPATH", STAND_IN)
    monkeypatch.setenv("DACON_STAND_IN", server.url)
    monkeypatch.setenv("DACON_TOKEN", TOKEN)
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")  # http://localhost, which the "proxy" answers itself
    monkeypatch.setenv("http_proxy", server.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    yield server
    server.close()


@pytest.fixture
def submission(tmp_path, blends):
    for name in ("base", "both"):
        for ending in ("csv", "json"):
            shutil.copy(blends / f"{name}.{ending}", tmp_path)
    return tmp_path / "base.csv"


def submit(path: Path, *words: str, to: str = "dacon", yes: bool = True) -> None:
    main([str(path), "--to", to, "--competition", "236105", "--team", "we", *(["--yes"] if yes else []), *words])


def rows(path: Path) -> pd.DataFrame:
    return pd.read_csv(path.with_name("ledger.csv"), dtype=str, keep_default_na=False)


def states(path: Path) -> list[str]:
    return rows(path)["state"].tolist()


def everything_written(folder: Path) -> str:
    return "".join(file.read_text(errors="replace") for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("to", ["dacon", "kaggle"])
def test_an_accepted_submission_is_sent_once_with_the_bytes_that_were_checked(site, submission, capsys, to):
    submit(submission, to=to)
    shown = capsys.readouterr()
    sent = site.arrived[0] if to == "dacon" else site.uploaded[0]
    assert submission.read_bytes() in sent and len(site.arrived) == 1
    assert any(TOKEN in authorization for _, authorization in site.calls)
    row = rows(submission).iloc[0]
    assert (row["state"], row["to"], row["file"], row["n"]) == ("accepted", to, "base.csv", "60")
    assert "uccess" in row["answer"] and 0 < float(row["oof_accuracy"]) <= 1
    assert "out-of-fold: accuracy" in shown.out and "sent before to" in shown.out and shown.out.rstrip().endswith("ledger.csv")
    assert TOKEN not in everything_written(submission.parent) + shown.out + shown.err


@pytest.mark.parametrize(
    ("to", "behaviour", "state"),
    [
        ("dacon", "no", "refused"),
        ("dacon", "cut", "unknown"),
        ("dacon", "error", "unknown"),
        ("kaggle", "no", "refused"),
        ("kaggle", "cut", "unknown"),
        ("kaggle", "no upload", "not_sent"),
    ],
)
def test_whatever_the_site_does_it_is_called_once_and_the_ledger_says_what_is_known(site, submission, capsys, to, behaviour, state):
    site.behaviour = behaviour
    with pytest.raises(UserError, match=state) as told:
        submit(submission, to=to)
    assert len(site.arrived) == (behaviour != "no upload")
    assert states(submission) == [state]
    assert TOKEN not in everything_written(submission.parent) + str(told.value) + "".join(capsys.readouterr())
    site.behaviour = "ok"
    if state == "unknown":  # it may have arrived: never again by itself
        with pytest.raises(UserError, match="--settle accepted; if not"):
            submit(submission, to=to)
        assert len(site.arrived) == 1
    else:
        submit(submission, to=to)
        assert states(submission) == [state, "accepted"]


def test_the_ledger_is_written_before_the_call_and_a_site_that_never_answers_is_left(site, submission):
    site.behaviour, during = "hang", []

    def watch():
        while not site.arrived:
            time.sleep(0.01)
        during.extend(states(submission))

    watcher = threading.Thread(target=watch)
    watcher.start()
    with pytest.raises(UserError, match=r"no answer within 1\.5 s"):
        submit(submission, "--timeout", "1.5")
    watcher.join()
    assert during == ["sending"] and states(submission) == ["unknown"]


@pytest.mark.parametrize(("number", "state"), [(signal.SIGKILL, "sending"), (signal.SIGINT, "unknown")])
def test_a_process_that_is_killed_while_it_waits_leaves_a_row_that_says_so(site, submission, number, state):
    site.behaviour = "hang"
    source = str(Path(ser.__file__).parents[1])
    words = [str(submission), "--to", "dacon", "--competition", "236105", "--yes"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ser.submit", *words],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([source, STAND_IN])},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores Ctrl-C, and so would its child
    )
    while not site.arrived:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    process.wait(60)
    site.released.set()
    assert states(submission) == [state]
    site.behaviour = "ok"
    with pytest.raises(UserError, match="only the site knows"):
        submit(submission)
    submit(submission, "--settle", "not_sent")
    submit(submission)
    assert states(submission) == ["not_sent", "accepted"] and len(site.arrived) == 2


def test_a_site_that_cannot_be_reached_has_not_got_it(site, submission):
    site.close()
    with pytest.raises(UserError, match="not_sent"):
        submit(submission)
    assert states(submission) == ["not_sent"]


def test_kaggle_is_not_sent_anything_with_a_token_it_does_not_know(site, submission, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "stranger")
    with pytest.raises(UserError, match="doesn't know the token"):
        submit(submission, to="kaggle")
    assert states(submission) == ["not_sent"] and not site.arrived


def test_the_same_bytes_are_refused_under_any_name(site, submission):
    submit(submission)
    for ending in (".csv", ".json"):
        shutil.copy(submission.with_suffix(ending), submission.with_name(f"other{ending}"))
    with pytest.raises(UserError, match=r"same bytes were sent as number 1 \(base.csv"):
        submit(submission.with_name("other.csv"))
    assert len(site.arrived) == 1


def test_two_processes_cannot_both_find_that_it_was_not_sent(submission):
    begun, folder = [], submission.parent / "ledger.csv"

    def begin():
        with open_ledger(folder) as ledger:
            if ledger.same_bytes("dacon", "1", "x").empty:
                time.sleep(0.05)
                begun.append(ledger.add(to="dacon", competition="1", sha256="x"))

    threads = [threading.Thread(target=begin) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert begun == ["1"]


def test_the_limit_is_of_the_days_of_the_site(submission, monkeypatch):
    noon_in_seoul = datetime.now(UTC).replace(hour=3, minute=0)
    times = iter([noon_in_seoul - timedelta(days=1), *[noon_in_seoul - timedelta(hours=2)] * 3])
    with monkeypatch.context() as patch:
        patch.setattr(ledger_module, "now_as_text", lambda: next(times).isoformat(timespec="seconds"))
        with open_ledger(submission.with_name("ledger.csv")) as ledger:
            for number in range(4):
                ledger.add(to="dacon", competition="236105", sha256=f"other {number}")
            assert ledger.today("dacon", "236105", noon_in_seoul) == 3
            assert ledger.today("dacon", "236105", noon_in_seoul + timedelta(hours=11)) == 3  # 23:00 in Seoul
            assert ledger.today("dacon", "236105", noon_in_seoul + timedelta(hours=13)) == 0
            assert ledger.today("kaggle", "236105", noon_in_seoul) == ledger.today("dacon", "1", noon_in_seoul) == 0


def test_the_day_has_no_more_than_the_limit(site, submission):
    submit(submission, "--per_day", "1")
    with pytest.raises(UserError, match="1 of 1 submissions of today"):
        submit(submission.with_name("both.csv"), "--per_day", "1")
    submit(submission.with_name("both.csv"), "--per_day", "2")
    assert len(site.arrived) == 2


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.write_text(path.read_text().replace(",0\n", ",1\n", 1)), "changed since"),
        (lambda path: path.with_suffix(".json").unlink(), "no such file"),
        (lambda path: edit_json(path.with_suffix(".json"), test_clips=0), "nothing to send"),
        (lambda path: path.with_suffix(".json").write_text("{}"), "lacks estimate, label_names, method"),
    ],
)
def test_a_file_that_is_not_what_its_record_says_is_not_sent(site, submission, damage, says):
    damage(submission)
    with pytest.raises(UserError, match=says):
        submit(submission)
    assert not site.calls and not submission.with_name("ledger.csv").exists()


def test_a_file_in_another_order_than_the_sample_is_not_sent(site, submission, tmp_path):
    table = pd.read_csv(submission)
    table.assign(label=0).iloc[::-1].to_csv(tmp_path / "sample.csv", index=False)
    with pytest.raises(UserError, match="order of"):
        submit(submission, "--sample", str(tmp_path / "sample.csv"))
    table.iloc[1:].to_csv(tmp_path / "sample.csv", index=False)
    with pytest.raises(UserError, match="don't match"):
        submit(submission, "--sample", str(tmp_path / "sample.csv"))


def test_nobody_there_to_answer_is_a_no(site, submission):
    with pytest.raises(UserError, match="--yes"):
        submit(submission, yes=False)
    assert not site.calls and not submission.with_name("ledger.csv").exists()


def test_a_token_is_read_from_a_file_that_nobody_else_can_read(site, submission, tmp_path, monkeypatch):
    monkeypatch.delenv("DACON_TOKEN")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UserError, match="no token for dacon: set DACON_TOKEN"):
        submit(submission)
    file = tmp_path / ".dacon" / "token"
    file.parent.mkdir()
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o644)
    with pytest.raises(UserError, match="its mode is 644") as told:
        submit(submission)
    assert TOKEN not in str(told.value)
    file.chmod(0o600)
    submit(submission)
    assert site.calls == [("submission", TOKEN)]


def test_a_damaged_ledger_is_not_begun_anew(site, submission):
    submission.with_name("ledger.csv").write_text("number,time\n1,yesterday\n")
    with pytest.raises(UserError, match="repair it"):
        submit(submission)
    assert not site.calls


def test_without_a_ledger_nothing_is_sent(site, submission):
    submission.with_name(".ledger.csv.lock").mkdir()
    with pytest.raises(OSError):
        submit(submission)
    assert not site.calls


def test_what_arrived_after_all_is_settled_as_accepted(site, submission):
    site.behaviour = "cut"
    with pytest.raises(UserError, match="unknown"):
        submit(submission)
    submit(submission, "--settle", "accepted")
    assert states(submission) == ["accepted"]
    with pytest.raises(UserError, match="would cost one of the day's submissions"):
        submit(submission)
    with pytest.raises(UserError, match="nothing to settle"):
        submit(submission, "--settle", "accepted")
