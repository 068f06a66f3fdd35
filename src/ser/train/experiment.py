"""A run: the K folds of one experiment in one folder, from tables to the OOF report; which keys may change when it goes on.

Each step leaves a file that a person can read and the next step takes from there; finished folds are
skipped, so the same command run again goes on where the last one stopped.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from ser.config import Config, as_plain, flat, save_config
from ser.config.explaining import plain_value
from ser.data.duplicates import describe_duplicates, find_duplicates
from ser.data.folds import read_or_make_folds, write_folds
from ser.data.inputs import Input, Store, open_store
from ser.data.label_matrix import label_sets, label_shares, plain
from ser.data.tables import Dataset, Table, read_dataset
from ser.data.text_groups import describe_leak
from ser.models.registry import model_class
from ser.runtime.errors import UserError
from ser.runtime.files import read_json, remove_leftovers, write_json
from ser.runtime.progress import say
from ser.train.clip_checks import check_no_label_vanished, tell_absent, tell_cut
from ser.train.lock import is_being_trained

NEUTRAL_KEYS = {
    "data.root", "data.cache", "data.on_bad_audio", "data.allow_absolute_paths", "data.speakers", "data.transcripts", "cv.file",
    "cv.full_fit", "train.workers", "train.threads", "tracking", "run.output", "run.seeds", "run.processes", "run.launcher",
    "run.checkpoint_minutes", "run.checkpoint_steps", "run.time_budget", "run.start_over", "run.on_out_of_memory", "run.price_per_hour",
}  # fmt: skip
"""Keys that may differ when a run goes on: they don't change its results, or data.json and folds.csv show it if they do."""


@dataclass
class Experiment:
    """What every fold needs. Rows of `train`, `train_store` and `folds` are the same; likewise `test` and `test_store`."""

    config: Config
    folder: Path
    label_names: tuple[str, ...]
    train: Table
    train_store: Store
    test: Table | None
    test_store: Store | None
    folds: np.ndarray
    split: str
    dropped: list[dict]

    @property
    def prior(self) -> np.ndarray:
        """Share of each label among the training clips: what a test clip gets that can't be used."""
        return label_shares(self.train.labels, len(self.label_names))

    @property
    def fingerprints(self) -> dict[str, str]:
        """What a checkpoint of this run belongs to: the config (without NEUTRAL_KEYS and defaults), the data, and the split."""
        return {
            "config": _digest(_chosen(as_plain(self.config))),
            "data": read_json(self.folder / "data.json")["fingerprint"],
            "folds": _digest(dict(zip(self.train.ids, self.folds.tolist(), strict=True))),
        }


def open_experiment(config: Config) -> Experiment:
    """Read the data, make or read the folds, and check that the output folder belongs to this config and data."""
    folder = Path(config.run.output)
    if config.run.start_over and folder.exists():
        _remove_run(folder)
    begun = any(folder.glob("fold_*/metrics.json")) or any(folder.glob("*/checkpoints/*")) or is_being_trained(folder)
    remove_leftovers(folder, alone=False)
    if begun:
        _check_config(config, folder)
    dataset = read_dataset(config.data)
    if len(dataset.label_names) < 2:
        raise UserError(f"{dataset.root}: the one label {''.join(dataset.label_names)}; a classifier needs at least two to tell apart.")
    takes = model_class(config.model.kind).takes
    train, train_store, dropped = _usable_training_clips(dataset.train, config, takes)
    check_no_label_vanished(dataset.train.labels, train.labels, dataset.label_names)
    test_store = None
    if dataset.test is not None:
        test_store = open_store(takes, dataset.test, config.data, "test clips")
        if (unusable := int((~test_store.usable).sum())) > 0:
            say(f"warning: {unusable} test clips can't be used; their rows get the prior of the training labels.")
    cut = tell_cut({"training": train_store, "test": test_store}, config.data.max_seconds)
    description = _describe_data(dataset, train, train_store, test_store, dropped)
    if begun:
        _check_data(description, folder)
    else:  # an attempt that never trained (a wrong model name, say) binds nobody to its settings
        (folder / "folds.csv").unlink(missing_ok=True)
    left_out = [clip["id"] for clip in dropped]
    folds, split = read_or_make_folds(folder / "folds.csv", train, config.cv, split_seed(config), dataset.label_names, left_out)
    save_config(config, folder / "config.yaml")
    write_folds(folder / "folds.csv", train, folds)
    leak = None if takes == "audio" else describe_leak(train.texts, label_sets(train.labels), folds)
    silent = [train.ids[row] for row in np.flatnonzero(train_store.without_transcript)]
    noted = {"split": split, "input": takes, "text_leak": leak, "without_transcript": silent, "cut": cut}
    noted |= {"multi_label": True} if config.data.multi_label else {}
    write_json(folder / "data.json", description | noted)
    say(f"{len(train)} training clips, {len(dataset.test or ())} test clips, {len(dataset.label_names)} labels. Split: {split}.")
    tell_absent(train.labels, dataset.label_names, config.data.labels)
    _tell_duplicates(dataset, train, train_store, test_store, folds, takes)
    if leak:
        say(f"warning: {leak}")
    return Experiment(config, folder, dataset.label_names, train, train_store, dataset.test, test_store, folds, split, dropped)


