"""Making a bundle: the folder filled, tried out on a sample of the test clips, and put in its place."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from jsonargparse import Namespace

from ser.bundle.packing import config_of, pack, size_of
from ser.bundle.papers import write_readme, write_runner, write_wheels
from ser.bundle.predicting import CONTENT, told
from ser.bundle.wheels import pinned
from ser.ensemble.blend import fitted_blend
from ser.ensemble.members import Members, read_members
from ser.ensemble.submission import find_sample
from ser.inference.unfinished import told_of_run
from ser.runtime.device import precision_as_trained, precision_here
from ser.runtime.errors import UserError
from ser.runtime.files import atomic_folder, read_json, write_json
from ser.scoring.metrics import describe

WHEELS = "wheels"


def make_bundle(given: Namespace, output: Path) -> None:
    """Read the runs, fill the folder, let it predict a sample, and say what it is and what it will take. given: the command's arguments."""
    if output.exists() and any(output.iterdir()) and not (output / CONTENT).is_file():
        raise UserError(f"--output: given {output}, which holds something else; allowed is a new folder, or a bundle to replace.")
    members = read_members(given.runs, given.allow_missing_folds)
    for run in given.runs:
        for sentence in told_of_run(run):
            print(sentence)
    if not members.test_ids:
        raise UserError("these runs have no test clips, so that nothing says whether the bundle predicts as they do. Train with test.csv.")
    with atomic_folder(output) as folder:
        content = pack(folder, members, given.method, find_sample(members.runs, given.sample))
        write_runner(folder)
        fetch = write_wheels(folder, *pinned(config_of(run).model for run in [*members.runs, *(full.run for full in members.full_fits)]))
        if (output / WHEELS).is_dir():  # gigabytes that were fetched for the bundle before
            shutil.copytree(output / WHEELS, folder / WHEELS, copy_function=os.link)
        time = try_out(folder, content, members, given) if given.estimate else "not measured"
        write_readme(folder, _members(content), describe(content["oof"]), time, sys.version_info.minor)
        size = size_of(folder)
    print(f"{content['method']} of {len(content['members'])} runs; out of fold: {describe(content['oof'])}")
    print(f"time: {time}")
    print("packages for a machine without network (in the bundle's folder, on one with network): " + "; ".join(fetch))
    print(f"made {output}: {len(content['models'])} models, {size / 1e6:.1f} MB, predict.py, predict_kaggle.ipynb, wheels.txt, README.md")


def try_out(folder: Path, content: dict, members: Members, given: Namespace) -> str:
    """Let the bundle predict a sample on its own; returns the time it will take, as text. The result goes into bundle.json.

    Raises UserError where it fails, or gives other labels than the runs.
    """
    root = Path(config_of(members.runs[0]).data.root).expanduser()
    with tempfile.TemporaryDirectory() as place:
        answer = Path(place) / "estimate.json"
        words = ["--data", str(root.resolve()), "--estimate", str(given.estimate), "--output", str(answer)]
        words += ["--sample", str(Path(given.sample).resolve())] if given.sample else []
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [sys.executable, str(folder.resolve() / "predict.py"), *words]
        if subprocess.run(command, cwd=place, env=environment, check=False).returncode:  # noqa: S603 - this very Python and our own file
            raise UserError(f"the bundle doesn't run on {root} (its message is above); nothing was written. --estimate 0 bundles untried.")
        estimate = read_json(answer)
    compare(estimate, content, members)
    content["estimate"] = {key: value for key, value in estimate.items() if key not in ("ids", "probabilities")}
    write_json(folder / CONTENT, content)
    fixed, per_clip, clips = estimate["fixed_seconds"], estimate["seconds_per_clip"], given.clips or estimate["all_clips"]
    machine = "this machine" if given.slower == 1 else f"a machine {given.slower:g} times slower than this one"
    return f"{told(fixed, per_clip, clips, given.slower)} on {machine} (from {estimate['clips']} clips)"


CLOSE_CALLS, ROUNDING = 0.05, 0.1
"""Where only the precision is another: the share of labels that may be other ones, and how far a probability may be off. Measured between
bf16 and float32: 2 of 240 labels and 0.009 (a network of width 512), 0 of 60 and 0.022 (Whisper base)."""


def compare(estimate: dict, content: dict, members: Members) -> None:
    """Say how far the bundle's probabilities are from the runs'. Raises UserError where a label differs, unless that is to be expected."""
    rows = [members.test_ids.index(name) for name in estimate["ids"]]
    expected = fitted_blend(content["method"], members).predict(members.test[:, rows])
    found = np.array(estimate["probabilities"])
    same, most = int((found.argmax(1) == expected.argmax(1)).sum()), float(np.abs(found - expected).max())
    print(f"tried out: {same} of {len(rows)} sampled clips get the runs' label; probabilities differ by at most {most:.1g}")
    if same == len(rows):
        return
    if len(rows) < len(members.test_ids) and any(config_of(run).model.kind == "classical" for run in members.runs):
        print("(a model that finds voices among the clips it is given finds others in a sample; --estimate of all clips is exact)")
        return
    if told := _of_other_precision(content, len(rows) - same, len(rows), most):
        print(told)
        return
    raise UserError("the bundle predicts other labels than its runs. Were the test clips changed? Nothing was written.")


def _of_other_precision(content: dict, other: int, clips: int, most: float) -> str:
    """Why `other` labels may differ: networks that trained in a precision which this machine lacks; empty where none did, where so many
    may not, or where a probability differs by more than rounding explains (most)."""
    trained = set()
    for member in content["members"]:
        trained |= {(member["precision"], model["trained_in"]) for run in member["runs"].values() for model in run}
    lacking = sorted({was for given, was in trained if was and precision_here(precision_as_trained(given, was)) != was})
    if not lacking or other > max(1, CLOSE_CALLS * clips) or most > ROUNDING:
        return ""
    return f"(trained in {', '.join(lacking)}, which this machine doesn't compute in: close calls go the other way)"


def _members(content: dict) -> str:
    weights = content["weights"] if content["weights"] is not None else [None] * len(content["members"])
    told_members = (
        f"{Path(member['run']).name}{'' if weight is None else f' (weight {weight:.3f})'}"
        for member, weight in zip(content["members"], weights, strict=True)
    )
    return f"{content['method']} of {', '.join(told_members)}."
