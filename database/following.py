"""What ended deliveries do to the positions they opened or close: `domain.position.follow` in SQL.

The parts here belong into a statement that has a `settled` with the deliveries it changed, as
STEPPED. Where a position comes alive again beside another live one of its ticker, one stands for
both and the other is closed: the one that is held before one that is still on its way, and may yet
be void; and one entered by hand before one that was bought. What the other bought is then sold with
the one that stands: that stands in its deliveries, but that one is held everywhere stands in none.
A position of which nothing is left anywhere is over, also when the operator's word on a held
delivery was the last of it.

A full exit that arrived sold all there is of the ticker at that destination, also what another
position bought there before.

An exit that waits where no buy before it ever left, or was sold since, is superseded: sent alone,
it would open a short. What was bought in a dry run is nothing to a live exit, and the reverse.
An exit for one destination alone, a resent one, closes nothing that is left elsewhere. One entered
by hand is left wherever a destination is in use, or its exit was to go, and none arrived since.

What is looked up is named as an array of its own, `= ANY(ARRAY(…))`: a join alone is planned by how
many rows are expected, and a table without statistics, or a part that may be empty, is read whole.
"""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import text

from database.pool import Connection

STEPPED = """
    deliveries.id, deliveries.signal_id, deliveries.destination_id, deliveries.position_id,
    deliveries.ticker, deliveries.seq, deliveries.destination_version, deliveries.side,
    deliveries.state, deliveries.possibly_sent, deliveries.attempts,
    deliveries.due_at, deliveries.reason, clock_timestamp() AS at
"""