def split_seed(config: Config) -> int:
    """What the split follows from: a seed of its own, or the run's."""
    return config.run.seed if config.cv.seed is None else config.cv.seed


def _tell_duplicates(dataset: Dataset, train: Table, train_store: Store, test_store: Store | None, folds: np.ndarray, takes: Input) -> None:
    test_hashes = () if test_store is None else test_store.report["audio_hash"]
    findings = find_duplicates(train, train_store.report["audio_hash"], folds, dataset.test, test_hashes, dataset.label_names)
    if findings:
        say(f"warning: {describe_duplicates(findings, takes)}")


def _usable_training_clips(table: Table, config: Config, takes: Input) -> tuple[Table, Store, list[dict]]:
    """The training clips that can be used; those that can't stop the run, or are left out when that was asked for."""
    store = open_store(takes, table, config.data, "training clips")
    bad = np.flatnonzero(~store.usable)
    if not len(bad):
        return table, store, []
    dropped = [{"id": table.ids[i], "status": store.report["status"][i], "path": str(table.paths[i]) if table.paths else ""} for i in bad]
    lines = [f"  {item['id']}  {item['status']}  {item['path']}" for item in dropped[:20]]
    if len(bad) > 20:
        lines.append(f"  … and {len(bad) - 20} more; `python -m ser.check_data --data.root {config.data.root}` lists all")
    text = f"{len(bad)} of {len(table)} training clips can't be used:\n" + "\n".join(lines)
    if config.data.on_bad_audio == "stop":
        raise UserError(f"{text}\nRepair or remove them, or go on without them: --data.on_bad_audio drop")
    say(f"warning: {text}\nGoing on without them.")
    good = np.flatnonzero(store.usable)
    if not len(good):
        raise UserError("not one training clip can be used.")
    return table.take(good), store.take(good), dropped


def _describe_data(dataset: Dataset, train: Table, train_store: Store, test_store: Store | None, dropped: list[dict]) -> dict:
    """data.json: what the run was made from, clip by clip, and one fingerprint of it all as it was decoded."""
    described = {"label_names": list(dataset.label_names), "train": _hashes(train, train_store, "audio_hash"), "test": []}
    for clip, label in zip(described["train"], train.labels, strict=True):
        clip["label"] = plain(label)
    for row, clip in enumerate(described["train"] if train.votes is not None else ()):
        clip |= {"votes": train.votes[row].tolist(), "clear": bool(train.clear[row])}
    prior = []
    if dataset.test is not None:
        described["test"] = _hashes(dataset.test, test_store, "audio_hash")
        status = test_store.report["status"]
        prior = [{"id": dataset.test.ids[i], "status": status[i]} for i in np.flatnonzero(~test_store.usable)]
    fingerprint = _digest(described)
    # Not part of the fingerprint, which holds what folds were computed from: identities and speakers, by which runs are compared.
    for part, table, store in (("train", train, train_store), ("test", dataset.test, test_store)):
        described[part] = [clip | own for clip, own in zip(described[part], _hashes(table, store, "file_hash"), strict=True)]
    for clip, speaker in zip(described["train"], train.speakers or (), strict=False):
        clip["speaker"] = speaker
    return {"fingerprint": fingerprint, "speakers_known": train.speakers is not None, "dropped": dropped, "test_prior": prior} | described


