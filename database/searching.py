"""Searching: a page of the signals of a filter, newest first; what is looked through is bounded.

A filter is answered along one index (a way): its rows are read in the order of `seq`, at most so
many, and held against the rest of the filter. A page that is not full by then says how far it
looked, so that the next one goes on from there. Ways are tried from the rarest on; they share what
is looked through for a page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import TypeAlias
from uuid import UUID

from sqlalchemy import TextClause, text

from database.audit import COLUMNS, Facts
from database.connection import Row, Values
from database.pool import ReadConnection
from database.wanted import Wanted, kept_of
from database.ways import Stretch, Way, ways
from domain.signal import OPERATOR

MOST_TICKERS = 30
"""Tickers that begin alike and are looked up one by one; of more, the newest signals have some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Where a page begins: ``before`` this `seq` going back, or ``after`` it going forward."""

    before: int | None = None
    after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Signals, newest first; ``more`` of them follow in the direction looked.

    Where the look ended early, ``looked_to`` is the `seq` it ended at, and ``looked_at`` when that
    signal was received.
    """

    signals: Sequence[Facts]
    more: bool
    looked_to: int | None = None
    looked_at: datetime | None = None


async def page(
    connection: ReadConnection, wanted: Wanted, cursor: Cursor, *, limit: int = 50
) -> Found:
    """Signals of a filter next to a cursor; newest first, in whichever direction it looks."""
    spans = await _spans(connection, wanted)
    sets = [[*product(one, spans)] for one in ways(wanted)[: 1 if wanted.texts else 3]]
    best: Found | None = None
    for branches in sets:
        found = await _along(connection, wanted, cursor, branches, limit, share=len(sets))
        if found.looked_to is None:
            return found
        best = found if best is None or _further(found, best, cursor) else best
    assert best
    return best


def _further(one: Found, other: Found, cursor: Cursor) -> bool:
    assert one.looked_to is not None
    assert other.looked_to is not None
    if cursor.after is not None:
        return one.looked_to > other.looked_to
    return one.looked_to < other.looked_to


_Span: TypeAlias = tuple[int, int]
_FIRST, _LAST, _NEAR = 0, 2**63 - 1, 1000


async def _along(
    connection: ReadConnection,
    wanted: Wanted,
    cursor: Cursor,
    branches: Sequence[tuple[Way, _Span]],
    limit: int,
    *,
    share: int,
) -> Found:
    forward = cursor.after is not None
    order = "ASC" if forward else "DESC"
    kept, values = kept_of(wanted)
    share *= len(branches) * (1 + len(wanted.texts))
    within = [(way, _stretch(span, cursor, order, way.look(share))) for way, span in branches]
    union = " UNION ALL ".join(f"({way.rows(on, kept, limit + 1)})" for way, on in within)
    statement = f"""
        SELECT {COLUMNS} FROM (
            SELECT DISTINCT ON (seq) * FROM ({union}) AS near ORDER BY seq {order} LIMIT {limit + 1}
        ) AS signals ORDER BY seq DESC"""
    rows = await connection.execute(text(statement), values)
    signals = [dict(row) for row in rows.mappings()]
    if len(signals) > limit and len(within) == 1:
        return _page_of(signals, limit, forward=forward)
    # One branch may have ended before what others found: of what lies beyond, some is not seen yet.
    end = await _nearest_end(connection, within, values, forward=forward)
    if end is None:
        return _page_of(signals, limit, forward=forward)
    near = [one for one in signals if (one["seq"] <= end.seq if forward else one["seq"] >= end.seq)]
    if len(near) > limit:
        return _page_of(near, limit, forward=forward)
    return Found(signals=near, more=True, looked_to=end.seq, looked_at=end.received_at)


def _page_of(signals: Sequence[Facts], limit: int, *, forward: bool) -> Found:
    if len(signals) <= limit:
        return Found(signals=signals, more=False)
    return Found(signals=signals[-limit:] if forward else signals[:limit], more=True)


async def _nearest_end(
    connection: ReadConnection,
    within: Sequence[tuple[Way, Stretch]],
    values: Values,
    *,
    forward: bool,
) -> Row | None:
    """Where the first of the branches stops looking; None where none stops before its end."""
    ends = ", ".join(way.end(on) for way, on in within)
    nearest = f"{'least' if forward else 'greatest'}({ends})"
    statement = f"SELECT seq, received_at FROM signals WHERE seq = {nearest}"
    return (await connection.execute(text(statement), values)).one_or_none()


