"""What strangers made (configs, model folders, tables, names) can be opened: it runs no code and leads nowhere else."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from ser import predict
from ser.config import ModelConfig, load_config
from ser.models.registry import build_model, load_model
from ser.runtime.errors import UserError
from sounds import tone, write_wav
from tiny import TINY_WAV2VEC2

TRAP = """
from pathlib import Path
from transformers import Wav2Vec2Config as TrapConfig, Wav2Vec2FeatureExtractor as TrapExtractor
from transformers import Wav2Vec2ForSequenceClassification as TrapModel
(Path(__file__).parent / "sprung").touch()
def function(**_):
    (Path(__file__).parent / "sprung").touch()
"""


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A module that leaves a mark when it is imported, where `python -m` would find it. Checked at the end of the test."""
    (tmp_path / "trap.py").write_text(TRAP)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not list(tmp_path.rglob("sprung"))
    assert "trap" not in sys.modules


@pytest.mark.parametrize(
    "text",
    [
        "data: {class_path: trap.Data}",
        "data: trap.Data",
        "model: {from_scratch: {class_path: trap.function, init_args: {}}}",
        "model: {from_scratch: {hidden_size: {class_path: trap.function}}}",
        "model: {from_scratch: {conv_dim: [{class_path: trap.function}]}}",
        "tracking: {tags: [{class_path: trap.function}]}",
        "config: other.yaml",
        "model: other.yaml",
        "data: {root: !!python/object/apply:trap.function []}",
        "!!python/object/apply:os.system ['touch sprung']",
        "data: &a {root: [*a]}",
        "data: {root: [[[[", "\0", "- data", "data", "",
    ],
)  # fmt: skip
def test_a_config_cannot_name_code_to_run(trap, text):
    (trap / "other.yaml").write_text("{from_scratch: {hidden_size: {class_path: trap.function}}}")
    (trap / "stranger.yaml").write_text(text)
    with pytest.raises(UserError):
        load_config(trap / "stranger.yaml")


@pytest.mark.parametrize("key", ["data.root", "data", "unknown"])
def test_a_config_that_unfolds_without_end_is_refused_quickly(tmp_path, key):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    (tmp_path / "bomb.yaml").write_text("\n".join([*lines, f"{key}: *a11"]))
    with pytest.raises(UserError):
        load_config(tmp_path / "bomb.yaml")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "model"
    build_model(ModelConfig(from_scratch=TINY_WAV2VEC2, freeze="none"), ("angry", "sad"), 5.0).save(folder)
    return folder


def change(folder: Path, name: str, **keys) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def open_all_ways(folder: Path) -> list[str]:
    """As this project's own model, as anybody's classifier, and to train on; what was said against it each time."""
    said = []
    for way in ("own", "foreign", "train"):
        copy = folder.parent / way
        shutil.copytree(folder, copy, symlinks=True)
        if way != "own":
            (copy / "ser_model.json").unlink()
        try:
            build_model(ModelConfig(name=str(copy)), ("a", "b"), 5.0) if way == "train" else load_model(copy)
            said.append("")
        except UserError as error:
            said.append(str(error))
    return said


@pytest.fixture
def stranger(saved, trap):
    shutil.copytree(saved, trap / "stranger")
    shutil.copy(trap / "trap.py", trap / "stranger")
    return trap / "stranger"


CODE = {
    "AutoConfig": "trap.TrapConfig",
    "AutoModel": "trap.TrapModel",
    "AutoModelForAudioClassification": "trap.TrapModel",
    "AutoFeatureExtractor": "trap.TrapExtractor",
}


def test_custom_code_of_a_known_architecture_is_passed_over(stranger):
    change(stranger, "config.json", auto_map=CODE)
    assert open_all_ways(stranger) == ["", "", ""]


def test_an_architecture_that_needs_custom_code_is_refused(stranger):
    change(stranger, "config.json", auto_map=CODE, model_type="trap")
    assert all("config.json can't be used" in text for text in open_all_ways(stranger))


