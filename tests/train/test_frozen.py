"""Keys of the section train that a model fitted in one go doesn't read are refused, or told where a preset may have set them."""

import re
from pathlib import Path

import pytest

from ser.compare_experiments.running import config_of
from ser.config import read_config_words
from ser.runtime.errors import UserError
from ser.train import __main__ as train
from ser.train.frozen import check_train_keys

CONFIGS = Path(__file__).parents[2] / "configs"
SHIPPED = sorted(path for path in CONFIGS.rglob("*.yaml") if re.search("kind: (classical|text_ngrams)|freeze: encoder", path.read_text()))


def checked(config, *words):
    return check_train_keys(read_config_words([f"--config={CONFIGS / config}.yaml", *words]))


@pytest.mark.parametrize(
    ("config", "words", "says"),
    [
        ("librosa_svm", "--train.mixup=0.4", "train.mixup: given 0.4, but model.kind classical is fitted in one go.*set it to 0.0"),
        ("whisper_kernel", "--train.average=3", "train.average: given 3.*set it to null"),
        ("text_ngrams", "--train.class_weights=balanced", "train.class_weights: given balanced, but model.kind text_ngrams"),
        ("whisper_base_frozen", "--train.label_smoothing=0.1", "train.label_smoothing: given 0.1, but a frozen encoder's head"),
    ],
)
def test_a_key_of_networks_that_learn_in_epochs_is_refused_where_nothing_reads_it(config, words, says):
    with pytest.raises(UserError, match=says):
        checked(config, words)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("whisper_base_frozen", ["--train.class_weights=balanced"]),
        ("whisper_base_frozen", ["--train.mixup=0.4", "--train.label_smoothing=0.1", "--train.average=2"]),
        ("whisper_base_frozen", ["--augment.gain.p=0.5", "--train.focal_gamma=2"]),
        ("mfcc_cnn", ["--train.mixup=0.4"]),
        ("fusion_ngrams", ["--train.label_smoothing=0.1"]),
    ],
)
def test_a_key_that_is_read_is_allowed(config, words):
    assert checked(config, *words) is None


def test_a_presets_epochs_and_batches_are_told_and_not_refused():
    assert checked("librosa_svm", f"--config={CONFIGS / 'gpu_12gb.yaml'}") == (
        "model.kind classical is fitted in one go; not read: train.batch_size, train.accumulation"
    )


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_config_that_comes_along_sets_only_what_is_read(path):
    assert check_train_keys(read_config_words([f"--config={path}"])) is None


def test_commands_that_train_refuse_it_before_any_work(tmp_path):
    words = ["--train.mixup", "0.4", "--data.root", "nowhere", "--run.output", str(tmp_path / "run")]
    with pytest.raises(UserError, match=r"^train\.mixup"):
        train.main(["--config", str(CONFIGS / "librosa_svm.yaml"), *words])
    with pytest.raises(UserError, match=r"librosa_svm\.yaml: train\.mixup"):
        config_of(CONFIGS / "librosa_svm.yaml", ["--train.mixup", "0.4"])
    pytest.importorskip("optuna")
    from ser.sweep.space import read_space

    (tmp_path / "space.yaml").write_text("train.mixup: [0.0, 0.4]\n")
    with pytest.raises(UserError, match=r"^train\.mixup"):
        read_space(tmp_path / "space.yaml", [f"--config={CONFIGS / 'librosa_svm.yaml'}"])
    assert not (tmp_path / "run").exists()
