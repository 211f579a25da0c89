"""What the gate obeys besides the list: the buying pause and the rules, in one row."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import TextClause, text

from database.connection import Row
from database.pool import Connection, ReadConnection
from domain.book import Standing
from domain.rulebook import read_rulebook, shown_rulebook
from domain.rules import Rulebook
from domain.ticker import Ticker

# Judges hold the gate together, whoever commands holds it alone: what was judged before a command
# is committed and seen by it, and what is judged after it obeys it. The queue for it is fair.
HOLD_ALONE = text("SELECT pg_advisory_xact_lock(hashtext('trading-signal-processor.gate'))")
HOLD_TOGETHER = "pg_advisory_xact_lock_shared(hashtext('trading-signal-processor.gate'))"

# Positions are counted by one judge at a time, lest two of them open the last one allowed.
COUNT_ALONE = text("SELECT pg_advisory_xact_lock(hashtext('trading-signal-processor.positions'))")

_STANDS = """
    (paused_at IS NOT NULL AND (paused_until IS NULL OR paused_until > clock_timestamp()))
"""
READ = text(f"""
    SELECT version, rules, paused_at, paused_by, paused_reason, paused_until, {_STANDS} AS paused,
           (SELECT jsonb_object_agg(name, direction) FROM sources WHERE direction <> 'both')
               AS directions,
           EXISTS (SELECT FROM destinations WHERE state <> 'disabled') AS has_destination
    FROM gate
""")


def changing(chosen: str, change: str, event: str, detail: str) -> TextClause:
    """A statement that makes the next version of the gate where it is ``chosen``, and tells of it.

    ``detail`` is JSON, of what `was` and what it `becomes`. It returns the version, if it changed.
    """
    return text(f"""
        WITH was AS MATERIALIZED (
            SELECT *, {_STANDS} AS stands FROM gate WHERE {chosen} FOR UPDATE
        ), becomes AS (
            UPDATE gate SET version = gate.version + 1, {change} FROM was WHERE gate.id = was.id
            RETURNING gate.*
        ), kept AS (
            INSERT INTO gate_versions (version, rules, paused, paused_until, made_by)
            SELECT version, rules, paused_at IS NOT NULL, paused_until, CAST(:actor AS text)
            FROM becomes
        ), told AS (
            INSERT INTO events (event, actor, detail)
            SELECT '{event}', CAST(:actor AS text), {detail} FROM was, becomes
        )
        SELECT version FROM becomes
    """)


def _pause_of(row: str) -> str:
    return f"""CASE WHEN {row}.paused_at IS NOT NULL THEN jsonb_build_object(
        'by', {row}.paused_by, 'reason', {row}.paused_reason, 'until', {row}.paused_until) END"""


_TOLD = f"""jsonb_build_object(
    'reason', CAST(:reason AS text), 'was', {_pause_of("was")}, 'becomes', {_pause_of("becomes")})
"""
# Said again while it stands, it may last longer, never shorter.
PAUSE = changing(
    f"NOT ({_STANDS}) OR paused_until < coalesce(CAST(:until AS timestamptz), 'infinity')",
    """
    paused_at = CASE WHEN was.stands THEN was.paused_at ELSE clock_timestamp() END,
    paused_by = CAST(:actor AS text), paused_until = CAST(:until AS timestamptz),
    paused_reason = coalesce(CAST(:reason AS text), CASE WHEN was.stands THEN was.paused_reason END)
    """,
    "buying.paused",
    _TOLD,
)
_CLEARED = "paused_at = NULL, paused_by = NULL, paused_reason = NULL, paused_until = NULL"
RESUME = changing("paused_at IS NOT NULL", _CLEARED, "buying.resumed", _TOLD)
CLEAR_OVER = changing("paused_until <= clock_timestamp()", _CLEARED, "buying.resumed", _TOLD)

CHANGE_RULES = changing(
    "version = CAST(:version AS bigint)",
    "rules = CAST(:rules AS jsonb)",
    "rules.changed",
    """jsonb_build_object('version', becomes.version, 'was', was.rules, 'becomes', becomes.rules)
    || jsonb_strip_nulls(jsonb_build_object('reason', CAST(:reason AS text)))""",
)

# The newest version that has other rules than the one before it; the first is nobody's.
RULED = text("""
    SELECT made_at, made_by FROM (
        SELECT version, made_at, made_by, rules IS DISTINCT FROM lag(rules)
            OVER (ORDER BY version) AS ruled
        FROM gate_versions
    ) AS versions
    WHERE ruled AND made_by IS NOT NULL ORDER BY version DESC LIMIT 1
""")
VERSIONS = text("""
    SELECT version, rules, paused, paused_until, made_at, made_by FROM gate_versions
    WHERE CAST(:before AS bigint) IS NULL OR version < :before
    ORDER BY version DESC LIMIT :limit
