"""Bringing checkpoints: the hub's cache, the hub, and what is said when neither has it."""

import json
import os
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file

from checkpoints import make_checkpoint
from ser.models.hub import checkpoint_folder
from ser.runtime.errors import UserError


@pytest.fixture
def at(monkeypatch, tmp_path):
    """Points the hub's library at a server on this machine, with an empty cache."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)

    def point(port):
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, f"http://127.0.0.1:{port}")
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")

    return point


@pytest.fixture
def hub(tmp_path, at):
    """Answers as the hub does for `facebook/tiny`: pickled weights on main, safetensors in the conversion bot's pull request."""
    folder = make_checkpoint(tmp_path / "served", "wav2vec2-group")
    (folder / "pytorch_model.bin").write_bytes(b"never fetched")
    requests = []

    class Hub(BaseHTTPRequestHandler):
        convert = True

        def log_message(self, *args):
            pass

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            requests.append(self.path)
            path = self.path.split("?")[0].replace("%2F", "/")
            revision = "b" * 40 if "refs/pr/1" in path or "b" * 40 in path else "a" * 40
            hidden = "model.safetensors" if revision == "a" * 40 else "pytorch_model.bin"
            files = [file.name for file in sorted(folder.iterdir()) if file.name != hidden]
            if path.startswith("/api/models/facebook/tiny/discussions"):
                bot = {"num": 1, "title": "Adding `safetensors` variant of this model", "status": "open", "isPullRequest": True}
                bot |= {"author": {"name": "SFconvertbot"}, "createdAt": "2023-01-01T00:00:00.000Z"}
                bot |= {"repo": {"name": "facebook/tiny", "type": "model"}}
                found = [bot] if self.convert else []
                self.answer(json.dumps({"discussions": found, "count": len(found), "start": 0}).encode())
            elif path.startswith("/api/models/facebook/tiny/tree"):
                tree = [{"type": "file", "path": name, "size": (folder / name).stat().st_size, "oid": name} for name in files]
                self.answer(json.dumps(tree).encode())
            elif path.startswith("/api/models/facebook/tiny"):
                self.answer(json.dumps({"id": "facebook/tiny", "sha": revision, "siblings": [{"rfilename": n} for n in files]}).encode())
            elif path.startswith("/facebook/tiny/resolve") and path.rsplit("/", 1)[-1] in files:
                name = path.rsplit("/", 1)[-1]
                self.answer((folder / name).read_bytes(), {"ETag": f'"{name}"', "X-Repo-Commit": revision})
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.end_headers()

        def answer(self, body, headers=None):
            self.send_response(200)
            for key, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.requests, server.answers, server.folder = requests, Hub, folder
    at(server.server_port)
    yield server
    server.shutdown()
    server.server_close()


def message(name) -> str:
    with pytest.raises(UserError) as error:
        checkpoint_folder(name)
    return str(error.value)


def test_checkpoint_comes_from_the_hub_as_safetensors_and_then_from_the_cache(hub):
    folder = checkpoint_folder("facebook/tiny")
    assert {"config.json", "model.safetensors", "preprocessor_config.json"} <= {path.name for path in folder.iterdir()}
    assert not any("pytorch_model.bin" in path for path in hub.requests)

    hub.requests.clear()
    assert checkpoint_folder("facebook/tiny") == folder
    assert not hub.requests, "a cached checkpoint must not ask the network"


def test_an_interrupted_download_is_taken_up_again(hub):
    folder = checkpoint_folder("facebook/tiny")
    (folder / "model.safetensors").resolve().unlink()
    (folder / "model.safetensors").unlink()
    assert (checkpoint_folder("facebook/tiny") / "model.safetensors").is_file()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_pickled_weights_are_brought_where_there_are_no_others_and_become_safetensors(hub, zipped):
    """microsoft/wavlm-large before the bot: what is written are the tensors, under their names."""
    hub.answers.convert = False
    weights = load_file(hub.folder / "model.safetensors")
    torch.save(weights, hub.folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    found = load_file(checkpoint_folder("facebook/tiny") / "model.safetensors")
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)


class _Evil:
    def __reduce__(self):
        return os.mkdir, (os.environ["EVIL"],)


def test_a_pickle_that_would_run_code_is_refused_and_runs_none(tmp_path, monkeypatch):
    folder = make_checkpoint(tmp_path / "evil", "wav2vec2-group")
    (folder / "model.safetensors").unlink()
    monkeypatch.setenv("EVIL", str(tmp_path / "was_run"))
    torch.save({"weight": torch.zeros(2), "payload": _Evil()}, folder / "pytorch_model.bin")
    assert "can't be opened as tensors alone" in message(str(folder))
    assert not (tmp_path / "was_run").exists()
    assert not (folder / "model.safetensors").exists()


def test_name_that_the_hub_does_not_know(hub):
    assert "given 'facebook/wav2vec2-bas'; there is no such folder, and the hub knows no such model" in message("facebook/wav2vec2-bas")


@pytest.mark.parametrize("how", ["refused", "silent", "offline"])
def test_checkpoint_out_of_reach_fails_in_seconds_and_says_how_to_bring_it(monkeypatch, at, how):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if how == "silent":
            server.listen()  # accepts, and never answers
        if how == "offline":
            monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        at(server.getsockname()[1])
        started = time.monotonic()
        answer = message("facebook/wav2vec2-base")
    assert time.monotonic() - started < 10
    assert "the hub can't be reached" in answer
    assert "`hf download facebook/wav2vec2-base --local-dir wav2vec2-base`" in answer
    assert "--model.name wav2vec2-base" in answer and 'the setting "model.name"' in answer and "HF_HOME" in answer
