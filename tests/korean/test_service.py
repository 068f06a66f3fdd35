"""The web service that docs/korean.md shows, run by uvicorn: its answers, what it refuses, several at once, and how it ends."""

import signal
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from checkpoints import make_classifier
from ser.korean import create_inference_engine
from ser.runtime.processors import processors
from sounds import tone, write_wav

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))
from benchmarks.serving import Clip, Service, end, load  # noqa: E402 - found by the path above

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_classifier(tmp_path_factory.mktemp("model"), "wav2vec2-layer", ("angry", "sad", "happy"))


@pytest.fixture(scope="module")
def clips(model, tmp_path_factory):
    """Clips of several lengths with what the library says of them."""
    folder, engine = tmp_path_factory.mktemp("clips"), create_inference_engine(model)
    paths = [write_wav(folder / f"{number}.wav", tone(1.0 + number, hz=150 + 40 * number)) for number in range(6)]
    yield [Clip(path.name, path.read_bytes(), engine.predict_single(path)["probabilities"]) for path in paths]
    engine.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="module")
def service(model, folder):
    (folder / "uploads").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder / "uploads"))
        started = Service(model, folder)
    with started:
        yield started


def test_an_uploaded_clip_is_answered_as_by_the_library(service, clips):
    code, found = service.upload("내 녹음.wav", clips[0].content)
    assert (code, found["file_path"], found["status"], found["detail"]) == (200, "내 녹음.wav", "ok", "")
    assert found["probabilities"] == pytest.approx(clips[0].expected, abs=1e-6)
    assert found["predicted_emotion"] == max(clips[0].expected, key=clips[0].expected.get)
    assert service.ask("GET", "/health") == (200, {"status": "ok", "labels": ["angry", "sad", "happy"]})


@pytest.mark.parametrize("name", ["", "../../up.wav", "a.%00", "long." + "x" * 300], ids=["none", "path", "odd", "long"])
def test_the_name_of_an_upload_is_only_told_back(service, clips, name):
    code, found = service.upload(name, clips[0].content)
    assert (code, found["file_path"]) == (200, name)
    assert found["probabilities"] == pytest.approx(clips[0].expected, abs=1e-6)


def test_what_cannot_be_answered_says_why(service, clips, tmp_path):
    silent = write_wav(tmp_path / "silent.wav", np.zeros(16_000, np.float32)).read_bytes()
    for content, status in (
        (silent, "silent"),
        (b"no audio at all", "undecodable"),
        (clips[5].content[:40_000], "truncated"),
        (b"", "undecodable"),
    ):
        code, found = service.upload("x.wav", content)
        assert (code, found["status"], found["predicted_emotion"]) == (422, status, None)
        assert found["detail"]
    assert service.ask("POST", "/predict", b"")[0] == 422
    code, told = service.ask("POST", "/predict", b"", {"Content-Length": "20000001"})
    assert code == 413 and "20000001" in told["detail"]
    assert service.ask("POST", "/predict", iter([b"a piece"]))[0] == 411


def test_several_at_once_get_each_their_own_answer(service, clips):
    made = load(service, clips, count=24, at_once=12)
    assert [request.fault for request in made] == [""] * 24
    decoders = psutil.Process(service.process.pid).children(recursive=True)
    assert 1 <= len(decoders) <= processors()


def test_sigterm_answers_what_was_begun_refuses_the_rest_and_leaves_nothing(service, clips, folder):
    decoders = psutil.Process(service.process.pid).children(recursive=True)
    _, made, known = end(service, clips, signal.SIGTERM, at_once=6)
    assert not [request.fault for request in made if request.sent < known and request.fault]
    faults = {request.fault for request in made if request.fault}
    assert faults and not any(fault.startswith("a wrong answer") for fault in faults)
    assert service.process.returncode in (0, -signal.SIGTERM)
    assert not psutil.wait_procs(decoders, 10)[1]
    assert not list((folder / "uploads").iterdir())
