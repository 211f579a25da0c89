"""Resolutions: the operator's word on deliveries: resolve, send again or elsewhere, cancel."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy import TextClause, text

from database import endings
from database.endings import NEWER_WENT, ending
from database.pool import Connection, ReadConnection
from database.selections import Subject
from domain.delivery import DeliveryId, DeliveryState, DestinationId
from domain.signal import Side

Facts: TypeAlias = Mapping[str, Any]


class Resolution(StrEnum):
    """What a held delivery is resolved as: it arrived; send it again; it never arrived."""

    DELIVERED = "delivered"
    RESEND = "resend"
    DROP = "drop"


class Refusal(StrEnum):
    """Why the operator's word on a delivery was not taken."""

    NOT_HELD = "not_held"
    NOT_QUEUED = "not_queued"
    EXPIRED = "expired"
    OVERTAKEN = "overtaken"
    BUSY = "busy"


_COLUMNS = """
    deliveries.id, deliveries.signal_id, deliveries.destination_id,
    destinations.name AS destination, destination_version, deliveries.ticker, deliveries.side,
    signals.partial, deliveries.state, deliveries.reason, attempts, possibly_sent, queued_at,
    due_at, deliveries.expires_at, finished_at, last.outcome, last.status, last.error
"""

# A signal's id begins with its time, so that this order is also that of the signals.
_PAGE = """
    SELECT {columns} FROM deliveries
    JOIN destinations ON destinations.id = deliveries.destination_id
    JOIN signals ON signals.id = signal_id
    LEFT JOIN LATERAL (
        SELECT outcome, attempts.status, error FROM attempts
        WHERE delivery_id = deliveries.id ORDER BY epoch DESC LIMIT 1
    ) AS last ON true
    WHERE {chosen}
      AND (CAST(:destination AS uuid) IS NULL OR deliveries.destination_id = :destination)
      AND (CAST(:signal AS uuid) IS NULL
           OR (signal_id, deliveries.destination_id) < (:signal, CAST(:last AS uuid)))
    ORDER BY signal_id DESC, deliveries.destination_id DESC LIMIT :limit
"""
PAGE = text(_PAGE.format(columns=_COLUMNS, chosen="true"))
# The state stands in the statement, so that the indexes of held, dead and unfinished ones serve.
PAGES = {
    state: text(
        _PAGE.format(
            columns=_COLUMNS,
            chosen=f"deliveries.state = '{state}'"
            f" AND finished_at IS {'NOT NULL' if state.final else 'NULL'}",
        )
    )
    for state in DeliveryState
}

ONE = text("""
    SELECT destination_id, ticker, side, state, expires_at <= clock_timestamp() AS late
    FROM deliveries WHERE id = :id
""")
HOLD_DESTINATION = text("SELECT FROM destinations WHERE id = :id FOR NO KEY UPDATE")

OVERTAKEN = text(f"SELECT {NEWER_WENT} FROM deliveries WHERE id = :id")

_HELD = "id = ANY(CAST(:ids AS uuid[])) AND state = 'held'"
_WORD = "concat_ws(': ', '{word}', CAST(:why AS text))"
RESOLVE: Mapping[Resolution, TextClause] = {
    Resolution.DELIVERED: ending(
        _HELD,
        f"""state = 'delivered', reason = {_WORD.format(word="resolved")}, possibly_sent = true,
            finished_at = clock_timestamp()""",
        actor=":actor",
    ),
    Resolution.DROP: ending(
        _HELD,
        f"""state = 'cancelled', reason = {_WORD.format(word="dropped")}, possibly_sent = false,
            finished_at = clock_timestamp()""",
        actor=":actor",
    ),
    # It is marked as a possible resend, because that is what it is. A sell's life starts anew.
    Resolution.RESEND: ending(
        f"{_HELD} AND (side = 'sell' OR expires_at > clock_timestamp()) AND NOT {NEWER_WENT}",
        f"""state = 'queued', reason = {_WORD.format(word="resend")}, possibly_sent = true,
            due_at = clock_timestamp(),
            expires_at = CASE side WHEN 'sell' THEN clock_timestamp() + CAST(:life AS interval)
                                   ELSE expires_at END""",
        actor=":actor",
    ),
}

