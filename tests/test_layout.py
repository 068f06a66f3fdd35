"""The house in order: small modules, small functions, parts that never import commands."""

import ast
from statistics import median

import pytest

from commands import SOURCE, commands

COMMANDS = {
    *("train", "ensemble", "predict", "evaluate", "calibrate", "check_data", "compare_experiments", "make_demo", "korean", "subtitle"),
    *("transcribe", "timeline", "diary", "compare", "export", "serve", "sweep", "submit", "bundle"),
}
MODULES = sorted(SOURCE.rglob("*.py"))
MOST_LINES_OF_A_MODULE, MOST_LINES_OF_A_FUNCTION = 250, 60


def part_of(path) -> str:
    """The command or part that a file belongs to: the first name below `ser`."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def functions(path) -> dict[str, int]:
    """Lines of each function without its docstring, by place."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            docstring = node.body[0] if ast.get_docstring(node) else None
            lines = node.end_lineno - node.lineno + 1
            found[f"{path.relative_to(SOURCE)}:{node.lineno} {node.name}"] = lines - (
                0 if docstring is None else docstring.end_lineno - docstring.lineno + 1
            )
    return found


def test_commands_and_parts_are_told_apart():
    assert set(commands()) <= COMMANDS
    assert all(
        (SOURCE / name / "__main__.py").exists() or name in commands() for name in map(part_of, MODULES) if name in COMMANDS - {"korean"}
    )
    assert not {"utils", "helpers", "common", "misc"} & {
        name for path in MODULES for name in path.relative_to(SOURCE).with_suffix("").parts
    }


@pytest.mark.parametrize("part", sorted({part_of(path) for path in MODULES} - COMMANDS))
def test_a_part_never_imports_a_command(part):
    wrong = []
    for path in MODULES:
        if part_of(path) == part:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                names += [name.name for name in node.names] if isinstance(node, ast.Import) else []
                wrong += [
                    f"{path.relative_to(SOURCE)}: {name}" for name in names if name.startswith("ser.") and name.split(".")[1] in COMMANDS
                ]
    assert not wrong


def test_no_module_is_longer_than_a_few_screens():
    lines = {str(path.relative_to(SOURCE)): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert not {path: count for path, count in lines.items() if count > MOST_LINES_OF_A_MODULE}


def test_functions_are_seen_whole():
    lines = {place: count for path in MODULES for place, count in functions(path).items()}
    assert not {place: count for place, count in lines.items() if count > MOST_LINES_OF_A_FUNCTION}
    assert median(lines.values()) <= 8
