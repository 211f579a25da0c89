"""Watches: whose turn it is to look at Finviz for a screen, and what the looks before it taught."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text

from database.connection import Row
from database.pool import Connection, ReadConnection
from database.screens import Kept, ScreenId
from domain.screen import ScreenKind
from domain.ticker import Ticker
from domain.universe import FetchOutcome, Trust

REST = text("""
    SELECT paused_at IS NOT NULL AND :asks AS paused, coalesce(trust, 'unknown') AS trust,
           greatest(interval '0', lease_until - clock_timestamp(),
                    (SELECT max(asked_until) - clock_timestamp() FROM watches WHERE :asks),
                    CASE WHEN screen_version >= :version
                         THEN due_at - clock_timestamp() END) AS rest
    FROM lookout LEFT JOIN watches ON watches.screen_id = :screen
""")

# Whoever reads an older version of the screen than was looked at last is late, and takes nothing.
# From here on a look is due, so that after a crash only the lease is waited for. What waits for
# the row's lock reads the clock, and the row, after it has it. What was learnt about the screen as
# it was before a change is forgotten, but not how long Finviz asked us to stay away.
TAKE = text("""
    INSERT INTO watches (screen_id, screen_version, epoch, lease_until, due_at)
    SELECT :screen, :version, 1, clock_timestamp() + CAST(:lasting AS interval), clock_timestamp()
    WHERE NOT EXISTS (SELECT FROM lookout WHERE paused_at IS NOT NULL AND :asks)
      AND NOT EXISTS (SELECT FROM watches WHERE asked_until > clock_timestamp() AND :asks)
    ON CONFLICT (screen_id) DO UPDATE
    SET screen_version = EXCLUDED.screen_version,
        epoch = watches.epoch + 1,
        lease_until = clock_timestamp() + CAST(:lasting AS interval),
        due_at = clock_timestamp(),
        failures = CASE WHEN watches.screen_version = EXCLUDED.screen_version
                        THEN watches.failures ELSE 0 END,
        doubted = watches.doubted AND watches.screen_version = EXCLUDED.screen_version,
        pending = CASE WHEN watches.screen_version = EXCLUDED.screen_version
                       THEN watches.pending END,
        refused = CASE WHEN watches.screen_version = EXCLUDED.screen_version
                       THEN watches.refused END
    WHERE (watches.lease_until IS NULL OR watches.lease_until <= clock_timestamp())
      AND (watches.screen_version < EXCLUDED.screen_version
           OR watches.screen_version = EXCLUDED.screen_version
              AND watches.due_at <= clock_timestamp())
    RETURNING epoch, failures, doubted, pending, pending_total, pending_reason, refused,
              clock_timestamp() AS at
""")

END = text("""
    UPDATE watches
    SET lease_until = NULL, due_at = clock_timestamp() + CAST(:wait AS interval),
        failures = :failures, doubted = :doubted, refused = CAST(:refused AS text[]),
        pending = CAST(:pending AS text[]), pending_total = :pending_total,
        pending_at = CASE WHEN CAST(:pending AS text[]) IS NULL THEN NULL
                          WHEN pending IS NOT DISTINCT FROM CAST(:pending AS text[])
                          THEN coalesce(pending_at, clock_timestamp())
                          ELSE clock_timestamp() END,
        pending_reason = :pending_reason,
        asked_until = clock_timestamp() + CAST(:asked AS interval),
        outcome = :outcome,
        outcome_since = CASE WHEN outcome = :outcome THEN outcome_since
                             ELSE clock_timestamp() END
    WHERE screen_id = :screen AND epoch = :epoch
    RETURNING epoch
""")

# An operator's word ends the turn of whoever looks just now: what he decided on must not change.
# A list of the screen as it was before a change is nothing to decide on any more.
_SPOKEN = """
    SELECT screen_id, pending_total AS total FROM watches
    JOIN screens ON screens.id = screen_id AND screens.version = screen_version AND screens.active
    WHERE pending = CAST(:pending AS text[])
    FOR UPDATE OF watches, screens
"""
ACCEPT = text(f"""
    WITH spoken AS ({_SPOKEN}), accepted AS (
        UPDATE watches
        SET epoch = epoch + 1, lease_until = NULL, pending = NULL, pending_at = NULL,
            pending_total = NULL, pending_reason = NULL, failures = 0, doubted = false
        FROM spoken WHERE watches.screen_id = spoken.screen_id
        RETURNING watches.screen_id, total
    ), told AS (
        INSERT INTO events (event, actor, detail)
        SELECT 'list.accepted', :actor, jsonb_strip_nulls(jsonb_build_object(
            'screen_id', screen_id, 'tickers', CAST(:pending AS text[]), 'was', 'pending',
            'becomes', 'accepted', 'reason', CAST(:reason AS text)))
        FROM accepted
    )
    SELECT total FROM accepted
""")
REFUSE = text(f"""
    WITH spoken AS ({_SPOKEN}), refused AS (
        UPDATE watches
        SET epoch = epoch + 1, lease_until = NULL, refused = pending, pending = NULL,
            pending_at = NULL, pending_total = NULL, pending_reason = NULL
        FROM spoken WHERE watches.screen_id = spoken.screen_id
        RETURNING watches.screen_id
    )
    INSERT INTO events (event, actor, detail)
    SELECT 'list.refused', :actor, jsonb_strip_nulls(jsonb_build_object(
        'screen_id', screen_id, 'tickers', CAST(:pending AS text[]), 'was', 'pending',
        'becomes', 'refused', 'reason', CAST(:reason AS text)))
    FROM refused
    RETURNING 1
