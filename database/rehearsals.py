"""Rehearsals: alerts played through and undone, and those an operator sends as a test."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from database import gate
from database.pool import Connection, ReadConnection
from domain.delivery import DeliveryId, DestinationId
from domain.signal import SignalId

# Nobody is kept waiting for a rehearsal, not even by one whose process was stopped in the middle.
BOUNDED = text("""
    SELECT set_config('lock_timeout', '300ms', true),
           set_config('statement_timeout', '600ms', true),
           set_config('idle_in_transaction_session_timeout', '600ms', true)
""")
# As a judge does, before anything else: whoever commands takes the journal only after the gate.
JOIN = text(f"SELECT {gate.HOLD_TOGETHER} AS mine")

MADE = text("""
    SELECT deliveries.id, deliveries.destination_id, destination_version, destinations.name,
           destinations.state, breaker, deliveries.expires_at
    FROM deliveries JOIN destinations ON destinations.id = deliveries.destination_id
    WHERE signal_id = :id ORDER BY destinations.name
""")
ENDED = text("""
    SELECT count(*) FROM events
    WHERE xid = pg_current_xact_id() AND event = 'delivery.superseded'
""")
TELL = text("""
    INSERT INTO events (event, actor, signal_id, detail)
    VALUES ('signal.tested', :actor, :id, jsonb_build_object('ticker', CAST(:ticker AS text)))
""")
CHECKUP = text("""
    SELECT clock_timestamp() AS now, current_setting('server_version') AS version,
           current_setting('fsync') = 'on' AND current_setting('full_page_writes') = 'on'
               AND current_setting('synchronous_commit') <> 'off' AS durable,
           (SELECT max(last_at) FROM hearings) AS last_alert
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A delivery that a rehearsal made, of which nothing stays."""

    id: DeliveryId
    destination_id: DestinationId
    destination_version: int
    name: str
    state: str
    breaker: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkup:
    """How the database is: its clock when it was asked, and whether a commit survives a crash."""

    now: datetime
    version: str
    durable: bool
    last_alert: datetime | None


async def begin(connection: Connection) -> None:
    """Hold the gate together with the judges, and nothing for long."""
    await connection.execute(BOUNDED)
    await connection.execute(JOIN)


async def made(connection: ReadConnection, id: SignalId) -> tuple[Sequence[Made], int]:
    """The deliveries of a signal, and how many others this transaction superseded."""
    rows = (await connection.execute(MADE, {"id": id})).mappings()
    ended = (await connection.execute(ENDED)).scalar_one()
    return [Made(**row) for row in rows], ended


async def tell(connection: Connection, id: SignalId, ticker: str | None, *, actor: str) -> None:
    """Say in a signal's trail, and in the activity, whose test it is."""
    await connection.execute(TELL, {"id": id, "ticker": ticker, "actor": actor})


async def checkup(connection: ReadConnection) -> Checkup:
    row = (await connection.execute(CHECKUP)).mappings().one()
    return Checkup(**row)
