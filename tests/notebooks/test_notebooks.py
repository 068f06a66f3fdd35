"""The notebooks run top to bottom without a person, and say what is so."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from nbclient import NotebookClient

from ser.config import load_config
from ser.make_demo.folder import make_demo

PROJECT = Path(__file__).parents[2]
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))


def run(name: str, monkeypatch: pytest.MonkeyPatch, **environment: str) -> nbformat.NotebookNode:
    """The executed notebook, run in its own folder as Jupyter does."""
    for key, value in {"OMP_NUM_THREADS": "1", "MPLBACKEND": "module://matplotlib_inline.backend_inline", **environment}.items():
        monkeypatch.setenv(key, value)
    notebook = nbformat.read(PROJECT / "notebooks" / name, 4)
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(PROJECT / "notebooks")}}).execute()
    return notebook


def outputs(notebook: nbformat.NotebookNode, kind: str) -> list[str]:
    return [
        output["data"][kind] if kind in output.get("data", {}) else output["text"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if kind in output.get("data", {}) or (kind == "stdout" and output.get("name") == "stdout")
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_committed_without_outputs_and_begins_with_a_heading(path: Path) -> None:
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    assert notebook.cells[0].cell_type == "markdown"
    assert re.match(r"# \d+\. ", notebook.cells[0].source)
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in notebook.cells)
    assert not any(word in path.read_text(encoding="utf-8") for word in ("/home/", "/root/"))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Demo data with two faults: the first training clip is also the second (under another label), and one test file is no audio."""
    root = tmp_path_factory.mktemp("eda") / "demo"
    make_demo(root, clips=48, test_clips=12)
    train = pd.read_csv(root / "train.csv")
    first = train.index[0]
    other = train.index[train["label"] != train.loc[first, "label"]][0]
    (root / train.loc[other, "path"]).write_bytes((root / train.loc[first, "path"]).read_bytes())
    (root / "test" / "TEST_0003.wav").write_text("no audio")
    return root


def test_eda_says_what_is_in_the_data(demo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    notebook = run("01_eda.ipynb", monkeypatch, SER_DATA_ROOT=str(demo))
    text = "\n".join(outputs(notebook, "text/markdown"))
    printed = "\n".join(outputs(notebook, "stdout"))
    labels = pd.read_csv(demo / "train.csv")["label"]

    assert "**48** training clips, **12** test clips" in text
    assert f"**{labels.value_counts(normalize=True).max():.1%}**" in text
    assert "same audio under different labels: 1" in printed
    assert any("TEST_0003" in table and "undecodable" in table for table in outputs(notebook, "text/html"))
    assert len(outputs(notebook, "image/png")) == 6
    assert sum("<audio" in html for html in outputs(notebook, "text/html")) == labels.nunique()

    # The settings it ends with are a config that the project reads, and cut nothing.
    settings = printed[printed.index("data:\n") :]
    (tmp_path / "from_eda.yaml").write_text(settings)
    config = load_config(tmp_path / "from_eda.yaml")
    longest = max(
        soundfile.info(path).duration for path in [*demo.glob("train/*.wav"), *demo.glob("test/*.wav")] if path.name != "TEST_0003.wav"
    )
    assert longest <= config.data.max_seconds < longest + 1
    assert yaml.safe_load(settings)["data"]["on_bad_audio"] == "stop"


def test_eda_of_a_folder_per_emotion_without_speakers_or_test(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    for emotion, count in (("Angry", 6), ("슬픔", 2)):
        (tmp_path / "clips" / emotion).mkdir(parents=True)
        for number in range(count):
            soundfile.write(tmp_path / "clips" / emotion / f"{number}.wav", 0.1 * noise.standard_normal(8_000 + 800 * number), 16_000)
    text = "\n".join(outputs(run("01_eda.ipynb", monkeypatch, SER_DATA_ROOT=str(tmp_path / "clips")), "text/markdown"))
    assert "**8** training clips, **0** test clips" in text
    assert "**75.0%**; largest to smallest label: **3.0 : 1**" in text
    assert "No speakers are known" in text


def test_method_notebook_shows_the_figures_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = run("02_method.ipynb", monkeypatch, HF_HUB_OFFLINE="1")
    printed = "\n".join(outputs(notebook, "stdout"))
    assert re.search(r"7 +2 +2 \| +320 +400\n", printed)  # stride and receptive field in samples
    assert "16000 samples = 1.000 s ->  49 vectors" in printed
    assert re.search(r"transformer +89\.\d+ M", printed)
    loss = float(re.search(r"per masked vector: ([\d.]+)", printed)[1])
    assert loss == pytest.approx(np.log(21), abs=0.4)
    assert len(outputs(notebook, "image/png")) == 4