POSITIONS_FOLLOW = """
    unsent AS (
        SELECT DISTINCT position_id, destination_id FROM settled
        WHERE side = 'buy' AND NOT possibly_sent
          AND state NOT IN ('queued', 'sending', 'held', 'delivered')
    ), there AS MATERIALIZED (
        SELECT position_id, destination_id, deliveries.signal_id, deliveries.side, deliveries.seq,
               mode,
               coalesce(settled.state, deliveries.state) AS state,
               coalesce(settled.possibly_sent, deliveries.possibly_sent) AS possibly_sent
        FROM unsent JOIN deliveries USING (position_id, destination_id)
        JOIN destination_versions AS kept USING (destination_id)
        LEFT JOIN settled USING (id, position_id, destination_id)
        WHERE kept.version = deliveries.destination_version
          AND position_id = ANY(ARRAY(SELECT position_id FROM unsent))
    ), sold AS (
        SELECT position_id, destination_id, mode, max(there.seq) AS seq
        FROM there JOIN signals ON signals.id = signal_id AND NOT signals.partial
        WHERE there.side = 'sell' AND state = 'delivered'
        GROUP BY position_id, destination_id, mode
    ), held AS (
        SELECT position_id, destination_id, mode, min(bought.seq) AS since FROM (
            SELECT position_id, destination_id, mode, seq FROM there
            WHERE side = 'buy'
              AND (possibly_sent OR state IN ('queued', 'sending', 'held', 'delivered'))
            UNION ALL
            SELECT position_id, destination_id, mode, 0
            FROM unsent JOIN positions ON positions.id = position_id AND entry_signal_id IS NULL
            CROSS JOIN (VALUES ('live'), ('dry_run')) AS either (mode)
        ) AS bought LEFT JOIN sold USING (position_id, destination_id, mode)
        WHERE sold.seq IS NULL OR sold.seq < bought.seq
        GROUP BY position_id, destination_id, mode
    ), moot AS (
        UPDATE deliveries AS leaving
        SET state = 'superseded', reason = 'entry_unsent', finished_at = clock_timestamp()
        FROM unsent JOIN destination_versions AS kept USING (destination_id)
        LEFT JOIN held USING (position_id, destination_id, mode)
        WHERE kept.version = leaving.destination_version
          AND leaving.position_id = ANY(ARRAY(SELECT position_id FROM unsent))
          AND leaving.position_id = unsent.position_id
          AND leaving.destination_id = unsent.destination_id AND leaving.side = 'sell'
          AND leaving.state = 'queued' AND NOT leaving.possibly_sent
          AND leaving.id NOT IN (SELECT id FROM settled)
          AND (held.since IS NULL OR held.since > leaving.seq)
        RETURNING leaving.id, leaving.signal_id, leaving.state, leaving.possibly_sent,
                  leaving.finished_at
    ), stepped AS (
        SELECT id, state, possibly_sent FROM settled
        UNION ALL SELECT id, state, possibly_sent FROM moot
    ), touched AS (
        SELECT positions.* FROM positions
        WHERE state IN ('opening', 'open', 'closing')
          AND ticker = ANY(ARRAY(SELECT ticker FROM settled)) AND (
            id IN (SELECT position_id FROM settled)
            OR ticker IN (SELECT ticker FROM settled WHERE side = 'sell' AND state = 'delivered'))
    ), standing_now AS (
        SELECT deliveries.ticker, deliveries.position_id, deliveries.signal_id, deliveries.side,
               deliveries.seq, deliveries.destination_id, mode,
               coalesce(stepped.state, deliveries.state) AS state,
               coalesce(stepped.possibly_sent, deliveries.possibly_sent) AS possibly_sent
        FROM deliveries JOIN destination_versions AS kept
          ON kept.destination_id = deliveries.destination_id
         AND kept.version = deliveries.destination_version
        LEFT JOIN stepped ON stepped.id = deliveries.id
        WHERE deliveries.position_id = ANY(ARRAY(SELECT id FROM touched))
    ), gone AS (
        SELECT destination_id, exits.ticker, mode, max(exits.seq) AS seq FROM (
            SELECT signal_id, destination_id, destination_version, ticker, seq FROM settled
            WHERE side = 'sell' AND state = 'delivered'
            UNION ALL
            SELECT signal_id, destination_id, destination_version, ticker, seq FROM deliveries
            WHERE side = 'sell' AND state = 'delivered'
              AND destination_id = ANY(ARRAY(SELECT destination_id FROM standing_now))
              AND ticker = ANY(ARRAY(SELECT ticker FROM standing_now))
              AND (destination_id, ticker) IN (
                  SELECT destination_id, ticker FROM standing_now WHERE side = 'buy')
              AND seq > (SELECT min(seq) FROM standing_now)
        ) AS exits JOIN signals ON signals.id = signal_id AND NOT signals.partial
        JOIN destination_versions AS kept USING (destination_id)
        WHERE kept.version = destination_version
        GROUP BY destination_id, exits.ticker, mode
    ), buys AS (
        SELECT standing_now.*, coalesce(gone.seq > standing_now.seq, false) AS sold
        FROM standing_now LEFT JOIN gone USING (destination_id, ticker, mode)
        WHERE side = 'buy'
    ), entering AS MATERIALIZED (
        SELECT position_id, bool_or(state = 'delivered' AND NOT sold) AS any_delivered,
               bool_or(possibly_sent AND NOT sold
                       AND state NOT IN ('queued', 'sending', 'held')) AS may_have,
               bool_and(sold OR state NOT IN ('queued', 'sending', 'held')) AS ended,
               bool_or(sold) AND NOT bool_or(NOT sold AND (
                   possibly_sent OR state IN ('queued', 'sending', 'held', 'delivered'))) AS done
        FROM buys GROUP BY position_id
    ), leaving AS MATERIALIZED (
        SELECT signal_id, bool_and(state NOT IN ('queued', 'sending', 'held')) AS ended,
               bool_or(state = 'delivered')
                   AND bool_and(state IN ('delivered', 'superseded'))
                   AND bool_and(only_destination_id IS NULL) AS done
        FROM standing_now JOIN signals ON signals.id = signal_id
        WHERE signal_id IN (SELECT exit_signal_id FROM touched)
        GROUP BY signal_id
    ), emptied AS MATERIALIZED (
        SELECT id FROM touched
        WHERE state = 'closing' AND entry_signal_id IS NULL
          AND EXISTS (SELECT FROM destinations WHERE state <> 'disabled')
          AND NOT EXISTS (
              SELECT FROM destinations
              LEFT JOIN (
                  SELECT destination_id, bool_or(state = 'delivered') AS sold
                  FROM standing_now JOIN signals ON signals.id = signal_id AND NOT signals.partial
                  WHERE position_id = touched.id AND standing_now.side = 'sell'
                    AND judged_at >= touched.opened_at
                  GROUP BY destination_id
              ) AS exits ON exits.destination_id = destinations.id
              WHERE coalesce(NOT exits.sold, destinations.state <> 'disabled'))
    ), followed AS (
        SELECT touched.id, touched.ticker, touched.opened_at, touched.state,
               entry_signal_id IS NULL AS by_hand,
               CASE WHEN touched.state = 'closing' AND NOT coalesce(leaving.ended, false)
                        THEN 'closing'
                    WHEN touched.state = 'closing' AND leaving.done THEN 'closed'
                    WHEN emptied.id IS NOT NULL AND NOT coalesce(
                        entering.any_delivered OR entering.may_have OR NOT entering.ended, false)
                        THEN 'closed'
                    WHEN entry_signal_id IS NULL OR entering.position_id IS NULL
                         OR entering.any_delivered
                         OR entering.may_have THEN 'open'
                    WHEN entering.done THEN 'closed'
                    WHEN entering.ended THEN 'void'
                    WHEN touched.state = 'open' THEN 'open'
                    ELSE 'opening' END AS becomes
        FROM touched
        LEFT JOIN entering ON entering.position_id = touched.id
        LEFT JOIN leaving ON leaving.signal_id = touched.exit_signal_id
        LEFT JOIN emptied ON emptied.id = touched.id
    ), live AS (
        SELECT id, ticker, opened_at, state, by_hand, becomes FROM followed
        UNION ALL
        SELECT id, ticker, opened_at, state, entry_signal_id IS NULL, state FROM positions
        WHERE state IN ('opening', 'open') AND ticker = ANY(ARRAY(SELECT ticker FROM touched))
          AND id NOT IN (SELECT id FROM touched)
    ), standing AS (
        SELECT DISTINCT ON (ticker) ticker, id FROM live
        WHERE becomes IN ('opening', 'open') AND ticker IN (
            SELECT ticker FROM live WHERE state = 'closing' AND becomes IN ('opening', 'open'))
        ORDER BY ticker, becomes = 'open' DESC, by_hand DESC, opened_at DESC, id DESC
    ), single AS (
        SELECT live.id, live.state, standing.id AS successor,
               CASE WHEN standing.id IS NULL THEN becomes ELSE 'closed' END AS settles
        FROM live LEFT JOIN standing ON standing.ticker = live.ticker
                                    AND standing.id <> live.id AND becomes IN ('opening', 'open')
    ), moved AS (
        UPDATE positions SET state = single.settles, updated_at = clock_timestamp()
        FROM single
        WHERE positions.id = ANY(ARRAY(SELECT id FROM single))
          AND positions.id = single.id AND positions.state = single.state
          AND single.settles <> single.state
        RETURNING positions.id, positions.ticker, positions.state, single.state AS was, successor,
                  positions.entry_signal_id, positions.exit_signal_id, positions.updated_at
    )
"""

