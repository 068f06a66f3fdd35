"""Where a checkpoint's files are: a local folder, the hub's cache, or the hub itself.

Everything after this module reads local folders only, so no later step can wait for a network. Weights are taken from
safetensors alone (`ser.models.pickled` makes them where there are none), and a checkpoint's own code is never run.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from ser.models.pickled import ONE_PICKLE, make_safe
from ser.runtime.errors import UserError
from ser.runtime.files import lfs_pointer

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
FILES = ("config.json", "preprocessor_config.json", "processor_config.json", "ser_model.json", "*.safetensors", "*.safetensors.index.json")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "vocab.json", "merges.txt", "*.model")
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")
# The hub's conversion bot opens this pull request on repositories that hold only pickled weights.
_CONVERSION_TITLE = "Adding `safetensors` variant of this model"
_CONVERSION_BOT = "SFconvertbot"


def checkpoint_folder(name: str) -> Path:
    """The local folder of a checkpoint given by folder or hub name, brought from the hub if it isn't there yet.

    A checkpoint that is in the hub's cache is used from there without asking the network, so all folds of a run see the
    same weights. Raises UserError saying how to bring a checkpoint that can't be reached, or what a folder lacks.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        _make_safe_if_needed(folder)
        if problem := _problem(folder):
            raise UserError(f"model.name: {name} is no usable checkpoint: {problem}")
        return folder
    if folder.exists() or name.startswith((".", "/", "~")) or name.count("/") != 1 or "\\" in name:
        raise UserError(f"model.name: given {name!r}; there is no such folder, and a hub name looks like facebook/wav2vec2-base.")
    if not _valid_hub_name(name):
        raise UserError(f"model.name: given {name!r}; there is no such folder, and a hub name looks like facebook/wav2vec2-base.")
    return _in_cache(name) or _from_hub(name)


def _valid_hub_name(name: str) -> bool:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def _make_safe_if_needed(folder: Path) -> None:
    there = (folder / "config.json").is_file() and (folder / ONE_PICKLE).is_file()
    if there and not any(folder.glob("*.safetensors")) and not lfs_pointer(folder, (ONE_PICKLE,)):
        make_safe(folder)


def how_to_bring(name: str) -> str:
    """What to do when the hub can't be reached from here."""
    local = name.rsplit("/", 1)[-1]
    return (
        f"On a machine with network: `hf download {name} --local-dir {local}`; copy the folder here and give "
        f'`--model.name {local}` (from Python, the setting "model.name" of create_trainer, or the folder in place of the name). '
        "A hub cache copied from elsewhere works too: point HF_HOME at it."
    )


def _problem(folder: Path) -> str | None:
    """What keeps the folder from being a checkpoint, or None."""
    if pointer := lfs_pointer(folder):
        return pointer
    if not (folder / "config.json").is_file():
        runs = sorted(path.parent.name for path in folder.glob("fold_*/model"))
        if runs:
            return f"it is a run; name one of its models, e.g. {folder / runs[0] / 'model'}."
        return "config.json is missing. It should hold config.json, model.safetensors and preprocessor_config.json."
    if any(folder.glob("*.safetensors")):
        return None
    if pointer := lfs_pointer(folder, PICKLED):
        return pointer
    pickled = [path.name for pattern in PICKLED for path in sorted(folder.glob(pattern))]
    if pickled:
        return f"it holds {pickled[0]}; only safetensors are opened, or one {ONE_PICKLE} of tensors, because a pickled file can run code."
    return "model.safetensors is missing (config.json is there). Was the download complete?"


def _in_cache(name: str) -> Path | None:
    """A complete snapshot in the hub's cache; the main branch's before others."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    repository = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type="model")
    main = repository / "refs" / "main"
    snapshots = sorted((repository / "snapshots").glob("*"), key=lambda path: path.stat().st_mtime, reverse=True)
    if main.is_file():
        snapshots.sort(key=lambda path: path.name != main.read_text(encoding="utf-8").strip())
    return next((snapshot for snapshot in snapshots if _problem(snapshot) is None and _all_parts(snapshot)), None)


def _all_parts(folder: Path) -> bool:
    """Whether every shard that the index names is there, and no link of the cache is dangling."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        parts = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return all((folder / part).is_file() for part in parts)
    return (folder / "model.safetensors").is_file()


def _from_hub(name: str) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    api = HfApi()
    try:
        # One short question first: the download itself would retry for minutes.
        info = api.model_info(name, timeout=CONNECT_SECONDS)
        revision, weights = _best_revision(api, info)
        log.warning("Bringing %s from the hub.", name)
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=[*FILES, *TOKENIZER_FILES, *weights]))
        _make_safe_if_needed(folder)
        return folder
    except GatedRepoError:
        raise UserError(f"model.name: {name} is gated: accept its terms on the hub and log in with `hf auth login`.") from None
    except RepositoryNotFoundError:
        raise UserError(
            f"model.name: given {name!r}; there is no such folder, and the hub knows no such model (or it is private: "
            "log in with `hf auth login`)."
        ) from None
    except UserError:
        raise
    except Exception as error:  # the HTTP client's own classes change with its version
        reason = "HF_HUB_OFFLINE is set" if os.environ.get("HF_HUB_OFFLINE") else f"{type(error).__name__}: {error}".split("\n")[0]
        raise UserError(
            f"model.name: {name} is no folder here, is not in the cache, and the hub can't be reached ({reason}). {how_to_bring(name)}"
        ) from None


def _best_revision(api, info) -> tuple[str, tuple[str, ...]]:
    """The branch to take, and the pickled weights to take from it: safetensors of main or of the conversion bot's pull request; else main's
    one pickled file.

    Raises UserError for a repository that has neither.
    """
    names = [file.rfilename for file in info.siblings or []]
    if any(file.endswith(".safetensors") and "/" not in file for file in names):
        return "main", ()
    for discussion in api.get_repo_discussions(info.id, author=_CONVERSION_BOT):
        if discussion.is_pull_request and discussion.title == _CONVERSION_TITLE and discussion.author == _CONVERSION_BOT:
            return discussion.git_reference or f"refs/pr/{discussion.num}", ()
    if ONE_PICKLE in names:
        return "main", (ONE_PICKLE,)
    raise UserError(
        f"model.name: {info.id} has neither safetensors nor one {ONE_PICKLE}; nothing else is opened, because a pickled file can run code."
    )
