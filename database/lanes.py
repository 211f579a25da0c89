"""Lanes: due deliveries leased in lane order, within the rate windows of their destination."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text

from database import breakers
from database.connection import Row
from database.pool import Connection, ReadConnection
from database.vault import SealError, Vault
from domain.breaker import Breaker
from domain.delivery import Delivery, DeliveryId, DestinationId, Guarantee
from domain.rate import Room, Used, Window
from domain.signal import Side, SignalId

# `statement_timestamp()` does not move within a statement, so that an index can be searched by it.

# The row lock makes one window of all replicas: who holds it counts and claims, the others wait.
# What follows in the transaction is planned once: by itself PostgreSQL would plan LEASE each time
# anew, for how few its limits let through, which costs more than to run it.
# The time is that of when it is held, not of before the wait for it (as in database.breakers).
HOLD = text(f"""
    WITH held AS MATERIALIZED (
        SELECT version, hold_until, {breakers.COLUMNS} FROM destinations
        WHERE id = :destination AND state = 'enabled'
        FOR NO KEY UPDATE
    )
    SELECT version, greatest(hold_until - clock_timestamp(), interval '0') AS pause,
           clock_timestamp() AS now, {breakers.COLUMNS},
           set_config('plan_cache_mode', 'force_generic_plan', true)
    FROM held
""")

# A request counts from when it left. One that is still on its way, or whose sender died, counts
# from the last moment at which it may have left.
USED = text("""
    SELECT period.place,
           count(sent.at) FILTER (WHERE side = 'buy') AS buys,
           count(sent.at) AS total,
           min(sent.at) + period.span - clock_timestamp() AS frees_in
    FROM unnest(CAST(:spans AS interval[])) WITH ORDINALITY AS period (span, place)
    LEFT JOIN LATERAL (
        SELECT side, CASE WHEN finished_at IS NULL THEN started_at + CAST(:latest AS interval)
                          ELSE written_at END AS at
        FROM attempts
        WHERE attempts.destination_id = :destination
          AND started_at > statement_timestamp() - period.span - CAST(:latest AS interval)
    ) AS sent ON sent.at > statement_timestamp() - period.span
    GROUP BY period.place, period.span
    ORDER BY period.place
""")

IN_FLIGHT = text("""
    SELECT count(*) FROM deliveries
    WHERE destination_id = :destination AND finished_at IS NULL
      AND state = 'sending'
      AND lease_until >= statement_timestamp() + CAST(:left AS interval)
""")

# Who is before in a lane is asked for in the order that only the index of lanes has: where the
# queue was empty when it was planned for, each index of it costs alike, and through another one
# every head would be compared with the whole queue.
#
# A held delivery is not sent by itself, so that it keeps no exit waiting; but when in doubt we do
# not buy. A lease that ran out may have been sent: at most once means not again.
_HEADS = """
    SELECT id, seq FROM deliveries AS head
    WHERE destination_id = :destination AND side = '{side}' AND finished_at IS NULL
      AND (state = 'queued' AND due_at <= statement_timestamp()
           OR state = 'sending' AND lease_until < statement_timestamp()
              AND (SELECT guarantee FROM destination_versions AS kept
                   WHERE kept.destination_id = head.destination_id
                     AND kept.version = head.destination_version) = 'at_least_once')
      AND expires_at > statement_timestamp()
      AND (CAST(:left AS interval) IS NULL
           OR expires_at <= statement_timestamp() + CAST(:left AS interval))
      AND NOT EXISTS (
          SELECT FROM deliveries AS earlier
          WHERE earlier.destination_id = head.destination_id AND earlier.ticker = head.ticker
            AND earlier.seq < head.seq AND earlier.finished_at IS NULL
            AND (head.side = 'buy' OR earlier.state <> 'held')
          ORDER BY earlier.seq OFFSET 0)
    ORDER BY seq LIMIT :{limit}
"""

# One that was not tried says nothing; one whose sender died counts until its lease is over.
TRIED_LATELY = text("""
    SELECT EXISTS (
        SELECT FROM attempts
        WHERE destination_id = :destination
          AND started_at > statement_timestamp() - CAST(:within AS interval)
                                                 - CAST(:lasting AS interval)
          AND (finished_at IS NULL
               OR finished_at > statement_timestamp() - CAST(:within AS interval)
                  AND outcome <> 'withheld'))
