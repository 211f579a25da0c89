"""The pulse: one cheap look that tells which workers have work, or something new to see."""

from collections.abc import Mapping
from typing import TypeAlias

from sqlalchemy import text

from database.pool import ReadConnection
from database.universes import NEWEST

Beat: TypeAlias = Mapping[str, object]
"""By worker: True while there is work, False when there is none; or a mark of what it follows."""

# Each part is answered by an index that holds only what waits, by one that ends with the newest
# row, or by a table that stays small: it costs the same at any size. `test_plans.py` has the plan.
#
# The watchman reads up to what is older than every running transaction: while the newest event is
# not, there is work, and afterwards the mark has changed. Events older than it have no xid.
PULSE = text(f"""
    WITH waiting AS MATERIALIZED (
        SELECT EXISTS (SELECT FROM signals
                       WHERE status = 'received' AND waits_until IS NULL) AS undecided,
               EXISTS (SELECT FROM signals
                       WHERE status = 'received' AND waits_until IS NOT NULL) AS held_back,
               EXISTS (SELECT FROM deliveries
                       WHERE finished_at IS NULL AND state <> 'held') AS unfinished
    )
    SELECT undecided AS gatekeeper, held_back AS reconsider, unfinished AS forwarder,
           undecided OR unfinished OR EXISTS (
               SELECT FROM gate WHERE paused_until <= clock_timestamp()) AS sweeper,
           EXISTS (SELECT FROM notices
                   WHERE state = 'queued' AND due_at <= clock_timestamp()) AS notifier,
           coalesce((SELECT min(due_at) <= clock_timestamp() FROM pending_addresses),
                    false) AS relocator,
           (SELECT CASE WHEN xid >= pg_snapshot_xmin(pg_current_snapshot())
                        THEN to_jsonb(true) ELSE to_jsonb(id) END
            FROM events WHERE xid IS NOT NULL ORDER BY xid DESC, id DESC LIMIT 1) AS watchman,
           (SELECT concat_ws(' ', screens.id, screens.version, paused_at, epoch, due_at,
                             lease_until, asked_until, trust, universe.version,
                             universe.confirmed_at)
            FROM lookout CROSS JOIN screens {NEWEST}
            LEFT JOIN watches ON watches.screen_id = screens.id
            WHERE screens.active) AS keeper,
           (SELECT concat_ws(' ', (SELECT sum(version) FROM sources), count(*), count(revoked_at))
            FROM tokens) AS keyring
    FROM waiting
""")


async def beat(connection: ReadConnection) -> Beat:
    """Look once."""
    found = (await connection.execute(PULSE)).mappings().one()
    return {str(worker): value for worker, value in found.items()}
