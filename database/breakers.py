"""Breakers: one for each destination, shared by all replicas; kept in the destination's row."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text

from database.connection import Row
from database.pool import Connection, ReadConnection
from domain.breaker import Breaker, BreakerState, Tally
from domain.delivery import DestinationId

COLUMNS = """
    breaker, breaker_since, breaker_until, breaker_cause, breaker_trips, breaker_failures,
    breaker_successes
"""

# What follows in the transaction is planned once, as for a lease (database.lanes).
_SEEN = f"""
    SELECT id, version, clock_timestamp() AS now, {COLUMNS},
           set_config('plan_cache_mode', 'force_generic_plan', true)
"""
LOOK = text(f"{_SEEN} FROM destinations WHERE id = ANY(CAST(:ids AS uuid[]))")

# In the order of their ids, so that two settlers never wait for one another. The time is asked for
# when a row is held: `now` beside the lock would be of before the wait for it, and what left
# meanwhile would seem to have left after a breaker that opens then.
HOLD = text(f"""
    WITH held AS MATERIALIZED (
        SELECT id, version, {COLUMNS} FROM destinations
        WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id
        FOR NO KEY UPDATE
    ) {_SEEN} FROM held
""")

RECENT = text("""
    SELECT count(*) FILTER (WHERE outcome <> 'delivered') AS failures, count(*) AS total
    FROM attempts JOIN deliveries ON deliveries.id = delivery_id
    WHERE attempts.destination_id = :id AND destination_version = :version
      AND started_at > statement_timestamp() - CAST(:longest AS interval)
      AND started_at > coalesce(CAST(:since AS timestamptz), '-infinity')
      AND attempts.finished_at > statement_timestamp() - CAST(:within AS interval)
      AND (outcome IN ('delivered', 'not_sent', 'ambiguous')
           OR outcome = 'not_processed' AND retry_after IS NULL)
""")

KEEP = text("""
    WITH changed AS (
        UPDATE destinations
        SET breaker = :state, breaker_since = :since, breaker_until = :until,
            breaker_cause = :cause, breaker_trips = :trips, breaker_failures = :failures,
            breaker_successes = :successes
        WHERE id = :id RETURNING id, name
    )
    INSERT INTO events (event, detail)
    SELECT 'destination.breaker_' || CAST(:state AS text),
           jsonb_strip_nulls(jsonb_build_object(
               'destination_id', id, 'name', name, 'cause', CAST(:cause AS text),
               'until', CAST(:until AS timestamptz), 'trips', CAST(:trips AS integer)))
    FROM changed WHERE CAST(:tell AS boolean)
""")

DISABLE = text("""
    WITH gone AS (
        UPDATE destinations SET state = 'disabled', updated_at = clock_timestamp()
        WHERE id = :id AND version = :version AND state <> 'disabled' RETURNING id, name
    )
    INSERT INTO events (event, actor, detail)
    SELECT 'destination.disabled', 'the relay',
           jsonb_build_object('destination_id', id, 'name', name, 'reason', 'http 410')
    FROM gone
""")


@dataclass(frozen=True, slots=True)
class Held:
    """A destination's breaker, held until the transaction ends; ``now`` is the database's clock."""

    version: int
    breaker: Breaker
    now: datetime


def of(row: Row) -> Breaker:
    """The breaker in a row that has COLUMNS."""
    return Breaker(
        state=BreakerState(row.breaker),
        since=row.breaker_since,
        until=row.breaker_until,
        cause=row.breaker_cause,
        trips=row.breaker_trips,
        failures=row.breaker_failures,
        successes=row.breaker_successes,
    )


async def hold(
    connection: Connection, destinations: Sequence[DestinationId]
) -> dict[DestinationId, Held]:
    """Hold these destinations' rows until this transaction ends; none leases meanwhile."""
    rows = await connection.execute(HOLD, {"ids": sorted(set(destinations))})
    return {DestinationId(row.id): Held(row.version, of(row), row.now) for row in rows}


async def are_calm(connection: ReadConnection, destinations: Sequence[DestinationId]) -> bool:
    """Whether a success would change nothing at any of these: all closed, without a failure."""
    rows = await connection.execute(LOOK, {"ids": sorted(set(destinations))})
    return all(row.breaker == BreakerState.CLOSED and not row.breaker_failures for row in rows)


async def recent(
    connection: ReadConnection, destination: DestinationId, held: Held, within: timedelta
) -> Tally:
    """Attempts at its present version that ended within this time, and how many of them failed.

    Only those that began since its breaker last opened or closed. One that only asked us to
    wait counts neither way, as does one that refused a body.
    """
    row = (
        await connection.execute(
            RECENT,
            {
                "id": destination,
                "version": held.version,
                "within": within,
                "longest": within + timedelta(seconds=30),
                "since": held.breaker.since,
            },
        )
    ).one()
    return Tally(row.failures, row.total)


async def keep(
    connection: Connection, destination: DestinationId, breaker: Breaker, *, tell: bool
) -> None:
    """Keep a breaker; ``tell`` the audit trail when it opened, closed, or is being tried."""
    await connection.execute(
        KEEP,
        {
            "id": destination,
            "state": breaker.state,
            "since": breaker.since,
            "until": breaker.until,
            "cause": breaker.cause,
            "trips": breaker.trips,
            "failures": breaker.failures,
            "successes": breaker.successes,
            "tell": tell,
        },
    )


async def disable(connection: Connection, destination: DestinationId, version: int) -> None:
    """Take a destination out of use that wants nothing more, unless it was changed since."""
    await connection.execute(DISABLE, {"id": destination, "version": version})