""")

# Heads of lanes only, sells first. `possibly_sent` is set when a lease ran out: whoever held it
# may have written the request before it died.
LEASE = text(f"""
    WITH sells AS MATERIALIZED ({_HEADS.format(side="sell", limit="total")}),
    buys AS MATERIALIZED ({_HEADS.format(side="buy", limit="buys")}),
    chosen AS MATERIALIZED (
        SELECT id FROM (
            SELECT 1 AS turn, id, seq FROM sells UNION ALL SELECT 2, id, seq FROM buys
        ) AS heads ORDER BY turn, seq LIMIT :total
    ), leased AS (
        UPDATE deliveries
        SET state = 'sending', epoch = epoch + 1, attempts = attempts + 1,
            possibly_sent = possibly_sent OR state = 'sending',
            lease_until = clock_timestamp() + CAST(:lasting AS interval)
        FROM chosen
        WHERE deliveries.id = ANY(ARRAY(SELECT id FROM chosen)) AND deliveries.id = chosen.id
          AND (state = 'queued' OR state = 'sending' AND lease_until < statement_timestamp())
        RETURNING deliveries.*, clock_timestamp() AS leased_at
    ), attempt AS (
        INSERT INTO attempts (delivery_id, epoch, destination_id, side, number, possible_resend,
                              started_at)
        SELECT id, epoch, destination_id, side, attempts, possibly_sent, leased_at FROM leased
    ), told AS (
        INSERT INTO events (at, event, signal_id, delivery_id, detail)
        SELECT leased_at, 'delivery.sending', signal_id, id,
               jsonb_build_object('attempt', attempts, 'possible_resend', possibly_sent,
                                  'destination_version', destination_version)
        FROM leased
    )
    SELECT leased.id, leased.destination_id, leased.destination_version, leased.signal_id,
           leased.ticker, leased.side, leased.epoch, leased.attempts, leased.possibly_sent,
           leased.leased_at, leased.expires_at, guarantee, signals.partial, signals.body,
           signals.body_sealed, signals.content_type, signals.hop, signals.received_at,
           signals.replay_of, signals.traceparent
    FROM leased
    JOIN signals ON signals.id = leased.signal_id
    JOIN destination_versions AS kept ON kept.destination_id = leased.destination_id
                                     AND kept.version = leased.destination_version
    ORDER BY leased.side DESC, leased.seq
""")

# Since this transaction began: who became due after it was asked what may leave is not left out.
NEXT_DUE = text("""
    SELECT min(due_at) - clock_timestamp() FROM deliveries
    WHERE destination_id = :destination AND finished_at IS NULL AND state = 'queued' AND epoch > 0
      AND due_at > transaction_timestamp()
""")

# They keep their place in their lanes: whoever comes later waits for them.
PUT_OFF = text("""
    UPDATE deliveries
    SET due_at = CASE state WHEN 'queued' THEN clock_timestamp() + CAST(:wait AS interval)
                            ELSE due_at END,
        lease_until = CASE state WHEN 'sending' THEN clock_timestamp() + CAST(:wait AS interval)
                                 ELSE lease_until END
    WHERE id = ANY(CAST(:ids AS uuid[])) AND finished_at IS NULL
      AND (state = 'queued' OR state = 'sending' AND lease_until < statement_timestamp())
""")

HOLD_BACK = text("""
    UPDATE destinations
    SET hold_until = greatest(hold_until, clock_timestamp() + CAST(:wait AS interval))
    WHERE id = :destination
