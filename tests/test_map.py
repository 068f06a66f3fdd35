"""The README's map says of every module what it decides, in the module's own first sentence. `python tests/test_map.py` writes it again."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE, PAGE = ROOT / "src" / "ser", ROOT / "README.md"
BEGIN, END = "<!-- the map: python tests/test_map.py -->\n", "<!-- the end of the map -->\n"
OTHER_FILES = {
    "compare/candidates.yaml": "what is known of the models that `ser.compare` offers when none is named (licence, classes, languages)",
    "models/text/emotion_words.csv": "the Korean words and signs that `emotion_words` counts",
    "report/page/page.css": "colours, light and dark, and the layout of report.html",
    "report/page/page.html": "the template of report.html",
    "report/page/page.js": "cards, cells and players of report.html",
    "subtitle/themes/default.yaml": "fonts, colours, tags and sizes of subtitles",
}


def first_sentence(path: Path) -> str:
    told = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0].split())
    sentence = re.split(r"(?<=[a-z)\]`\"]\.) (?=[A-Z`])", told)[0].removesuffix(".")
    return re.sub(r"<(?=[^`]*(`[^`]*`[^`]*)*$)", "&lt;", sentence)  # outside of `code` a page takes it for a tag


def map_text() -> str:
    """All of it: commands first, then the parts they share; a folder unfolds to a line a module."""
    folders = sorted({path.parent for path in SOURCE.rglob("*.py")} - {SOURCE})
    commands = [folder for folder in folders if (folder / "__main__.py").exists()]
    others = "\n".join(f"- `{name}`: {what}" for name, what in OTHER_FILES.items())
    return "\n".join(
        [
            "**Commands**\n",
            *(line(path) for path in sorted(SOURCE.glob("*.py")) if path.stem != "__init__"),
            "",
            *(folded(folder) for folder in commands),
            "\n**Parts** (`korean/` is a library of its own)\n",
            *(folded(folder) for folder in folders if folder not in commands),
            f"<details><summary>Files that are no Python</summary>\n\n{others}\n\n</details>\n",
        ]
    )


def folded(folder: Path) -> str:
    """A folder's own sentence, and below it those of its modules."""
    modules = "\n".join(line(path) for path in sorted(folder.glob("*.py")) if path.stem != "__init__")
    name = folder.relative_to(SOURCE).as_posix()
    caption = re.sub(r"`([^`]+)`", r"<code>\1</code>", first_sentence(folder / "__init__.py"))
    return f"<details><summary><b>{name}/</b> {caption}</summary>\n\n{modules}\n\n</details>"


def line(path: Path) -> str:
    return f"- `{path.stem}`: {first_sentence(path)}"


def test_the_map_names_every_module_by_its_own_first_sentence():
    page = PAGE.read_text(encoding="utf-8")
    assert page[page.index(BEGIN) + len(BEGIN) : page.index(END)] == map_text(), "python tests/test_map.py writes it again"


def test_every_file_that_is_no_module_is_on_the_map():
    others = {path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*") if path.is_file() and path.suffix != ".py"}
    others = {name for name in others if "__pycache__" not in name}
    assert others == set(OTHER_FILES)


def test_every_module_says_what_it_is():
    silent = [path for path in SOURCE.rglob("*.py") if path.stat().st_size and not first_sentence(path)]
    assert not silent


if __name__ == "__main__":
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    PAGE.write_text(before + BEGIN + map_text() + END + rest.split(END)[1], encoding="utf-8")
