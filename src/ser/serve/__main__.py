"""Try a model in the browser: record or upload a clip, see the emotion.

    pip install -r requirements-serve.txt
    python -m ser.serve --model outputs/demo/fold_0
    python -m ser.serve --model exported/model.onnx --port 8000 --host 0.0.0.0     # for others in the network, without a password

Shown are the label and all probabilities in Korean and English, the waveform, and a timeline for recordings over 8 s. It listens on this
machine alone unless --host says otherwise, and sends no recording anywhere.
"""

from __future__ import annotations

import os
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

    page = build_page(create_inference_engine(arguments.model), arguments.model)
    try:
        _, address, _ = page.launch(
            server_name=arguments.host, server_port=arguments.port, max_file_size=LARGEST_FILE, prevent_thread_lock=True, quiet=True
        )
    except OSError as error:
        raise UserError(f"--port {arguments.port}: can't be listened on ({error}). Choose another.") from None
    print(f"serving {arguments.model} at {address} until Ctrl-C", flush=True)
    page.block_thread()


def build_page(engine: InferenceEngine, title: str) -> gradio.Blocks:
    """The page around a loaded model. Raises UserError where gradio isn't installed."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        import gradio
    except ImportError:
        raise UserError("gradio isn't installed, which makes the page. Bring it: pip install -r requirements-serve.txt") from None
    from ser.serve.answer import TIMELINE_SECONDS, answer

    def on_clip(path: str | None) -> tuple:
        if path is None:
            return NO_ANSWER
        found = answer(engine, path)
        timeline = None if found.timeline is None else str(found.timeline)
        return found.heading, found.probabilities or None, found.waveform, timeline

    with gradio.Blocks(title="ser", analytics_enabled=False) as page:
        gradio.Markdown(f"# 음성 감정 인식 · Speech emotion recognition\n\n`{title}`")
        clip = gradio.Audio(
            sources=["upload", "microphone"], type="filepath", buttons=["download"], label="녹음 또는 파일 · recording or file"
        )
        heading = gradio.Markdown()
        probabilities = gradio.Label(num_top_classes=len(engine.label_names), label="확률 · probabilities")
        gradio.Markdown("파형 · waveform")  # not as labels, which lie over the pictures
        waveform = gradio.Plot(show_label=False)
        gradio.Markdown(f"{TIMELINE_SECONDS:g}초가 넘는 녹음의 감정 흐름 · emotions over time, for recordings over {TIMELINE_SECONDS:g} s")
        timeline = gradio.Image(show_label=False, interactive=False, buttons=["download"])
        # change covers uploads, finished recordings and the cross that takes a clip away.
        clip.change(on_clip, clip, [heading, probabilities, waveform, timeline], api_name="predict")
    return page


if __name__ == "__main__":
    run_command(main)
