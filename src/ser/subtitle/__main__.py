"""Subtitle a film or recording with the emotion of each sentence: its colour, font and weight.

    python -m ser.subtitle film.mp4 --model outputs/demo --transcript film.srt --output subtitles/
    python -m ser.subtitle film.mkv --model outputs/demo --stt large-v3 --speech.language ko --subtitles.karaoke true --output subtitles/
    python -m ser.subtitle talk.m4a --model outputs/demo --output subtitles/                # no words: the emotion alone
    python -m ser.subtitle subtitles/film.json --subtitles.theme mine.yaml --output subtitles/   # styled again, without a model
    python -m ser.subtitle film.mp4 --model outputs/demo --transcript film.srt --output subtitles/ --mux --burn
    python -m ser.subtitle film.mp4 --model outputs/demo --stt small --speakers auto --subtitles.preset netflix_ko --output subtitles/

The words come from a transcript (SRT, VTT, ASS, WhisperX JSON), from faster-whisper (--stt, a model's size, hub name or folder), or, with
neither, only the places where somebody speaks are found. Written are .ass, .srt (coloured), .plain.srt, .vtt, .json, .csv, .quality.csv
(every rule of the preset that a subtitle breaks), a report and a picture. Interrupted, the same command goes on where it stopped. Labels
beyond the seven emotions of subtitles count for the nearest one.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jsonargparse.typing import PositiveInt

from ser.audio.tracks import AUDIO_TRACK_HELP
from ser.config import DataConfig, SpeechConfig, SubtitlesConfig, build_parser, output_folder, parse
from ser.runtime.errors import UserError, run_command
from ser.runtime.files import write_csv, write_json, write_text
from ser.runtime.stages import Stage, stage
from ser.subtitle.ass import ass_text
from ser.subtitle.cues import Layout, lay_out
from ser.subtitle.emotion_segments import EmotionSegment, read_segments, with_emotions, write_segments, write_table
from ser.subtitle.presets import rules_of
from ser.subtitle.quality import Broken, as_table, broken_rules
from ser.subtitle.srt import srt_text, vtt_text
from ser.subtitle.theme import Theme, load_theme
from ser.transcripts import Dropped, Segment, Transcript, read_transcript

if TYPE_CHECKING:
    from ser.subtitle.film import Film

TEXTS = ("ass", "srt", "plain.srt", "vtt", "json", "csv", "quality.csv", "report.md")
STYLED = (".ass", ".srt", ".plain.srt", ".vtt", ".csv", ".quality.csv")
"""What follows from segments and a theme alone, as `write_subtitles` writes it."""
HEARD_WITH = ("smoothing", "context", "match_level", "batch_size", "precision")
"""Keys of section subtitles that say how emotions are found; a .json holds what was found."""
WRITTEN = (*TEXTS, "emotions.png", "timing.json", "subtitled.mkv", "burned.mkv")
LONGEST_CAPTION = 8.0  # seconds of speech under one emotion where there are no words


def main(argv: list[str]) -> None:
    parser = build_parser("subtitle", __doc__, sections=[], usage="FILE --model RUN [--transcript FILE | --stt NAME] --output DIR")
    parser.add_argument("file", type=str, help="Film, sound recording, or a .json that this command wrote (to style it again).")
    parser.add_argument("--model", type=str, help="Run folder (outputs/X), fold folder, or model folder.")
    parser.add_argument("--transcript", type=str, help="What is said: .srt, .vtt, .ass or WhisperX .json.")
    parser.add_argument("--stt", type=str, help="Speech to text by faster-whisper: a size (small, large-v3), a hub name or a folder.")
    speakers = "Name the speakers by their voices, where the transcript doesn't: their number, or auto."
    parser.add_argument("--speakers", type=PositiveInt | Literal["auto"] | None, default=None, help=speakers)
    parser.add_argument("--audio_track", type=int | None, default=None, help=AUDIO_TRACK_HELP)
    parser.add_argument("--output", type=str, required=True, help="Folder for the subtitles.")
    cache = "Folder for the decoded sound and for what is found in it."
    parser.add_argument("--data.cache", type=str, default=DataConfig.cache, help=cache)
    parser.add_argument("--mux", action="store_true", help="Also write a .subtitled.mkv with the subtitles as a track (ffmpeg).")
    parser.add_argument("--burn", action="store_true", help="Also write a .burned.mkv with the subtitles in the picture (ffmpeg).")
    parser.add_class_arguments(SubtitlesConfig, "subtitles")
    parser.add_class_arguments(SpeechConfig, "speech", skip={"cache"})  # it is --data.cache here
    _, arguments = parse(parser, argv)
    theme = load_theme(arguments.subtitles.theme)
    film, output = Path(arguments.file), output_folder(arguments.output)
    if film.suffix.lower() == ".json":
        _check_restyling(arguments)
        segments, head = read_segments(film, arguments.subtitles)
        layout, _ = write_subtitles(output / film.stem, segments, theme, arguments.subtitles, head["frame_rate"])
        print(f"styled {len(segments)} segments of {head['source']} again: {len(layout.cues)} subtitles")
        print(f"wrote subtitles → {output / film.stem}{', '.join(STYLED)}")
        return
    _check(arguments)
    subtitle(film, arguments.model, output, arguments.data.cache, arguments, theme)


def subtitle(film: Path, model: str, output: Path, cache: str, arguments, theme: Theme) -> None:
    """Decode, find the words, find the emotions, write: one stage after the other, each released before the next."""
    from ser.subtitle.film import frame_rate, open_film

    with stage("decoding") as decoding:
        sound = open_film(film, cache, arguments.audio_track)
    if sound.track:
        print(f"{film}: {sound.track}; another with --audio_track")
    if sound.problem:
        print(f"{film}: damaged ({sound.problem}); what can be decoded is subtitled", file=sys.stderr)
    with stage("words") as words:
        transcript = _words(sound, arguments, cache)
    if not transcript.segments:
        heard = f"no words were understood; {len(transcript.dropped)} parts were left out" if transcript.dropped else "no speech is heard"
        raise UserError(f"{film}: nobody speaks in it ({heard}); there is nothing to subtitle.")
    stages = [decoding, words]
    if arguments.speakers is not None:
        from ser.subtitle.diarisation import with_speakers

        with stage("speakers") as speakers:
            named = with_speakers(transcript.segments, sound, arguments.speakers, arguments.subtitles)
            transcript = dataclasses.replace(transcript, segments=named)
        stages.append(speakers)
    with stage("emotions") as emotions:
        from ser.subtitle.emotions import emotion_probabilities

        probabilities = emotion_probabilities(model, sound, transcript.segments, arguments.subtitles, cache)
    with stage("writing") as writing:
        segments = with_emotions(transcript.segments, probabilities, arguments.subtitles)
        base, rate = output / film.stem, frame_rate(film)
        write_segments(base.with_name(f"{film.stem}.json"), segments, film.name, Path(model).name, rate)
        layout, broken = write_subtitles(base, segments, theme, arguments.subtitles, rate)
        _report(base, film, sound, model, segments, transcript, layout, broken, theme, arguments.subtitles)
        films = _into_film(film, base, sound.seconds, arguments, layout, theme)
    _tell(base, [*stages, emotions, writing], segments, layout, transcript.dropped, sound, films)


def write_subtitles(
    base: Path, segments: Sequence[EmotionSegment], theme: Theme, config: SubtitlesConfig, rate: float | None = None
) -> tuple[Layout, list[Broken]]:
    """Write BASE.ass, .srt, .plain.srt, .vtt, .csv and .quality.csv. rate: frames a second of the film."""
    layout = lay_out(segments, config, rate, theme.sdh[config.names] if config.sdh else None)
    broken = broken_rules(layout.cues, rules_of(config), theme, rate)
    for suffix, text in {
        "ass": ass_text(layout.cues, theme, config),
        "srt": srt_text(layout.cues, theme),
        "plain.srt": srt_text(layout.cues, None),
        "vtt": vtt_text(layout.cues, theme),
    }.items():
        write_text(base.with_name(f"{base.name}.{suffix}"), text)
    write_table(base.with_name(f"{base.name}.csv"), segments)
    write_csv(base.with_name(f"{base.name}.quality.csv"), as_table(broken))
    return layout, broken


def _check_restyling(arguments) -> None:
    defaults = {"model": None, "transcript": None, "stt": None, "speakers": None, "audio_track": None, "mux": False, "burn": False}
    given = [f"--{name}" for name, default in defaults.items() if arguments[name] is not default]
    given += [f"--speech.{key}" for key, default in vars(SpeechConfig()).items() if getattr(arguments.speech, key) != default]
    given += [f"--subtitles.{key}" for key in HEARD_WITH if getattr(arguments.subtitles, key) != getattr(SubtitlesConfig, key)]
    if given:
        raise UserError(
            f"{', '.join(given)}: {arguments.file} is styled again from what it holds, without model or film. Leave that out, or give the "
            "film."
        )


def _check(arguments) -> None:
    if not arguments.model:
        raise UserError("--model is missing: give a run folder (outputs/X), a fold or a model folder. Only a .json is styled without one.")
    if arguments.transcript and arguments.stt:
        raise UserError("--transcript and --stt were both given; give the transcript, or the model that makes one.")
    if not Path(arguments.file).is_file():
        raise UserError(f"{arguments.file}: no such file.")
    if arguments.transcript and not Path(arguments.transcript).is_file():
        raise UserError(f"--transcript: {arguments.transcript}: no such file.")
    written = [Path(arguments.output) / f"{Path(arguments.file).stem}.{suffix}" for suffix in WRITTEN]
    for given in map(Path, filter(None, (arguments.file, arguments.transcript))):
        if given.exists() and any(path.exists() and path.samefile(given) for path in written):
            raise UserError(f"--output: {given} would be overwritten by what is written there; choose another folder.")
    if arguments.mux or arguments.burn:
        from ser.subtitle.ffmpeg import check_ffmpeg

        check_ffmpeg()
    if not arguments.transcript:
        from ser.transcripts.voice_activity import check_installed

        check_installed()
    if arguments.stt:
        from ser.transcripts.whisper_folder import whisper_folder

        whisper_folder(arguments.stt)
    from ser.subtitle.emotions import check_model

    check_model(arguments.model)


def _words(sound, arguments, cache: str) -> Transcript:
    """The segments of the transcript given, of speech to text, or of voice activity detection (then without text)."""
    if arguments.transcript:
        return _within(read_transcript(arguments.transcript), sound.seconds)
    from ser.audio import SAMPLE_RATE
    from ser.transcripts.voice_activity import speech_spans

    if arguments.stt:
        from ser.transcripts.whisper import Transcriber

        speech = dataclasses.replace(arguments.speech, cache=cache)
        return Transcriber(arguments.stt, speech).transcribe(sound.samples(), "speech to text")
    spans = speech_spans(sound.samples(), LONGEST_CAPTION)
    return Transcript(tuple(Segment(start / SAMPLE_RATE, end / SAMPLE_RATE, "") for start, end in spans))


def _within(given: Transcript, seconds: float) -> Transcript:
    """Segments that begin after the film's end are dropped: they would never be seen."""
    inside = tuple(segment for segment in given.segments if segment.start < seconds)
    if not inside:
        begin = given.segments[0].start
        raise UserError(f"the transcript begins at {begin:.1f} s, but the film ends at {seconds:.1f} s. Is it of another film?")
    after = (Dropped(part.start, part.end, part.text, "after the film's end") for part in given.segments[len(inside) :])
    return Transcript(inside, given.language, (*given.dropped, *after))


