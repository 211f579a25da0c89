"""Sources: who sends alerts, by what policy, and how many came lately."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from database.connection import Row
from database.pool import Connection, ReadConnection
from domain.rules import Direction
from domain.signal import WEBHOOK
from domain.source import Source, changed_source, told

TERMS: Mapping[str, str] = {
    "note": "text",
    "direction": "text",
    "dedupe_sec": "double precision",
    "buy_ttl_sec": "double precision",
    "sell_ttl_sec": "double precision",
    "time_field": "text",
    "expected_every_sec": "double precision",
    "expected_in_hours": "boolean",
    "pairs": "boolean",
    "senders": "text[]",
}
NAMES = ", ".join(TERMS)
VALUES = ", ".join(f"CAST(:{name} AS {kind})" for name, kind in TERMS.items())
_MEMBERS = ", ".join(f"'{name}', {{row}}.{name}" for name in TERMS)
_TOLD = f"jsonb_build_object({_MEMBERS})"
_SHOWN = f"SELECT name, {NAMES}, version, made_at, updated_at, archived_at FROM sources"

ALL = text(f"{_SHOWN} WHERE archived_at IS NULL OR :archived ORDER BY name <> '{WEBHOOK}', name")
ONE = text(f"{_SHOWN} WHERE name = :name")
HOLD = text(f"{_SHOWN} WHERE name = :name FOR UPDATE")
CREATE = text(f"""
    WITH made AS (
        INSERT INTO sources (name, {NAMES}) VALUES (:name, {VALUES}) RETURNING *
    )
    INSERT INTO events (event, actor, detail)
    SELECT 'source.created', :actor, jsonb_build_object(
        'source', name, 'version', version, 'was', NULL, 'becomes', {_TOLD.format(row="made")})
    FROM made
""")
CHANGE = text(f"""
    WITH before AS (
        SELECT * FROM sources
        WHERE name = :name AND version = :version AND archived_at IS NULL FOR UPDATE
    ), changed AS (
        UPDATE sources
        SET ({NAMES}) = ROW({VALUES}), version = sources.version + 1,
            updated_at = clock_timestamp()
        FROM before WHERE sources.name = before.name
        RETURNING sources.*
    )
    INSERT INTO events (event, actor, detail)
    SELECT 'source.changed', :actor, jsonb_build_object(
        'source', changed.name, 'version', changed.version, 'was', {_TOLD.format(row="before")},
        'becomes', {_TOLD.format(row="changed")})
    FROM changed JOIN before ON before.name = changed.name
    RETURNING 1
""")
ARCHIVE = text(f"""
    WITH gone AS (
        UPDATE sources
        SET archived_at = clock_timestamp(), version = version + 1, updated_at = clock_timestamp()
        WHERE name = :name AND name <> '{WEBHOOK}' AND archived_at IS NULL
        RETURNING *
    ), revoked AS (
        UPDATE tokens SET revoked_at = clock_timestamp(), revoked_by = :actor
        FROM gone WHERE tokens.source = gone.name AND revoked_at IS NULL
        RETURNING tokens.id, tokens.name, tokens.source
    ), told AS (
        INSERT INTO events (event, actor, detail)
        SELECT 'token.revoked', :actor, jsonb_build_object(
            'token_id', id, 'was', jsonb_build_object('name', name, 'source', source),
            'becomes', NULL, 'reason', 'its source was archived')
        FROM revoked
    )
    INSERT INTO events (event, actor, detail)
    SELECT 'source.archived', :actor, jsonb_build_object(
        'source', name, 'version', version, 'was', {_TOLD.format(row="gone")}, 'becomes', NULL,
        'reason', CAST(:reason AS text))
    FROM gone
    RETURNING 1
