"""What a result was made with: code, packages, machine."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "transformers", "scikit-learn", "librosa", "audiomentations")


def environment() -> dict[str, str]:
    """Commit of this code, Python, packages, system and processor or GPU, as words."""
    packages = {name: _version(name) for name in PACKAGES}
    torch = sys.modules.get("torch")  # a command that never needed it doesn't wait for it here
    on_gpu = torch is not None and torch.cuda.is_available()
    device = torch.cuda.get_device_name() if on_gpu else f"{platform.machine()}, {os.cpu_count()} cores"
    return {"commit": git_commit() or "no git repository", "Python": platform.python_version(), **packages, "device": device}


def git_commit() -> str | None:
    """Commit of this code, with -dirty behind it when files differ from it; None outside a git repository."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=30)  # noqa: S603 fixed arguments
    return answer.stdout.strip() or None if answer.returncode == 0 else None


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
