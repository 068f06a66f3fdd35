"""Augmented copies for models fitted in one go: what they are, who learns from them, and who is told that they make no sense."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ser.config import Config, build_parser, load_config, parse
from ser.data.augmentation import Augmenter
from ser.data.inputs import Store
from ser.data.store import ClipStore
from ser.runtime.errors import UserError
from ser.runtime.files import read_json
from ser.runtime.seeds import seed_of
from ser.train import __main__ as train
from ser.train.copies import with_copies
from ser.train.experiment import Experiment, open_experiment
from ser.train.part import fold_part
from tiny import TINY_WAV2VEC2, make_tiny_data, write_tiny_config

pytestmark = pytest.mark.usefixtures("undrawn")

CLASSICAL = {"kind": "classical", "from_scratch": None, "freeze": "feature_encoder", "classical": {"features": ["functionals"]}}
SOLVED = {"from_scratch": TINY_WAV2VEC2, "freeze": "encoder", "pooling": "statistics", "layer_weights": True}
TELEPHONE = {"gain": {"p": 1.0}, "codec": {"p": 0.5, "kinds": ["telephone"]}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_data(tmp_path_factory.mktemp("input") / "demo", clips=48, test_clips=6)


def config_of(folder: Path, data: Path, copies: int, model: dict, augment: dict | None = None) -> Path:
    return write_tiny_config(folder / "small.yaml", data, model=model, augment=augment or {}, train={"augmented_copies": copies})


@pytest.fixture(scope="module")
def experiment(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    return open_experiment(load_config(config_of(tmp_path_factory.mktemp("run"), data, 2, CLASSICAL, TELEPHONE)))


def test_copies_follow_from_seed_number_and_clip_in_every_fold(experiment: Experiment) -> None:
    clips, augmenter = len(experiment.train), Augmenter(experiment.config.augment)
    seen = {}
    for fold in (0, 1):
        part = fold_part(experiment, fold)
        store, rows = with_copies(experiment, part.train_rows, lambda: None)
        assert set(rows % clips) == set(part.train_rows) and len(rows) == 3 * len(part.train_rows)
        for row in rows.tolist():
            clip, number = store[row], row // clips
            assert clip.id == experiment.train.ids[row % clips]
            assert clip.speaker == experiment.train_store[row % clips].speaker
            seen.setdefault((clip.id, number), clip.samples)
            np.testing.assert_array_equal(seen[clip.id, number], clip.samples)
    assert len(seen) == 3 * clips
    for row in (0, 17):
        clip = experiment.train_store[row]
        np.testing.assert_array_equal(seen[clip.id, 0], clip.samples)
        for number in (1, 2):
            expected = augmenter(clip.samples, seed_of(experiment.config.run.seed, "augment", number, clip.id))
            np.testing.assert_allclose(seen[clip.id, number], np.clip(expected, -1, 1), atol=1 / 65_000)


def test_copies_are_made_once_and_go_on_after_an_interruption(experiment: Experiment, data: Path, tmp_path: Path) -> None:
    run = open_experiment(load_config(config_of(tmp_path, data, 1, CLASSICAL, {"gain": {"p": 1.0}})))
    rows = np.arange(len(run.train))

    class Asked(Exception):
        pass

    def stop() -> None:
        raise Asked

    with pytest.raises(Asked):
        with_copies(run, rows, stop)
    first, _ = with_copies(run, rows, lambda: None)
    kept = {path: path.stat().st_mtime_ns for path in Path(run.config.data.cache).glob("copies-*/*")}
    again, _ = with_copies(run, rows, stop)  # nothing is left to make: nobody asks
    assert kept == {path: path.stat().st_mtime_ns for path in Path(run.config.data.cache).glob("copies-*/*")}
    assert again.report["audio_hash"].tolist() == first.report["audio_hash"].tolist()
    assert len(set(first.report["audio_hash"])) > 1.9 * len(rows)


@pytest.mark.long
@pytest.mark.parametrize("model", [CLASSICAL, SOLVED], ids=["classical", "solved head"])
def test_model_fitted_in_one_go_learns_from_clips_and_copies(model: dict, data: Path, tmp_path: Path, capsys) -> None:
    path = config_of(tmp_path, data, 1, model, TELEPHONE)
    train.main(["--config", str(path), "--folds", "0"])
    facts = read_json(Path(load_config(path).run.output) / "fold_0" / "metrics.json")
    assert f"fitted to {2 * facts['train_clips']} clips" in capsys.readouterr().out
    assert facts["epochs_run"] == 1
    assert facts["scores"]["n"] == facts["valid_clips"]


def test_inner_folds_never_part_a_clip_from_its_copies() -> None:
    store = Store.of_samples([np.full(800, value, np.int16) for value in (1, 2, 3, 4)], speakers=["a", "a", "b", None])
    nameless = Store.of_samples([np.full(800, value, np.int16) for value in (1, 2, 3, 4)])
    assert store.groups(np.arange(4), 2) == ["a", "a", "b", None]
    assert nameless.groups(np.arange(4), 2) is None
    twice = Store(nameless.table.take([0, 1, 0, 1]), nameless.clips, reads=False)
    assert twice.groups(np.arange(4), 2) == ["0", "1", "0", "1"]


def test_joined_clips_are_those_of_their_parts() -> None:
    parts = [ClipStore.of_samples([np.full(500, value, np.int16) for value in values]) for values in ((1, 2), (3,), (4, 5))]
    from ser.data.store import JoinedClips

    joined = JoinedClips(parts)
    assert [int(joined.samples(row)[0]) for row in range(5)] == [1, 2, 3, 4, 5]
    assert len(joined) == 5 and joined.usable.all() and joined.frames.tolist() == [500] * 5
    with pytest.raises(TypeError):
        joined.take([0])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--model.kind", "classical", "--train.augmented_copies", "1"], "no transform is on"),
        (["--model.kind", "classical", "--augment.gain.p", "0.5"], "set train.augmented_copies to 1 or more"),
        (["--model.kind", "mfcc_cnn", "--train.augmented_copies", "1", "--augment.gain.p", "0.5"], "isn't fitted in one go"),
        (["--model.freeze", "encoder", "--train.mixup", "0.4", "--train.augmented_copies", "1", "--augment.gain.p", "0.5"], "isn't fitted"),
    ],
)
def test_copies_that_nobody_would_learn_from_are_refused(words: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        parse(build_parser("train", ""), words)
    assert Config().train.augmented_copies == 0
