"""The token of a site: from the environment, or from a file that nobody else can read. Never from the command line, which `ps` shows."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from ser.runtime.errors import UserError
from ser.submit.sites import Site

HIDDEN = "(token)"


def find_token(site: Site, file: str | None = None) -> dict[str, str]:
    """What the site's library finds in its environment, e.g. {"DACON_TOKEN": …}.

    file: the one to read; by default the environment is asked first, then the site's usual files. Raises UserError where there is no
    token, or where others may read its file.
    """
    if file is None:
        for names in site.secrets:
            if all(os.environ.get(name) for name in names):
                return {name: os.environ[name].strip() for name in names}
    files = [Path(name).expanduser() for name in ([file] if file else site.token_files)]
    path = next((path for path in files if path.is_file()), None)
    if path is None:
        wanted = " or ".join(" and ".join(names) for names in site.secrets)
        raise UserError(
            f"no token for {site.name}: set {wanted} in the environment, or put it into {files[0]} and `chmod 600 {files[0]}`. "
            "(It is no option, because a command line can be read by everybody on the machine.)"
        )
    if (mode := stat.S_IMODE(path.stat().st_mode)) & 0o077:
        raise UserError(f"{path}: others may read it (its mode is {mode:o}). Its token may have been seen; at least: chmod 600 {path}")
    return _read(path, site)


def hide(text: str, token: Mapping[str, str]) -> str:
    """The text without the token, wherever it stands in it; a user's name is no secret."""
    for name, secret in token.items():
        text = text if name.endswith("USERNAME") else text.replace(secret, HIDDEN)
    return text


def _read(path: Path, site: Site) -> dict[str, str]:
    text = path.read_text(encoding="utf-8").strip()
    if path.suffix != ".json":
        if not text or len(text.split()) > 1:
            raise UserError(f"{path}: it must hold the token alone, on one line.")
        return {site.secrets[0][0]: text}
    try:
        content = json.loads(text)
        return {"KAGGLE_USERNAME": str(content["username"]), "KAGGLE_KEY": str(content["key"])}
    except (ValueError, KeyError, TypeError):  # without the text, which holds the token
        raise UserError(f"{path}: it isn't as Kaggle makes it, with username and key.") from None
