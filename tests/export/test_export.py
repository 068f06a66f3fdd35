"""Exporting: the ONNX file gives what the network gives, and the folder holds what the hub and its readers need."""

import importlib.util
import json

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from checkpoints import LABELS, make_checkpoint, waves
from ser import predict
from ser.config import DataConfig, ModelConfig
from ser.data.utterance import Utterance
from ser.export import __main__ as export
from ser.export.folder import export_folder
from ser.export.graph import write_onnx
from ser.export.model_card import Facts
from ser.export.parity import check_parity
from ser.export.source import read_source
from ser.inference.prediction import predict_files
from ser.models.frames.standards import Standard, Standards
from ser.models.frontend_json import frontend_as_json, frontend_from_json
from ser.models.onnx import open_onnx
from ser.models.registry import build_model, load_model
from ser.runtime.errors import UserError
from ser.train import __main__ as train
from tiny import TINY_WAV2VEC2, make_tiny_data, write_tiny_config

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("undrawn")]

needs_exporter = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")), reason="requirements-export.txt"
)
FRAME_KINDS = ("mfcc_cnn", "logmel_crnn", "mfcc_lstm_delta")


def frame_network(kind):
    """With weights large enough that logits differ, and statistics as training leaves them."""
    torch.manual_seed(0)
    model = build_model(ModelConfig(kind=kind), LABELS, 4.0).eval()
    for name, values in model.named_buffers():
        if name.endswith("running_var"):
            values.uniform_(0.5, 2.0)
    with torch.no_grad():
        model.classifier.weight *= 5
    return model


def encoder(tmp_path, kind, **keys):
    model = build_model(ModelConfig(name=str(make_checkpoint(tmp_path / "checkpoint", kind, num_hidden_layers=1)), **keys), LABELS, 4.0)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return model.eval()


def logits(model, clips):
    with torch.inference_mode():
        return model(**model.frontend.collate([model.frontend.prepare(Utterance(clip)) for clip in clips])).numpy()


@needs_exporter
@pytest.mark.parametrize("kind", [pytest.param(kind, marks=() if kind == "mfcc_lstm_delta" else pytest.mark.slow) for kind in FRAME_KINDS])
def test_network_on_frames_gives_the_same_through_onnx(kind, tmp_path):
    model = frame_network(kind)
    write_onnx(model, tmp_path / "model.onnx")
    exported = load_model(tmp_path / "model.onnx")
    assert exported.label_names == LABELS
    clips = waves(0.05, 2.2, 0.9, 3.7, seed=5)
    in_torch = logits(model, clips)
    assert np.ptp(in_torch, axis=0).max() > 0.05, "clips must differ, or nothing is tested"
    np.testing.assert_allclose(logits(exported, clips), in_torch, atol=1e-4)
    alone = np.concatenate([logits(exported, [clip]) for clip in clips])
    np.testing.assert_allclose(logits(exported, clips), alone, atol=1e-5)


@needs_exporter
def test_encoder_with_a_mask_hears_no_padding_through_onnx(tmp_path):
    model = encoder(tmp_path, "wav2vec2-layer", pooling="attentive", layer_weights=True)
    write_onnx(model, tmp_path / "model.onnx")
    exported = open_onnx(tmp_path / "model.onnx")
    assert not exported.exact_length
    given = {one.name: one.type for one in exported.session.get_inputs()}
    assert given == {"input_values": "tensor(float)", "attention_mask": "tensor(int64)"}, "as in files made before, and in others' code"
    clips = waves(0.3, 2.6, 1.1, seed=5)
    in_torch = logits(model, clips)
    assert np.ptp(in_torch, axis=0).max() > 0.01
    np.testing.assert_allclose(logits(exported, clips), in_torch, atol=1e-4)
    np.testing.assert_allclose(logits(exported, clips), np.concatenate([logits(exported, [clip]) for clip in clips]), atol=1e-5)
    batch = exported.frontend.collate([exported.frontend.prepare(Utterance(clip)) for clip in clips])
    unmasked = exported(**batch | {"attention_mask": torch.ones_like(batch["attention_mask"])}).numpy()
    assert np.abs(unmasked - in_torch).max() > 1e-3, "the mask must count"


@needs_exporter
@pytest.mark.slow
def test_encoder_without_a_mask_normalises_each_clip_by_itself_through_onnx(tmp_path):
    model = encoder(tmp_path, "wav2vec2-group")
    write_onnx(model, tmp_path / "model.onnx")
    exported = open_onnx(tmp_path / "model.onnx")
    assert not exported.exact_length
    clips = waves(0.3, 2.6, 1.1, seed=5)
    np.testing.assert_allclose(logits(exported, clips), logits(model, clips), atol=1e-4)
    np.testing.assert_allclose(logits(exported, clips), np.concatenate([logits(model, [clip]) for clip in clips]), atol=1e-4)
    assert "padded" in str(check_parity(model, tmp_path / "model.onnx"))


