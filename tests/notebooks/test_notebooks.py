"""The notebooks run top to bottom without a person, and say what is so.

They share one kernel, emptied before each, because starting one and importing torch takes longer than most of them do.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
import yaml
from jupyter_client import AsyncKernelManager
from nbclient import NotebookClient
from sklearn.metrics import accuracy_score, f1_score

from checkpoints import LABELS, make_checkpoint
from runs import edit_csv, make_run
from ser.config import ModelConfig, load_config
from ser.make_demo.folder import make_demo
from ser.models.registry import build_model
from ser.report.run_report import run_report
from ser.runtime.files import write_json
from ser.train.training import train

pytestmark = pytest.mark.long

PROJECT = Path(__file__).parents[2]
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
FRESH = """
for name in [name for name in globals() if not name.startswith("_") and name not in ("In", "Out", "get_ipython", "exit", "quit", "open")]:
    del globals()[name]
import os
for name in [name for name in os.environ if name.startswith("SER_")]:
    del os.environ[name]
os.environ.update({environment!r})
os.chdir({folder!r})
del os
"""


class Kernel:
    """One running kernel for all notebooks."""

    def __init__(self) -> None:
        self.manager = AsyncKernelManager(kernel_name="python3")

    def run(self, name: str, **environment: object) -> Shown:
        """The executed notebook, run in its own folder as Jupyter does."""
        notebook = nbformat.read(PROJECT / "notebooks" / name, 4)
        values = {key: str(value) for key, value in environment.items()}
        notebook.cells.insert(0, nbformat.v4.new_code_cell(FRESH.format(environment=values, folder=str(PROJECT / "notebooks"))))
        NotebookClient(notebook, km=self.manager, timeout=120, resources={"metadata": {"path": str(PROJECT / "notebooks")}}).execute()
        return Shown(notebook)


class Shown:
    """What an executed notebook shows."""

    def __init__(self, notebook: nbformat.NotebookNode) -> None:
        self.outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        self.text, self.html = "\n".join(self._of("text/markdown")), "\n".join(self._of("text/html"))
        self.printed = "\n".join(output["text"] for output in self.outputs if output.get("name") == "stdout")
        self.pictures = len(self._of("image/png"))
        self.players = self.html.count("<audio")

    def _of(self, kind: str) -> list[str]:
        return [output["data"][kind] for output in self.outputs if kind in output.get("data", {})]


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    os.environ.update(OMP_NUM_THREADS="1", MPLBACKEND="module://matplotlib_inline.backend_inline", HF_HUB_OFFLINE="1")
    kernel = Kernel()
    yield kernel
    NotebookClient(nbformat.v4.new_notebook(), km=kernel.manager)._cleanup_kernel()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Demo data of five voices with two faults: a training clip is there twice (with two labels), and one test file is no audio."""
    root = tmp_path_factory.mktemp("eda") / "demo"
    make_demo(root, clips=30, test_clips=12)
    table = pd.read_csv(root / "train.csv")
    first = table.index[0]
    other = table.index[table["label"] != table.loc[first, "label"]][0]
    (root / table.loc[other, "path"]).write_bytes((root / table.loc[first, "path"]).read_bytes())
    (root / "test" / "TEST_0003.wav").write_text("no audio")
    table["speaker"] = "voice " + table.groupby("label").cumcount().astype(str)  # five, each with every label
    table[["id", "speaker"]].to_csv(root / "train_speakers.csv", index=False)
    return root


@pytest.fixture(scope="module")
def trained(demo: Path) -> Path:
    """The plain baseline, trained on the demo."""
    config = {
        "data": {"root": str(demo), "cache": str(demo.parent / "cache")},
        "cv": {"n": 2},
        "model": {"kind": "classical", "classical": {"features": ["librosa"], "classifier": "svm_rbf"}},
        "tracking": {"mode": "disabled"},
        "run": {"output": str(demo.parent / "outputs" / "svm")},
    }
    (demo.parent / "svm.yaml").write_text(yaml.safe_dump(config))
    train(load_config(demo.parent / "svm.yaml"))
    return demo.parent / "outputs" / "svm"


@pytest.fixture(scope="module")
def second(trained: Path) -> Path:
    """Another run over the same clips, whose probabilities are mostly noise."""
    folder = shutil.copytree(trained, trained.with_name("noisy"))
    rng = np.random.default_rng(0)

    def blur(table: pd.DataFrame) -> pd.DataFrame:
        columns = [name for name in table if name.startswith("p_")]
        table[columns] = 0.4 * table[columns] + 0.6 * rng.dirichlet(np.ones(len(columns)), len(table))
        return table

    for fold in (0, 1):
        edit_csv(folder / f"fold_{fold}" / "valid.csv", blur)
    return folder


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_committed_without_outputs_and_begins_with_a_heading(path: Path) -> None:
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    assert notebook.cells[0].cell_type == "markdown"
    assert re.match(rf"# {int(path.name[:2])}\. ", notebook.cells[0].source)
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in notebook.cells)
    assert not any(word in path.read_text(encoding="utf-8") for word in ("/home/", "/root/"))


