"""What is around every page: where one is, whether buying is paused, what wants a look."""

from dataclasses import dataclass
from datetime import datetime

from database.gate import BuyingPause
from web.views.words import NOTHING, Moment, duration, moment


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginView:
    """templates/login.html. Where signing in would be ``insecure``, no field asks for a token.

    ``to`` is the page to come back to, "" for the overview; ``ended`` says what ended just now.
    """

    to: str | None = ""
    ended: str | None = None
    refused: str | None = None
    insecure: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseView:
    """Who stopped buying, when and why; without ``until``, until somebody resumes it."""

    by: str
    since: Moment
    reason: str
    until: Moment | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """What a signed-in operator sees around a page.

    ``waiting`` is how many attention items are open, ``urgent`` whether one of them is; ``said``
    tells what was done just now; where ``proved`` is false, what hurts asks for a token again.
    """

    here: str
    paused: PauseView | None
    waiting: int
    urgent: bool
    operator: str
    said: str | None
    proved: bool
    version: str
    revision: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoPageView:
    """templates/no_page.html. Strangers see it too: it says nothing of the relay."""

    title: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellView:
    """templates/partials/shell.html: what a live page reads of its shell again."""

    shell: Shell


def pause_view(pause: BuyingPause | None, now: datetime) -> PauseView | None:
    return pause and PauseView(
        by=pause.by,
        since=moment(pause.at, now),
        reason=pause.reason or NOTHING,
        until=pause.until and Moment(pause.until, f"in {duration(pause.until - now)}"),
    )