def _stretch(span: _Span, cursor: Cursor, order: str, look: int) -> Stretch:
    first, last = span
    if cursor.before is not None:
        last = min(last, cursor.before - 1)
    if cursor.after is not None:
        first = max(first, cursor.after + 1)
    return Stretch(first=first, last=last, order=order, look=look)


# `seq` runs with the time (database.journal), but for what was imported. `near` is how many there
# are on this side of a moment, as far as is looked.
_LIVE = """
    SELECT {side}(seq) FILTER (WHERE imported_from IS NULL) AS seq, count(*) AS near
    FROM (SELECT seq, imported_from FROM signals WHERE received_at {sign} :at
          ORDER BY received_at {order} LIMIT {near}) AS looked
"""
_LAST_BEFORE = text(_LIVE.format(side="max", sign="<", order="DESC", near=_NEAR))
_FIRST_SINCE = text(_LIVE.format(side="min", sign=">=", order="ASC", near=_NEAR))
_IMPORTED = text("""
    SELECT min(seq) AS first, max(seq) AS last FROM signals
    WHERE imported_from IS NOT NULL
      AND received_at >= coalesce(CAST(:since AS timestamptz), '-infinity')
      AND received_at < coalesce(CAST(:until AS timestamptz), 'infinity')
""")


async def _spans(connection: ReadConnection, wanted: Wanted) -> list[_Span]:
    """Between which `seq` signals of this time are: one span, or another of imported ones."""
    if wanted.since is None and wanted.until is None:
        return [(_FIRST, _LAST)]
    first = await _edge(connection, _FIRST_SINCE, wanted.since, unknown=_FIRST, none=_LAST)
    last = await _edge(connection, _LAST_BEFORE, wanted.until, unknown=_LAST, none=_FIRST)
    given = {"since": wanted.since, "until": wanted.until}
    imported = (await connection.execute(_IMPORTED, given)).one()
    if imported.first is None:
        return [(first, last)]
    if imported.first <= last and imported.last >= first:
        return [(min(first, imported.first), max(last, imported.last))]
    return [(first, last), (imported.first, imported.last)]


async def _edge(
    connection: ReadConnection,
    statement: TextClause,
    at: datetime | None,
    *,
    unknown: int,
    none: int,
) -> int:
    """The `seq` nearest to a moment, of what was not imported."""
    if at is None:
        return unknown
    row = (await connection.execute(statement, {"at": at})).one()
    if row.seq is not None:
        return row.seq
    return unknown if row.near == _NEAR else none


# From one ticker to the next of the same beginning, by the index; not through their signals.
_BEGINNING = text("""
    WITH RECURSIVE known AS (
        (SELECT ticker FROM signals WHERE ticker >= :beginning ORDER BY ticker LIMIT 1)
        UNION ALL
        SELECT (SELECT ticker FROM signals WHERE ticker > known.ticker ORDER BY ticker LIMIT 1)
        FROM known WHERE known.ticker ^@ :beginning
    )
    SELECT ticker FROM known WHERE ticker ^@ :beginning LIMIT :limit
""")


async def beginning(connection: ReadConnection, start: str) -> list[str]:
    """Tickers of signals that begin so: all of them, or MOST_TICKERS and one more."""
    given = {"beginning": start, "limit": MOST_TICKERS + 1}
    return list((await connection.execute(_BEGINNING, given)).scalars())


@dataclass(frozen=True, slots=True)
class Choices:
    """What may be chosen: names of sources, and of destinations with their ids."""

    sources: Sequence[str]
    destinations: Mapping[str, UUID]


_SOURCES = text("SELECT name FROM sources ORDER BY name")
_DESTINATIONS = text("SELECT name, id FROM destinations ORDER BY name")


async def choices(connection: ReadConnection) -> Choices:
    """What there is to choose from. Who sells by hand is no source of the table."""
    sources = (await connection.execute(_SOURCES)).scalars().all()
    there = (await connection.execute(_DESTINATIONS)).all()
    named = [*sources, *([] if OPERATOR in sources else [OPERATOR])]
    return Choices(named, {row.name: row.id for row in there})


_NEWEST = text("SELECT coalesce(max(seq), 0) FROM signals")


async def newest(connection: ReadConnection) -> int:
    """The `seq` of the newest signal, 0 without one."""
    return (await connection.execute(_NEWEST)).scalar_one()
