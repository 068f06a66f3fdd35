"""docs/map.md says of every module what it decides, in the module's own first sentence. `python tests/test_map.py` writes it again."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE, PAGE = ROOT / "src" / "ser", ROOT / "docs" / "map.md"
TITLES = {"__init__": "", "__main__": "\n- the command: "}
OTHER_FILES = {
    "compare/candidates.yaml": "what is known of the models that `ser.compare` offers when none is named",
    "models/text/emotion_words.csv": "the Korean words and signs that `emotion_words` counts",
    "report/page/page.css": "colours, light and dark, and the layout of report.html",
    "report/page/page.html": "the template of report.html",
    "report/page/page.js": "cards, cells and players of report.html",
    "subtitle/themes/default.yaml": "fonts, colours, tags and sizes of subtitles",
}
HEAD = """# Which module decides what

A line a module, in its own first sentence. Folders are captioned in the [README](../README.md#where-what-is);
[tour.md](tour.md) follows one clip through them. Numbers that a key sets stand in `config/`, a module a section; what is done with
them is decided below. Options of a command alone stand in the command.
"""


def first_sentence(path: Path) -> str:
    told = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0].split())
    return re.split(r"(?<=[a-z)\]`\"]\.) (?=[A-Z`])", told)[0].removesuffix(".")


def pages_text() -> str:
    """The whole page: a section a folder, the folder's own sentence first."""
    lines, section = [HEAD], None
    for path in sorted(SOURCE.rglob("*.py"), key=lambda path: (path.parent != SOURCE, path.parent.as_posix(), path.name)):
        folder = path.parent.relative_to(SOURCE).as_posix()
        if folder != section:
            lines.append(f"\n## {'src/ser' if folder == '.' else folder + '/'}\n")
            section = folder
        if sentence := first_sentence(path):
            lines.append(f"{TITLES.get(path.stem, f'- `{path.stem}`: ')}{sentence}")
    lines.append("\n## Files that are no Python\n")
    lines += [f"- `{name}`: {what}" for name, what in OTHER_FILES.items()]
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def test_the_map_names_every_module_by_its_own_first_sentence():
    assert PAGE.read_text(encoding="utf-8") == pages_text(), "python tests/test_map.py writes it again"


def test_every_file_that_is_no_module_is_on_the_map():
    others = {path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*") if path.is_file() and path.suffix != ".py"}
    others = {name for name in others if "__pycache__" not in name}
    assert others == set(OTHER_FILES)


def test_every_module_says_what_it_is():
    silent = [path for path in SOURCE.rglob("*.py") if path.stat().st_size and not first_sentence(path)]
    assert not silent


if __name__ == "__main__":
    PAGE.write_text(pages_text(), encoding="utf-8")