def _hashes(table: Table | None, store: Store | None, column: str) -> list[dict]:
    return [] if table is None else [{"id": name, column: value} for name, value in zip(table.ids, store.report[column], strict=True)]


def _check_config(config: Config, folder: Path) -> None:
    before, now = _settings(_recorded(folder / "config.yaml", yaml.safe_load)), _settings(as_plain(config))
    keys = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    if changed := [f"  {key}: was {plain_value(before.get(key))}, now {plain_value(now.get(key))}" for key in keys]:
        raise UserError(
            f"{folder} was begun with another config:\n"
            + "\n".join(changed)
            + "\nUse another --run.output, or begin again with --run.start_over true."
        )


def _check_data(description: dict, folder: Path) -> None:
    before = _recorded(folder / "data.json", json.loads)
    if before["fingerprint"] == description["fingerprint"]:
        return
    names = [", ".join(data["label_names"]) for data in (before, description)]
    changes = [f"  labels: were {names[0]}; now {names[1]}"] if names[0] != names[1] else []
    for part in ("train", "test"):
        old, new = ({row["id"]: row for row in source[part]} for source in (before, description))
        counts = {
            "new": len(new.keys() - old.keys()),
            "gone": len(old.keys() - new.keys()),
            "changed": sum(_content(old[name]) != _content(new[name]) for name in old.keys() & new.keys()),
        }
        if any(counts.values()) or list(old) != list(new):
            changes.append(
                f"  {part}: " + (", ".join(f"{count} {what}" for what, count in counts.items() if count) or "rows in another order")
            )
    raise UserError(
        f"{folder} was begun with other data:\n"
        + "\n".join(changes)
        + "\nUse another --run.output, or begin again with --run.start_over true."
    )


def _recorded(path: Path, parse: Callable[[str], object]) -> dict:
    """What a begun run has written down about itself; without it, nobody knows what its folds were trained on."""
    try:
        content = parse(path.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
        reason = "it is empty"
    except FileNotFoundError:
        reason = "it is missing"
    except (ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
    raise UserError(
        f"{path} can't be read ({reason}), but folds were trained in {path.parent}. Bring it back, use another --run.output, "
        "or begin again with --run.start_over true."
    )


def _content(clip: dict) -> tuple:
    return clip["audio_hash"], clip.get("label"), clip.get("votes")


def _remove_run(folder: Path) -> None:
    """Delete a run folder, but nothing that doesn't look like one, or that is in use."""
    if is_being_trained(folder):
        raise UserError(f"--run.start_over: {folder} is being trained by another process. End it first, or choose another --run.output.")
    if any(folder.iterdir()) and not (folder / "config.yaml").exists():
        raise UserError(f"--run.start_over: {folder} holds no run (no config.yaml), so it is not deleted. Choose another --run.output.")
    shutil.rmtree(folder)


def _settings(config: dict) -> dict:
    """The keys of a plain config that its results follow from; one that it lacks, as a later version brought it, is at its default."""
    whole = flat(as_plain(Config())) | flat(config)
    return {key: value for key, value in whole.items() if key not in NEUTRAL_KEYS and key.split(".")[0] not in NEUTRAL_KEYS}


def _chosen(config: dict) -> dict:
    """Those of its settings that aren't at their default."""
    usual = _settings({})
    return {key: value for key, value in _settings(config).items() if key not in usual or value != usual[key]}


def _digest(value: object) -> str:
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).hexdigest()