@needs_exporter
@pytest.mark.slow
def test_encoder_that_hears_padding_takes_clips_of_one_length_through_onnx(tmp_path):
    model = encoder(tmp_path, "data2vec-audio")
    write_onnx(model, tmp_path / "model.onnx")
    exported = open_onnx(tmp_path / "model.onnx")
    assert exported.exact_length
    for clips in (waves(0.4, seed=5), waves(1.9, 1.9, 1.9, seed=6)):
        np.testing.assert_allclose(logits(exported, clips), logits(model, clips), atol=1e-4)
    assert "padded" not in str(check_parity(model, tmp_path / "model.onnx"))


@needs_exporter
def test_parity_check_refuses_other_weights(tmp_path):
    model = frame_network("mfcc_lstm_delta")
    write_onnx(model, tmp_path / "model.onnx")
    assert check_parity(model, tmp_path / "model.onnx").to_torch < 1e-4
    with torch.no_grad():
        model.classifier.bias[2] += 1e-2
    with pytest.raises(UserError, match=r"doesn't give what the network gives.*1\.0e-02"):
        check_parity(model, tmp_path / "model.onnx")
    with torch.no_grad():
        model.classifier.bias[2] = float("nan")
    with pytest.raises(UserError, match="nan"):
        check_parity(model, tmp_path / "model.onnx")


@pytest.mark.parametrize("kind", [*FRAME_KINDS, "wav2vec2-layer", "whisper"])
def test_preprocessing_survives_json(kind, tmp_path):
    model = frame_network(kind) if kind in FRAME_KINDS else encoder(tmp_path, kind)
    copy = frontend_from_json(json.loads(json.dumps(frontend_as_json(model.frontend))))
    for wave in waves(0.01, 1.3):
        np.testing.assert_array_equal(copy.prepare(Utterance(wave)), model.frontend.prepare(Utterance(wave)))


def test_neutral_baselines_of_voices_survive_json():
    from dataclasses import replace

    model = frame_network("mfcc_lstm_delta")
    standard = Standard(np.arange(13, dtype=np.float32) / 7, np.full(13, 2.5, np.float32))
    frontend = replace(model.frontend, standards=Standards(standard, "speaker", {"가영": standard}))
    copy = frontend_from_json(json.loads(json.dumps(frontend_as_json(frontend))))
    np.testing.assert_array_equal(copy.standards.of_voice["가영"].mean, standard.mean)
    assert copy.standards.by == "speaker"


