"""Activity: who changed what, from where, and what it was before; read from the audit trail."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import text

from database.audit import Facts
from database.pool import Database, ReadConnection

CHUNK = 1_000
"""Rows that an export reads at once."""

_PAGE = """
    SELECT events.id, at, event, actor, origin, events.signal_id, delivery_id, position_id, detail,
           coalesce(signals.ticker, detail->>'ticker') AS ticker
    FROM events LEFT JOIN signals ON signals.id = events.signal_id
    WHERE actor IS NOT NULL
      AND (CAST(:before AS bigint) IS NULL OR events.id < :before)
      AND (CAST(:after AS bigint) IS NULL OR events.id > :after)
      AND (CAST(:who AS text) IS NULL OR strpos(lower(actor), lower(:who)) > 0)
      AND (CAST(:action AS text) IS NULL OR starts_with(event, :action))
      AND (CAST(:ticker AS text) IS NULL OR coalesce(signals.ticker, detail->>'ticker') = :ticker)
      AND (CAST(:since AS timestamptz) IS NULL OR at >= :since)
      AND (CAST(:until AS timestamptz) IS NULL OR at < :until)
      AND (CAST(:subject AS uuid) IS NULL OR :subject IN (
              events.signal_id, delivery_id, position_id)
           OR strpos(CAST(detail AS text), CAST(CAST(:subject AS uuid) AS text)) > 0)
      AND (CAST(:text AS text) IS NULL
           OR strpos(lower(concat_ws(' ', event, actor, origin, CAST(detail AS text))),
                     lower(:text)) > 0)
    ORDER BY events.id {order} LIMIT :limit
"""
PAGE, NEXT_ABOVE = (text(_PAGE.format(order=order)) for order in ("DESC", "ASC"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which changes: None means any. ``before`` is the id of the last one already seen.

    ``after`` is that of the first one, for those above it. ``who`` is part of a name, ``action``
    the beginning of an event's, ``subject`` the id of a thing, and ``text`` stands somewhere in the
    event.
    """

    who: str | None = None
    action: str | None = None
    subject: object = None
    ticker: str | None = None
    text: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None
    after: int | None = None
    limit: int = 50


async def page(connection: ReadConnection, wanted: Wanted) -> list[Facts]:
    """Changes of a filter, the newest first; those right above ``after`` where that is given."""
    given = {name: getattr(wanted, name) for name in Wanted.__slots__}
    asked = PAGE if wanted.after is None else NEXT_ABOVE
    rows: list[Facts] = [dict(row) for row in (await connection.execute(asked, given)).mappings()]
    return rows if wanted.after is None else rows[::-1]


async def everything(database: Database, wanted: Wanted) -> AsyncGenerator[Sequence[Facts]]:
    """All of a filter, the newest first, a chunk at a time, each in a transaction of its own."""
    wanted = replace(wanted, limit=CHUNK)
    while True:
        async with database.read() as connection:
            rows = await page(connection, wanted)
        if rows:
            yield rows
        if len(rows) < CHUNK:
            return
        wanted = replace(wanted, before=rows[-1]["id"])
