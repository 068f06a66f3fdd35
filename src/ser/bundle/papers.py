"""What goes with a bundle to be read and run by people: predict.py, a notebook for Kaggle, README.md, the lists of wheels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ser.runtime.files import write_text

PREDICT = '''"""Predict a test folder, without network: python predict.py --data TEST_FOLDER --output submission.csv"""

import os
import sys
import time
from functools import partial
from pathlib import Path

STARTED, HERE = time.perf_counter(), Path(__file__).resolve().parent
os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(HERE / "src"))

if __name__ == "__main__":
    from ser.bundle.predicting import main
    from ser.runtime.errors import run_command

    run_command(partial(main, folder=HERE, started=STARTED))
'''

FETCH = "python -m pip download --only-binary :all: --dest wheels --requirement wheels.txt"
INSTALL = "python -m pip install --no-index --find-links wheels --requirement wheels.txt"
ALONE = ("wheels.txt", "wheels_alone.txt --no-deps")
"""The same command for packages that are taken without what they say they need."""

README = """# A bundle that predicts without network

    python predict.py --data TEST_FOLDER --output submission.csv

TEST_FOLDER holds `test.csv`, its clips, and `sample_submission.csv`. {members}
Out of fold: {oof}.

On this machine: {time}. Ask the organiser's machine itself: `python predict.py --data TEST_FOLDER --estimate 64 --output estimate.json`

## Packages

`wheels.txt` lists them all, each with its version. With network, and the organiser's Python (3.{minor} here):

    {fetch}

and on the organiser's machine, without:

    {install}

Images of organisers bring torch and more: delete from wheels.txt what is there already.

| file | |
|---|---|
| `predict.py` | the runner |
| `predict_kaggle.ipynb` | the same as a notebook: add this folder as a dataset, internet off, save and run |
| `bundle.json` | members, blend, scores, and every file with its size; predict.py looks whether they are whole |
| `files/` | the models; a file that several share lies there once |
| `src/ser/` | the code |
"""

CELLS = (
    (
        "markdown",
        "# Submission from a bundle\n\nAdd bundle and competition as inputs, switch the internet off, *Save & Run All*.",
    ),
    (
        "code",
        "import subprocess\nimport sys\nfrom pathlib import Path\n\nINPUT = Path('/kaggle/input')\n"
        "BUNDLE = next(INPUT.rglob('bundle.json')).parent\nDATA = next(path.parent for path in INPUT.rglob('sample_submission.csv'))\n"
        "print('bundle:', BUNDLE, '\\ntest folder:', DATA)",
    ),
    (
        "code",
        "# Without wheels beside the bundle, the image has to have the packages.\n"
        "for names in (['wheels.txt'], ['wheels_alone.txt', '--no-deps']):\n"
        "    if (BUNDLE / 'wheels').is_dir() and (BUNDLE / names[0]).is_file():\n"
        "        install = [sys.executable, '-m', 'pip', 'install', '--quiet', '--no-index', '--find-links', BUNDLE / 'wheels']\n"
        "        subprocess.run([*install, '--requirement', BUNDLE / names[0], *names[1:]], check=True)",
    ),
    (
        "code",
        "subprocess.run([sys.executable, BUNDLE / 'predict.py', '--data', DATA, '--output', 'submission.csv'], check=True)\n"
        "print(Path('submission.csv').read_text()[:200])",
    ),
)


def write_runner(folder: Path) -> None:
    """predict.py and predict_kaggle.ipynb."""
    import nbformat
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    (folder / "predict.py").write_text(PREDICT, encoding="utf-8")
    make = {"markdown": new_markdown_cell, "code": new_code_cell}
    cells = [make[kind](source, id=f"cell-{number}") for number, (kind, source) in enumerate(CELLS)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), folder / "predict_kaggle.ipynb")


def write_wheels(folder: Path, pins: Sequence[str], alone: Sequence[str]) -> list[str]:
    """wheels.txt (and wheels_alone.txt where there are such); returns the commands that fetch them."""
    write_text(folder / "wheels.txt", "\n".join(pins) + "\n")
    if alone:
        write_text(folder / "wheels_alone.txt", "\n".join(alone) + "\n")
    return [FETCH, *([FETCH.replace(*ALONE)] if alone else [])]


def write_readme(folder: Path, members: str, oof: str, time: str, minor: int) -> None:
    """README.md of the bundle."""
    commands = [FETCH, INSTALL]
    if (folder / "wheels_alone.txt").exists():
        commands = [f"{command}\n    {command.replace(*ALONE)}" for command in commands]
    text = README.format(members=members, oof=oof, time=time, minor=minor, fetch=commands[0], install=commands[1])
    write_text(folder / "README.md", text)