""")

TRUST = text("""
    WITH moved AS (
        UPDATE watches SET trust = :trust
        FROM (SELECT screen_id, trust FROM watches WHERE screen_id = :screen FOR UPDATE) AS before
        WHERE watches.screen_id = before.screen_id AND before.trust <> :trust
        RETURNING watches.screen_id, before.trust AS was
    )
    INSERT INTO events (event, detail)
    SELECT 'trust.' || :trust, jsonb_strip_nulls(jsonb_build_object(
        'screen_id', screen_id, 'was', was, 'detail', CAST(:detail AS text)))
    FROM moved
    RETURNING 1
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """How long nobody may look, whether an operator has paused it, and the trust last told.

    A pause is of asking Finviz: what asks nobody goes on.
    """

    span: timedelta
    paused: bool
    trust: Trust


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspected:
    """A complete list that is too surprising to believe at once."""

    tickers: tuple[Ticker, ...]
    total: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The right to look once, and what is remembered from look to look at one version of a screen.

    ``failures`` are the looks in a row that brought no list; ``doubted`` tells whether they were
    complete but suspect; ``suspected`` is the list that waits for a second one like it, and
    ``refused`` one that an operator does not want. ``at`` is when the turn began: what the look
    brings is as old as that, however long it takes.
    """

    screen: ScreenId
    epoch: int
    at: datetime
    failures: int
    doubted: bool
    suspected: Suspected | None
    refused: tuple[Ticker, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """What a look taught, and how long to ``wait`` until the next.

    ``asked`` is how long Finviz asked us to stay away.
    """

    outcome: FetchOutcome
    wait: timedelta
    failures: int = 0
    doubted: bool = False
    suspected: Suspected | None = None
    refused: tuple[Ticker, ...] | None = None
    asked: timedelta | None = None


async def rest(connection: ReadConnection, kept: Kept) -> Rest:
    """How long nobody may look: a lease runs, or the next look at this version is not due."""
    values = {"screen": kept.id, "version": kept.version, "asks": _asks(kept)}
    row = (await connection.execute(REST, values)).one()
    return Rest(span=row.rest or timedelta(0), paused=row.paused, trust=Trust(row.trust))


async def take(connection: Connection, kept: Kept, lasting: timedelta) -> Turn | None:
    """Lease the next look when it is due or the screen has changed; None when it is not ours."""
    values = {"screen": kept.id, "version": kept.version, "asks": _asks(kept)}
    row = (await connection.execute(TAKE, values | {"lasting": lasting})).one_or_none()
    if row is None:
        return None
    return Turn(
        screen=kept.id,
        epoch=row.epoch,
        at=row.at,
        failures=row.failures,
        doubted=row.doubted,
        suspected=_suspected(row),
        refused=None if row.refused is None else tuple(row.refused),
    )


def _asks(kept: Kept) -> bool:
    """Whether anybody is asked for the list: Finviz, which may want to be left alone."""
    return kept.screen.kind is ScreenKind.FINVIZ


def _suspected(row: Row) -> Suspected | None:
    if row.pending is None:
        return None
    return Suspected(
        tickers=tuple(row.pending), total=row.pending_total or 0, reason=row.pending_reason or ""
    )


async def end(connection: Connection, turn: Turn, learnt: Learnt) -> bool:
    """Keep what the turn taught and when the next is due; False when somebody else has it now."""
    suspected = learnt.suspected
    result = await connection.execute(
        END,
        {
            "screen": turn.screen,
            "epoch": turn.epoch,
            "wait": learnt.wait,
            "failures": learnt.failures,
            "doubted": learnt.doubted,
            "refused": None if learnt.refused is None else list(learnt.refused),
            "pending": suspected and list(suspected.tickers),
            "pending_total": suspected and suspected.total,
            "pending_reason": suspected and suspected.reason,
            "asked": learnt.asked,
            "outcome": learnt.outcome,
        },
    )
    return result.scalar_one_or_none() is not None


async def accept(
    connection: Connection, pending: Sequence[Ticker], *, actor: str, reason: str | None
) -> int | None:
    """Take the suspect list out of waiting, to be adopted in this transaction; return its total.

    None when it is not this one that waits. A look under way loses its turn.
    """
    said = {"pending": list(pending), "actor": actor, "reason": reason}
    return (await connection.execute(ACCEPT, said)).scalar_one_or_none()


async def refuse(
    connection: Connection, pending: Sequence[Ticker], *, actor: str, reason: str | None
) -> bool:
    """Let no list like this one replace the list in force unless it stops to surprise."""
    said = {"pending": list(pending), "actor": actor, "reason": reason}
    return (await connection.execute(REFUSE, said)).scalar_one_or_none() is not None


async def tell(connection: Connection, screen: ScreenId, trust: Trust, detail: str | None) -> bool:
    """Tell the audit trail that the trust in the list has changed; False when it knows."""
    values = {"screen": screen, "trust": trust, "detail": detail}
    return (await connection.execute(TRUST, values)).scalar_one_or_none() is not None
