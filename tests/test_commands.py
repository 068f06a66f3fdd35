"""One grammar for all commands: --help, the lines that README and docs show, repeated flags, --output."""

import re
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from commands import SOURCE, commands, module_of
from ser.config import parsing
from ser.runtime.errors import UserError

ROOT = SOURCE.parents[1]
TEXTS = [
    ROOT / "README.md",
    ROOT / "README_KO.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(SOURCE.glob("*.py")),
    *sorted(SOURCE.glob("*/__main__.py")),
]


class Parsed(Exception):
    """The real parser took the words; what would follow isn't run."""


def _stop(real, parser, argv):
    raise Parsed(real(parser, argv))


def parse_only(monkeypatch: pytest.MonkeyPatch, command: str, words: list[str]) -> object:
    """What the command's own parser makes of the words."""
    module = module_of(command)
    for real in (parsing.parse, parsing.read_words):
        if getattr(module, real.__name__, None) is real:
            monkeypatch.setattr(module, real.__name__, partial(_stop, real))
    with pytest.raises(Parsed) as parsed:
        module.main(words)
    return parsed.value.args[0]


def test_no_command_imports_what_is_slow_before_it_has_read_its_words():
    """So --help and a misspelt word are answered at once: torch alone takes seconds to import."""
    modules = [module_of(command).__name__ for command in commands()]
    slow = {"torch", "transformers", "sklearn", "scipy", "matplotlib", "librosa", "wandb", "av"}
    code = f"import importlib, sys\nfor name in {modules}: importlib.import_module(name)\nprint([*sys.modules.keys() & {slow}])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=SOURCE.parent)
    assert told.stdout.strip() == "[]"


def shown_commands() -> list[tuple[str, str]]:
    """(file, line) of every `python -m ser.COMMAND …` with arguments; brackets are taken off, of alternatives the first is taken."""
    found = []
    for path in TEXTS:
        text = re.sub(r"\\+\n\s*", " ", path.read_text(encoding="utf-8"))
        for line in re.findall(r"python -m (ser\.[a-z_]+ [^`\n{}]+)", text):
            line = (
                re.split(r"\s#|;|\s&|\s→|\. |, |\.$|\)|\"", line)[0]
                .replace("[--section.key value …]", "")
                .replace("--section.key value", "")
            )
            line = re.sub(r"\[([A-Z]+) …\]|…|\.\.\.|\[|\]", " ", line).strip()
            line = (
                re.sub(r"(\S+?)\|\S+", r"\1", line).replace("--config FILE.yaml", "").replace("--config FILE", "--config configs/demo.yaml")
            )
            if re.search(r"ser\.[a-z_]+ (-|\S+[./]|[A-Z]{2})", line):
                found.append((str(path.relative_to(ROOT)), line.removeprefix("ser.")))
    return [(path, line) for line, path in {line: path for path, line in reversed(found)}.items()]  # each once, where it is first


def test_every_command_line_of_readme_docs_and_help_texts_parses(monkeypatch):
    monkeypatch.chdir(ROOT)
    lines, wrong = shown_commands(), []
    assert len(lines) > 60
    for path, line in lines:
        command, *words = shlex.split(line)
        try:
            with monkeypatch.context() as patch:
                parse_only(patch, command, words)
        except (UserError, AttributeError, ImportError) as error:
            wrong.append(f"{path}: {line}: {error}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("command", commands())
def test_help_is_answered(command, capsys):
    with pytest.raises(SystemExit) as ended:
        module_of(command).main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert f"python -m ser.{command}" in shown and re.search(r"--[a-z_.]+ ", shown)


def test_repeated_lists_join(monkeypatch):
    words = ["--model", "m", "--output", "o", "--mapping", "calm=neutral", "--mapping=boredom=sad"]
    _, given = parse_only(monkeypatch, "evaluate", words)
    assert given.mapping == "calm=neutral,boredom=sad"
    _, given = parse_only(monkeypatch, "train", ["--folds", "0", "--folds", "3"])
    assert given.folds == "0,3"


@pytest.mark.parametrize(
    ("command", "words", "says"),
    [
        ("train", ["--train.epochs", "3", "--train.epochs=4"], "--train.epochs: given twice, as 3 and 4"),
        ("ensemble", ["a", "--output", "x.csv", "--output", "y.csv"], "--output: given twice, as x.csv and y.csv"),
        ("compare_experiments", ["a", "b", "--data.root", "x", "--data-root", "y"], "unrecognized arguments: --data_root"),
        ("compare_experiments", ["a", "b", "--output", "x", "--output", "y"], "--output: given twice"),
        ("ensemble", ["a", "--output", "x.csv", "--method", "max"], "--method: given max; allowed are 'mean', 'gmean'"),
        ("train", ["--train.epochs", "0"], "--train.epochs: given 0; allowed is a whole number of 1 or more"),
        ("train", ["--model.lora_modules", "q_proj"], "--model.lora_modules: given q_proj; allowed is a list, e.g. [q_proj]"),
        ("train", ["--model.classical.encoder_layers", "3"], "--model.classical.encoder_layers: given 3; allowed is a list, e.g. [3]"),
        ("train", ["--data.noise_reduction", "maybe"], "--data.noise_reduction: given maybe; allowed is true or false"),
    ],
)
def test_a_wrong_word_is_one_line_that_names_key_and_value(command, words, says):
    with pytest.raises(UserError) as told:
        module_of(command).main(words)
    assert says in str(told.value) and "\n" not in str(told.value)


def test_dashes_mean_underscores_for_every_command(monkeypatch):
    _, given = parse_only(monkeypatch, "ensemble", ["a-b", "--output=x-y.csv", "--allow-missing-folds"])
    assert (given.runs, given.output, given.allow_missing_folds) == (["a-b"], "x-y.csv", True)
    _, given = parse_only(monkeypatch, "make_demo", ["--test-clips", "30"])
    assert given.test_clips == 30


@pytest.mark.parametrize(
    ("command", "words", "allowed"),
    [
        ("predict", ["--model", "nowhere", "x.wav", "--output", "{tmp}/x.txt"], "ends in .csv or .json"),
        ("ensemble", ["nowhere", "--output", "{tmp}/x"], "ends in .csv"),
        ("check_data", ["--data.root", "nowhere", "--output", "{tmp}/x.xlsx"], "ends in .csv"),
        ("timeline", ["--model", "nowhere", "x.wav", "--output", "{tmp}/x.png"], "ends in .csv"),
        ("predict", ["--model", "nowhere", "x.wav", "--output", "{file}/x.csv"], "is a file"),
        ("evaluate", ["--model", "nowhere", "--output", "{file}"], "allowed is a folder"),
        ("compare", ["--output", "{file}"], "allowed is a folder"),
        ("diary", ["x.txt", "--output", "{file}"], "allowed is a folder"),
        ("export", ["nowhere", "--output", "{file}"], "allowed is a folder"),
        ("subtitle", ["x.mp4", "--output", "{file}"], "allowed is a folder"),
        ("make_demo", ["--output", "{file}"], "allowed is a folder"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_any_work(tmp_path, command, words, allowed):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="--output: given") as told:
        module_of(command).main([word.format(tmp=tmp_path, file=tmp_path / "file") for word in words])
    assert allowed in str(told.value)
    assert (tmp_path / "file").read_text() == "mine" and [path.name for path in Path(tmp_path).iterdir()] == ["file"]