def test_results_of_a_run_are_those_of_its_files(kernel: Kernel, trained: Path) -> None:
    shown = kernel.run("05_results.ipynb", SER_RUNS=trained)
    oof = pd.read_csv(trained / "oof.csv")
    answers = oof.filter(like="p_").to_numpy().argmax(axis=1)
    accuracy, macro_f1 = accuracy_score(oof["label"], answers), f1_score(oof["label"], answers, average="macro")
    assert f"Out of fold: accuracy {accuracy:.3f} [" in shown.text
    assert f"(n 30, majority 0.167, macro-F1 {macro_f1:.3f}" in shown.text
    assert f"of {(answers != oof['label']).sum()} mistakes" in shown.text
    assert "none of them in two folds: this is a score for new voices" in shown.text
    assert shown.players == min(6, (answers != oof["label"]).sum())


def test_eda_says_what_is_in_the_data(kernel: Kernel, demo: Path, trained: Path, tmp_path: Path) -> None:
    shown = kernel.run("01_eda.ipynb", SER_DATA_ROOT=demo, SER_CACHE=demo.parent / "cache", SER_RUNS=trained)
    labels = pd.read_csv(demo / "train.csv")["label"]

    assert "**30** training clips, **12** test clips" in shown.text
    assert f"**{labels.value_counts(normalize=True).max():.1%}**" in shown.text
    assert "same audio under different labels: 1" in shown.printed
    assert re.search(r"TEST_0003.*\n?.*undecodable", shown.html)
    assert shown.pictures == 6
    oof = pd.read_csv(trained / "oof.csv")
    wrong = (oof.filter(like="p_").to_numpy().argmax(axis=1) != oof["label"]).sum()
    suspects = int(re.search(r"contradicts \*\*(\d+)\*\* of 30 labels", shown.text)[1])
    assert 1 <= suspects <= wrong
    assert shown.players == labels.nunique() + min(6, suspects)
    assert "No near-duplicates" in shown.text  # those with equal samples were told before
    assert re.search(r"two halves of the training voices, by sound</th>\s*<td>0\.\d", shown.html)

    # The settings it ends with are a config that the project reads, and cut nothing.
    settings = shown.printed[shown.printed.index("data:\n") :]
    (tmp_path / "from_eda.yaml").write_text(settings)
    config = load_config(tmp_path / "from_eda.yaml")
    longest = max(
        soundfile.info(path).duration for path in [*demo.glob("train/*.wav"), *demo.glob("test/*.wav")] if path.name != "TEST_0003.wav"
    )
    assert longest <= config.data.max_seconds < longest + 1
    assert yaml.safe_load(settings)["data"]["on_bad_audio"] == "stop"


