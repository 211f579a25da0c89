"""What the database says, in one snapshot, as records."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import RowMapping, text

from database import rebuilding
from database.pool import Database, ReadConnection
from domain.rate import parse_windows
from tests.chaos.records import Attempt, Break, Delivery, Event, Position, Signal

PATIENCE = timedelta(seconds=120)

SIGNALS = """
    SELECT id::text, seq, ticker, side, status, reason, universe_version AS universe, rank, cutoff,
           list_age_ms / 1000.0 AS list_age, CASE WHEN NOT body_sealed THEN body END AS body
    FROM signals ORDER BY seq
"""
DELIVERIES = """
    SELECT deliveries.id::text, signal_id::text, destinations.name AS destination, seq, ticker,
           side, deliveries.state, reason, extract(epoch FROM queued_at) AS queued_at,
           extract(epoch FROM expires_at) AS expires_at,
           extract(epoch FROM finished_at) AS finished_at
    FROM deliveries JOIN destinations ON destinations.id = destination_id ORDER BY seq
"""
ATTEMPTS = """
    SELECT delivery_id::text, epoch, extract(epoch FROM started_at) AS started_at,
           extract(epoch FROM finished_at) AS finished_at, outcome
    FROM attempts ORDER BY delivery_id, epoch
"""
EVENTS = "SELECT id, event, signal_id::text, delivery_id::text FROM events ORDER BY id"
POSITIONS = "SELECT ticker, state FROM positions"
UNIVERSES = "SELECT version, tickers FROM universes"
DESTINATIONS = """
    SELECT name, kept.windows, kept.guarantee
    FROM destinations JOIN destination_versions AS kept
      ON kept.destination_id = destinations.id AND kept.version = destinations.version
"""
BREAKERS = """
    SELECT detail->>'name' AS name, event, extract(epoch FROM at) AS told_at FROM events
    WHERE event LIKE 'destination.breaker_%' ORDER BY id
"""
UNFINISHED = """
    SELECT (SELECT count(*) FROM signals WHERE status = 'received')
         + (SELECT count(*) FROM deliveries WHERE state IN ('queued', 'sending'))
"""
VERSION = "SHOW server_version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Everything a checker wants to know of the database."""

    signals: Sequence[Signal]
    deliveries: Sequence[Delivery]
    attempts: Sequence[Attempt]
    events: Sequence[Event]
    positions: Sequence[Position]
    universes: Mapping[int, Sequence[str]]
    windows: Mapping[str, Sequence[tuple[int, float]]]
    at_most_once: frozenset[str]
    breaks: Sequence[Break]
    retold: Sequence[str]


async def read(url: str) -> Rows:
    """Read all of it in one snapshot."""
    database = Database.connect(url, pool=1, patience=PATIENCE)
    try:
        async with database.read() as connection:
            return await _read(connection)
    finally:
        await database.close()


async def _read(connection: ReadConnection) -> Rows:
    destinations = await _rows(connection, DESTINATIONS)
    return Rows(
        signals=[_signal(row) for row in await _rows(connection, SIGNALS)],
        deliveries=[Delivery(**_floats(row)) for row in await _rows(connection, DELIVERIES)],
        attempts=[Attempt(**_floats(row)) for row in await _rows(connection, ATTEMPTS)],
        events=[Event(**row) for row in await _rows(connection, EVENTS)],
        positions=[Position(**row) for row in await _rows(connection, POSITIONS)],
        universes={row["version"]: row["tickers"] for row in await _rows(connection, UNIVERSES)},
        windows={row["name"]: _windows(row["windows"]) for row in destinations},
        at_most_once=frozenset(
            row["name"] for row in destinations if row["guarantee"] == "at_most_once"
        ),
        breaks=_breaks([_floats(row) for row in await _rows(connection, BREAKERS)]),
        retold=(await rebuilding.compare(connection)).differences,
    )


async def ask(url: str, statement: str) -> Any:
    """One value."""
    database = Database.connect(url, pool=1, patience=PATIENCE)
    try:
        async with database.read() as connection:
            return (await connection.execute(text(statement))).scalar_one()
    finally:
        await database.close()


async def _rows(connection: ReadConnection, statement: str) -> Sequence[RowMapping]:
    return (await connection.execute(text(statement))).mappings().all()


def _windows(words: str) -> list[tuple[int, float]]:
    return [(w.limit, float(w.seconds)) for w in parse_windows(words)] if words else []


def _breaks(told: Sequence[dict[str, Any]]) -> list[Break]:
    """From each opening to the next closing; one that is still open has no end."""
    since: dict[str, float] = {}
    breaks: list[Break] = []
    for each in told:
        name, at = each["name"], each["told_at"]
        if each["event"] != "destination.breaker_closed":
            since.setdefault(name, at)
        elif name in since:
            breaks.append(Break(destination=name, began=since.pop(name), ended=at))
    still = (Break(destination=name, began=at, ended=float("inf")) for name, at in since.items())
    return [*breaks, *still]


def _signal(row: RowMapping) -> Signal:
    fields: dict[str, Any] = dict(row)
    body, age = fields.pop("body"), fields["list_age"]
    fields["alert"] = json.loads(body).get("n") if body else None
    fields["list_age"] = None if age is None else float(age)
    return Signal(**fields)


def _floats(row: RowMapping) -> dict[str, Any]:
    """Times come as exact decimals."""
    return {
        name: float(value) if name.endswith("_at") and value is not None else value
        for name, value in row.items()
    }
