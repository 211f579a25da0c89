"""Replays: signals sent once more as new ones, to every destination or to one alone (resent)."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from hashlib import sha256
from uuid import UUID

from sqlalchemy import text

from database.audit import SHOWN, Facts
from database.batches import Batch, BatchId, Made
from database.connection import Row
from database.journal import Entry
from database.pool import Connection, ReadConnection
from database.selections import Subject
from domain.delivery import DeliveryId, DestinationId
from domain.signal import Side, SignalId
from domain.ticker import Ticker


class Refusal(StrEnum):
    """Why a signal is not replayed, or a delivery not resent."""

    NOT_A_SIGNAL = "not_a_signal"
    IMPORTED = "imported"
    HELD = "held"
    NO_DESTINATION = "no_destination"
    NOT_FINAL = "not_final"
    ALREADY_REPLAYED = "already_replayed"
    ALREADY_DELIVERED = "already_delivered"
    MAY_HAVE_ARRIVED = "may_have_arrived"
    OVERTAKEN = "overtaken"
    STALE = "stale"


FORCED = (
    *(Refusal.ALREADY_REPLAYED, Refusal.ALREADY_DELIVERED, Refusal.MAY_HAVE_ARRIVED),
    *(Refusal.OVERTAKEN, Refusal.STALE),
)
"""What an operator with a reason may override. Those he may not come first below."""

# A full exit goes only where something is held (database.verdicts): for it alone it is harmless
# that another destination has it, or may have it.
_STALE = "signals.side = 'buy' AND signals.expires_at <= statement_timestamp()"
_ADDS = "(signals.side = 'buy' OR signals.partial)"
_NEWER = """
    EXISTS (SELECT FROM deliveries AS newer
            WHERE newer.ticker = signals.ticker AND newer.seq > signals.seq
              AND newer.state = 'delivered' AND {lane})
"""
_DELIVERIES = "FROM deliveries WHERE signal_id = signals.id"

REPLAYED = Subject(
    rows="signals",
    columns="""signals.id, signals.id AS signal_id, signals.ticker, signals.side, signals.status,
               signals.received_at""",
    refusal=f"""
        CASE WHEN signals.status = 'invalid' THEN 'not_a_signal'
             WHEN signals.imported_from IS NOT NULL THEN 'imported'
             WHEN signals.status = 'received'
                  OR EXISTS (SELECT {_DELIVERIES} AND finished_at IS NULL) THEN 'not_final'
             WHEN EXISTS (SELECT FROM signals AS later WHERE later.replay_of = signals.id)
                 THEN 'already_replayed'
             WHEN EXISTS (SELECT {_DELIVERIES} AND state = 'delivered')
                  AND ({_ADDS} OR NOT EXISTS (SELECT {_DELIVERIES} AND state <> 'delivered'))
                 THEN 'already_delivered'
             WHEN {_ADDS} AND EXISTS (SELECT {_DELIVERIES} AND possibly_sent)
                 THEN 'may_have_arrived'
             WHEN {_NEWER.format(lane="true")} THEN 'overtaken'
             WHEN {_STALE} THEN 'stale' END""",
    deliveries=False,
    forced=(*FORCED, Refusal.NOT_FINAL),
)

# Where a position is held, as `database.verdicts.RECORD` has it. A sell resent to a destination
# where its position is not held, while others hold it, would have nowhere to go.
_HOLDS = """
    EXISTS (
        SELECT FROM deliveries AS bought
        WHERE bought.position_id = live.id AND bought.destination_id = {there} AND side = 'buy'
          AND (possibly_sent OR state IN ('queued', 'sending', 'held', 'delivered'))
          AND NOT EXISTS (
              SELECT FROM deliveries AS sold JOIN signals AS exits ON exits.id = sold.signal_id
              WHERE sold.position_id = live.id AND sold.destination_id = {there}
                AND sold.side = 'sell' AND sold.state = 'delivered' AND NOT exits.partial
                AND sold.seq > bought.seq))
"""
_HELD_ELSEWHERE = f"""
    EXISTS (
        SELECT FROM positions AS live
        WHERE live.ticker = deliveries.ticker AND live.state IN ('opening', 'open')
          AND live.entry_signal_id IS NOT NULL
          AND NOT {_HOLDS.format(there="deliveries.destination_id")}
          AND EXISTS (SELECT FROM destinations AS other WHERE {_HOLDS.format(there="other.id")}))
"""

RESENT = Subject(
    rows="""deliveries JOIN signals ON signals.id = deliveries.signal_id
            JOIN destinations ON destinations.id = deliveries.destination_id""",
    columns="""deliveries.id, deliveries.signal_id, destinations.name AS destination,
               deliveries.ticker, deliveries.side, deliveries.state, signals.received_at""",
    refusal=f"""
        CASE WHEN signals.imported_from IS NOT NULL THEN 'imported'
             WHEN deliveries.state = 'held' THEN 'held'
             WHEN deliveries.finished_at IS NULL THEN 'not_final'
             WHEN deliveries.side = 'buy' AND destinations.state = 'disabled'
                  OR deliveries.side = 'sell' AND {_HELD_ELSEWHERE} THEN 'no_destination'
             WHEN EXISTS (
                 SELECT FROM signals AS later WHERE later.replay_of = signals.id
                 AND coalesce(later.only_destination_id, destinations.id) = destinations.id)
                 THEN 'already_replayed'
             WHEN deliveries.state = 'delivered' THEN 'already_delivered'
             WHEN {_ADDS} AND deliveries.possibly_sent THEN 'may_have_arrived'
             WHEN {_NEWER.format(lane="newer.destination_id = deliveries.destination_id")}
                 THEN 'overtaken'
             WHEN {_STALE} THEN 'stale' END""",
    deliveries=True,
    forced=FORCED,
)

# Oldest first. What a source says of the life of its signals goes before the settings.
_ORIGINALS = """
    SELECT signals.id AS original, {only} AS only_to, {delivery} AS delivery_id, source, exchange,
           symbol, ticker, signals.side, closes, partial, price, price_text, sender_time, hop,
           content_type, body, body_sealed, given.becomes,
           CASE signals.side WHEN 'buy' THEN buy_ttl_sec ELSE sell_ttl_sec END AS life
    FROM unnest(CAST(:ids AS uuid[]), CAST(:becomes AS uuid[])) WITH ORDINALITY
         AS given (id, becomes, place)
    JOIN {rows} LEFT JOIN sources ON sources.name = signals.source
    ORDER BY place
