import re

import pytest
import yaml
from jsonargparse import typing as number_types

from ser.config import Config, build_parser, load_config, parse, read_config_words, save_config
from ser.config.ranges import in_words
from ser.runtime.errors import UserError


def read(*argv):
    return parse(build_parser("train", ""), list(argv))[0]


def write(path, **sections):
    path.write_text(yaml.safe_dump(sections))
    return str(path)


def test_command_line_wins_over_files_wherever_it_stands_and_later_files_win(tmp_path):
    first = write(tmp_path / "a.yaml", train={"epochs": 3, "batch_size": 4})
    second = write(tmp_path / "b.yaml", train={"epochs": 5})
    config = read("--train.epochs", "7", "--config", first, "--config", second)
    assert (config.train.epochs, config.train.batch_size) == (7, 4)
    assert read("--config", first, "--config", second).train.epochs == 5


def test_the_cache_has_a_short_name_in_every_command_that_has_one():
    assert read("--cache", "a").data.cache == read("--cache=a").data.cache == read("--data.cache", "a").data.cache == "a"
    with pytest.raises(UserError, match="given twice, as a and b"):
        read("--cache", "a", "--data.cache=b")
    with pytest.raises(UserError, match="cache"):
        parse(build_parser("timeline", "", sections=[]), ["--cache", "a"])


def test_output_is_named_after_the_config_or_after_all_that_are_layered(tmp_path):
    mine, small = write(tmp_path / "mine.yaml"), write(tmp_path / "small.yaml")
    assert read("--config", mine).run.output == "outputs/mine"
    assert read("--config", mine, "--config", small).run.output == "outputs/mine+small"


def test_saved_config_is_read_back_equal(tmp_path):
    config = read("--model.from_scratch", "{model_type: wav2vec2, conv_dim: [8, 8]}", "--augment.gain.p", "0.5", "--data.speakers", "s.csv")
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


def test_numbers_with_an_exponent_are_numbers(tmp_path):
    (tmp_path / "a.yaml").write_text("train: {learning_rate: 3e-4}")
    assert read("--config", str(tmp_path / "a.yaml")).train.learning_rate == 3e-4


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--train.eposch", "3"], "train.epochs"),
        (["--train.epochs", "0"], "train.epochs"),
        (["--train.epochs", "many"], "train.epochs"),
        (["--train.schedule", "zigzag"], "cosine"),
        (["--augment.gain.p", "1.5"], "augment.gain.p"),
        (["--augment.gain.min_db", "9"], "augment.gain.max_db"),
        (["--cv.n", "1"], "cv.n: given 1; allowed are 2 or more"),
        (["--cv.n", "1", "--cv.file", "split.csv", "--cv.full_fit", "true"], "cv.full_fit"),
        (["--config", "no/such.yaml"], "no/such.yaml"),
        (["--model.freeze", "encoder", "--model.train_last_layers", "2"], "model.train_last_layers"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_is_allowed(argv, told):
    with pytest.raises(UserError, match=told):
        read(*argv)


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--train.epochs", "0"], "given 0; allowed is a whole number of 1 or more."),
        (["--train.epochs", "many"], "given many; allowed is a whole number of 1 or more."),
        (["--train.learning_rate", "-1"], "given -1; allowed is a number above 0."),
        (["--train.learning_rate", "null"], "given nothing; allowed is a number above 0."),
        (["--train.label_smoothing", "1"], "given 1; allowed is a number of 0 or more and below 1."),
        (["--augment.gain.p", "1.5"], "given 1.5; allowed is a number from 0 to 1."),
        (["--augment.codec.min_kbps", "3"], "given 3; allowed is a whole number from 24 to 320."),
        (["--train.average", "1.5"], "given 1.5; allowed is a whole number of 1 or more, or a number above 0 and below 1."),
        (["--cv.seed", "x"], "given x; allowed is a whole number of 0 or more."),
        (["--data.multi_label", "maybe"], "given maybe; allowed is true or false."),
        (["--tracking.tags", "3"], "given 3; allowed is a list, e.g. [3]."),
        (["--augment.codec.kinds", "[]"], "given an empty list; name at least one"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_allowed_is_said_in_words_of_the_config(argv, told):
    with pytest.raises(UserError) as error:
        read_config_words(argv)
    assert told in str(error.value)


def test_every_number_type_of_a_key_is_told_in_words():
    types = {kind for kind in vars(number_types).values() if hasattr(kind, "_restrictions")}
    assert len(types) > 10
    assert all(re.fullmatch(r"a (whole )?number [a-z0-9. -]+", in_words(kind.__name__)) for kind in types)


def test_an_unknown_key_in_a_file_names_the_near_one(tmp_path):
    with pytest.raises(UserError, match=r"train\.learning_rate"):
        read("--config", write(tmp_path / "a.yaml", train={"learning_rte": 1}))


def test_yaml_cannot_make_objects(tmp_path):
    (tmp_path / "a.yaml").write_text("train: !!python/object/apply:os.system ['true']")
    with pytest.raises(UserError):
        read("--config", str(tmp_path / "a.yaml"))


def test_every_key_has_a_help_text():
    parser = build_parser("train", "")
    silent = [action.dest for action in parser._actions if not action.help]
    assert not silent


def test_defaults_are_valid():
    assert Config().train.accumulation == 1
