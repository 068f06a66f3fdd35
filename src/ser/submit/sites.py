"""What the command knows of each competition site: its day, its limit, and where its token is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone


@dataclass(frozen=True)
class Site:
    """A site that takes submissions.

    per_day: submissions that most of its competitions allow. hours_from_utc: of the clock by which its day begins.
    secrets: sets of environment variables, any one of which holds what it takes to log in. token_files: where a file with it is looked for.
    submissions: the page on which one sees what has arrived.
    """

    name: str
    per_day: int
    hours_from_utc: int
    secrets: Sequence[Sequence[str]]
    token_files: Sequence[str]
    submissions: str

    def day(self, when: datetime) -> date:
        """The site's day at that time."""
        return when.astimezone(timezone(timedelta(hours=self.hours_from_utc))).date()


SITES = {
    site.name: site
    for site in (
        Site(
            "dacon",
            per_day=3,
            hours_from_utc=9,
            secrets=(("DACON_TOKEN",),),
            token_files=("~/.dacon/token",),
            submissions="https://dacon.io/competitions/official/{competition}/mysubmit",
        ),
        Site(
            "kaggle",
            per_day=5,
            hours_from_utc=0,
            secrets=(("KAGGLE_API_TOKEN",), ("KAGGLE_USERNAME", "KAGGLE_KEY")),
            token_files=("~/.kaggle/access_token", "~/.kaggle/kaggle.json"),
            submissions="https://www.kaggle.com/competitions/{competition}/submissions",
        ),
    )
}