_CANCELLED = f"""
    state = 'cancelled', reason = {_WORD.format(word="cancelled")}, finished_at = clock_timestamp()
"""
CANCEL = ending(
    "id = ANY(CAST(:ids AS uuid[])) AND state = 'queued' AND deliveries.finished_at IS NULL",
    _CANCELLED,
    actor=":actor",
)
# What a command over many finds. Those that somebody works on are only known when it is done.
_ALL = {
    "rows": """deliveries JOIN signals ON signals.id = deliveries.signal_id
               JOIN destinations ON destinations.id = deliveries.destination_id""",
    "columns": """deliveries.id, deliveries.signal_id, destinations.name AS destination,
                  deliveries.ticker, deliveries.side, deliveries.state, signals.received_at""",
}
CANCELLED = Subject(
    **_ALL,
    refusal="CASE WHEN deliveries.state <> 'queued' THEN 'not_queued' END",
    deliveries=True,
)
_NOT_HELD = "CASE WHEN deliveries.state <> 'held' THEN 'not_held'"
RESOLVED: Mapping[Resolution, Subject] = {
    Resolution.DELIVERED: Subject(**_ALL, refusal=f"{_NOT_HELD} END", deliveries=True),
    Resolution.DROP: Subject(**_ALL, refusal=f"{_NOT_HELD} END", deliveries=True),
    Resolution.RESEND: Subject(
        **_ALL,
        refusal=f"""
            {_NOT_HELD}
                 WHEN deliveries.side = 'buy' AND deliveries.expires_at <= clock_timestamp()
                     THEN 'expired'
                 WHEN {NEWER_WENT} THEN 'overtaken' END""",
        deliveries=True,
    ),
}
TICKERS = text("SELECT DISTINCT ticker FROM deliveries WHERE id = ANY(CAST(:ids AS uuid[]))")

QUEUED = text("""
    SELECT deliveries.id, ticker FROM deliveries
    JOIN destinations ON destinations.id = destination_id
    WHERE destination_id = :id AND finished_at IS NULL AND deliveries.state = 'queued'
      AND (CAST(:all AS boolean) OR destination_version < version)
    ORDER BY seq
""")

