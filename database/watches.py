"""Watches: whose turn it is to look at Finviz for a screen, and what the looks before it taught."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import text

from database.pool import Connection, ReadConnection
from database.screens import Kept, ScreenId
from domain.ticker import Ticker

REST = text("""
    SELECT greatest(interval '0', lease_until - clock_timestamp(),
                    CASE WHEN screen_version >= :version THEN due_at - clock_timestamp() END)
    FROM watches WHERE screen_id = :screen
""")

# Whoever reads an older version of the screen than was looked at last is late, and takes nothing.
# From here on a look is due, so that after a crash only the lease is waited for. What waits for
# the row's lock reads the clock, and the row, after it has it.
TAKE = text("""
    INSERT INTO watches (screen_id, screen_version, epoch, lease_until, due_at)
    VALUES (:screen, :version, 1, clock_timestamp() + CAST(:lasting AS interval), clock_timestamp())
    ON CONFLICT (screen_id) DO UPDATE
    SET screen_version = EXCLUDED.screen_version,
        epoch = watches.epoch + 1,
        lease_until = clock_timestamp() + CAST(:lasting AS interval),
        due_at = clock_timestamp(),
        failures = CASE WHEN watches.screen_version = EXCLUDED.screen_version
                        THEN watches.failures ELSE 0 END,
        doubted = watches.doubted AND watches.screen_version = EXCLUDED.screen_version,
        pending = CASE WHEN watches.screen_version = EXCLUDED.screen_version
                       THEN watches.pending END
    WHERE (watches.lease_until IS NULL OR watches.lease_until <= clock_timestamp())
      AND (watches.screen_version < EXCLUDED.screen_version
           OR watches.screen_version = EXCLUDED.screen_version
              AND watches.due_at <= clock_timestamp())
    RETURNING epoch, failures, doubted, pending
""")

END = text("""
    UPDATE watches
    SET lease_until = NULL, due_at = clock_timestamp() + CAST(:wait AS interval),
        failures = :failures, doubted = :doubted, pending = CAST(:pending AS text[])
    WHERE screen_id = :screen AND epoch = :epoch
    RETURNING epoch
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The right to look once, and what is remembered from look to look at one version of a screen.

    ``failures`` are the looks in a row that brought no list; ``doubted`` tells whether they were
    complete but suspect; ``pending`` is the suspect list that waits for a second one like it.
    """

    screen: ScreenId
    epoch: int
    failures: int
    doubted: bool
    pending: tuple[Ticker, ...] | None


async def rest(connection: ReadConnection, kept: Kept) -> timedelta:
    """How long nobody may look: a lease runs, or the next look at this version is not due."""
    result = await connection.execute(REST, {"screen": kept.id, "version": kept.version})
    return result.scalar_one_or_none() or timedelta(0)


async def take(connection: Connection, kept: Kept, lasting: timedelta) -> Turn | None:
    """Lease the next look when it is due or the screen has changed; None when it is not ours."""
    values = {"screen": kept.id, "version": kept.version, "lasting": lasting}
    row = (await connection.execute(TAKE, values)).one_or_none()
    if row is None:
        return None
    return Turn(
        screen=kept.id,
        epoch=row.epoch,
        failures=row.failures,
        doubted=row.doubted,
        pending=None if row.pending is None else tuple(row.pending),
    )


async def end(connection: Connection, turn: Turn, wait: timedelta) -> bool:
    """Keep what the turn taught and when the next is due; False when somebody else has it now."""
    result = await connection.execute(
        END,
        {
            "screen": turn.screen,
            "epoch": turn.epoch,
            "wait": wait,
            "failures": turn.failures,
            "doubted": turn.doubted,
            "pending": None if turn.pending is None else list(turn.pending),
        },
    )
    return result.scalar_one_or_none() is not None
