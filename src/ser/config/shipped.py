"""The experiments that come with this project, wherever it is installed."""

from __future__ import annotations

from pathlib import Path

import ser
from ser.runtime.errors import UserError


def shipped_config(name: str) -> Path:
    """The file of an experiment in configs/ by its name, e.g. xlsr_korean_15. Raises UserError naming those there are."""
    package = Path(ser.__file__).parent
    # Installed they are beside the modules (see setup.py), in a clone at its top.
    folder = next((place for place in (package / "configs", package.parents[1] / "configs") if place.is_dir()), package / "configs")
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        raise UserError(f"config: given {name!r}; it is neither a file nor one of those that come along: {known}.")
    return path
