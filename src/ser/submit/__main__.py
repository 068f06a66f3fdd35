"""Send a submission to DACON or Kaggle, once, and keep a ledger; what was sent already or exceeds the day's limit is refused.

    DACON_TOKEN=... python -m ser.submit submissions/base.csv --to dacon --competition 236105 --team NAME
    python -m ser.submit submissions/base.csv --to kaggle --competition speech-emotions --message three-encoders --yes

The file is checked once more against its record and the sample. Shown are its out-of-fold score and what was sent before; then it
asks. The ledger (submissions/ledger.csv) is written before the call and gets the answer after it. The same bytes aren't sent twice, nor
more than the day allows, and nothing is ever sent again by itself.

The token comes from the environment (DACON_TOKEN; KAGGLE_API_TOKEN, or KAGGLE_USERNAME and KAGGLE_KEY) or from a file that only its owner
can read (mode 600; ~/.dacon/token, ~/.kaggle/access_token, ~/.kaggle/kaggle.json). It appears in no file and no message.

Where no answer came, nobody knows whether the submission arrived: its state is unknown, and it counts. Look at the site, and tell:

    python -m ser.submit submissions/base.csv --to dacon --competition 236105 --settle accepted
    python -m ser.submit submissions/base.csv --to dacon --competition 236105 --settle not_sent

Choose what to send by the out-of-fold score: the public board's standard error is about three times larger.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pandas as pd
from jsonargparse import Namespace
from jsonargparse.typing import PositiveFloat, PositiveInt

from ser.config import build_parser, parse
from ser.report.tables import text_table
from ser.runtime.errors import UserError, run_command
from ser.submit.calling import Answer
from ser.submit.checks import Submission, read_submission
from ser.submit.ledger import OPEN, Ledger, open_ledger
from ser.submit.sending import send
from ser.submit.sites import SITES, Site
from ser.submit.tokens import find_token

SHOWN = 10


def main(argv: list[str]) -> None:
    """Check the file and the ledger, ask, write the ledger, send, and write the answer."""
    given = read_arguments(argv)
    site, path = SITES[given.to], Path(given.file)
    submission, ledger_path = read_submission(path, given.sample), path.with_name("ledger.csv")
    if given.settle:
        return settle(ledger_path, submission, given)
    print(submission.told())
    with open_ledger(ledger_path) as ledger:
        print(sent_before(ledger, site, given))
        check_ledger(ledger, submission, site, given)
    token = find_token(site, given.token_file)
    ask(f"send it to {site.name}, competition {given.competition}?", given.yes)
    message = given.message or f"{path.stem}, OOF accuracy {submission.oof['accuracy']:.3f}"
    number = begin(ledger_path, submission, site, given, message)
    answer = Answer("unknown", "interrupted while waiting for the answer")
    try:
        answer = send(submission, site.name, given.competition, given.team, message, token, given.timeout)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    finally:
        write_answer(ledger_path, number, answer)
    tell(answer, submission, site, given, ledger_path)


def read_arguments(argv: list[str]) -> Namespace:
    parser = build_parser("submit", __doc__, sections=[], usage="FILE.csv --to dacon|kaggle --competition ID [--yes]")
    parser.add_argument("file", type=str, help="What ser.ensemble wrote, e.g. submissions/base.csv; its record lies beside it.")
    parser.add_argument("--to", type=Literal[tuple(SITES)], required=True, help="The site.")
    parser.add_argument(
        "--competition", type=str, required=True, help="As in the competition's address: a number (DACON), a name (Kaggle)."
    )
    parser.add_argument("--team", type=str, default="", help="Name of the team, for DACON.")
    parser.add_argument("--message", type=str, help="Note that the site shows beside it; by default its name and OOF accuracy.")
    parser.add_argument("--yes", action="store_true", help="Send without asking.")
    parser.add_argument(
        "--per_day", type=PositiveInt, help="Submissions a day that the competition allows; by default 3 (DACON), 5 (Kaggle)."
    )
    parser.add_argument("--sample", type=str, help="Sample submission; by default the one that the record names.")
    parser.add_argument("--token_file", type=str, help="File that holds the token, with mode 600.")
    parser.add_argument("--timeout", type=PositiveFloat, default=300.0, help="Seconds to wait for the answer.")
    parser.add_argument("--settle", type=Literal["accepted", "not_sent"], help="Send nothing: tell the ledger what the site shows.")
    return parse(parser, argv)[1]


def sent_before(ledger: Ledger, site: Site, given: Namespace) -> str:
    """The last rows of this competition."""
    rows = ledger.of(site.name, given.competition)
    if rows.empty:
        return f"sent before to {site.name} {given.competition}: nothing"
    shown = rows.tail(SHOWN)[["number", "time", "file", "oof_accuracy", "state", "answer"]]
    return f"sent before to {site.name} {given.competition} ({len(rows)} in {ledger.path}):\n{text_table(pd.DataFrame(shown))}"


def check_ledger(ledger: Ledger, submission: Submission, site: Site, given: Namespace) -> None:
    """Raise UserError where these bytes arrived, or may have, or where the day has none left."""
    for row in ledger.same_bytes(site.name, given.competition, submission.sha256).to_dict("records"):
        what = f"{submission.path}: the same bytes were sent as number {row['number']} ({row['file']}, {row['time']}), state {row['state']}"
        if row["state"] not in OPEN:
            raise UserError(f"{what}. They would cost one of the day's submissions and score the same.")
        raise UserError(f"{what}: {_settling(submission, site, given)}")
    limit = given.per_day or site.per_day
    if (today := ledger.today(site.name, given.competition, datetime.now(UTC))) >= limit:
        raise UserError(
            f"{today} of {limit} submissions of today have been sent to {site.name} {given.competition} (its day begins at 00:00, UTC"
            f"{site.hours_from_utc:+d}). Wait for tomorrow; if the competition allows more: --per_day N."
        )


def ask(question: str, yes: bool) -> None:
    """Raise UserError unless the answer is yes."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UserError(f"{question} Nobody is there to answer; say so beforehand with --yes.")
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes", "예", "네"):
        raise UserError("nothing was sent.")


