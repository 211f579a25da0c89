"""The lookout: whether anybody may ask Finviz at all, and how often a person may have it asked."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text

from database.connection import Row
from database.pool import Connection, ReadConnection
from database.universes import Pause

_STATE = """
    SELECT paused_at, paused_by, paused_reason, by_hand_at,
           (SELECT max(asked_until) FROM watches WHERE asked_until > clock_timestamp())
           AS asked_until
    FROM lookout
"""
STATE = text(_STATE)
HOLD = text(f"{_STATE} FOR UPDATE")
PAUSE = text("""
    WITH paused AS (
        UPDATE lookout
        SET paused_at = clock_timestamp(), paused_by = :actor, paused_reason = :reason
        WHERE paused_at IS NULL
        RETURNING 1
    )
    INSERT INTO events (event, actor, detail)
    SELECT 'lookout.paused', :actor, jsonb_build_object(
        'was', 'asking', 'becomes', 'paused', 'reason', CAST(:reason AS text))
    FROM paused
    RETURNING 1
""")
RESUME = text("""
    WITH was AS MATERIALIZED (
        SELECT * FROM lookout WHERE paused_at IS NOT NULL FOR UPDATE
    ), resumed AS (
        UPDATE lookout SET paused_at = NULL, paused_by = NULL, paused_reason = NULL
        FROM was WHERE lookout.id = was.id
        RETURNING was.*
    )
    INSERT INTO events (event, actor, detail)
    SELECT 'lookout.resumed', :actor, jsonb_build_object(
        'was', jsonb_build_object('since', paused_at, 'by', paused_by, 'reason', paused_reason),
        'becomes', 'asking')
    FROM resumed
    RETURNING 1
""")

# Whoever asks by hand waits for the one before, and for Finviz where it asked us to stay away.
BY_HAND = text("""
    WITH now AS MATERIALIZED (
        SELECT id, greatest(
            interval '0', by_hand_at + CAST(:apart AS interval) - clock_timestamp(),
            (SELECT max(asked_until) FROM watches) - clock_timestamp()) AS wait
        FROM lookout FOR UPDATE
    ), asked AS (
        UPDATE lookout SET by_hand_at = clock_timestamp()
        FROM now WHERE now.wait <= interval '0'
    ), told AS (
        INSERT INTO events (event, actor, detail)
        SELECT :event, :actor, '{}' FROM now WHERE now.wait <= interval '0'
    )
    SELECT wait FROM now
""")
HASTEN = text("""
    UPDATE watches SET due_at = clock_timestamp()
    FROM screens WHERE screens.active AND screens.id = watches.screen_id
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookout:
    """Whether Finviz may be asked: paused or not, asked to stay away until a time or not."""

    pause: Pause | None
    asked_until: datetime | None
    by_hand_at: datetime | None


async def state(connection: ReadConnection) -> Lookout:
    return _lookout((await connection.execute(STATE)).one())


async def hold(connection: Connection) -> Lookout:
    """The same, and nobody pauses, resumes or asks by hand until this transaction ends."""
    return _lookout((await connection.execute(HOLD)).one())


def _lookout(row: Row) -> Lookout:
    return Lookout(
        pause=row.paused_at and Pause(at=row.paused_at, by=row.paused_by, reason=row.paused_reason),
        asked_until=row.asked_until,
        by_hand_at=row.by_hand_at,
    )


async def pause(connection: Connection, *, actor: str, reason: str) -> bool:
    """Ask Finviz nothing more, in any replica; False when it is paused already."""
    said = {"actor": actor, "reason": reason}
    return (await connection.execute(PAUSE, said)).scalar_one_or_none() is not None


async def resume(connection: Connection, *, actor: str) -> bool:
    """Go on; a look that became due meanwhile is made at once. False when it was not paused."""
    return (await connection.execute(RESUME, {"actor": actor})).scalar_one_or_none() is not None


async def refresh(connection: Connection, *, actor: str, apart: timedelta) -> timedelta:
    """Let the next look be due now; return how long that must wait instead (zero: it is due)."""
    wait = await _by_hand(connection, "lookout.refresh", actor, apart)
    if not wait:
        await connection.execute(HASTEN)
    return wait


async def may_try(connection: Connection, *, actor: str, apart: timedelta) -> timedelta:
    """Whether a screen may be tried now; return how long that must wait (zero: it may)."""
    return await _by_hand(connection, "lookout.try", actor, apart)


async def _by_hand(connection: Connection, event: str, actor: str, apart: timedelta) -> timedelta:
    said = {"event": event, "actor": actor, "apart": apart}
    return (await connection.execute(BY_HAND, said)).scalar_one()
