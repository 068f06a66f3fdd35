"""Where a faster-whisper model is: a local folder, the hub's cache, or the hub.

faster-whisper itself asks the network when a local folder lacks its tokenizer, so a folder is checked before it is opened.
"""

from __future__ import annotations

import os
from pathlib import Path

from ser.runtime.errors import UserError
from ser.runtime.files import lfs_pointer

NEEDED = ("config.json", "model.bin", "tokenizer.json", "preprocessor_config.json")
VOCABULARY = ("vocabulary.json", "vocabulary.txt")


def whisper_folder(name: str) -> Path:
    """The folder of a model given by folder, by size (tiny, small, large-v3 …) or by hub name, complete.

    The network is asked only for a size or a hub name that isn't in the hub's cache. Raises UserError.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        _check_complete(folder, name)
        return folder
    from faster_whisper import available_models

    if name not in available_models() and (folder.exists() or name.startswith((".", "/", "~")) or name.count("/") != 1 or "\\" in name):
        raise UserError(
            f"speech to text: given {name!r}; there is no such folder. Allowed are a folder with a converted model, "
            f"a hub name such as Systran/faster-whisper-small, and the sizes {', '.join(available_models())}."
        )
    folder = _download(name)
    _check_complete(folder, name)
    return folder


def _check_complete(folder: Path, name: str) -> None:
    if pointer := lfs_pointer(folder, ("*.bin", "*.json", "*.txt")):
        raise UserError(f"{name} is no whole faster-whisper model: {pointer}")
    missing = [file for file in NEEDED if not (folder / file).is_file()]
    if not any((folder / file).is_file() for file in VOCABULARY):
        missing.append(" or ".join(VOCABULARY))
    if not missing:
        return
    if "model.bin" in missing and any(folder.glob("*.safetensors")):
        raise UserError(
            f"{name} is a transformers checkpoint; faster-whisper reads converted ones. Convert it once: "
            f"`ct2-transformers-converter --model {folder} --output_dir {folder}-ct2 "
            f"--copy_files tokenizer.json preprocessor_config.json`, then give {folder}-ct2."
        )
    raise UserError(
        f"{name} is no whole faster-whisper model: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing. It needs "
        f"{', '.join(NEEDED)} and {' or '.join(VOCABULARY)}; tokenizer.json and preprocessor_config.json are those of the Whisper model "
        "it was converted from (openai/whisper-…)."
    )


def _download(name: str) -> Path:
    from faster_whisper import download_model

    try:
        return Path(download_model(name, local_files_only=True))
    except Exception:  # noqa: S110  not in the cache: the hub's own classes for that change with its version
        pass
    try:
        return Path(download_model(name))
    except Exception as error:
        reason = "HF_HUB_OFFLINE is set" if os.environ.get("HF_HUB_OFFLINE") else f"{type(error).__name__}: {error}".split("\n")[0]
        hub_name = name if "/" in name else f"Systran/faster-whisper-{name}"
        raise UserError(
            f"speech to text: {name} is no folder here, is not in the hub's cache, and can't be had from the hub ({reason}). On a machine "
            f"with network: `hf download {hub_name} --local-dir {name.rsplit('/', 1)[-1]}`; copy the folder here and give its path."
        ) from None