""")

# What an operator made in its name did not come from a source.
# The watchman remembers when each was heard of last; what is of today is known before he looks.
COUNTS = text("""
    WITH kept AS (
        SELECT source, status, max(received_at) AS last_at,
               count(*) FILTER (WHERE received_at >= date_trunc('day', now(), 'UTC')) AS today,
               count(*) FILTER (WHERE received_at >= now() - interval '3 minutes') AS lately
        FROM signals
        WHERE received_at >= least(date_trunc('day', now(), 'UTC'), now() - interval '3 minutes')
          AND batch_id IS NULL AND replay_of IS NULL AND imported_from IS NULL
        GROUP BY source, status
    ), repeated AS (
        SELECT source, count(*) AS lately
        FROM events JOIN signals ON signals.id = signal_id
        WHERE event = 'signal.duplicate' AND at >= now() - interval '3 minutes'
        GROUP BY source
    )
    SELECT sources.name, coalesce(today, '{}') AS today,
           coalesce(summed.lately, 0) + coalesce(repeated.lately, 0) AS lately,
           greatest(summed.last_at, hearings.last_at) AS last_at
    FROM sources
    LEFT JOIN (
        SELECT source, sum(lately)::bigint AS lately, max(last_at) AS last_at,
               jsonb_object_agg(status, today) FILTER (WHERE today > 0) AS today
        FROM kept GROUP BY source
    ) AS summed ON summed.source = sources.name
    LEFT JOIN repeated ON repeated.source = sources.name
    LEFT JOIN hearings ON hearings.source = sources.name
    WHERE archived_at IS NULL OR :archived
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A source as the database keeps it. ``version`` moves with every change."""

    source: Source
    version: int
    made_at: datetime
    updated_at: datetime
    archived_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Signals since midnight UTC by status; alerts of three minutes, repeats too; the last one."""

    today: Mapping[str, int] = field(default_factory=dict[str, int])
    lately: int = 0
    last_at: datetime | None = None


class NameTakenError(Exception):
    """There is, or was, a source of this name: its signals keep it."""


async def listed(connection: ReadConnection, *, archived: bool = False) -> list[Kept]:
    """The one of the settings first, then by name; with ``archived`` those put away too."""
    return [_kept(row) for row in await connection.execute(ALL, {"archived": archived})]


async def one(connection: ReadConnection, name: str) -> Kept | None:
    row = (await connection.execute(ONE, {"name": name})).one_or_none()
    return _kept(row) if row else None


async def hold(connection: Connection, name: str) -> Kept | None:
    """A source that nobody changes, or makes a token for, until this transaction ends."""
    row = (await connection.execute(HOLD, {"name": name})).one_or_none()
    return _kept(row) if row else None


async def counts(connection: ReadConnection, *, archived: bool = False) -> dict[str, Counts]:
    """What came from each source."""
    rows = await connection.execute(COUNTS, {"archived": archived})
    return {
        row.name: Counts(today=row.today, lately=row.lately, last_at=row.last_at) for row in rows
    }


async def create(connection: Connection, source: Source, *, actor: str) -> None:
    """Add a source. Raises NameTakenError."""
    try:
        async with connection.begin_nested():
            await connection.execute(CREATE, _values(source, actor))
    except IntegrityError as error:
        raise NameTakenError from error


async def change(connection: Connection, source: Source, *, version: int, actor: str) -> bool:
    """Give it these terms; False when it is not at this version any more, or archived."""
    given = _values(source, actor) | {"version": version}
    return (await connection.execute(CHANGE, given)).scalar_one_or_none() is not None


async def archive(
    connection: Connection, name: str, *, actor: str, reason: str | None = None
) -> bool:
    """Put it away for good, and revoke its tokens; False when it is, or is the settings' own.

    Only under ``hold``: a token made just now would be overlooked.
    """
    given = {"name": name, "actor": actor, "reason": reason}
    return (await connection.execute(ARCHIVE, given)).scalar_one_or_none() is not None


def _values(source: Source, actor: str) -> dict[str, object]:
    return {"name": source.name, "actor": actor, **told(source)}


def _kept(row: Row) -> Kept:
    terms = {name: getattr(row, name) for name in TERMS}
    return Kept(
        source=changed_source(Source(name=row.name, direction=Direction.BOTH), terms),
        version=row.version,
        made_at=row.made_at,
        updated_at=row.updated_at,
        archived_at=row.archived_at,
    )
