"""The packages that prediction needs, each in the version that is installed here: what has to be installed on a machine without network."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ser.config import ModelConfig
from ser.runtime.errors import UserError

NEEDED = (
    "torch", "transformers", "accelerate", "safetensors", "jsonargparse[signatures]", "PyYAML", "numpy", "pandas", "scikit-learn", "skops",
    "librosa", "soundfile", "soxr", "av", "tqdm",
)  # fmt: skip
"""Of requirements.txt what prediction imports; training, notebooks, pictures and tracking need more."""
OF_FEATURES = {"egemaps": "opensmile", "compare": "opensmile"}
ALONE = "resemblyzer"
"""Holds the weights of GE2E embeddings; none of what it says it needs is used (requirements-speakers.txt)."""


def pinned(models: Iterable[ModelConfig]) -> tuple[list[str], list[str]]:
    """`name==version` of all packages that these models need to predict, and of those to be installed with --no-deps.

    Raises UserError where one isn't installed here.
    """
    wanted, alone = list(NEEDED), []
    for model in models:
        if model.kind == "classical":
            wanted += [OF_FEATURES[name] for name in model.classical.features if name in OF_FEATURES]
            alone += [ALONE] * (model.classical.voices == "ge2e")
    found = {canonicalize_name(needed.name) for needed in _all_that_is_needed([Requirement(name) for name in wanted])}
    return [f"{name}=={_version(name)}" for name in sorted(found)], [f"{name}=={_version(name)}" for name in dict.fromkeys(alone)]


def _all_that_is_needed(wanted: list[Requirement]) -> list[Requirement]:
    """What is wanted and, over and over, what that needs on a system like this."""
    waiting, seen = list(wanted), {}
    while waiting:
        one = waiting.pop()
        if (key := (canonicalize_name(one.name), *sorted(one.extras))) in seen:
            continue
        seen[key] = one
        for line in _distribution(one.name).requires or ():
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *one.extras)):
                waiting.append(needed)
    return list(seen.values())


def _version(name: str) -> str:
    return _distribution(name).version.partition("+")[0]  # 2.13.0+cpu: which build of torch, the machine there decides


def _distribution(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError:
        raise UserError(f"{name} isn't installed, but prediction needs it: pip install {name}, then bundle again.") from None
