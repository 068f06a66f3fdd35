"""Decode the first `max_seconds` of a file to 16 kHz mono; silence at its ends stays; `status` says in one word
whether it can be used."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import replace
from pathlib import Path

from ser.audio.container import OTHER
from ser.audio.noise import reduce_noise
from ser.audio.reading import read_start
from ser.audio.recording import Unreadable
from ser.audio.source import Source, open_source
from ser.audio.status import Clip, Findings, judge


def decode(path: str | os.PathLike, min_seconds: float = 0.1, max_seconds: float = 15.0, noise_reduction: bool = False) -> Clip:
    """Decode the first `max_seconds` of a file to int16 mono 16 kHz.

    wav, flac, ogg, mp3, m4a, video and a few more, told apart by their content. Never raises for a bad file: the
    status and detail say what is wrong with it. Memory is bounded by `max_seconds`, whatever the file's length.
    noise_reduction: take stationary noise out, after the recording as it is was judged.
    """
    try:
        stat_regular(path)
        with Path(path).open("rb", buffering=0) as file:
            clip = _decode(file, extension(path), min_seconds, max_seconds)
        return replace(clip, samples=reduce_noise(clip.samples)) if noise_reduction and clip.usable else clip
    except OSError as error:
        return unopened(error)
    except Exception as error:  # a decoder's surprise must not end a run over thousands of files
        return Clip(None, "undecodable", ("undecodable",), f"{type(error).__name__}: {error}"[:300])


def extension(path: str | os.PathLike) -> str:
    """The extension in lower case, with its dot; "" where it has none or one that no format goes by (other than letters and digits)."""
    suffix = Path(path).suffix.lower()
    return suffix if suffix.isascii() and suffix[1:].isalnum() else ""


def stat_regular(path: str | os.PathLike) -> os.stat_result:
    """The facts of a regular file. Raises OSError for anything else: reading from a pipe or a device may never end."""
    try:
        facts = Path(path).stat()
    except ValueError:  # a NUL in the name
        raise FileNotFoundError(errno.ENOENT, "no such file") from None
    if stat.S_ISDIR(facts.st_mode):
        raise IsADirectoryError(errno.EISDIR, "a folder, not a file")
    if not stat.S_ISREG(facts.st_mode):
        raise OSError(errno.ENOTSUP, "a pipe, socket or device, not a file")
    return facts


def unopened(error: OSError) -> Clip:
    """The clip of a path that can't be opened."""
    missing = {errno.ENOENT: "no such file", errno.ENOTDIR: "no such folder", errno.ELOOP: "a symbolic link that leads to itself"}
    if error.errno in missing:
        return Clip(None, "missing", ("missing",), missing[error.errno])
    reason = "no permission to read it" if error.errno in (errno.EACCES, errno.EPERM) else (error.strerror or str(error))
    return Clip(None, "undecodable", ("undecodable",), reason)


def _decode(file, suffix: str, min_seconds: float, max_seconds: float) -> Clip:
    if not os.fstat(file.fileno()).st_size:
        return Clip(None, "undecodable", ("undecodable",), "the file is empty (0 bytes)")
    source = open_source(file)
    found = Findings()
    if source.missing:
        found.add("truncated", source.missing)
    try:
        recording = read_start(source, max_seconds)
    except Unreadable as reason:
        # With bytes missing that is the cause: an m4a without its index, an Ogg without its last page.
        found.add("truncated" if source.missing else "undecodable", unknown_content(source) or str(reason))
        return found.clip(None)
    if suffix not in source.container.extensions:
        found.add("wrong_extension", f"the content is {source.container.name}, the name says {suffix or 'something else'}")
    return judge(recording, source, found, min_seconds, max_seconds)


def unknown_content(source: Source) -> str:
    """Says that a file, which can't be read, doesn't look like audio at all; "" where it does."""
    begins = os.pread(source.descriptor, 8, 0)
    return f"the content is no audio format known here (it begins with {begins!r})" if source.container is OTHER else ""