""")

START_WITHIN = timedelta(seconds=2.5)
"""A request is begun within this time of its lease, or not at all."""

LATEST_WRITE = START_WITHIN + timedelta(seconds=5)
"""It is written within this time, connecting included, or not at all."""

TRANSIT = timedelta(milliseconds=250)
"""Requests may take this much longer or shorter on their way; windows are counted wider by it."""

LONGEST_HOLD = timedelta(hours=1)
"""A destination that asks for more may be wrong, and nobody would be sent anything meanwhile."""


class UnopenedError(SealError):
    """These deliveries cannot be sent: a body, or what their version needs, does not open."""

    def __init__(self, ids: Collection[DeliveryId]) -> None:
        super().__init__(f"{len(ids)} deliveries do not open")
        self.ids = ids


@dataclass(frozen=True, slots=True)
class Hold:
    """A destination held for leasing: its version, its breaker, and how long it asked us to wait.

    ``now`` is the database's clock at that moment.
    """

    version: int
    pause: timedelta
    breaker: Breaker
    now: datetime


@dataclass(frozen=True, slots=True)
class Usage:
    """How full each window is, and in how long its oldest request leaves it."""

    used: list[Used]
    frees_in: list[timedelta]


async def hold(connection: Connection, destination: DestinationId) -> Hold | None:
    """Hold a destination until this transaction ends; None when it is not enabled (any more)."""
    row = (await connection.execute(HOLD, {"destination": destination})).one_or_none()
    if row is None:
        return None
    return Hold(row.version, row.pause or timedelta(0), breakers.of(row), row.now)


async def in_flight(connection: ReadConnection, destination: DestinationId, left: timedelta) -> int:
    """How many requests are on their way to it, from all replicas.

    One whose lease has less than ``left`` to go has ended, or its sender has died.
    """
    given = {"destination": destination, "left": left}
    return (await connection.execute(IN_FLIGHT, given)).scalar_one()


async def usage(
    connection: ReadConnection, destination: DestinationId, windows: Sequence[Window]
) -> Usage:
    """Count what was sent within each window, over all replicas."""
    spans = [timedelta(seconds=window.seconds) + TRANSIT for window in windows]
    given = {"destination": destination, "spans": spans, "latest": LATEST_WRITE}
    rows = (await connection.execute(USED, given)).all()
    used = [Used(buys=row.buys, total=row.total) for row in rows]
    return Usage(used, [row.frees_in or timedelta(0) for row in rows])


async def lease(
    connection: Connection,
    vault: Vault,
    destination: DestinationId,
    room: Room,
    lasting: timedelta,
    left: timedelta | None = None,
) -> list[Delivery]:
    """Take the heads of due lanes for ``lasting``, sells first, as far as there is room.

    ``left`` takes only those that have no more than this of their life left. Raises UnopenedError.
    """
    found = await connection.execute(
        LEASE,
        {
            "destination": destination,
            "total": room.total,
            "buys": room.buys,
            "lasting": lasting,
            "left": left,
        },
    )
    rows = found.all()
    bodies = [_body(row, vault) for row in rows]
    if None in bodies:
        pairs = zip(rows, bodies, strict=True)
        raise UnopenedError([DeliveryId(row.id) for row, body in pairs if body is None])
    return [
        Delivery(
            id=DeliveryId(row.id),
            destination_id=DestinationId(row.destination_id),
            destination_version=row.destination_version,
            guarantee=Guarantee(row.guarantee),
            signal_id=SignalId(row.signal_id),
            ticker=row.ticker,
            side=Side(row.side),
            partial=row.partial,
            epoch=row.epoch,
            attempt=row.attempts,
            possible_resend=row.possibly_sent,
            body=body,
            content_type=row.content_type,
            hop=row.hop,
            replay_of=row.replay_of and SignalId(row.replay_of),
            traceparent=row.traceparent,
            received_at=row.received_at,
            leased_at=row.leased_at,
            expires_at=row.expires_at,
        )
        for row, body in zip(rows, bodies, strict=True)
        if body is not None
    ]


def _body(row: Row, vault: Vault) -> bytes | None:
    """None where it does not open."""
    try:
        return vault.open(row.body) if row.body_sealed else row.body
    except SealError:
        return None


async def put_off(connection: Connection, ids: Collection[DeliveryId], wait: timedelta) -> None:
    """Let these be due again after ``wait``; each stays as it is, and first in its lane."""
    await connection.execute(PUT_OFF, {"ids": list(ids), "wait": wait})


async def tried_lately(
    connection: ReadConnection, destination: DestinationId, within: timedelta, lasting: timedelta
) -> bool:
    """Whether a request to it ended within this time, or is on its way, from any replica.

    One that has not ended ``lasting`` after this time is not on its way any more.
    """
    given = {"destination": destination, "within": within, "lasting": lasting}
    return (await connection.execute(TRIED_LATELY, given)).scalar_one()


async def next_due(connection: Connection, destination: DestinationId) -> timedelta | None:
    """How long until the next retry of this destination is due; None when none waits.

    To be asked in the transaction that leases: negative for who became due since.
    """
    result = await connection.execute(NEXT_DUE, {"destination": destination})
    return result.scalar_one()


async def hold_back(connection: Connection, destination: DestinationId, wait: timedelta) -> None:
    """Send this destination nothing for ``wait``: it asked us to. Believed up to LONGEST_HOLD."""
    wish = min(wait, LONGEST_HOLD)
    await connection.execute(HOLD_BACK, {"destination": destination, "wait": wish})