def test_a_feature_extractor_that_needs_custom_code_is_refused(stranger):
    change(stranger, "preprocessor_config.json", auto_map=CODE, feature_extractor_type="TrapExtractor")
    assert all("preprocessor_config.json" in text for text in open_all_ways(stranger))


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_an_attention_kernel_on_the_hub_is_neither_fetched_nor_run(stranger, key):
    """transformers would, where the package `kernels` is installed; without it, it raises ImportError."""
    change(stranger, "config.json", **{key: "stranger/kernel"})
    assert open_all_ways(stranger) == ["", "", ""]
    assert load_model(stranger).encoder.config._attn_implementation == "sdpa"


def test_an_adapter_beside_the_weights_does_not_lead_to_another_checkpoint(stranger):
    (stranger / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "stranger/other"}')
    assert open_all_ways(stranger) == ["", "", ""]


def test_pickled_weights_are_never_opened(stranger):
    class Trap:
        def __reduce__(self):
            return exec, ("from pathlib import Path; Path('sprung').touch()",)

    torch.save({"weight": Trap()}, stranger / "pytorch_model.bin")
    assert open_all_ways(stranger) == ["", "", ""]
    for way in ("own", "foreign", "train"):
        shutil.rmtree(stranger.parent / way)
    (stranger / "model.safetensors").unlink()
    assert all(open_all_ways(stranger))


@pytest.mark.parametrize(
    ("name", "keys", "told"),
    [
        ("config.json", {"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantised"),
        ("config.json", {"hidden_size": 10**14}, "can't be loaded"),  # more than any machine has: refused without touching it
        ("config.json", {"dtype": "trap"}, "config.json can't be used"),
        ("config.json", {"id2label": {"0": "sad\x1b[2J", "1": "happy"}}, "printable"),
        ("config.json", {"id2label": {"0": "sad", "5": "happy"}}, "0 to 1"),
        ("ser_model.json", {"kind": "os"}, "known kinds"),
        ("ser_model.json", {"label_names": ["sad", "angry"]}, "different labels"),
    ],
)
def test_a_folder_that_does_not_hold_together_is_refused(saved, tmp_path, name, keys, told):
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    change(folder, name, **keys)
    with pytest.raises(UserError, match=told):
        load_model(folder)


def test_weights_that_are_a_link_to_another_file_are_no_way_to_read_it(saved, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("/etc/passwd")
    with pytest.raises(UserError) as refused:
        load_model(folder)
    assert "root:" not in str(refused.value)


def test_a_checkpoint_of_a_run_holds_tensors_and_text_only(tmp_path):
    """A checkpoint folder from elsewhere is read by safetensors and json; its file names are fixed."""
    from ser.train.checkpoint import Checkpoints

    folder = tmp_path / "checkpoints" / "step_00000001_epoch_0001"
    folder.mkdir(parents=True)
    model = torch.nn.Linear(2, 2)
    for name in ("model.safetensors", "optimizer.safetensors"):
        save_file(model.state_dict(), folder / name)
    outside = tmp_path / "outside.txt"
    outside.write_text("x")
    sums = {"model.safetensors": "0", "optimizer.safetensors": "0", "../../outside.txt": "0"}
    (folder / "state.json").write_text(json.dumps({"checksums": sums, "global_step": 1, "epoch": 1, "best_epoch": 0}))
    state, messages = Checkpoints(tmp_path).restore(model, torch.optim.AdamW(model.parameters()))
    assert state is None
    assert "damaged" in messages[0]
    assert outside.read_text() == "x"


def test_names_of_files_cannot_act_in_a_spreadsheet_or_on_the_terminal(saved, tmp_path, capsys):
    names = ["=cmd|'/c calc'!A1.wav", "@SUM(1).wav", "-1+1.wav", "\x1b[2J.wav"]
    (tmp_path / "clips").mkdir()
    for name in names:
        write_wav(tmp_path / "clips" / name.replace("/", "∕"), tone(1.0))
    output = tmp_path / "predictions.csv"
    predict.main(["--model", str(saved), str(tmp_path / "clips"), "--data.cache", str(tmp_path / "cache"), "--output", str(output)])
    written = pd.read_csv(output, keep_default_na=False)
    texts = [text for column in ("id", "path", "label") for text in written[column]]
    assert len(written) == 4
    assert not [text for text in texts if text.startswith(("=", "+", "-", "@"))]
    assert "\x1b" not in capsys.readouterr().out
