"""One submission sent by a process of its own: it can be ended when it takes too long, and nothing that a library prints gets out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import ser
from ser.submit.calling import Answer
from ser.submit.checks import Submission
from ser.submit.tokens import hide


def send(submission: Submission, site: str, competition: str, team: str, message: str, token: dict[str, str], seconds: float) -> Answer:
    """Send once, and wait at most so many seconds for the answer. Ctrl-C while waiting ends the call and is raised again."""
    with tempfile.TemporaryDirectory(prefix="ser-submit-") as folder:
        # The very bytes that were checked, whatever becomes of the file meanwhile.
        file, answer = Path(folder) / submission.path.name, Path(folder) / "answer.json"
        file.write_bytes(submission.content)
        task = {"file": str(file), "site": site, "competition": competition, "team": team, "message": message}
        source = str(Path(ser.__file__).parents[1])
        path = os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])
        # A home of its own: Kaggle's library would look there for other people's tokens when this one isn't taken.
        environment = os.environ | token | {"PYTHONPATH": path, "HOME": folder}
        command = [sys.executable, "-m", "ser.submit.calling", str(answer)]
        child = subprocess.Popen(  # noqa: S603 - our own module
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            printed, _ = child.communicate(json.dumps(task).encode(), timeout=seconds)
        except subprocess.TimeoutExpired:
            return Answer("unknown", f"no answer within {seconds:g} s")
        finally:
            child.kill()
            child.wait()
        said = printed.decode("utf-8", "replace").strip()
        try:
            state, text = json.loads(answer.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            state, text = "unknown", f"the call ended with code {child.returncode}"
        return Answer(state, hide(f"{text}; {said}" if said and state != "accepted" else text, token))
