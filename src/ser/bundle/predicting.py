"""What predict.py of a bundle does: a test folder in, a submission out, by the models and the blend that were bundled.

Every step is the one by which training and `ser.ensemble` came to their test predictions, down to the nine digits in which a fold's
test.csv keeps them, so that the submission is the same to the byte.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jsonargparse import Namespace
from jsonargparse.typing import PositiveInt
from safetensors.numpy import load_file

from ser.config import DataConfig, build_parser, output_file, parse
from ser.data.inputs import Store, open_store
from ser.data.sample_submission import Sample, read_sample
from ser.data.tables import Table, read_clips
from ser.ensemble.methods import LEARNED, METHODS
from ser.inference.forward import predict_probabilities
from ser.models.registry import load_model
from ser.runtime.device import make_accelerator, precision_as_trained
from ser.runtime.errors import UserError
from ser.runtime.files import read_json, write_json, write_text

CONTENT = "bundle.json"
OOF = "oof.safetensors"
HELP = """Predict a test folder with the models of this bundle and write the submission.

    python predict.py --data TEST_FOLDER --output submission.csv
    python predict.py --data TEST_FOLDER --estimate 64 --output estimate.json

TEST_FOLDER holds test.csv (id,path; id,path,text or id,text for models that read) and sample_submission.csv. No network is used.
--estimate predicts only so many clips, and says how long all of them will take on this machine.
"""


@dataclass
class Clock:
    """Seconds since `started` (of time.perf_counter), and how many of them went with the number of clips."""

    started: float
    per_clip: float = 0.0
    models: int = 0
    begun: float = field(default=0.0, repr=False)

    def __enter__(self) -> None:
        self.begun = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.per_clip += time.perf_counter() - self.begun

    @property
    def gone(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self.started


def main(argv: list[str], folder: Path, started: float) -> None:
    """folder: of the bundle. started: when the process began, by time.perf_counter."""
    given, clock = read_arguments(argv), Clock(started)
    output = output_file(given.output, ".json" if given.estimate else ".csv")
    content = read_content(folder)
    with tempfile.TemporaryDirectory(prefix="ser-bundle-") as work:
        table, sample = read_test(Path(given.data), given.sample, given.transcripts, content)
        everything = len(table)
        if given.estimate:
            table = table.take(np.unique(np.linspace(0, everything - 1, min(given.estimate, everything)).astype(int)))
        tests = np.stack([member_probabilities(folder, content, member, table, Path(work), clock) for member in content["members"]])
    blended = blend(folder, content, tests)
    if given.estimate:
        return write_estimate(output, table, blended, clock, everything)
    submission = sample.filled(table.ids, blended.argmax(axis=1))
    write_text(output, submission.to_csv(index=False, lineterminator="\n"))
    print(f"wrote {output}: {len(submission)} rows, {clock.models} models, {clock.gone:.0f} s")


def read_arguments(argv: list[str]) -> Namespace:
    parser = build_parser("bundle", HELP, sections=[])
    parser.prog, parser.usage = "python predict.py", "python predict.py --data TEST_FOLDER --output FILE.csv"
    parser.add_argument("--data", type=str, required=True, help="Folder with test.csv, its clips, and sample_submission.csv.")
    parser.add_argument("--output", type=str, default="submission.csv", help="CSV to write (with --estimate a JSON file).")
    parser.add_argument("--sample", type=str, help="Sample submission, where it isn't in the folder.")
    parser.add_argument("--transcripts", type=str, help="CSV id,text, for models that read, where test.csv has no column text.")
    parser.add_argument("--estimate", type=PositiveInt, help="Predict this many clips only, to say how long all will take.")
    return parse(parser, argv)[1]


def read_content(folder: Path) -> dict:
    """bundle.json. Raises UserError where a file of the bundle is missing or was cut in the copying."""
    content = read_json(folder / CONTENT)
    for name, size in content["files"].items():
        if not (folder / name).is_file() or (folder / name).stat().st_size != size:
            raise UserError(f"{folder / name}: missing, or not of its {size} bytes. Copy the bundle again.")
    return content


def read_test(root: Path, sample: str | None, transcripts: str | None, content: dict) -> tuple[Table, Sample]:
    """The test clips and the sample submission of a folder. Raises UserError where they don't fit."""
    if not (root / "test.csv").is_file():
        raise UserError(f"--data: given {root}; it must be a folder with test.csv and sample_submission.csv.")
    paths = any(member["data"]["allow_absolute_paths"] for member in content["members"])
    table = read_clips(root / "test.csv", DataConfig(transcripts=transcripts, allow_absolute_paths=paths))
    found = read_sample(Path(sample or root / "sample_submission.csv"), table.ids, content["label_names"], "test.csv")
    names = content["written_labels"]
    return table, dataclasses.replace(found, names=None if names is None else tuple(names))


