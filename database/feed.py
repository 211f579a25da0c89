"""The feed: events since a cursor, without a gap, and a bell that other replicas ring."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from database.connection import RowMapping
from database.pool import Connection, ReadConnection
from domain.feed import MOST_EVENTS, Cursor, Facts

CHANNEL = "relay_events"

# What was running then, and what began later: both by the index, so that it costs as much as there
# is to tell, however long somebody's transaction stays open. Cursor and rows are of one snapshot.
# By id what follows from something comes after it: who writes has seen what he goes by.
# (BETWEEN, and the limits of one row, leave PostgreSQL no other way than the indexes.)
SINCE = text("""
    WITH fresh AS MATERIALIZED (
        (SELECT * FROM events WHERE xid >= CAST(CAST(:end AS text) AS xid8)
         ORDER BY xid, id LIMIT :limit)
        UNION ALL
        (SELECT late.* FROM unnest(CAST(CAST(:running AS text[]) AS xid8[])) AS running (xid)
         CROSS JOIN LATERAL (
             SELECT * FROM events WHERE events.xid BETWEEN running.xid AND running.xid
             ORDER BY xid, id LIMIT :limit
         ) AS late LIMIT :limit)
    )
    SELECT CAST(pg_current_snapshot() AS text) AS cursor,
           CAST(CAST(:end AS text) AS xid8) > pg_snapshot_xmax(pg_current_snapshot()) AS ahead,
           fresh.id, at, event, signal_id, delivery_id, position_id, actor, detail,
           coalesce(signal.ticker, position.ticker, detail->>'ticker') AS ticker,
           coalesce(signal.side, detail->>'side') AS side
    FROM (VALUES (true)) AS always LEFT JOIN fresh ON true
    LEFT JOIN LATERAL (
        SELECT ticker, side FROM signals WHERE signals.id = fresh.signal_id LIMIT 1
    ) AS signal ON true
    LEFT JOIN LATERAL (
        SELECT ticker FROM positions WHERE positions.id = fresh.position_id LIMIT 1
    ) AS position ON true
    ORDER BY fresh.id LIMIT :limit
""")
COLUMNS = (
    *("id", "at", "event", "signal_id", "delivery_id", "position_id"),
    *("ticker", "side", "actor", "detail"),
)
NOW = text("SELECT CAST(pg_current_snapshot() AS text)")

# Others need not be told durably, so nobody waits for the disk.
RING = text(f"""
    SELECT set_config('synchronous_commit', 'off', true), pg_notify('{CHANNEL}', :by)
""")


@dataclass(frozen=True, slots=True)
class Passage:
    """Everything that became visible since a cursor; ``events`` is None where that cannot be told.

    That is when there is too much of it, or when the cursor is ``ahead``: not of this database.
    """

    cursor: Cursor
    events: Sequence[Facts] | None
    ahead: bool = False


async def now(connection: ReadConnection) -> Cursor:
    """From where on somebody follows who wants nothing of the past."""
    return _cursor((await connection.execute(NOW)).scalar_one())


async def since(connection: ReadConnection, cursor: Cursor, most: int = MOST_EVENTS) -> Passage:
    """What became visible since ``cursor``: each event once, those of a transaction together."""
    given = {
        "end": str(cursor.end),
        "running": [str(xid) for xid in cursor.running],
        "limit": most + 1,
    }
    rows = list((await connection.execute(SINCE, given)).mappings())
    found, ahead = _cursor(rows[0]["cursor"]), rows[0]["ahead"]
    if ahead or len(rows) > most:
        return Passage(found, None, ahead)
    return Passage(found, [_event(row) for row in rows if row["id"] is not None])


def _cursor(text: str) -> Cursor:
    cursor = Cursor.read(text)
    assert cursor is not None, text
    return cursor


def _event(row: RowMapping) -> Facts:
    return {name: row[name] for name in COLUMNS}


async def ring(connection: Connection, by: str) -> None:
    """Tell whoever listens that there is something to read. ``by`` is the name of who tells."""
    await connection.execute(RING, {"by": by})


@dataclass(frozen=True, slots=True)
class Ear:
    """A connection of its own that hears the bell of other replicas."""

    _engine: AsyncEngine
    _connection: AsyncConnection
    _driver: Any

    @classmethod
    async def open(cls, url: str, heard: Callable[[str], None], lost: Callable[[], None]) -> Self:
        """Listen until closed; ``heard`` is called with the name of who rang."""
        engine = create_async_engine(
            url,
            poolclass=NullPool,
            hide_parameters=True,
            connect_args={
                "timeout": 5,
                "command_timeout": 5,
                "server_settings": {"application_name": "relay live"},
            },
        )

        def ended(*_driver: object) -> None:
            lost()

        def rung(_driver: object, _pid: object, _channel: object, by: str) -> None:
            heard(by)

        connection = await engine.connect()
        try:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            driver.add_termination_listener(ended)
            await driver.add_listener(CHANNEL, rung)
        except BaseException:
            await connection.invalidate()
            raise
        return cls(engine, connection, driver)

    @property
    def is_open(self) -> bool:
        return not self._driver.is_closed()

    async def prove(self) -> None:
        """Raises when the server does not answer."""
        await self._driver.execute("SELECT 1")

    async def close(self) -> None:
        """Hang up: a server that is gone would not answer a goodbye."""
        self._driver.terminate()
        await self._connection.invalidate()
        await self._connection.close()
        await self._engine.dispose()
