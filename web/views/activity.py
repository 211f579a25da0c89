"""What people did, as people read it: who, from where, and what it was and became."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, cast
from urllib.parse import quote

from database.audit import Facts
from web.views.shell import Shell
from web.views.words import NOTHING, Moment, moment

MOST_LINES = 60
LONGEST = 300

KINDS = (
    *("access", "attention", "batch", "buying", "channel", "config", "delivery", "destination"),
    *("job", "list", "lookout", "position", "rules", "screen", "sell_list", "session"),
    *("signal", "signals", "source", "token", "universe"),
)
"""What events are named by: the word before the dot."""

PAGES = {
    "access": "/admin/settings/sessions",
    "attention": "/admin/attention",
    "buying": "/admin/positions",
    "channel": "/admin/settings",
    "config": "/admin/settings",
    "list": "/admin/list",
    "lookout": "/admin/list",
    "rules": "/admin/settings",
    "sell_list": "/admin/positions",
    "session": "/admin/settings/sessions",
    "source": "/admin/settings/sources",
    "token": "/admin/settings/tokens",
    "universe": "/admin/list",
}
"""Where things of a kind are seen that have no page of their own."""

OWN_PAGES = {
    "batch": "/admin/batches/",
    "destination": "/admin/destinations/",
    "position": "/admin/positions/",
    "screen": "/admin/list/screens/",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that changed; "" is the whole of it."""

    name: str
    was: str
    becomes: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityRow:
    """``made``: it was nothing before, so that only what it became is told."""

    id: int
    at: Moment
    who: str
    origin: str
    action: str
    subject: str
    link: str | None
    reason: str
    more: str
    made: bool
    differences: Sequence[Difference]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sieve:
    """The filters as they were typed; times are in UTC."""

    text: str = ""
    who: str = ""
    action: str = ""
    ticker: str = ""
    subject: str = ""
    since: str = ""
    until: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityView:
    """templates/activity.html and templates/partials/activity.html.

    ``before`` and ``after`` are the place in the log that is shown, ``export`` the query of the
    filter for its two files.
    """

    shell: Shell
    sieve: Sieve
    kinds: Sequence[str]
    rows: Sequence[ActivityRow]
    refused: str | None
    filtered: bool
    before: str
    after: str
    newer: str | None
    older: str | None
    export: str


def activity_row(row: Facts, shown: Mapping[str, Any], now: datetime) -> ActivityRow:
    """An event with an actor, and what the API shows of it."""
    subject = shown["subject"]
    return ActivityRow(
        id=row["id"],
        at=moment(row["at"], now),
        who=shown["who"],
        origin=shown["from"] or NOTHING,
        action=shown["action"].replace(".", " ").replace("_", " "),
        subject=_subject(subject, shown["detail"]),
        link=_link(subject, row),
        reason=shown["reason"] or "",
        more=_more(shown),
        made=shown["was"] is None,
        differences=differences(shown["was"], shown["becomes"]),
    )


def _subject(subject: Mapping[str, Any], detail: Mapping[str, Any]) -> str:
    named = subject["name"] or subject["ticker"] or detail.get("kind")
    return str(named) if isinstance(named, str) and named else "see it"


def _link(subject: Mapping[str, Any], row: Facts) -> str | None:
    kind, id = subject["kind"], subject["id"]
    if kind in OWN_PAGES and id:
        return OWN_PAGES[kind] + quote(str(id), safe="")
    if row["signal_id"]:
        return f"/admin/signals/{row['signal_id']}"
    return PAGES.get(kind)


def _more(shown: Mapping[str, Any]) -> str:
    """What else the event says; neither ids nor what stands beside it already."""
    subject, sides = shown["subject"], [_object(shown[name]) for name in ("was", "becomes")]
    said = {subject["name"], subject["ticker"], shown["from"]}
    return ", ".join(
        f"{name.replace('_', ' ')} {_word(value)}"
        for name, value in shown["detail"].items()
        if value is not None
        and not name.endswith("_id")
        and not _among(value, said)
        and not any(name in side for side in sides)
    )


def _among(value: object, said: set[str | None]) -> bool:
    return isinstance(value, str) and value in said


# ── Was and becomes ─────────────────────────────────────────────────────────────────────────


def differences(was: object, becomes: object) -> list[Difference]:
    """What differs, a line for each; members of members are named with dots."""
    if was is None and becomes is None:
        return []
    lines = _lines("", was, becomes)
    return list(islice(lines, MOST_LINES))


def _lines(name: str, was: object, becomes: object) -> Iterator[Difference]:
    sides = [_object(was), _object(becomes)]
    if any(isinstance(side, dict) for side in (was, becomes)):
        yield from _members(name, *sides)
    elif was != becomes:
        yield Difference(name=name, was=_word(was), becomes=_word(becomes))


def _members(
    name: str, was: Mapping[str, object], becomes: Mapping[str, object]
) -> Iterator[Difference]:
    for member in dict.fromkeys([*was, *becomes]):
        inner = ".".join(filter(None, (name, member)))
        yield from _lines(inner, was.get(member), becomes.get(member))


def _object(value: object) -> Mapping[str, object]:
    """An object as it is; what is none, as the member without a name."""
    if isinstance(value, dict):
        return cast("dict[str, object]", value)
    return {} if value is None else {"": value}


def _word(value: object) -> str:
    if value is None or value == "":
        return NOTHING
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
