"""Write down what is said: in clips as a table `id,text` for models that read, in films and recordings as subtitles.

    python -m ser.transcribe input --stt small --output texts.csv                     # a competition folder: train and test
    python -m ser.transcribe clips/ more.csv one.wav --stt outputs/whisper-ct2 --speech.language ko --output texts.csv
    python -m ser.transcribe film.mp4 lecture.m4a --stt large-v3 --output transcripts/   # .srt, .vtt and .json of each

The table goes into training by `--data.transcripts texts.csv`; of a clip, what the model of emotions hears is written down
(`data.max_seconds`). Films of any length are heard part by part. What was heard is kept in the cache by sound, model and options:
interrupted, the same command goes on where it stopped. The speech model is gone from memory when the command ends.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ser.config import DataConfig, SpeechConfig, SubtitlesConfig, build_parser, output_file, output_folder, parse
from ser.data.csv_input import check_unique, shown
from ser.data.store import ClipStore
from ser.data.tables import read_dataset, read_paths
from ser.report.tables import without_formulas
from ser.runtime.errors import UserError, run_command
from ser.runtime.files import write_csv, write_json, write_text
from ser.runtime.progress import ProgressBar
from ser.runtime.stages import stage
from ser.transcripts import Transcript


def main(argv: list[str]) -> None:
    usage = "PATH [PATH ...] --stt NAME_OR_DIR --output FILE.csv|DIR [--section.key value ...]"
    parser = build_parser("transcribe", __doc__, sections=["data"], usage=usage)
    parser.add_argument("paths", type=str, nargs="+", help="Audio or video files, folders of audio, CSVs with a path column.")
    parser.add_argument("--stt", type=str, required=True, help="faster-whisper model: a size (small, large-v3), a hub name or a folder.")
    parser.add_argument("--output", type=str, required=True, help="FILE.csv for a table `id,text`, else a folder for subtitles.")
    parser.add_class_arguments(SpeechConfig, "speech", skip={"cache"})  # it is --data.cache here
    config, arguments = parse(parser, argv)
    from ser.transcripts.whisper import Transcriber

    is_table = arguments.output.lower().endswith(".csv")
    output = output_file(arguments.output, ".csv") if is_table else output_folder(arguments.output)
    # A table has no times: finding those of its words would take time for nothing.
    speech = replace(arguments.speech, cache=config.data.cache, **({"words": False, "align": None} if is_table else {}))
    write = write_table if is_table else write_subtitles
    write(arguments.paths, config.data, Transcriber(arguments.stt, speech), output)


def write_table(paths: list[str], data: DataConfig, transcriber, output: Path) -> None:
    """Write `id,text,language,seconds,status` of clips; a clip that can't be used has its status and no text."""
    files, ids = clips_of(paths, data)
    store = ClipStore.open(files, data)
    table = pd.DataFrame({"id": ids, "text": "", "language": "", "seconds": store.report["seconds"], "status": store.report["status"]})
    with stage("speech to text"):
        for row in ProgressBar(np.flatnonzero(store.usable), "speech to text"):
            heard = transcriber.transcribe(np.rint(store[row] * 32768).astype(np.int16))
            table.loc[row, ["text", "language"]] = [heard.text, heard.language or ""]
    write_csv(output, without_formulas(table))
    silent, unusable = int(((table["text"] == "") & store.usable).sum()), int((~store.usable).sum())
    print(f"{len(table)} clips → {output}; {silent} without a word that was understood, {unusable} can't be used (see their status)")
    if cut := int((store.report["status"] == "too_long").sum()):
        print(f"{cut} are longer than data.max_seconds and were heard for {data.max_seconds:g} s, as in training")


def clips_of(paths: list[str], data: DataConfig) -> tuple[list[Path], list[str]]:
    """The files behind competition folders, folders, CSVs and files, and an id for each. Raises UserError where two have the same."""
    files, ids = [], []
    for given in map(Path, paths):
        if given.is_dir() and any((given / name).is_file() for name in ("train.csv", "test.csv")):
            dataset = read_dataset(DataConfig(root=str(given), allow_absolute_paths=data.allow_absolute_paths), need_labels=False)
            for table in filter(None, (dataset.train, dataset.test)):
                files += table.paths
                ids += table.ids
        elif given.is_dir() or given.suffix.lower() == ".csv":
            found, names = read_paths(given, data)
            files += found
            ids += names
        else:
            files.append(given)
            ids.append(given.stem)
    check_unique(ids, Path(paths[0]))
    return files, ids


def write_subtitles(paths: list[str], data: DataConfig, transcriber, output: Path) -> None:
    """Write NAME.srt, .vtt and .json for each recording; one that can't be used is told and left out."""
    from ser.subtitle.film import open_film

    files = [file for given in map(Path, paths) for file in (read_paths(given, data)[0] if given.is_dir() else [given])]
    check_names(files, output)
    failed = []
    for file in files:
        try:
            with stage(f"{file.name}: decoding"):
                film = open_film(file, data.cache)
        except UserError as error:
            failed.append(str(error))
            continue
        with stage(f"{file.name}: speech to text"):
            heard = transcriber.transcribe(film.samples(), file.name)
        write_transcript(output / file.stem, heard, file.name)
        print(f"{file}: {len(heard.segments)} segments, {len(heard.dropped)} left out → {output / file.stem}.srt, .vtt, .json")
    if failed:
        raise UserError(f"{len(failed)} of {len(files)} recordings can't be used: {'; '.join(failed)}")


def write_transcript(base: Path, heard: Transcript, source: str) -> None:
    """Write a transcript as plain SRT and VTT, and as JSON like WhisperX's, with its words and what was left out."""
    from ser.subtitle.cues import lay_out
    from ser.subtitle.emotion_segments import with_emotions
    from ser.subtitle.srt import srt_text, vtt_text

    unjudged = np.full((len(heard.segments), 7), np.nan)
    cues = lay_out(with_emotions(heard.segments, unjudged, SubtitlesConfig()), SubtitlesConfig()).cues
    write_text(base.with_name(f"{base.name}.srt"), srt_text(cues, None))
    write_text(base.with_name(f"{base.name}.vtt"), vtt_text(cues, None))
    rows = [
        {
            "start": round(part.start, 3),
            "end": round(part.end, 3),
            "text": part.text,
            "words": [{"word": word.text, "start": round(word.start, 3), "end": round(word.end, 3)} for word in part.words],
        }
        for part in heard.segments
    ]
    dropped = [{"start": part.start, "end": part.end, "text": part.text, "reason": part.reason} for part in heard.dropped]
    content = {"source": source, "language": heard.language, "segments": rows, "left_out": dropped}
    write_json(base.with_name(f"{base.name}.json"), content)


def check_names(files: list[Path], output: Path) -> None:
    """Raise UserError where two recordings would be written to the same files."""
    names = [file.stem for file in files]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UserError(
            f"several recordings are called {shown(sorted(twice))} and would be written to the same files in {output}; "
            "transcribe them one after the other, each with an --output of its own."
        )


if __name__ == "__main__":
    run_command(main)
