"""`--output`, the same for every command: a file of a known ending, or a folder; looked at before any work begins."""

from __future__ import annotations

from pathlib import Path

from ser.runtime.errors import UserError


def output_file(given: str, *endings: str) -> Path:
    """The file that --output names. Raises UserError unless it has one of the endings and could be written."""
    path = Path(given)
    allowed = " or ".join(endings)
    if path.suffix.lower() not in endings or path.is_dir():
        raise UserError(
            f"--output: given {given}; allowed is a file that ends in {allowed}, e.g. {path.with_suffix('').name or 'x'}{endings[0]}."
        )
    _check_parents(path, given)
    return path


def output_folder(given: str) -> Path:
    """The folder that --output names; it is made when there is something to write. Raises UserError where a file has that name."""
    path = Path(given)
    if not given or path.is_file():
        raise UserError(f"--output: given {given or 'nothing'}; allowed is a folder, which is made, e.g. outputs/result.")
    _check_parents(path, given)
    return path


def _check_parents(path: Path, given: str) -> None:
    if file := next((parent for parent in path.parents if parent.is_file()), None):
        raise UserError(f"--output: given {given}, but {file} is a file; allowed is a place below folders.")
