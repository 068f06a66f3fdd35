"""The model card (README.md of a model on the hub), filled from what the run recorded.

Fields of the header: https://huggingface.co/docs/hub/model-cards. Nothing is claimed that no file of the run says.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import yaml

from ser.data.labels import EMOTIONS, LABEL_SETS
from ser.data.utterance import Utterance
from ser.export.parity import Parity
from ser.export.source import Source
from ser.inference.run_files import is_fitted_in_one_go
from ser.models.base import SerModel
from ser.scoring.metrics import describe

NOT_STATED = "not stated"
KNOWS = {"audio": "emotions in speech", "text": "emotions in texts", "audio and text": "emotions in speech and its words"}
TASK = {"audio": "audio-classification", "text": "text-classification", "audio and text": "audio-classification"}
TAGS = {"audio": ["speech-emotion-recognition"], "text": ["emotion"], "audio and text": ["speech-emotion-recognition", "multimodal"]}
_SILENCE = np.zeros(16_000, dtype=np.float32)


@dataclass(frozen=True)
class Facts:
    """What no file of a run knows, said by whoever exports: None where it wasn't."""

    name: str | None = None
    license: str | None = None
    language: str | None = None
    data_name: str | None = None
    data_license: str | None = None


def model_card(source: Source, model: SerModel, parity: Parity, facts: Facts) -> str:
    """The whole card as Markdown with its YAML header."""
    title = facts.name or source.run
    parts = [
        f"---\n{yaml.safe_dump(_header(source, model, title, facts), sort_keys=False, allow_unicode=True)}---",
        f"# {title}",
        _what_it_is(source, model),
        "## Labels",
        _labels(model),
        "## Use",
        _use(model),
        "## Training data",
        _data(source, model, facts),
        "## Training",
        _training(source, model),
        "## Scores",
        _scores(source),
        "## Limits",
        _limits(source, model),
        "## Files",
        f"`model.onnx` was compared with the torch weights on {parity}.",
        "## Licences",
        _licences(source, facts),
    ]
    return "\n\n".join(parts) + "\n"


def _header(source: Source, model: SerModel, title: str, facts: Facts) -> dict:
    task = TASK[model.takes]
    header = {
        "license": facts.license or "other",
        **({} if facts.license else {"license_name": "not-stated"}),
        **({"language": facts.language.split(",")} if facts.language else {}),
        "pipeline_tag": task,
        "tags": [*TAGS[model.takes], task, "onnx"],
        **({"base_model": source.base} if source.base else {}),
    }
    oof = source.report.get("oof")
    if oof:
        name, kind_of_data = facts.data_name or NOT_STATED, "text" if model.takes == "text" else "audio"
        metrics = [
            {"type": kind, "value": round(oof[key], 4), "name": f"{told}, out of fold, {source.data['split']}"}
            for kind, key, told in (("accuracy", "accuracy", "accuracy"), ("f1", "macro_f1", "macro-F1"), ("recall", "uar", "UAR"))
        ]
        result = {
            "task": {"type": task},
            "dataset": {"name": name, "type": kind_of_data},
            "metrics": metrics,
        }
        header["model-index"] = [{"name": title, "results": [result]}]
    return header


def _what_it_is(source: Source, model: SerModel) -> str:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    origin = f"fine-tuned from [{source.base}](https://huggingface.co/{source.base})" if source.base else "see Training"
    is_encoder = model.kind in ("encoder", "text_encoder")
    kind = f"transformers {model.encoder.config.model_type} encoder" if is_encoder else f"{model.kind} network"
    text = f"Recognises {KNOWS[model.takes]}: {len(model.label_names)} labels, a {kind} of {parameters:,} parameters, {origin}."
    if source.fold is not None and source.folds == 1:
        text += f" These are the weights of the one model of the run `{source.run}`."
    elif source.fold is not None:
        text += f" These are the weights of fold {source.fold} of {source.folds} of the run `{source.run}`."
    return text


def _labels(model: SerModel) -> str:
    lines = ["| output | label | English | 한국어 |", "|---|---|---|---|"]
    for position, name in enumerate(model.label_names):
        emotion = EMOTIONS.get(name)
        lines.append(f"| {position} | {name} | {emotion.english if emotion else name} | {emotion.korean if emotion else '–'} |")
    named = next((key for key, names in LABEL_SETS.items() if names == model.label_names), None)
    return "\n".join(lines) + (f"\n\nThis is the label set `{named}`, in its order." if named else "")


def _use(model: SerModel) -> str:
    given, what = {
        "audio": ("clip.wav", "Audio is mono at 16 kHz. With the `ser` package, from any audio file"),
        "text": ("texts.csv", "With the `ser` package, from a CSV `id,text`"),
        "audio and text": ("clips.csv", "Audio is mono at 16 kHz. With the `ser` package, from a CSV `id,path,text`"),
    }[model.takes]
    lines = [f"{what}, by torch or by onnxruntime:", ""]
    lines += [f"    python -m ser.predict --model FOLDER {given}", f"    python -m ser.predict --model FOLDER/model.onnx {given}"]
    if model.kind == "text_encoder" or (model.kind == "encoder" and model.opens_in_transformers):
        example = "text)" if model.takes == "text" else "wave)  # float32 at 16 kHz"
        # Whisper's own code in the folder: without it, transformers appends silence.
        trust = ", trust_remote_code=True" if getattr(model.frontend, "own_length", False) else ""
        lines += ["", "With transformers alone:", "", f'    pipeline("{TASK[model.takes]}", model="FOLDER"{trust})({example}']
    inputs = ", ".join(f"`{name}`" for name in model.frontend.collate([model.frontend.prepare(Utterance(_SILENCE, "ok"))]))
    lines += [
        "",
        f"The graph of `model.onnx` takes {inputs} and gives `logits` (batch, labels). How they are made is in the file's metadata (key "
        "`ser`, JSON)" + (", and in `preprocessor_config.json`." if model.takes == "audio" else "."),
    ]
    return "\n".join(lines)


