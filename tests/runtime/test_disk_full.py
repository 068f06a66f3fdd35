"""A full disk at the worst moments: a message that says what to do, nothing half-written, and the same end once there is room.

The disk is really full: a small tmpfs filled to its last byte where mounting is allowed (root), and everywhere the kernel's
limit on the size of a file, which stops a write in the middle just as well.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from soak import compare

from ser.data.packed import PackedFolder
from ser.ensemble import __main__ as ensemble
from ser.ensemble import blend
from ser.models.base import SerModel
from ser.report import run_report as run_report_module
from ser.runtime.errors import run_command
from ser.train import __main__ as train
from ser.train import artefacts
from ser.train.checkpoint import Checkpoints
from tiny import make_tiny_data, write_tiny_config


class SmallDisk:
    """A tmpfs of some megabytes."""

    told = "no space left on the disk"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=True, capture_output=True)

    def fill(self) -> None:
        space = os.statvfs(self.folder)
        with (self.folder / "ballast").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_frsize)

    def make_room(self) -> None:
        (self.folder / "ballast").unlink(missing_ok=True)

    def close(self) -> None:
        subprocess.run(["umount", "-l", self.folder], check=True)


class ShortFiles:
    """No file may become longer than a few bytes."""

    told = "the file became larger than the file system"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, self.before[1]))

    def make_room(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)

    close = make_room


@pytest.fixture
def disk(request, tmp_path) -> Iterator[SmallDisk | ShortFiles]:
    try:
        disk = request.param(tmp_path / "disk")
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        pytest.skip(f"nothing can be mounted here ({getattr(error, 'stderr', error)}); the limit on file sizes is tested instead")
    yield disk
    disk.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_tiny_data(tmp_path_factory.mktemp("input") / "demo", clips=24, test_clips=6)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """The run and the submission as they are with enough room."""
    place = tmp_path_factory.mktemp("whole")
    for command, argv in commands(place, data):
        run_command(command, argv)
    return place


def commands(place: Path, data: Path) -> list[tuple[Callable[[list[str]], None], list[str]]]:
    config = write_tiny_config(
        place.parent / f"{place.name}.yaml", data, run={"output": str(place / "outputs" / "tiny"), "checkpoint_steps": 2}
    )
    return [
        (train.main, ["--config", str(config), "--data.cache", str(place / "cache")]),
        (ensemble.main, [str(place / "outputs" / "tiny"), "--output", str(place / "submissions" / "tiny.csv")]),
    ]


def run_all(place: Path, data: Path) -> int:
    """The exit code of training and ensembling."""
    try:
        for command, argv in commands(place, data):
            run_command(command, argv)
    except SystemExit as ended:
        return ended.code
    return 0


def nothing_is_half_written(place: Path, whole: Path) -> None:
    """What is there is what is there in the end; temporary files are gone."""
    assert not [path for path in place.rglob("*") if ".tmp" in path.name or ".old-" in path.name]
    for path in [*place.glob("outputs/**/*"), *place.glob("submissions/*.csv")]:
        if path.is_file() and "checkpoints" not in path.parts and path.name not in ("config.yaml", "timing.csv", "report.html"):
            assert path.read_bytes() == (whole / path.relative_to(place)).read_bytes(), path


# When the disk fills up: right before the named file is written for the first time.
MOMENTS = {
    "clips-": (PackedFolder, "add", lambda *given: True),
    "step_00000002_epoch_0001": (Checkpoints, "save", lambda *given: given[3]["global_step"] == 2),
    "best_0001.safetensors": (Checkpoints, "_write_best", lambda checkpoints: checkpoints.best is not None),
    "valid.csv": (artefacts, "write_csv", lambda path, table: path.name == "valid.csv"),
    "history.png": (artefacts, "plot_history", lambda *given: True),
    "model": (SerModel, "save", lambda *given: True),
    "metrics.json": (artefacts, "write_json", lambda path, value: path.name == "metrics.json"),
    "oof.csv": (run_report_module, "write_csv", lambda path, table: path.name == "oof.csv"),
    "tiny.json": (blend, "write_json", lambda *given: True),
    "tiny.csv": (blend, "write_text", lambda *given: True),
}
QUICK = {
    SmallDisk: ["step_00000002_epoch_0001"],
    ShortFiles: ["oof.csv"],
}
CASES = [
    pytest.param(kind, name, id=f"{kind.__name__}-{name}", marks=() if name in QUICK[kind] else pytest.mark.slow)
    for kind in QUICK
    for name in MOMENTS
]


@pytest.mark.parametrize(("disk", "name"), CASES, indirect=["disk"])
def test_a_full_disk_ends_in_one_message_and_the_same_command_goes_on_to_the_same_bytes(disk, name, data, whole, capsys, monkeypatch):
    owner, function, applies = MOMENTS[name]
    write = getattr(owner, function)

    def write_on_a_full_disk(*given):
        if applies(*given):
            disk.fill()
        return write(*given)

    monkeypatch.setattr(owner, function, write_on_a_full_disk)
    code = run_all(disk.folder, data)
    monkeypatch.setattr(owner, function, write)
    said = capsys.readouterr().err
    assert code == 2
    assert said.count("error:") == 1
    assert disk.told in said
    assert re.search(rf"/{name}[0-9a-f]*\)", said)
    assert "run the same command again" in said
    nothing_is_half_written(disk.folder, whole)
    disk.make_room()
    assert run_all(disk.folder, data) == 0
    assert compare(whole, disk.folder) == []