def test_batch_norm_is_the_same_over_padding_as_over_real_frames_alone():
    """What lets the graph be written: in prediction no frame is picked out, and padding still comes out as zero."""
    from ser.models.frames.frames import MaskedBatchNorm

    norm = MaskedBatchNorm(3)
    values, mask = torch.randn(2, 3, 7, 5), torch.arange(7) < torch.tensor([7, 4])[:, None]
    norm(values, mask)  # running statistics other than 0 and 1
    norm.eval()
    result = norm(values, mask)
    alone = torch.nn.functional.batch_norm(values[1:, :, :4], norm.running_mean, norm.running_var, norm.weight, norm.bias)
    torch.testing.assert_close(result[1:, :, :4], alone)
    assert (result[1, :, 4:] == 0).all()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of the real command: a tiny masked encoder, two folds, speakers known."""
    folder = tmp_path_factory.mktemp("export")
    data = make_tiny_data(folder / "input", clips=24, test_clips=2)
    train.main(["--config", str(write_tiny_config(folder / "tiny.yaml", data, train={"epochs": 1}, model={"pooling": "mean"}))])
    return folder / "outputs" / "tiny"


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "model"
    words = ["--license", "cc-by-4.0", "--data_name", "demo voices", "--data_license", "MIT", "--language", "en,ko"]
    export.main([str(run / "fold_1"), "--output", str(folder), *words])
    return folder


@needs_exporter
def test_one_by_one_in_a_batch_and_through_onnx_are_the_same(run, exported, tmp_path):
    files = sorted((run.parents[1] / "input").glob("test/*.wav")) + sorted((run.parents[1] / "input").glob("train/*.wav"))[:4]
    config = DataConfig(cache=str(tmp_path / "cache"))
    tables = {
        "batch": predict_files(run / "fold_1", files, config),
        "onnx": predict_files(exported / "model.onnx", files, config),
        "folder": predict_files(exported, files, config),
        "one by one": pd.concat([predict_files(exported / "model.onnx", [file], config) for file in files], ignore_index=True),
    }
    columns = [f"p_{name}" for name in LABELS]
    for name, table in tables.items():
        assert table["label"].tolist() == tables["batch"]["label"].tolist(), name
        np.testing.assert_allclose(table[columns], tables["batch"][columns], atol=1e-5, err_msg=name)


@needs_exporter
def test_exported_folder_opens_in_transformers_pipeline_with_the_labels(exported, run):
    from transformers import pipeline

    labels = json.loads((exported / "labels.json").read_text(encoding="utf-8"))
    assert [labels[str(place)]["label"] for place in range(6)] == list(LABELS)
    assert labels["0"]["korean"] == "분노"
    answers = pipeline("audio-classification", model=str(exported), top_k=None)(waves(1.0)[0])
    assert {answer["label"] for answer in answers} == set(LABELS)


@needs_exporter
def test_model_card_tells_scores_with_their_company_and_no_machine_path(exported, run):
    card = (exported / "README.md").read_text(encoding="utf-8")
    header = yaml.safe_load(card.split("---\n")[1])
    oof = json.loads((run / "report.json").read_text())["oof"]
    assert header["license"] == "cc-by-4.0"
    assert header["language"] == ["en", "ko"]
    assert header["pipeline_tag"] == "audio-classification"
    metrics = {metric["type"]: metric["value"] for metric in header["model-index"][0]["results"][0]["metrics"]}
    assert metrics["accuracy"] == round(oof["accuracy"], 4)
    for text in (f"n {oof['n']}", f"majority {oof['majority']:.3f}", "fold 1 of 2", "Split:", "demo voices", "Its licence: MIT", "기쁨"):
        assert text in card, text
    assert str(run.parents[1]) not in card
    assert not any(str(run.parents[1]) in path.read_text() for path in exported.glob("*.json"))


@needs_exporter
def test_predict_command_takes_the_onnx_file(exported, run, tmp_path, capsys):
    file = next((run.parents[1] / "input").glob("test/*.wav"))
    predict.main(
        ["--model", str(exported / "model.onnx"), str(file), "--data.cache", str(tmp_path / "c"), "--output", str(tmp_path / "p.csv")]
    )
    assert pd.read_csv(tmp_path / "p.csv")["label"].isin(LABELS).all()


@needs_exporter
def test_a_run_gives_its_first_fold_and_says_so(run, tmp_path, capsys):
    assert read_source(run).fold == 0
    assert read_source(run / "fold_1" / "model").fold == 1
    source = read_source(run)
    assert source.settings["model.from_scratch"] == TINY_WAV2VEC2
    assert not any("data." in key or "output" in key for key in source.settings)


def test_output_that_holds_something_is_left_alone(run, tmp_path):
    (tmp_path / "thesis.docx").write_text("mine")
    with pytest.raises(UserError, match="doesn't overwrite"):
        export_folder(read_source(run), tmp_path, Facts())
    assert (tmp_path / "thesis.docx").read_text() == "mine"


def test_classical_model_says_why_it_cannot_be_exported(run, tmp_path):
    config = tmp_path / "svm.yaml"
    content = {
        "data": {"root": str(run.parents[1] / "input"), "cache": str(tmp_path / "cache")},
        "cv": {"n": 2},
        "model": {"kind": "classical", "classical": {"features": ["functionals"], "classifier": "svm"}},
        "tracking": {"mode": "disabled"},
        "run": {"output": str(tmp_path / "svm")},
    }
    config.write_text(yaml.safe_dump(content))
    train.main(["--config", str(config), "--folds", "0"])
    with pytest.raises(UserError, match=r"classical model: scikit-learn on features.*no graph"):
        export.main([str(tmp_path / "svm"), "--output", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_file_that_is_no_exported_model_is_refused(tmp_path):
    pytest.importorskip("onnxruntime")
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(UserError, match="no readable ONNX model"):
        load_model(tmp_path / "model.onnx")
    with pytest.raises(UserError, match="no such file"):
        load_model(tmp_path / "other.onnx")
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("Identity", ["x"], ["logits"])
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 6]) for name in ("x", "logits")]
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "g", value[:1], value[1:]), opset_imports=[onnx.helper.make_opsetid("", 18)]
    )
    model.ir_version = 9
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(UserError, match="metadata lacks 'ser'"):
        load_model(tmp_path / "model.onnx")
