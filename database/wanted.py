"""What is searched for: a filter of signals, and what a row must be to match it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from database.audit import SHOWN
from domain.delivery import DeliveryState
from domain.signal import SignalStatus

BODY_BYTES = 4_096
"""Of a body, from its beginning, that a text is looked for in."""


# What is escaped is ASCII alone: lowered by its bytes, whatever the server's locale would cost.
def _lower(bytes: str) -> str:
    return f"lower(encode({bytes}, 'escape') COLLATE \"C\")"


_BODY = _lower(f"substring(body FROM 1 FOR {BODY_BYTES})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which signals: None, or nothing, means any. ``until`` is the first moment not wanted.

    ``status`` is a verdict's or, of a delivery, the one a signal is shown with; with a
    ``destination`` the one of its delivery there. ``tickers`` and ``beginnings`` (of tickers) are
    alternatives; ``texts`` must all be in the body.
    """

    tickers: Sequence[str] = ()
    beginnings: Sequence[str] = ()
    side: str | None = None
    status: str | None = None
    reason: str | None = None
    source: str | None = None
    destination: UUID | None = None
    ids: tuple[UUID, UUID] | None = None
    since: datetime | None = None
    until: datetime | None = None
    texts: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Kept:
    """What a row must be to be kept (SQL): a ``signal``, and first of all its ``delivery``."""

    signal: str
    delivery: str


def conditions(wanted: Wanted) -> tuple[list[str], dict[str, Any]]:
    """What a signal must be, as SQL about a row `signals`, and the values in it."""
    found = [
        *_of_lane(wanted),
        *(f"{name} = :{name}" for name in ("reason", "source") if getattr(wanted, name)),
        *_of_status(wanted),
    ]
    if wanted.ids:
        found.append("id BETWEEN CAST(:first_id AS uuid) AND CAST(:last_id AS uuid)")
    if wanted.since:
        found.append("received_at >= :since")
    if wanted.until:
        found.append("received_at < :until")
    found += [
        f"NOT body_sealed AND strpos({_BODY}, {_lower(f'CAST(:text_{n} AS bytea)')}) > 0"
        for n in range(len(wanted.texts))
    ]
    return found, _values(wanted)


def kept_of(wanted: Wanted) -> tuple[Kept, dict[str, Any]]:
    """The same for a search, that may come by a delivery."""
    found, values = conditions(wanted)
    lane = " AND ".join(_of_lane(wanted))
    return Kept(" AND ".join(found) or "true", lane or "true"), values


def _of_lane(wanted: Wanted) -> list[str]:
    """What a signal has in common with its deliveries."""
    exact = ["ticker = ANY(CAST(:tickers AS text[]))"] if wanted.tickers else []
    begin = ["ticker ^@ ANY(CAST(:beginnings AS text[]))"] if wanted.beginnings else []
    ticker = [f"({' OR '.join(exact + begin)})"] if exact or begin else []
    return [*(["side = :side"] if wanted.side else []), *ticker]


def _of_status(wanted: Wanted) -> list[str]:
    """In our own words alone. What is `expired` may be the signal or its deliveries."""
    status = wanted.status
    # Asked about each signal; by EXISTS the planner may read all of the destination instead.
    there = (
        "(SELECT true FROM deliveries WHERE signal_id = signals.id"
        " AND destination_id = :destination{} LIMIT 1)"
    )
    if wanted.destination is None:
        if status is None:
            return []
        if status in {*SignalStatus} - {SignalStatus.EXPIRED}:
            return [f"signals.status = '{SignalStatus(status)}'"]
        return [f"{SHOWN} = '{DeliveryState(status)}'"]
    if status is None or status == SignalStatus.APPROVED:
        return [there.format("")]
    if status in {*DeliveryState}:
        return [there.format(f" AND state = '{DeliveryState(status)}'")]
    return ["false"]


def _values(wanted: Wanted) -> dict[str, Any]:
    first, last = wanted.ids or (None, None)
    given = {
        "side": wanted.side,
        "reason": wanted.reason,
        "source": wanted.source,
        "destination": wanted.destination,
        "since": wanted.since,
        "until": wanted.until,
        "tickers": list(wanted.tickers) or None,
        "beginnings": list(wanted.beginnings) or None,
        "first_id": first,
        "last_id": last,
        **{f"text_{n}": one.encode() for n, one in enumerate(wanted.texts)},
    }
    return {name: value for name, value in given.items() if value is not None}
