"""Importing: signals of the past with their events, in batches; what is here already stays."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from database.pool import Connection, is_unavailable
from database.vault import Vault
from domain.alert import Parsed, parse
from domain.body import has_secrets
from domain.history import SignalHistory

EXPORT = "export"

COLUMNS: dict[str, str] = {
    "id": "uuid",
    "source": "text",
    "ticker": "text",
    "exchange": "text",
    "symbol": "text",
    "side": "text",
    "closes": "boolean",
    "partial": "boolean",
    "price": "numeric",
    "price_text": "text",
    "sender_time": "timestamptz",
    "clock_skew": "boolean",
    "hop": "smallint",
    "content_type": "text",
    "body": "bytea",
    "body_sealed": "boolean",
    "received_at": "timestamptz",
    "expires_at": "timestamptz",
    "status": "text",
    "reason": "text",
    "judged_at": "timestamptz",
    "rank": "integer",
    "cutoff": "integer",
    "list_age_ms": "bigint",
    "waits_since": "timestamptz",
    "waits_until": "timestamptz",
    "replay_of": "uuid",
    "imported_from": "text",
}
EVENTS: dict[str, str] = {
    "signal_id": "uuid",
    "at": "timestamptz",
    "event": "text",
    "delivery_id": "uuid",
    "position_id": "uuid",
    "actor": "text",
    "origin": "text",
    "detail": "jsonb",
}


def _arrays(columns: dict[str, str], prefix: str) -> str:
    # Of jsonb an array would be taken for one value: it goes as text.
    kinds = {name: "text" if kind == "jsonb" else kind for name, kind in columns.items()}
    return ", ".join(f"CAST(:{prefix}{name} AS {kind}[])" for name, kind in kinds.items())


_NAMES, _TOLD = ", ".join(COLUMNS), ", ".join(EVENTS)

# Imported events have no `xid`: who follows what happens (live pages, attention) never sees them.
PUT = text(f"""
    WITH put AS (
        INSERT INTO signals ({_NAMES})
        SELECT {_NAMES}
        FROM ROWS FROM (unnest({_arrays(COLUMNS, "s_")})) WITH ORDINALITY
             AS given ({_NAMES}, place)
        ORDER BY place
        ON CONFLICT (id) DO NOTHING
        RETURNING id
    ), told AS (
        INSERT INTO events ({_TOLD}, xid)
        SELECT signal_id, given.at, event, delivery_id, position_id, actor, origin,
               CAST(detail AS jsonb), NULL
        FROM ROWS FROM (unnest({_arrays(EVENTS, "e_")})) WITH ORDINALITY
             AS given ({_TOLD}, place)
        JOIN put ON put.id = signal_id
        ORDER BY place
    )
    SELECT id FROM put
""")


async def put(
    connection: Connection, vault: Vault, batch: Sequence[SignalHistory], *, keep: bool
) -> tuple[Collection[UUID], Collection[UUID]]:
    """Import a batch; return the ids that were new, and those that the database refuses.

    Without ``keep`` nothing is imported, but the answer is the same.
    """
    values = _values(batch, vault)
    try:
        async with connection.begin_nested() as savepoint:
            new = {row.id for row in await connection.execute(PUT, values)}
            if not keep:
                await savepoint.rollback()
    except DBAPIError as error:
        if is_unavailable(error):
            raise
        return await _one_by_one(connection, vault, batch, keep=keep)
    return new, set()


async def _one_by_one(
    connection: Connection, vault: Vault, batch: Sequence[SignalHistory], *, keep: bool
) -> tuple[Collection[UUID], Collection[UUID]]:
    if len(batch) == 1:
        return set(), {batch[0].id}
    new, refused = set[UUID](), set[UUID]()
    for one in batch:
        put_one, refused_one = await put(connection, vault, [one], keep=keep)
        new |= set(put_one)
        refused |= set(refused_one)
    return new, refused


def _values(batch: Sequence[SignalHistory], vault: Vault) -> dict[str, Any]:
    """One array a column; of the same id only the first counts."""
    given = list({one.id: one for one in reversed(batch)}.values())[::-1]
    rows = [{**one.columns, **_kept(one, vault)} for one in given]
    events = [(one.id, event) for one in given for event in one.events]
    return {
        **{f"s_{name}": [row[name] for row in rows] for name in COLUMNS},
        **{
            f"e_{name}": [getattr(event, name) for _, event in events]
            for name in EVENTS
            if name != "signal_id"
        },
        "e_signal_id": [id for id, _ in events],
    }


def _kept(one: SignalHistory, vault: Vault) -> dict[str, object]:
    """A body that was masked, or should have been, is sealed, so that it leaves masked."""
    parsed = parse(one.body, one.columns["content_type"])
    sealed = one.masked or (isinstance(parsed, Parsed) and has_secrets(parsed))
    return {
        "body": vault.seal(one.body) if sealed else one.body,
        "body_sealed": sealed,
        "imported_from": one.columns["imported_from"] or EXPORT,
    }