# Never from a dry run to a live one or back: what was bought in one is sold in the same.
RETARGET = text("""
    WITH chosen AS MATERIALIZED (
        SELECT deliveries.id, destination_version AS was, destinations.version AS becomes
        FROM deliveries
        JOIN destinations ON destinations.id = deliveries.destination_id
        JOIN destination_versions AS old ON old.destination_id = deliveries.destination_id
                                        AND old.version = destination_version
        JOIN destination_versions AS new ON new.destination_id = deliveries.destination_id
                                        AND new.version = destinations.version
        WHERE deliveries.destination_id = :id AND deliveries.finished_at IS NULL
          AND deliveries.state = 'queued' AND NOT possibly_sent
          AND destination_version < destinations.version AND old.mode = new.mode
        ORDER BY seq FOR UPDATE OF deliveries SKIP LOCKED
    ), moved AS (
        UPDATE deliveries SET destination_version = becomes FROM chosen
        WHERE deliveries.id = chosen.id
        RETURNING deliveries.id, signal_id, seq, was, becomes
    ), told AS (
        INSERT INTO events (event, signal_id, delivery_id, actor, detail)
        SELECT 'delivery.retargeted', signal_id, id, :actor,
               jsonb_build_object('was_version', was, 'destination_version', becomes)
        FROM moved ORDER BY seq
    )
    SELECT count(*) FROM moved
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which deliveries: None means any. ``after`` names the last one already seen."""

    state: DeliveryState | None = None
    destination: DestinationId | None = None
    after: tuple[UUID, UUID] | None = None
    limit: int = 50


async def page(connection: ReadConnection, wanted: Wanted) -> list[Facts]:
    """Deliveries, those of the newest signals first, each with how its last attempt ended."""
    signal, last = wanted.after or (None, None)
    given = {
        "destination": wanted.destination,
        "signal": signal,
        "last": last,
        "limit": wanted.limit,
    }
    statement = PAGE if wanted.state is None else PAGES[wanted.state]
    return [dict(row) for row in (await connection.execute(statement, given)).mappings()]


async def resolve(
    connection: Connection,
    id: DeliveryId,
    resolution: Resolution,
    *,
    actor: str,
    why: str | None,
    life: timedelta,
) -> Refusal | DeliveryState | None:
    """Take the operator's word on a held delivery; return its state then, or why not.

    None when there is no such delivery. ``life`` is what a sell that is sent again has left.
    """
    found = (await connection.execute(ONE, {"id": id})).one_or_none()
    if found is None:
        return None
    # Nothing newer of its lane is leased between our look at the lane and our commit.
    await connection.execute(HOLD_DESTINATION, {"id": found.destination_id})
    given: dict[str, Any] = {"ids": [id], "actor": actor, "why": why}
    if resolution is Resolution.RESEND:
        given["life"] = life
    ended = await endings.end(connection, RESOLVE[resolution], [found.ticker], **given)
    return next(iter(ended), None) or await _refusal(connection, id, resolution)


async def _refusal(connection: Connection, id: DeliveryId, resolution: Resolution) -> Refusal:
    now = (await connection.execute(ONE, {"id": id})).one()
    if now.state != DeliveryState.HELD:
        return Refusal.NOT_HELD
    if resolution is Resolution.RESEND:
        if now.side == Side.BUY and now.late:
            return Refusal.EXPIRED
        if (await connection.execute(OVERTAKEN, {"id": id})).scalar_one():
            return Refusal.OVERTAKEN
    return Refusal.BUSY


async def cancel(
    connection: Connection, id: DeliveryId, *, actor: str, why: str | None
) -> Refusal | DeliveryState | None:
    """Cancel a queued delivery; return as ``resolve`` does."""
    found = (await connection.execute(ONE, {"id": id})).one_or_none()
    if found is None:
        return None
    if await _cancel(connection, {found.ticker}, [id], actor=actor, why=why):
        return DeliveryState.CANCELLED
    now = (await connection.execute(ONE, {"id": id})).one()
    return Refusal.BUSY if now.state == DeliveryState.QUEUED else Refusal.NOT_QUEUED


async def cancel_queued(
    connection: Connection, id: DestinationId, *, every: bool, actor: str, why: str | None
) -> int:
    """Cancel what is queued for older versions of a destination, or ``every`` one; how many."""
    rows = (await connection.execute(QUEUED, {"id": id, "all": every})).all()
    tickers = {row.ticker for row in rows}
    return await _cancel(connection, tickers, [row.id for row in rows], actor=actor, why=why)


async def _cancel(
    connection: Connection,
    tickers: Collection[str],
    ids: Sequence[DeliveryId],
    *,
    actor: str,
    why: str | None,
) -> int:
    ended = await endings.end(connection, CANCEL, tickers, ids=ids, actor=actor, why=why)
    return ended[DeliveryState.CANCELLED]


async def cancel_all(
    connection: Connection, ids: Sequence[UUID], *, actor: str, why: str | None
) -> int:
    """Cancel those of these that are queued; return how many."""
    tickers = (await connection.execute(TICKERS, {"ids": list(ids)})).scalars().all()
    return await _cancel(connection, tickers, [DeliveryId(id) for id in ids], actor=actor, why=why)


async def resolve_all(
    connection: Connection,
    ids: Sequence[UUID],
    resolution: Resolution,
    *,
    actor: str,
    why: str | None,
    life: timedelta,
) -> int:
    """Take the operator's word on those of these that are held; return on how many it was taken."""
    tickers = (await connection.execute(TICKERS, {"ids": list(ids)})).scalars().all()
    given: dict[str, Any] = {"ids": list(ids), "actor": actor, "why": why}
    if resolution is Resolution.RESEND:
        given["life"] = life
    return (await endings.end(connection, RESOLVE[resolution], tickers, **given)).total()


async def retarget(connection: Connection, id: DestinationId, *, actor: str) -> int:
    """Send what is queued for older versions to the current one; return how many.

    Only what surely never left, and never from a dry run to a live version or back.
    """
    await connection.execute(HOLD_DESTINATION, {"id": id})
    return (await connection.execute(RETARGET, {"id": id, "actor": actor})).scalar_one()