""")
SOURCES = text("SELECT name FROM sources")

POSITIONS = text("""
    SELECT coalesce(signals.source, 'operator') AS source, count(*) AS positions
    FROM positions LEFT JOIN signals ON signals.id = entry_signal_id
    WHERE state IN ('opening', 'open', 'closing') AND positions.ticker <> ALL(:tickers)
    GROUP BY 1
""")

BOUGHT = text("""
    SELECT ticker, source, max(judged_at) AS at FROM signals
    WHERE ticker = ANY(:tickers) AND side = 'buy' AND status = 'approved'
      AND judged_at > CAST(:now AS timestamptz) - CAST(:within AS interval)
    GROUP BY ticker, source
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuyingPause:
    """Who stopped buying, when and why; None at ``until``: until somebody resumes it."""

    at: datetime
    by: str
    reason: str | None
    until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What is in force at this moment. A pause whose end has passed is none.

    ``has_destination``: an approved signal has somewhere to go (a paused one keeps and holds).
    """

    version: int
    rulebook: Rulebook
    pause: BuyingPause | None
    has_destination: bool


async def hold_alone(connection: Connection) -> None:
    """Wait for every judge to commit, and keep them waiting until this transaction ends."""
    await connection.execute(HOLD_ALONE)


async def pause(
    connection: Connection, *, actor: str, reason: str | None, until: datetime | None
) -> bool:
    """Let no buy pass until then, or until somebody resumes; False when it is so already.

    A pause that stands is never shortened. Under `hold_alone`, nothing passes after the commit.
    """
    given = {"actor": actor, "reason": reason, "until": until}
    return (await connection.execute(PAUSE, given)).one_or_none() is not None


async def resume(connection: Connection, *, actor: str, reason: str | None) -> bool:
    """Let buys pass again; False when they do already."""
    given = {"actor": actor, "reason": reason}
    return (await connection.execute(RESUME, given)).one_or_none() is not None


async def clear_over(connection: Connection) -> bool:
    """Take a pause away whose end has passed; nobody obeyed it any more."""
    given = {"actor": "its end", "reason": None}
    return (await connection.execute(CLEAR_OVER, given)).one_or_none() is not None


async def read(connection: ReadConnection) -> Gate:
    """The pause and the rules, with the directions of the sources."""
    return _gate((await connection.execute(READ)).one())


def _gate(row: Row) -> Gate:
    pause = BuyingPause(
        at=row.paused_at, by=row.paused_by, reason=row.paused_reason, until=row.paused_until
    )
    return Gate(
        version=row.version,
        rulebook=read_rulebook(row.rules, row.directions or {}),
        pause=pause if row.paused else None,
        has_destination=row.has_destination,
    )


async def change_rules(
    connection: Connection, rulebook: Rulebook, *, version: int, actor: str, reason: str | None
) -> bool:
    """Let these be the rules from the next verdict on; the directions stay those of the sources.

    ``version`` is the one the change was made to; False when there is another by now. Every verdict
    before the change was reached under the rules before it.
    """
    await hold_alone(connection)
    given = {
        "rules": json.dumps(shown_rulebook(rulebook)),
        "version": version,
        "actor": actor,
        "reason": reason,
    }
    return (await connection.execute(CHANGE_RULES, given)).one_or_none() is not None


async def ruled(connection: ReadConnection) -> tuple[datetime, str] | None:
    """When the rules were changed last, and by whom; None: they never were."""
    row = (await connection.execute(RULED)).one_or_none()
    return row and (row.made_at, row.made_by)


async def versions(
    connection: ReadConnection, *, before: int | None, limit: int
) -> Sequence[Mapping[str, Any]]:
    """What the gate obeyed at each of its versions, the newest first; those ``before`` one."""
    found = await connection.execute(VERSIONS, {"before": before, "limit": limit})
    return [dict(row) for row in found.mappings()]


async def sources(connection: ReadConnection) -> frozenset[str]:
    """The names that rules of a source may be for."""
    return frozenset((await connection.execute(SOURCES)).scalars())


async def standing(
    connection: Connection, rulebook: Rulebook, tickers: Collection[Ticker], now: datetime
) -> Standing:
    """What these rules count for signals of these tickers at ``now``; nothing they do not count.

    Where positions are counted, other judges wait until this transaction ends.
    """
    given = {"tickers": list(tickers)}
    positions: Mapping[str, int] = {}
    bought: Mapping[tuple[Ticker, str], datetime] = {}
    if rulebook.counts_positions:
        await connection.execute(COUNT_ALONE)
        rows = await connection.execute(POSITIONS, given)
        positions = {row.source: row.positions for row in rows}
    if rulebook.cools_down:
        within: timedelta = rulebook.longest_cooldown
        rows = await connection.execute(BOUGHT, given | {"within": within, "now": now})
        bought = {(Ticker(row.ticker), row.source): row.at for row in rows}
    return Standing(positions=positions, bought=bought)