def _report(base: Path, film: Path, sound, model: str, segments, transcript: Transcript, layout, broken, theme: Theme, config) -> None:
    from ser.subtitle.report import plot_emotions, write_report

    head = {"file": film.name, "seconds of sound": f"{sound.seconds:.1f}", "model": Path(model).name, "damaged": sound.problem}
    head |= {"language": transcript.language or "", "rules": config.preset, "sound": sound.track}
    write_report(base.with_name(f"{base.name}.report.md"), head, segments, transcript.dropped, layout, broken)
    plot_emotions(base.with_name(f"{base.name}.emotions.png"), segments, theme, sound.seconds)


def _into_film(film: Path, base: Path, seconds: float, arguments, layout: Layout, theme: Theme) -> list[str]:
    """The endings of the films that were written."""
    from ser.subtitle.ffmpeg import burn, mux

    if arguments.mux:
        mux(film, base.with_name(f"{base.name}.ass"), base.with_name(f"{base.name}.subtitled.mkv"), seconds)
    if arguments.burn:
        burn(film, ass_text(layout.cues, theme, arguments.subtitles), theme, base.with_name(f"{base.name}.burned.mkv"), seconds)
    return [".subtitled.mkv"] * arguments.mux + [".burned.mkv"] * arguments.burn


def _tell(
    base: Path, stages: Sequence[Stage], segments, layout: Layout, dropped: Sequence[Dropped], sound: Film, films: Sequence[str]
) -> None:
    from ser.subtitle.report import timing

    facts = timing(stages, sound.seconds)
    write_json(base.with_name(f"{base.name}.timing.json"), facts)
    unsure = sum(segment.probabilities is not None and segment.style != segment.emotion for segment in segments)
    print(f"{len(segments)} segments, {len(layout.cues)} subtitles; {unsure} shown as neutral because the model is unsure")
    if dropped:
        print(f"{len(dropped)} segments left out: see the report")
    print(
        f"{sound.length} in {facts['seconds']:.1f} s (real-time factor {facts['real_time_factor']:.4f}), "
        f"peak memory {facts['peak_memory_mb']} MB"
    )
    written = [*STYLED, ".json", ".report.md", ".emotions.png", ".timing.json", *films]
    print(f"wrote subtitles → {base}{', '.join(written)}")


if __name__ == "__main__":
    run_command(main)