POSITION_EVENTS = """
    SELECT 2, updated_at, 'position.' || state, coalesce(exit_signal_id, entry_signal_id),
           NULL::uuid, id, jsonb_strip_nulls(jsonb_build_object(
               'ticker', ticker, 'was', was, 'successor', successor))
    FROM moved
    UNION ALL
    SELECT 2, finished_at, 'delivery.superseded', signal_id, id, NULL, '{"reason": "entry_unsent"}'
    FROM moot
"""

MERGED = "ARRAY(SELECT id FROM moved WHERE successor IS NOT NULL)"
"""For the statement to return: the positions that another one stands for from now on."""

# A statement of its own, because no statement changes a row twice.
MERGE = text("""
    UPDATE deliveries SET position_id = live.id
    FROM positions AS merged JOIN positions AS live
      ON live.ticker = merged.ticker AND live.state IN ('opening', 'open')
    WHERE merged.id = ANY(CAST(:ids AS uuid[])) AND deliveries.position_id = merged.id
""")

# All unfinished positions of the tickers are locked first, in the order in which a judge locks
# them, so that what is settled at once for one ticker sees one another's end, and never deadlocks.
LOCK_POSITIONS = text("""
    SELECT FROM positions
    WHERE ticker = ANY(CAST(:tickers AS text[])) AND state IN ('opening', 'open', 'closing')
    ORDER BY id FOR UPDATE
""")


async def merge(connection: Connection, merged: Collection[UUID]) -> None:
    """Give the deliveries of these positions to the one that stands for them."""
    if merged:
        await connection.execute(MERGE, {"ids": list(merged)})