def _data(source: Source, model: SerModel, facts: Facts) -> str:
    name, license_text = facts.data_name or NOT_STATED, facts.data_license or NOT_STATED
    lines = [f"Data: {name}. Its licence: {license_text}."]
    if source.data:
        names = source.data["label_names"]
        clips = source.data["train"]
        counts = Counter(names[clip["label"]] for clip in clips)
        lines.append(f"{len(clips)} {_noun(model)} in all: " + ", ".join(f"{counts[label]} {label}" for label in names) + ".")
        if source.data.get("speakers_known"):
            lines.append(f"{len({clip.get('speaker') for clip in clips})} speakers.")
        elif model.takes != "text":
            lines.append("Its speakers aren't known.")
        if dropped := source.data.get("dropped"):
            lines.append(f"{len(dropped)} {_noun(model)} couldn't be used and were left out.")
        lines.append(f"Fingerprint of {_noun(model)} and labels: `{source.data['fingerprint']}`.")
    return " ".join(lines)


def _noun(model: SerModel) -> str:
    return "texts" if model.takes == "text" else "clips"


def _training(source: Source, model: SerModel) -> str:
    if not source.metrics:
        return "No run lies beside this model, so nothing is known of its training here."
    metrics = source.metrics
    others = "all that aren't held out" if source.folds == 1 else "the other folds"
    which = f"({others}), validated on {metrics['valid_clips']}" if metrics["scores"] else "(all there are), validated on none"
    epoch = (
        f"epoch {metrics['epoch']} of {metrics.get('epochs_run', metrics['epoch'])}, "
        f"chosen by {metrics.get('epoch_chosen_by', 'the validation part')}"
    )
    lines = [
        f"Trained on {metrics['train_clips']} {_noun(model)} {which}; {'fitted in one go' if is_fitted_in_one_go(metrics) else epoch}."
    ]
    if source.settings:
        block = yaml.safe_dump(source.settings, sort_keys=False, allow_unicode=True).rstrip()
        lines += ["", "What its config sets besides the defaults:", "", *(f"    {line}" for line in block.splitlines())]
    return "\n".join(lines)


def _scores(source: Source) -> str:
    if not source.metrics:
        return "None recorded. Measure it on your own labelled clips: `python -m ser.compare transformers:FOLDER --data.root DIR`."
    own = source.metrics["scores"]
    lines = [f"- This fold's validation part: {describe(own)}." if own else "- None of its own: it was trained on every clip."]
    if source.report.get("oof"):
        lines.insert(0, f"- All {source.folds} folds, each by the one that hasn't trained on it: {describe(source.report['oof'])}.")
    lines.append(f"- Split: {source.metrics['split']}.")
    lines.append("- majority is the accuracy of always giving the commonest label; UAR is the mean recall.")
    for warning in source.report.get("warnings", []):
        lines.append(f"- Warning: {warning}")
    return "\n".join(lines)


def _limits(source: Source, model: SerModel) -> str:
    if model.takes == "text":
        lines = [
            "It tells what a text says, within the emotions above, not what a person feels; people agree on such labels only in part.",
            "Expect less on other languages, other kinds of texts, and irony.",
            f"Texts are cut to their first {model.frontend.max_tokens} tokens.",
        ]
    else:
        lines = [
            "It tells how a clip sounds, within the emotions above, not what a person feels; people agree on such labels only in part.",
            "Expect less on other languages, microphones, rooms, ages, and on spontaneous speech if it was trained on acted speech.",
            f"Clips are cut to their first {model.max_seconds:g} s.",
        ]
    if model.takes == "audio and text":
        lines.append("A clip without a transcript is judged by its sound alone.")
    lines += [
        "Not for decisions about people. In the EU, inferring emotions at work and in education is prohibited (AI Act, Article 5).",
    ]
    if model.exact_length:
        lines.append("It takes no mask: clips of one batch must be equally long, or padding changes the result.")
    if model.takes != "text" and source.data and not source.data.get("speakers_known"):
        lines.append("Speakers of the training data aren't known, so the scores may be for voices it has heard.")
    lines += source.metrics.get("caveats", [])
    return "\n".join(f"- {line}" for line in lines)


def _licences(source: Source, facts: Facts) -> str:
    lines = [f"- These weights: {facts.license or NOT_STATED}.", f"- Training data: {facts.data_license or NOT_STATED}."]
    if source.base:
        lines.append(f"- The checkpoint they started from: see https://huggingface.co/{source.base}.")
    lines.append("- The code that trained them: MIT.")
    return "\n".join(lines)