def member_probabilities(folder: Path, content: dict, member: dict, table: Table, work: Path, clock: Clock) -> np.ndarray:
    """(M, C): the mean over a member's runs of the mean over their models."""
    data = DataConfig(cache=str(work / "cache"), **member["data"])
    with clock:
        store = open_store(member["takes"], table, data, "test clips")
    runs = []
    for run, models in member["runs"].items():
        total = 0.0
        for number, model in enumerate(models):
            place = unpacked(folder, content["models"][model["files"]], work / "models" / model["files"])
            title = f"{run}, model {number + 1} of {len(models)}"
            total = total + as_written(model_probabilities(place, member, model, store, work, title, clock))
            clock.models += 1
        runs.append(total / len(models))
    return np.mean(runs, axis=0)


def unpacked(folder: Path, files: Mapping[str, str], place: Path) -> Path:
    """A model's folder as it was saved: files that several models share lie in the bundle once."""
    for name, file in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).symlink_to(folder.resolve() / file)
    return place


def model_probabilities(place: Path, member: dict, model: dict, store: Store, work: Path, title: str, clock: Clock) -> np.ndarray:
    """(M, C); clips that can't be used get the prior of the training labels."""
    accelerator = make_accelerator(precision_as_trained(member["precision"], model.get("trained_in")))
    network = load_model(place).to(accelerator.device)
    rows = np.flatnonzero(store.usable)
    probabilities = np.tile(np.array(member["prior"]), (len(store), 1))
    with clock:
        if member["frozen_encoder"]:  # it is the same in all folds: what it says of a clip is kept, and found by the next
            from ser.models.encoder.solving import SolvedEncoder

            solved = SolvedEncoder(network, work / "cache", accelerator, balanced=False)
            probabilities[rows] = solved.predict(store, rows, title, lambda: None)
        else:
            probabilities[rows] = predict_probabilities(network, store, rows, model["batch_size"], accelerator, title=title)
    return probabilities


def as_written(probabilities: np.ndarray) -> np.ndarray:
    """What reading a test.csv gives back, which holds nine digits."""
    return np.array([float(f"{value:.9g}") for value in probabilities.ravel()]).reshape(probabilities.shape)


def blend(folder: Path, content: dict, tests: np.ndarray) -> np.ndarray:
    """(M, C) of the members (R, M, C). A method that learns is fitted to the same out-of-fold predictions again."""
    method = content["method"]
    known = load_file(folder / OOF) if method in LEARNED else {"oof": tests, "labels": np.zeros(0, int)}
    return METHODS[method](known["oof"], known["labels"]).predict(tests)


def write_estimate(output: Path, table: Table, blended: np.ndarray, clock: Clock, everything: int) -> None:
    """How long the sample took, and from that how long all clips will."""
    per_clip, fixed = clock.per_clip / len(table), clock.gone - clock.per_clip
    seconds = fixed + per_clip * everything
    write_json(
        output,
        {"clips": len(table), "models": clock.models, "fixed_seconds": fixed, "seconds_per_clip": per_clip, "ids": table.ids}
        | {"probabilities": blended, "all_clips": everything, "all_seconds": seconds},
    )
    print(f"{len(table)} clips with {clock.models} models: {told(fixed, per_clip, everything)}; wrote {output}")


def told(fixed: float, per_clip: float, clips: int, slower: float = 1.0) -> str:
    """e.g. `14 s and 0.21 s a clip; 352 clips take at most about 1.5 minutes`."""
    minutes = slower * (fixed + per_clip * clips) / 60
    return f"{slower * fixed:.0f} s and {slower * per_clip:.3f} s a clip; {clips} clips take at most about {minutes:.1f} minutes"