"""
OF_SIGNALS = text(
    _ORIGINALS.format(only="NULL::uuid", delivery="NULL::uuid", rows="signals USING (id)")
)
OF_DELIVERIES = text(
    _ORIGINALS.format(
        only="sent.destination_id",
        delivery="sent.id",
        rows="""(SELECT id, signal_id, destination_id FROM deliveries) AS sent USING (id)
                JOIN signals ON signals.id = signal_id""",
    )
)

TELL = text("""
    INSERT INTO events (event, signal_id, actor, detail)
    SELECT 'signal.replayed', original, :actor, jsonb_strip_nulls(jsonb_build_object(
        'as', becomes, 'batch_id', CAST(:batch AS uuid), 'destination_id', only_to,
        'reason', CAST(:reason AS text), 'forced', CAST(:forced AS boolean)))
    FROM unnest(CAST(:originals AS uuid[]), CAST(:becomes AS uuid[]), CAST(:onlies AS uuid[]))
        WITH ORDINALITY AS made (original, becomes, only_to, place)
    ORDER BY place
""")

MADE = text("SELECT id, status, reason FROM signals WHERE batch_id = :batch ORDER BY seq")

FAMILY = text(f"""
    SELECT replay_of, batch_id, only_destination_id, coalesce((
        SELECT jsonb_agg(jsonb_build_object(
            'id', later.id, 'state', later.shown, 'destination', later.name) ORDER BY later.seq)
        FROM (SELECT signals.id, signals.seq, {SHOWN} AS shown, destinations.name FROM signals
              LEFT JOIN destinations ON destinations.id = signals.only_destination_id
              WHERE signals.replay_of = original.id) AS later), '[]') AS replays
    FROM signals AS original WHERE id = :id
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A new signal, and what it is made of: a signal, perhaps one ``delivery`` of it."""

    made: Made
    ticker: Ticker
    side: Side
    delivery: DeliveryId | None


async def copies(
    connection: Connection,
    subject: Subject,
    becomes: Mapping[UUID, SignalId],
    lifetimes: Mapping[Side, timedelta],
) -> list[tuple[Copy, Entry]]:
    """The chosen signals or deliveries as new signals to be journaled, which live from then on."""
    statement = OF_DELIVERIES if subject.deliveries else OF_SIGNALS
    given = {"ids": list(becomes), "becomes": list(becomes.values())}
    rows = (await connection.execute(statement, given)).all()
    return [(_copy(row), _entry(row, lifetimes)) for row in rows]


def _copy(row: Row) -> Copy:
    return Copy(
        made=Made(
            id=SignalId(row.becomes),
            replay_of=SignalId(row.original),
            only=row.only_to and DestinationId(row.only_to),
        ),
        ticker=Ticker(row.ticker),
        side=Side(row.side),
        delivery=row.delivery_id and DeliveryId(row.delivery_id),
    )


def _entry(row: Row, lifetimes: Mapping[Side, timedelta]) -> Entry:
    """The same message, body byte for byte, sealed where it was. Its key is like no other."""
    side = Side(row.side)
    return Entry(
        id=SignalId(row.becomes),
        source=row.source,
        key=sha256(b"replay\0" + row.becomes.bytes).digest(),
        window=timedelta(0),
        lifetime=lifetimes[side] if row.life is None else timedelta(seconds=row.life),
        content_type=row.content_type,
        body=row.body,
        body_sealed=row.body_sealed,
        ticker=Ticker(row.ticker),
        exchange=row.exchange,
        symbol=row.symbol,
        side=side,
        closes=row.closes,
        partial=row.partial,
        price=row.price,
        price_text=row.price_text,
        sender_time=row.sender_time,
        hop=row.hop,
    )


async def tell(
    connection: Connection, batch: Batch, copies: Collection[Copy], *, forced: bool
) -> None:
    """Tell in the trail of each original what it was replayed as, by whom and why."""
    made = [copy.made for copy in copies]
    given = {
        "originals": [one.replay_of for one in made],
        "becomes": [one.id for one in made],
        "onlies": [one.only for one in made],
        "batch": batch.id,
        "actor": batch.made_by,
        "reason": batch.reason,
        "forced": forced or None,
    }
    await connection.execute(TELL, given)


async def made_by(connection: ReadConnection, batch: BatchId) -> Sequence[Facts]:
    """The signals that a batch made, each with its verdict, in order."""
    rows = await connection.execute(MADE, {"batch": batch})
    return [dict(row) for row in rows.mappings()]


async def family(connection: ReadConnection, id: SignalId) -> Facts:
    """What a signal is a replay of, what it was replayed as, and the batch that made it."""
    row = (await connection.execute(FAMILY, {"id": id})).mappings().one_or_none()
    return dict(row) if row else {}