def begin(path: Path, submission: Submission, site: Site, given: Namespace, message: str) -> str:
    """Write the row before the call, looking again: another process may have sent meanwhile."""
    with open_ledger(path) as ledger:
        check_ledger(ledger, submission, site, given)
        scores = {name: f"{submission.oof[key]:.4f}" for name, key in ledger.SCORES.items()}
        return ledger.add(
            to=site.name,
            competition=given.competition,
            file=submission.path.name,
            sha256=submission.sha256,
            message=message,
            n=submission.oof["n"],
            **scores,
        )


def write_answer(path: Path, number: str, answer: Answer) -> None:
    """Write what came of it. The answer is shown where the ledger can't take it, or it would be lost."""
    try:
        with open_ledger(path) as ledger:
            ledger.answer(number, answer.state, answer.text)
    except (OSError, UserError):
        print(f"number {number} is {answer.state} ({answer.text}), but {path} couldn't be written and still says sending.", file=sys.stderr)
        raise


def tell(answer: Answer, submission: Submission, site: Site, given: Namespace, ledger: Path) -> None:
    """The last line: accepted, or a UserError that says what to do."""
    if answer.state == "accepted":
        print(f"sent {submission.path} to {site.name} {given.competition}: {answer.text}; written in {ledger}")
        return
    why = f"{submission.path}: {answer.state} ({answer.text}); written in {ledger}."
    if answer.state == "unknown":
        raise UserError(f"{why} {_settling(submission, site, given)}")
    raise UserError(f"{why} It doesn't count; mend the reason and send again.")


def settle(path: Path, submission: Submission, given: Namespace) -> None:
    """Write what the user saw on the site into the row of these bytes whose end nobody knew."""
    with open_ledger(path) as ledger:
        rows = ledger.same_bytes(given.to, given.competition, submission.sha256)
        rows = rows[rows["state"].isin(OPEN)]
        if rows.empty:
            raise UserError(f"{submission.path}: nothing to settle; {path} has no row of these bytes whose state is {' or '.join(OPEN)}.")
        number = rows["number"].iloc[-1]
        ledger.answer(number, given.settle, "settled by hand, after a look at the site")
    print(f"number {number} is {given.settle} now; written in {path}")


def _settling(submission: Submission, site: Site, given: Namespace) -> str:
    page = site.submissions.format(competition=given.competition)
    words = f"python -m ser.submit {submission.path} --to {site.name} --competition {given.competition} --settle"
    return f"whether it arrived, only the site knows. Look at {page}; if it is there: {words} accepted; if not: {words} not_sent"


if __name__ == "__main__":
    run_command(main)
