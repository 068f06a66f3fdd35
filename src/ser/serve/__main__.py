"""Try a model in the browser: record or upload a clip, or write a text, and see the emotion; the page,
its port, the largest upload.

    pip install -r requirements-serve.txt
    python -m ser.serve --model outputs/demo/fold_0
    python -m ser.serve --model exported/model.onnx --port 8000 --host 0.0.0.0     # for others in the network, without a password

Shown are the label and all probabilities in Korean and English, the waveform, and a timeline for recordings over 8 s (not where words
are needed, too). A model of texts gets a field to write into, one of audio and text both. It listens on this machine alone unless
--host says otherwise, and sends no recording anywhere.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ser.config import build_parser, parse
from ser.runtime.errors import UserError, run_command

if TYPE_CHECKING:
    import gradio

    from ser.korean.engine import InferenceEngine

LARGEST_FILE = "200mb"
NO_ANSWER = ("", None, None, None)


def main(argv: list[str]) -> None:
    parser = build_parser("serve", __doc__, sections=[], usage="--model RUN [--port 7860] [--host 127.0.0.1]")
    parser.add_argument("--model", type=str, required=True, help="Run folder, fold folder, model folder, model.onnx or hub name.")
    parser.add_argument("--port", type=int, default=7860, help="Port to listen on.")
    parser.add_argument("--host", type=str, default="127.0.0.1", help="Address to listen on; 0.0.0.0 lets other machines in.")
    _, arguments = parse(parser, argv)
    # Not at the top: --help and a wrong word answer before torch is imported.
    from ser.korean.engine import create_inference_engine

    with tempfile.TemporaryDirectory(prefix="ser-serve-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # recordings and pictures go with the page
        page = build_page(create_inference_engine(arguments.model), arguments.model, folder)
        try:
            _, address, _ = page.launch(
                server_name=arguments.host, server_port=arguments.port, max_file_size=LARGEST_FILE, prevent_thread_lock=True, quiet=True
            )
        except OSError as error:
            raise UserError(f"--port {arguments.port}: can't be listened on ({error}). Choose another.") from None
        print(f"serving {arguments.model} at {address} until Ctrl-C", flush=True)
        page.block_thread()


def build_page(engine: InferenceEngine, title: str, folder: str | Path | None = None) -> gradio.Blocks:
    """The page around a loaded model. folder: where its pictures go. Raises UserError where gradio isn't installed."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        import gradio
    except ImportError:
        raise UserError("gradio isn't installed, which makes the page. Bring it: pip install -r requirements-serve.txt") from None
    from ser.serve.answer import TIMELINE_SECONDS, answer

    hears, reads = engine.takes != "text", engine.takes != "audio"

    def on_change(*given: str | None) -> tuple:
        path, text = given[0] if hears else None, given[-1] if reads else ""
        if path is None and not text.strip():
            return NO_ANSWER
        found = answer(engine, path, text, folder)
        timeline = None if found.timeline is None else str(found.timeline)
        return found.heading, found.probabilities or None, found.waveform, timeline

    with gradio.Blocks(title="ser", analytics_enabled=False) as page:
        gradio.Markdown(f"# {'음성 감정 인식 · Speech' if hears else '글 감정 인식 · Text'} emotion recognition\n\n`{title}`")
        given, triggers = [], []
        if hears:
            clip = gradio.Audio(
                sources=["upload", "microphone"], type="filepath", buttons=["download"], label="녹음 또는 파일 · recording or file"
            )
            given.append(clip)
            triggers.append(clip.change)  # covers uploads, finished recordings and the cross that takes a clip away
        if reads:
            text = gradio.Textbox(label="녹음에서 하는 말 · what is said" if hears else "글 · text", placeholder="Enter ↵")
            given.append(text)
            triggers += [text.submit, text.blur]
        heading = gradio.Markdown()
        probabilities = gradio.Label(num_top_classes=len(engine.label_names), label="확률 · probabilities")
        gradio.Markdown("파형 · waveform", visible=hears)  # not as labels, which lie over the pictures
        waveform = gradio.Plot(show_label=False, visible=hears)
        over_time = f"{TIMELINE_SECONDS:g}초가 넘는 녹음의 감정 흐름 · emotions over time, for recordings over {TIMELINE_SECONDS:g} s"
        gradio.Markdown(over_time, visible=not reads)
        timeline = gradio.Image(show_label=False, interactive=False, buttons=["download"], visible=not reads)
        gradio.on(triggers, on_change, given, [heading, probabilities, waveform, timeline], api_name="predict")
    return page


if __name__ == "__main__":
    run_command(main, waits=True)
