"""The folder that is exported: weights, ONNX file, labels, preprocessing, model card."""

from __future__ import annotations

from pathlib import Path

from ser.data.labels import EMOTIONS
from ser.export.graph import write_onnx
from ser.export.model_card import Facts, model_card
from ser.export.parity import Parity, check_parity
from ser.export.source import Source
from ser.inference.answers import several_labels
from ser.models.frontend_json import frontend_as_json
from ser.models.registry import load_model
from ser.runtime.errors import UserError
from ser.runtime.files import atomic_folder, write_json, write_text

PREPROCESSING = "preprocessor_config.json"


def export_folder(source: Source, output: Path, facts: Facts) -> Parity:
    """Write the folder, all of it or nothing; returns how the ONNX file compares with the network.

    Raises UserError where the model is no network, the ONNX file differs, or the folder holds something already.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"--output: {output} holds something already, which export doesn't overwrite. Name a new folder, or empty it.")
    model = load_model(source.model)
    if model.multi_label:
        raise several_labels(source.model)
    if not model.by_epochs:
        features = "features that librosa, openSMILE or own code compute" if model.takes == "audio" else "n-grams that are counted"
        raise UserError(
            f"{source.model} is a {model.kind} model: scikit-learn on {features}, no graph, "
            "so there is nothing to write as ONNX. Its folder (JSON, safetensors, skops) can be copied as it is and opened with --model."
        )
    with atomic_folder(output) as temporary:
        model.save(temporary)
        write_onnx(model, temporary / "model.onnx")
        parity = check_parity(model, temporary / "model.onnx")
        labels = {
            position: {"label": name, "english": EMOTIONS[name].english, "korean": EMOTIONS[name].korean}
            if name in EMOTIONS
            else {"label": name}
            for position, name in enumerate(model.label_names)
        }
        write_json(temporary / "labels.json", labels)
        if model.takes == "audio" and not (temporary / PREPROCESSING).exists():  # transformers has no class for networks on frames
            write_json(temporary / PREPROCESSING, frontend_as_json(model.frontend))
        write_text(temporary / "README.md", model_card(source, model, parity, facts))
    return parity
