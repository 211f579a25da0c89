"""Sessions as their owner tells them apart: from where, in which browser, since when."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from database.access import Listed
from domain.access import SessionPolicy
from web.views.shell import Shell
from web.views.words import NOTHING, Moment, duration, moment

BROWSERS = (
    ("Edg", "Edge"),
    ("OPR", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox", "Firefox"),
    ("FxiOS", "Firefox"),
    ("CriOS", "Chrome"),
    ("Chrome", "Chrome"),
    ("Safari", "Safari"),
)
"""What they call themselves; who claims to be several others comes before those."""

SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """A live session. ``ends`` is the latest it may; ``by`` is whose token began it."""

    name: str
    own: bool
    by: str
    origin: str
    browser: str
    agent: str
    begun: Moment
    seen: Moment
    ends: Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionsView:
    """templates/settings_sessions.html and templates/partials/settings_sessions.html.

    ``idle`` and ``absolute`` are how long a session lasts, ``proof`` how long a token that was
    shown again counts; ``tried``: it was the end of all that was ``refused``.
    """

    shell: Shell
    sessions: Sequence[SessionRow]
    idle: str
    absolute: str
    proof: str
    tried: bool
    refused: str | None


def browser(agent: str | None) -> str:
    """What a browser calls itself, in words."""
    if not agent:
        return "unknown"
    name = next((words for mark, words in BROWSERS if mark in agent), None)
    system = next((words for mark, words in SYSTEMS if mark in agent), None)
    if name is None:
        return re.split(r"[/ ;(]", agent)[0][:40] or "unknown"
    return f"{name} on {system}" if system else name


def session_row(one: Listed, policy: SessionPolicy) -> SessionRow:
    ends = one.created_at + policy.absolute
    return SessionRow(
        name=one.name,
        own=one.own,
        by=f"token {one.token}" if one.token else "admin token",
        origin=one.origin or NOTHING,
        browser=browser(one.agent),
        agent=one.agent or "",
        begun=moment(one.created_at, one.now),
        seen=_seen(one),
        ends=Moment(ends, f"in {duration(ends - one.now)}"),
    )


def _seen(one: Listed) -> Moment:
    """Written down every half minute only: anything sooner is now."""
    if one.now - one.seen_at < timedelta(seconds=60):
        return Moment(one.seen_at, "just now")
    return moment(one.seen_at, one.now)
