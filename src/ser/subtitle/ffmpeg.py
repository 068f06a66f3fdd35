"""Putting subtitles into a film with ffmpeg, where it is installed: as a track (--mux) or into the picture (--burn)."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from ser.runtime.errors import UserError
from ser.runtime.files import atomic_path
from ser.runtime.progress import ProgressBar, say
from ser.subtitle.theme import Theme


def check_ffmpeg() -> None:
    """Raises UserError where ffmpeg isn't installed."""
    if shutil.which("ffmpeg") is None:
        raise UserError(
            "--mux and --burn need ffmpeg, which isn't installed: sudo apt install ffmpeg, or https://ffmpeg.org/download.html."
        )


def mux(film: Path, ass: Path, output: Path, seconds: float) -> None:
    """Copy picture and sound, and add the subtitles as a track that players switch on: a Matroska file, which keeps all styles."""
    with atomic_path(output) as temporary:
        streams = ["-map", "0:v?", "-map", "0:a?", "-map", "1:0", "-c", "copy", "-c:s", "ass"]
        track = ["-disposition:s:0", "default", "-metadata:s:s:0", "title=Emotions"]
        _run([*_inputs(film), "-i", f"file:{ass.resolve()}", *streams, *track], temporary, "muxing", seconds, Path.cwd())


def burn(film: Path, ass: str, theme: Theme, output: Path, seconds: float) -> None:
    """Draw the subtitles (the text of an .ass) into the picture: encoded again, readable everywhere, can't be switched off."""
    if not has_picture(film):
        raise UserError(f"--burn: {film} has no picture to draw into. --mux, or the subtitle files, work for sound alone.")
    font = installed_font(theme)
    with atomic_path(output) as temporary, tempfile.TemporaryDirectory() as folder:
        # In its own folder under a plain name, since a path inside a filter would need escapes of its own.
        (Path(folder) / "subtitles.ass").write_text(ass.replace(f",{theme.fonts[0]},", f",{font},"), encoding="utf-8")
        picture = ["-map", "0:v:0", "-map", "0:a?", "-vf", "ass=subtitles.ass", "-c:a", "copy"]
        _run([*_inputs(film), *picture], temporary, "burning in", seconds, Path(folder))


def has_picture(film: Path) -> bool:
    """Whether the file holds a moving picture (a cover image isn't one)."""
    import av

    with av.open(f"file:{film.resolve()}") as source:
        return any(not stream.disposition & av.stream.Disposition.attached_pic for stream in source.streams.video)


def installed_font(theme: Theme) -> str:
    """The first of the theme's fonts that is installed, as fontconfig says; the first of all where none is or nobody can say."""
    if shutil.which("fc-match") is None:
        return theme.fonts[0]
    for font in theme.fonts:
        found = subprocess.run(["fc-match", "-f", "%{family}", font], capture_output=True, text=True, check=False)  # noqa: S603, S607
        if font.casefold() in [name.strip().casefold() for name in found.stdout.split(",")]:
            return font
    say(f"none of the fonts {', '.join(theme.fonts)} is installed; ffmpeg takes another one, which may lack Korean letters")
    return theme.fonts[0]


def _inputs(film: Path) -> list[str]:
    # "file:" keeps a name with a colon, or one that begins with a dash, from being taken for something else.
    return ["ffmpeg", "-nostdin", "-v", "error", "-progress", "pipe:1", "-i", f"file:{film.resolve()}"]


def _run(command: list[str], output: Path, title: str, seconds: float, folder: Path) -> None:
    """Run ffmpeg in a folder with a progress bar in seconds of film. Raises UserError with its last words when it fails."""
    whole = [*command, "-y", f"file:{output.resolve()}"]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as words,
        ProgressBar(total=round(seconds), what=title, unit="s") as bar,
        subprocess.Popen(whole, stdout=subprocess.PIPE, stderr=words, text=True, cwd=folder) as process,  # noqa: S603
    ):
        for line in process.stdout:
            key, _, value = line.strip().partition("=")
            if key == "out_time_us" and value.isdigit():
                bar.update(min(int(value) // 1_000_000, bar.total) - bar.n)
        code = process.wait()
        words.seek(0)
        said = words.read().strip().splitlines()
    if code != 0:
        raise UserError(f"ffmpeg can't finish {title} (exit code {code}): {said[-1] if said else 'it says nothing'}")
