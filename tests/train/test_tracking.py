"""Tracking never changes, delays or ends a run: real wandb, offline or against servers that don't behave."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from ser.config import Config, save_config
from ser.inference.runs import FULL_FIT
from ser.train import tracking, tracking_process
from ser.train.tracking import open_tracker, wait_for_trackers
from ser.train.tracking_summary import artifact_name
from tiny import make_tiny_data, write_tiny_config

SOURCE = str(Path(tracking.__file__).parents[2])


@pytest.fixture(autouse=True)
def own_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No key, no netrc, no settings of the person who runs the tests; and nothing is left running."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr(tracking, "_said", set())
    monkeypatch.setattr(tracking, "_unfinished", [])
    before = processes()
    yield
    for pid in processes() - before:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not processes() - before)


def processes() -> set[int]:
    """Tracking processes and wandb's own, whoever started them."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(name in (folder / "cmdline").read_bytes() for name in (b"tracking_process", b"wandb-core", b"gpu_stats")):
                found.add(int(folder.name))
    return found


def wait_until(condition, seconds: float = 25.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def offline_runs(folder: Path) -> list[dict]:
    """What wandb itself wrote down of each offline run, oldest first."""
    from wandb.proto.wandb_internal_pb2 import Record

    runs = []
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.parent.name):
        run: dict = {"history": [], "summary": {}, "config": {}, "artifacts": {}}
        for data in wandb_records(path.read_bytes()):
            record = Record()
            record.ParseFromString(data)
            kind = record.WhichOneof("record_type")
            if kind == "run":
                run |= {"id": record.run.run_id, "group": record.run.run_group, "name": record.run.display_name, "job": record.run.job_type}
                run["config"] |= values(record.run.config.update)
            elif kind == "history":
                run["history"].append(values(record.history.item))
            elif kind == "summary":
                run["summary"] |= values(record.summary.update)
            elif kind == "artifact":
                run["artifacts"][record.artifact.name] = {entry.path for entry in record.artifact.manifest.contents}
            elif kind == "exit":
                run["exit"] = record.exit.exit_code
        runs.append(run)
    return runs


def values(items) -> dict:
    return {item.key or item.nested_key[0]: json.loads(item.value_json) for item in items}


def wandb_records(data: bytes) -> Iterator[bytes]:
    """Records of a .wandb file: a 7-byte header, then LevelDB's log format (32 KiB blocks; crc, length, type; 1 whole, 2 to 4 parts)."""
    at, parts = 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield parts
            parts = b""


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Accepts connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)  # the kernel accepts for it
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def refusing_server() -> Iterator[str]:
    """Answers every request with 401, as W&B does to a wrong key."""

    class Refuse(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(401)
            self.end_headers()
            self.wfile.write(b'{"errors": [{"message": "invalid key"}]}')

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refuse) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_disabled_does_nothing_and_imports_nothing(tmp_path: Path) -> None:
    code = f"""
import sys
from ser.config import Config
from ser.train.tracking import open_tracker, track_run
config = Config(); config.tracking.mode = "disabled"
with open_tracker(config, r"{tmp_path}/run", "fold_0", "fold") as tracker:
    tracker.log({{"a": 1}}, 1)
track_run(config, r"{tmp_path}/run", {{}})
print("wandb" in sys.modules)
"""
    out = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": SOURCE}, capture_output=True, text=True, check=True)
    assert (out.stdout.strip(), out.stderr) == ("False", "")
    assert not (tmp_path / "run").exists()


