"""Exporting: signals of a filter with their events, page by page, each page its own transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import text

from database.audit import SHOWN, Facts
from database.pool import ReadConnection
from database.wanted import Wanted, conditions
from domain.delivery import DeliveryState

STEP = 50_000
"""Of `seq`, that one page looks through at most, however few signals of the filter there are."""

_SPAN = """
    SELECT count(*) AS total, coalesce(min(seq), 1) - 1 AS first, coalesce(max(seq), 0) AS last
    FROM signals WHERE {wanted}
"""

# Where it was imported from by an export of ours is no news to who reads an export.
_PAGE = """
    SELECT id, seq, source, ticker, exchange, symbol, side, closes, partial,
           CAST(price AS text) AS price, price_text, sender_time, clock_skew, hop, content_type,
           body, body_sealed, received_at, expires_at, status, reason, judged_at, rank, cutoff,
           list_age_ms, waits_since, waits_until, replay_of,
           nullif(imported_from, 'export') AS imported_from,
           universe_version, batch_id, only_destination_id, {shown} AS shown
    FROM signals
    WHERE seq > :after_seq AND seq <= :last_seq AND {wanted}
    ORDER BY seq LIMIT :limit
"""

EVENTS = text("""
    SELECT signal_id, at, event, delivery_id, position_id, actor, origin,
           CAST(detail AS text) AS detail
    FROM events WHERE signal_id = ANY(CAST(:ids AS uuid[])) ORDER BY id
""")

DELIVERIES = text("""
    SELECT signal_id, deliveries.id, destinations.name AS destination, deliveries.state,
           deliveries.reason, attempts, queued_at, finished_at
    FROM deliveries JOIN destinations ON destinations.id = destination_id
    WHERE signal_id = ANY(CAST(:ids AS uuid[])) ORDER BY destinations.name
""")


@dataclass(frozen=True, slots=True)
class Span:
    """How many signals there are, between which of them; what comes later is not exported.

    ``total`` is None where counting would be as long as exporting.
    """

    total: int | None
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Signals in their order, and what belongs to each by its id.

    The next page is the one after ``reached``.
    """

    reached: int
    signals: Sequence[Facts]
    events: Mapping[object, Sequence[Facts]] = field(default_factory=dict[object, list[Facts]])
    deliveries: Mapping[object, Sequence[Facts]] = field(default_factory=dict[object, list[Facts]])


async def span(connection: ReadConnection, wanted: Wanted) -> Span:
    """What an export that begins now will hold."""
    counted, values = _where(replace(wanted, texts=()))
    row = (await connection.execute(text(_SPAN.format(wanted=counted)), values)).one()
    return Span(None if wanted.texts else row.total, row.first, row.last)


# As SHOWN has it, where `delivered` is the last in order; said so, all of them are counted at once.
_DELIVERED = """
    status = 'approved'
    AND EXISTS (SELECT FROM deliveries WHERE signal_id = signals.id AND state = 'delivered')
    AND NOT EXISTS (SELECT FROM deliveries WHERE signal_id = signals.id AND state <> 'delivered')
"""


def _where(wanted: Wanted) -> tuple[str, dict[str, Any]]:
    """The filter; what it is shown with is asked only of what can be so at all."""
    state = wanted.status if wanted.destination is None else None
    if state == DeliveryState.DELIVERED:
        found, values = conditions(replace(wanted, status=None))
        return " AND ".join([_DELIVERED, *found]), values
    found, values = conditions(wanted)
    if state in {*DeliveryState}:
        sent = f"SELECT signal_id FROM deliveries WHERE state = '{DeliveryState(state)}'"
        either = "status = 'expired' OR " if state == DeliveryState.EXPIRED else ""
        found = [f"({either}id IN ({sent}))", *found]
    return " AND ".join(found) or "true", values


async def page(
    connection: ReadConnection, wanted: Wanted, *, after: int, last: int, limit: int
) -> Page:
    """The signals after this `seq`, oldest first, with their events and deliveries."""
    chosen, values = _where(wanted)
    reached = min(last, after + STEP)
    asked = values | {"after_seq": after, "last_seq": reached, "limit": limit}
    found = await connection.execute(text(_PAGE.format(wanted=chosen, shown=SHOWN)), asked)
    signals = [dict(row) for row in found.mappings()]
    if len(signals) == limit:
        reached = signals[-1]["seq"]
    ids = {"ids": [signal["id"] for signal in signals]}
    parts: list[dict[object, list[Facts]]] = []
    for query in (EVENTS, DELIVERIES):
        of: dict[object, list[Facts]] = {}
        for row in (await connection.execute(query, ids)).mappings():
            of.setdefault(row["signal_id"], []).append(dict(row))
        parts.append(of)
    return Page(reached=reached, signals=signals, events=parts[0], deliveries=parts[1])
