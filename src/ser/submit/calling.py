"""The call to a site, in a process of its own (see `sending`): one submission, and never a second try.

    python -m ser.submit.calling ANSWER.json < task.json

What the sites' libraries repeat by themselves is at most the upload of the file, which is no submission yet. Nothing heavy is imported.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Answer(NamedTuple):
    """What came of it: one of the ledger's states, and the site's words."""

    state: str
    text: str


HOW_TO_INSTALL = {
    "dacon": "DACON's wheel dacon_submit_api isn't on PyPI: DACON hands it out (see its notice on the API); `pip install` that file.",
    "kaggle": "pip install -r requirements-submit.txt",
}


def main(answer: Path, task: dict) -> None:
    """In the child: call the site, and write the answer as [state, text]."""
    site = task.pop("site")
    try:
        call = {"dacon": dacon_caller, "kaggle": kaggle_caller}[site]()
    except ImportError as error:
        result = Answer("not_sent", f"{error}. {HOW_TO_INSTALL[site]}")
    except (Exception, SystemExit) as error:  # Kaggle's library ends the process
        result = Answer("not_sent", f"{site} doesn't know the token, or can't be reached ({type(error).__name__}: {error})")
    else:
        try:
            result = call(**task)
        except Exception as error:
            result = Answer(state_after(error), f"{type(error).__name__}: {error}")
    answer.write_text(json.dumps(result), encoding="utf-8")


def dacon_caller() -> Callable[..., Answer]:
    """By DACON's own wheel, which answers {"isSubmitted": True, "detail": "Success"}."""
    from dacon_submit_api import dacon_submit_api

    def call(file: str, competition: str, team: str, message: str) -> Answer:
        answer = dacon_submit_api.post_submission_file(file, os.environ["DACON_TOKEN"], competition, team, message)
        if not isinstance(answer, dict) or not isinstance(answer.get("isSubmitted"), bool):
            return Answer("unknown", str(answer))
        return Answer("accepted" if answer["isSubmitted"] else "refused", str(answer.get("detail", answer)))

    return call


def kaggle_caller() -> Callable[..., Answer]:
    """By the kaggle package, logged in: the file is uploaded, then one call makes a submission of it."""
    from kaggle.api.kaggle_api_extended import KaggleApi

    api = KaggleApi()
    api.authenticate()

    def call(file: str, competition: str, message: str, team: str) -> Answer:
        answer = api.competition_submit(file, message, competition, quiet=True)
        if answer.message == api.COMPETITION_SUBMIT_UPLOAD_FAILED_MESSAGE:
            return Answer("not_sent", answer.message)
        accepted = answer.ref or "success" in answer.message.lower()
        return Answer("accepted" if accepted else "unknown", f"{answer.message} (ref {answer.ref})")

    return call


def state_after(error: BaseException) -> str:
    """What an error of a library says about the submission: a site that said no has refused it, one that wasn't reached hasn't got it."""
    import requests
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

    response = getattr(error, "response", None)
    if response is not None and 400 <= response.status_code < 500:
        return "refused"
    cause = error.args[0] if isinstance(error, requests.exceptions.ConnectionError) and error.args else None
    never_connected = isinstance(getattr(cause, "reason", cause), (NewConnectionError, ConnectTimeoutError))
    return "not_sent" if never_connected else "unknown"


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.load(sys.stdin))