def test_without_a_key_it_is_offline_which_is_said_once_for_all_folds_and_wandb_has_every_value(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run_folder = tmp_path / "my_experiment"
    with open_tracker(Config(), run_folder, "fold_2", "fold") as tracker:
        for epoch in (1, 2, 3):
            tracker.log({"epoch": epoch, "train_loss": np.float32(1 / epoch), "valid_accuracy": float("nan")}, epoch)
        tracker.finish({"accuracy": 0.75, "n": np.int64(40)})
    open_tracker(Config(), run_folder, "fold_3", "fold").finish()
    wait_for_trackers(60)
    runs = {run["name"]: run for run in offline_runs(run_folder)}
    assert set(runs) == {"fold_2", "fold_3"}
    run = runs["fold_2"]
    assert (run["group"], run["name"], run["job"], run["exit"]) == ("my_experiment", "fold_2", "fold", 0)
    assert [(row["_step"], row["epoch"], round(row["train_loss"], 4)) for row in run["history"]] == [
        (1, 1, 1.0),
        (2, 2, 0.5),
        (3, 3, 0.3333),
    ]
    assert run["summary"]["accuracy"] == 0.75
    assert run["summary"]["n"] == 40
    assert run["config"]["train"]["learning_rate"] == Config().train.learning_rate
    said = [line for line in capsys.readouterr().err.splitlines() if "finishing" not in line]
    assert len(said) == 1
    assert "no API key" in said[0]


@pytest.mark.long
def test_server_that_never_answers_costs_under_ten_seconds_and_loses_nothing(tmp_path: Path, silent_server: str) -> None:
    """The output is captured through pipes: a process left behind that held them would keep the caller waiting."""
    code = f"""
import time
from ser.config import Config
from ser.train.tracking import open_tracker
start = time.monotonic()
for fold in range(3):
    with open_tracker(Config(), r"{tmp_path}", f"fold_{{fold}}", "fold") as tracker:
        tracker.log({{"loss": 0.5}}, 1)
print(time.monotonic() - start, time.time())
"""
    environment = os.environ | {"PYTHONPATH": SOURCE, "WANDB_API_KEY": "a" * 40, "WANDB_BASE_URL": silent_server}
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    seen, left_at = map(float, out.stdout.split())
    assert seen < 1.0  # what the folds saw of it
    assert time.time() - left_at < 10.0
    assert len(out.stderr.strip().splitlines()) <= 3, out.stderr
    assert wait_until(lambda: [run.get("exit") for run in offline_runs(tmp_path)] == [0, 0, 0])
    assert all(run["history"][0]["loss"] == 0.5 for run in offline_runs(tmp_path))


@pytest.mark.slow
def test_training_against_a_server_that_never_answers_ends_in_the_same_bytes(
    tmp_path: Path, silent_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real command, with and without tracking, side by side."""
    import audiomentations  # noqa: F401 - the first run is not to pay for imports
    import transformers.models.wav2vec2.modeling_wav2vec2  # noqa: F401

    from ser.train import __main__ as train

    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", silent_server)
    data = make_tiny_data(tmp_path / "data", clips=24, test_clips=6)
    config = write_tiny_config(tmp_path / "tiny.yaml", data, augment={"gain": {"p": 0.5}}, train={"epochs": 1})
    seconds, written = {}, {}
    for mode in ("disabled", "online"):
        output = tmp_path / mode
        start = time.monotonic()
        train.main(["--config", str(config), "--tracking.mode", mode, "--run.output", str(output)])
        wait_for_trackers()  # what happens when the command's Python exits
        seconds[mode] = time.monotonic() - start
        names = ["oof.csv", "folds.csv", "data.json"]
        names += [f"fold_{k}/{name}" for k in (0, 1) for name in ("history.csv", "valid.csv", "test.csv", "metrics.json")]
        names += [f"fold_{k}/model/model.safetensors" for k in (0, 1)]
        written[mode] = {name: (output / name).read_bytes() for name in names}
    assert written["online"] == written["disabled"]
    assert seconds["online"] < 1.5 * seconds["disabled"] + 10.0
    assert wait_until(lambda: len(offline_runs(tmp_path / "online")) == 3)  # two folds and the summary


@pytest.mark.parametrize("key", ["a" * 40, pytest.param("nonsense", marks=pytest.mark.slow)])
def test_wrong_key_ends_offline(tmp_path: Path, refusing_server: str, monkeypatch: pytest.MonkeyPatch, key: str, capsys) -> None:
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setenv("WANDB_BASE_URL", refusing_server)
    with open_tracker(Config(), tmp_path, "fold_0", "fold") as tracker:
        tracker.log({"loss": 0.25}, 7)
    wait_for_trackers(20)
    (run,) = offline_runs(tmp_path)
    assert run["history"][0]["loss"] == 0.25
    assert "so it is offline" in capsys.readouterr().err


def test_killed_wandb_process_costs_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    tracker = open_tracker(Config(), tmp_path, "fold_0", "fold")
    tracker.log({"loss": 1.0}, 1)
    tracker.process.kill()
    tracker.process.wait()
    for step in range(2, 200):
        tracker.log({"loss": 1.0}, step)
    tracker.finish({"accuracy": 1.0})
    wait_for_trackers()
    said = [line for line in capsys.readouterr().err.splitlines() if "ended early" in line]
    assert len(said) == 1
    assert "fold_0" in said[0]


def test_stuck_wandb_process_does_not_block_the_run(tmp_path: Path) -> None:
    tracker = open_tracker(Config(), tmp_path, "fold_0", "fold")
    os.kill(tracker.process.pid, signal.SIGSTOP)
    start = time.monotonic()
    for step in range(2000):
        tracker.log({"loss": 1.0, "text": "x" * 200}, step)  # far more than a pipe would hold
    tracker.finish()
    logged = time.monotonic() - start
    wait_for_trackers(1.0)
    assert logged < 2.0
    assert time.monotonic() - start < logged + 1.5


def test_killed_training_leaves_a_failed_run_and_no_process(tmp_path: Path) -> None:
    code = f"""
import os, time
from ser.config import Config
from ser.train.tracking import open_tracker
tracker = open_tracker(Config(), r"{tmp_path}", "fold_0", "fold")
tracker.log({{"loss": 0.125}}, 1)
os.kill(os.getpid(), 9)
"""
    before = processes()
    out = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": SOURCE}, check=False)
    assert out.returncode == -signal.SIGKILL
    # On a busy machine the tracking process may only be starting now.
    assert wait_until(lambda: any(tmp_path.rglob("offline-run-*")) and not processes() - before)
    (run,) = offline_runs(tmp_path)
    assert run["exit"] == 1
    assert run["history"][0]["loss"] == 0.125


def test_folder_that_cannot_be_written_costs_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "wandb").write_text("a file where the folder should be")
    for fold in range(2):
        with open_tracker(Config(), tmp_path, f"fold_{fold}", "fold") as tracker:
            tracker.log({"loss": 1.0}, 1)
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "can't be written" in said[0]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("from_the_start", [False, True])
def test_full_disk_costs_one_line(from_the_start: bool, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    if from_the_start:
        (tmp_path / "wandb" / "tracking").mkdir(parents=True)
        (tmp_path / "fold_0").mkdir()
        (tmp_path / "fold_0" / "tracking.json").write_text('{"id": "0123abcd", "session": 0}')
        (tmp_path / "wandb" / "tracking" / "fold_0-0123abcd-1.jsonl").symlink_to("/dev/full")
    tracker = open_tracker(Config(), tmp_path, "fold_0", "fold")
    with Path("/dev/full").open("wb", buffering=0) as full:
        if not from_the_start:
            tracker.spool = full
        for step in range(5):
            tracker.log({"loss": 1.0}, step)
        tracker.finish()
    wait_for_trackers()
    said = [line for line in capsys.readouterr().err.splitlines() if "offline" not in line]
    assert len(said) == 1
    assert "No space left" in said[0]


def test_value_that_json_cannot_hold_does_not_end_the_run(tmp_path: Path) -> None:
    circular: dict = {}
    circular["itself"] = circular
    with open_tracker(Config(), tmp_path, "fold_0", "fold") as tracker:
        tracker.log(circular, 1)


def test_after_a_resume_an_offline_run_is_a_new_one_linked_by_id(tmp_path: Path) -> None:
    """FACTS 15: an offline run can't be resumed under its id."""
    for _ in range(2):
        open_tracker(Config(), tmp_path, "fold_1", "fold").finish()
        wait_for_trackers(20)
    first, second = offline_runs(tmp_path)
    kept = json.loads((tmp_path / "fold_1" / "tracking.json").read_text())
    assert kept["session"] == 2
    assert (first["id"], second["id"]) == (f"{kept['id']}-1", f"{kept['id']}-2")
    assert first["group"] == second["group"] == tmp_path.name
    assert second["config"]["continues"] == [first["id"]]
    assert first["config"]["tracking_id"] == second["config"]["tracking_id"] == kept["id"]


def test_after_a_resume_an_online_run_goes_on_under_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No W&B server can be run here: what wandb.init is asked for is looked at instead."""
    import wandb

    asked = []
    monkeypatch.setattr(wandb, "login", lambda **_: True)
    monkeypatch.setattr(wandb, "init", lambda **given: asked.append(given) or type("Run", (), {"url": "http://x"}))
    for _ in range(2):
        run_id, session = tracking._next_session(tmp_path / "fold_0")
        opening = {
            "models": False,
            "mode": "auto",
            "id": run_id,
            "session": session,
            "config": {},
            "run_folder": str(tmp_path),
            "parent": 1,
        }
        tracking_process._open_run(opening | dict.fromkeys(("project", "entity", "group", "name", "job_type", "tags")))
    assert [given["mode"] for given in asked] == ["online", "online"]
    assert asked[0]["id"] == asked[1]["id"]
    assert {given["resume"] for given in asked} == {"allow"}


@pytest.mark.long
def test_a_whole_experiment_is_in_wandbs_own_files_and_the_local_ones_are_the_same_bytes_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps, epochs, tables with players, and files as artifacts, read back from the offline runs by wandb's own records."""
    from ser.ensemble import __main__ as ensemble
    from ser.train import __main__ as train

    data = make_tiny_data(tmp_path / "data", clips=24, test_clips=6)
    config = write_tiny_config(tmp_path / "tiny.yaml", data, train={"epochs": 2}, tracking={"models": True})
    for mode in ("disabled", "offline"):
        output = tmp_path / mode / "tiny"
        train.main(["--config", str(config), "--tracking.mode", mode, "--run.output", str(output)])
        ensemble.main([str(output), "--output", str(tmp_path / mode / "blend.csv")])
    wait_for_trackers(60)
    with_it, without = tmp_path / "offline" / "tiny", tmp_path / "disabled" / "tiny"
    for path in (path for path in without.rglob("*.*") if path.is_file() and path.name not in ("timing.csv", "config.yaml", "report.html")):
        assert path.read_bytes() == (with_it / path.relative_to(without)).read_bytes(), path
    assert (without.parent / "blend.csv").read_bytes() == (with_it.parent / "blend.csv").read_bytes()

    assert wait_until(lambda: [run.get("exit") for run in offline_runs(with_it)] == [0] * 4)
    runs = {run["name"]: run for run in offline_runs(with_it)}
    assert {run["job"] for run in runs.values()} == {"fold", "summary", "submission"}
    fold = pd.read_csv(with_it / "fold_0" / "history.csv")
    steps = [row for row in runs["fold_0"]["history"] if "step/loss" in row]
    epochs = [row for row in runs["fold_0"]["history"] if "valid_accuracy" in row]
    assert [row["valid_accuracy"] for row in epochs] == pytest.approx(fold["valid_accuracy"].tolist())
    assert len(steps) == epochs[-1]["_step"]
    assert {"step/gradient_norm", "step/head_lr", "step/clips_per_second", "step/accuracy"} <= steps[0].keys()
    assert np.mean([row["step/loss"] for row in steps[: epochs[0]["_step"]]]) == pytest.approx(fold["train_loss"][0], rel=0.05)
    report = json.loads((with_it / "report.json").read_text())
    assert runs["summary"]["summary"]["oof"]["accuracy"] == report["oof"]["accuracy"]
    artifacts = {name: files for run in runs.values() for name, files in run["artifacts"].items()}
    assert {"history.csv", "valid.csv", "metrics.json", "model/model.safetensors"} <= artifacts["tiny-fold_0"]
    assert {"oof.csv", "data.json", "report.json"} <= artifacts["tiny-oof"]
    assert artifacts["blend"] == {"blend.csv", "blend.json"}
    assert runs["blend"]["config"]["members"] == {str(with_it): yaml.safe_load((with_it / "config.yaml").read_text())}
    tables = {tuple(table["columns"]): table["data"] for table in tables_in(with_it)}
    every = next(rows for columns, rows in tables.items() if columns[-1] == "p_predicted")
    assert [row[0] for row in every] == pd.read_csv(with_it / "oof.csv")["id"].tolist()
    per_class = next(rows for columns, rows in tables.items() if "precision" in columns)
    assert sum(row[-1] for row in per_class) == 24
    worst = next(rows for columns, rows in tables.items() if columns[-1] == "sound")
    assert all(row[3] != row[4] for row in worst)
    sounds = [name for files in runs["summary"]["artifacts"].values() for name in files if name.endswith(".wav")]
    assert len(sounds) == len(worst) == 12


def test_a_submission_names_all_its_members_with_their_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(tracking.Tracker, "start", lambda _, stem, opening: opened.append(opening))
    rates = {"base": 1e-3, "large": 1e-4}
    for name, rate in rates.items():
        config = Config()
        config.tracking.mode, config.train.learning_rate = "offline", rate
        save_config(config, tmp_path / name / "config.yaml")
    full = tmp_path / "large" / FULL_FIT
    tracking.track_submission(tmp_path / "blend.csv", [tmp_path / "base", tmp_path / "large", full], {})
    (opening,) = opened
    members = opening["config"]["members"]
    assert {Path(name).name: own["train"]["learning_rate"] for name, own in members.items()} == rates | {FULL_FIT: 1e-4}
    assert "train" not in opening["config"], "no member's config stands for all"


def tables_in(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in folder.glob("wandb/offline-run-*/files/media/table/*.json")]


@pytest.mark.parametrize(
    ("key", "variable", "expected"),
    [
        ("auto", None, "auto"),
        ("auto", "offline", "offline"),
        ("auto", "dryrun", "offline"),
        ("auto", "disabled", "disabled"),
        ("auto", "online", "online"),
        ("online", "disabled", "online"),
        ("disabled", "online", "disabled"),
    ],
)
def test_mode_is_the_key_then_wandb_mode(key: str, variable: str | None, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if variable is not None:
        monkeypatch.setenv("WANDB_MODE", variable)
    assert tracking._mode(key) == expected


def test_a_mode_that_wandb_does_not_have_is_told_and_left_out(monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "disable")
    monkeypatch.setattr(tracking, "_said", set())
    assert tracking._mode("auto") == "auto"
    assert "WANDB_MODE: given disable; allowed are online, offline and disabled" in "".join(capsys.readouterr())


def test_artifacts_have_names_that_wandb_takes_and_two_stay_two():
    assert artifact_name("mfcc_cnn-fold_0") == "mfcc_cnn-fold_0"
    korean = [artifact_name(f"{name}-fold_0") for name in ("감정", "실험")]
    assert len(set(korean)) == 2 and all(re.fullmatch(r"[A-Za-z0-9_.-]+", name) for name in korean)