def test_eda_of_a_folder_per_emotion_without_speakers_test_or_run(kernel: Kernel, trained: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    for emotion, count in (("Angry", 6), ("슬픔", 2)):
        (tmp_path / "clips" / emotion).mkdir(parents=True)
        for number in range(count):
            soundfile.write(tmp_path / "clips" / emotion / f"{number}.wav", 0.1 * noise.standard_normal(8_000 + 800 * number), 16_000)
    copy = tmp_path / "clips" / "Angry" / "copy.wav"
    soundfile.write(copy, 0.5 * soundfile.read(tmp_path / "clips" / "Angry" / "5.wav")[0][1_600:], 16_000)
    shown = kernel.run("01_eda.ipynb", SER_DATA_ROOT=tmp_path / "clips", SER_CACHE=tmp_path / "cache", SER_RUNS=trained)
    assert "**9** training clips, **0** test clips" in shown.text
    assert "**77.8%**; largest to smallest label: **3.5 : 1**" in shown.text
    assert "No speakers are known" in shown.text
    assert re.search(r"Angry/5.wav and Angry/copy.wav: correlation (0.9\d|1.00), the second begins \+0.10 s later", shown.printed)
    assert "No finished run over these clips yet" in shown.text


def test_method_notebook_shows_the_figures_of_the_paper(kernel: Kernel) -> None:
    shown = kernel.run("02_method.ipynb")
    assert re.search(r"7 +2 +2 \| +320 +400\n", shown.printed)  # stride and receptive field in samples
    assert "16000 samples = 1.000 s ->  49 vectors" in shown.printed
    assert re.search(r"transformer +89\.\d+ M", shown.printed)
    loss = float(re.search(r"per masked vector: ([\d.]+)", shown.printed)[1])
    assert loss == pytest.approx(np.log(21), abs=0.4)
    assert shown.pictures == 4
    assert "No encoder was named" in shown.text


def test_method_notebook_asks_a_real_encoder_about_the_clips(kernel: Kernel, demo: Path, tmp_path: Path) -> None:
    encoder = make_checkpoint(tmp_path, "whisper")
    model = build_model(ModelConfig(name=str(encoder), layer_weights=True), LABELS, 5.0)
    model.head.layer_weights.data = torch.tensor([0.0, 0.0, 2.0, 0.0])
    model.save(tmp_path / "run" / "fold_0" / "model")
    write_json(tmp_path / "run" / "fold_0" / "metrics.json", {})
    shown = kernel.run(
        "02_method.ipynb", SER_ENCODER=encoder, SER_DATA_ROOT=demo, SER_CACHE=demo.parent / "cache", SER_RUNS=tmp_path / "run"
    )  # fmt: skip
    assert "(whisper): 3 layers of 32, over 30 clips" in shown.text
    assert shown.pictures == 4 + 4  # attention, probes, layer weights, map
    best = re.search(r"Emotion: best in layer (\d) \((0\.\d+), n 30, majority 0.167", shown.text)
    assert f"Layer {best[1]}: of a clip's 5 nearest neighbours" in shown.text
    share = np.exp(2) / (np.exp(2) + 3)
    assert f"Largest share, fold by fold: 2. The largest is at most {share / ((1 - share) / 3):.1f} times the smallest" in shown.text


def test_augmentation_moves_what_it_says(kernel: Kernel, demo: Path, trained: Path) -> None:
    settings = {"SER_DATA_ROOT": demo, "SER_CACHE": demo.parent / "cache", "SER_RUNS": trained, "SER_CLIPS": 6}
    shown = kernel.run("03_augmentation.ipynb", **settings, SER_CONFIG="configs/wav2vec2_base.yaml")
    assert "configs/wav2vec2_base.yaml uses gain, snr_noise" in shown.text
    transforms = 9 + ("Left out: augment.room" not in shown.text)
    assert shown.players == 1 + 2 * transforms + 6
    assert re.search(r"Least moves \*\w+\* \((0\.\d\d)\), most \*\w+\* \((\d\.\d\d)\)", shown.text)
    assert "*svm*, fold 0: 12 clips that it hasn't trained on" in shown.text


def test_folds_and_leaks_are_measured(kernel: Kernel, demo: Path) -> None:
    shown = kernel.run("04_folds_and_leaks.ipynb", SER_DATA_ROOT=demo, SER_CACHE=demo.parent / "cache")
    assert "**stratified**: 5-fold, stratified by label; not speaker-disjoint" in shown.text
    assert "**speaker**: 5-fold, speaker-disjoint (5 speakers)" in shown.text
    assert "`text` can't be made" in shown.text
    assert re.search(r"Against `speaker`, the random split shows \*\*[+-]\d+\.\d points\*\*", shown.text)
    assert "chance, as it must be" in shown.text
    assert "across_folds: TRAIN_" in shown.text  # the clip that is there twice, in the split that doesn't know of it


def test_results_of_a_run_with_epochs_whose_data_has_gone(kernel: Kernel, tmp_path: Path) -> None:
    run_report(make_run(tmp_path / "outputs" / "network", skill=2.5))
    shown = kernel.run("05_results.ipynb", SER_RUNS=tmp_path / "outputs" / "network")
    assert "The best epoch was the last one in 3 of 3 folds. It may not have been long enough" in shown.text
    assert "Voices: unknown" in shown.text
    assert "Too little is known of the clips" in shown.text
    assert shown.players == 0


def test_ensemble_weighs_members_and_plays_the_board(kernel: Kernel, tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "outputs" / f"run_{seed}", seed=seed, skill=1.5, speakers=6) for seed in range(3)]
    shown = kernel.run("06_ensemble.ipynb", SER_RUNS=os.pathsep.join(map(str, runs)))
    assert "3 runs over the same 60 clips" in shown.text
    assert re.search(r"\*weighted\* against the plain mean: [+-]\d+\.\d points \[", shown.text)
    assert "2000 competitions with 20 test clips, 6 of them public" in shown.text
    commands = [line for line in shown.printed.splitlines() if line.startswith("python -m ser.ensemble ")]
    assert len(commands) == 2
    assert shown.pictures == 2


def test_ensemble_of_one_run_says_that_it_takes_two(kernel: Kernel, tmp_path: Path) -> None:
    shown = kernel.run("06_ensemble.ipynb", SER_RUNS=make_run(tmp_path / "outputs" / "alone"))
    assert "One run is nothing to blend" in shown.text
    assert "python -m ser.ensemble" in shown.printed


def test_errors_are_those_that_all_runs_make(kernel: Kernel, trained: Path, second: Path) -> None:
    shown = kernel.run("07_errors.ipynb", SER_RUNS=f"{trained}{os.pathsep}{second}")
    wrong = []
    for folder in (trained, second):
        valid = pd.concat([pd.read_csv(folder / f"fold_{fold}" / "valid.csv") for fold in (0, 1)])
        truth = pd.read_csv(trained / "oof.csv").set_index("id")["label"]
        wrong.append(pd.Series(valid.filter(like="p_").to_numpy().argmax(axis=1), index=valid["id"]) != truth.reindex(valid["id"]))
    missed = (wrong[0] & wrong[1].reindex(wrong[0].index)).sum()
    assert missed > 0
    assert f"{missed} clips ({missed / 30:.1%}) are missed by all 2 runs" in shown.text
    named = int(re.search(r"Named: (\d+) of 30 labels", shown.text)[1])
    assert shown.players == min(8, missed) + min(8, named)
    assert re.search(r"Planted errors: \d+% of 1 are found", shown.text)
