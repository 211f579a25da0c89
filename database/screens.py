"""Screens: what we ask Finviz, or what the operator typed. Several may be kept, one is active."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NewType
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from database.connection import Row
from database.pool import Connection, ReadConnection
from domain.screen import Screen, ScreenKind, ScreenUrl
from domain.ticker import Ticker

ScreenId = NewType("ScreenId", UUID)

TERMS: Mapping[str, str] = {
    "kind": "text",
    "url": "text",
    "top_n": "integer",
    "refresh_sec": "double precision",
    "margin": "integer",
    "wait_sec": "double precision",
    "tickers": "text[]",
    "valid_until": "timestamptz",
    "whole_market": "boolean",
    "slow_when_closed": "boolean",
}
NAMES = ", ".join(TERMS)
VALUES = ", ".join(f"CAST(:{name} AS {kind})" for name, kind in TERMS.items())
SHOWN = f"id, name, note, version, active, archived_at, updated_at, {NAMES}"
TOLD = ", ".join(f"'{name}', {{row}}.{name}" for name in ("name", "active", *TERMS))

# Every change of a screen keeps what it became as a version, and tells the audit trail.
_KEPT = f"""
    remembered AS (
        INSERT INTO screen_versions (screen_id, version, active, made_by, {NAMES})
        SELECT id, version, active, :actor, {NAMES} FROM changed
    )"""

ACTIVE = text(f"SELECT {SHOWN} FROM screens WHERE active")
ONE = text(f"SELECT {SHOWN} FROM screens WHERE id = :id")
LISTED = text(f"""
    SELECT {SHOWN} FROM screens
    WHERE archived_at IS NULL OR :archived
    ORDER BY active DESC, archived_at IS NOT NULL, lower(name)
""")
HOLD = text(f"SELECT {SHOWN} FROM screens WHERE id = :id FOR UPDATE")
# In one order, so that two who want all of them wait for each other once.
HOLD_ALL = text(f"SELECT {SHOWN} FROM screens ORDER BY id FOR UPDATE")
HOLD_ACTIVE = text(f"SELECT {SHOWN} FROM screens WHERE active FOR UPDATE")
HISTORY = text(f"""
    SELECT version, active, {NAMES}, made_at, made_by FROM screen_versions
    WHERE screen_id = :id ORDER BY version DESC LIMIT 100
""")

_CREATE = f"""
    WITH changed AS (
        INSERT INTO screens (id, name, note, active, {NAMES})
        SELECT :id, :name, :note, :active, {VALUES}
        WHERE NOT :first OR NOT EXISTS (SELECT FROM screens)
        {{conflict}}
        RETURNING *
    ), {_KEPT}
    INSERT INTO events (event, actor, detail)
    SELECT 'screen.created', :actor, jsonb_strip_nulls(jsonb_build_object(
        'screen_id', id, {TOLD.format(row="changed")},
        'becomes', jsonb_build_object({TOLD.format(row="changed")})))
    FROM changed
    RETURNING 1
"""
CREATE = text(_CREATE.format(conflict=""))
CREATE_FIRST = text(_CREATE.format(conflict="ON CONFLICT DO NOTHING"))
CHANGE = text(f"""
    WITH before AS (
        SELECT * FROM screens WHERE id = :id FOR UPDATE
    ), changed AS (
        UPDATE screens
        SET ({NAMES}) = ROW({VALUES}), name = :name, note = :note, version = screens.version + 1,
            updated_at = clock_timestamp()
        FROM before WHERE screens.id = before.id AND before.archived_at IS NULL
        RETURNING screens.*
    ), {_KEPT}, told AS (
        INSERT INTO events (event, actor, detail)
        SELECT 'screen.changed', :actor, jsonb_strip_nulls(jsonb_build_object(
            'screen_id', changed.id, 'version', changed.version, {TOLD.format(row="changed")},
            'was', jsonb_build_object({TOLD.format(row="before")}),
            'becomes', jsonb_build_object({TOLD.format(row="changed")})))
        FROM changed JOIN before ON before.id = changed.id
    )
    SELECT {SHOWN} FROM changed
""")
# The old one first: only one may be active at any time, also inside a transaction.
RETIRE = text(f"""
    WITH changed AS (
        UPDATE screens
        SET active = false, version = version + 1, updated_at = clock_timestamp()
        WHERE active AND id <> :id RETURNING *
    ), {_KEPT}
    SELECT {SHOWN} FROM changed
""")
ACTIVATE = text(f"""
    WITH changed AS (
        UPDATE screens
        SET active = true, version = version + 1, updated_at = clock_timestamp()
        WHERE id = :id AND archived_at IS NULL AND NOT active
        RETURNING *
    ), {_KEPT}, told AS (
        INSERT INTO events (event, actor, detail)
        SELECT 'screen.activated', :actor, jsonb_strip_nulls(jsonb_build_object(
            'screen_id', id, 'name', name, 'version', version,
            'was', CAST(:was AS uuid), 'was_name', CAST(:was_name AS text), 'becomes', id))
        FROM changed
    )
    SELECT {SHOWN} FROM changed
""")
ARCHIVE = text(f"""
    WITH changed AS (
        UPDATE screens
        SET archived_at = CASE WHEN :archived THEN clock_timestamp() END, version = version + 1,
            updated_at = clock_timestamp()
        WHERE id = :id AND NOT active AND (archived_at IS NULL) = :archived
        RETURNING *
    ), {_KEPT}, told AS (
        INSERT INTO events (event, actor, detail)
        SELECT CASE WHEN :archived THEN 'screen.archived' ELSE 'screen.restored' END, :actor,
               jsonb_build_object(
                   'screen_id', id, 'name', name, 'version', version,
                   'was', CASE WHEN :archived THEN 'kept' ELSE 'archived' END,
                   'becomes', CASE WHEN :archived THEN 'archived' ELSE 'kept' END)
        FROM changed
    )
    SELECT {SHOWN} FROM changed
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A screen as the database keeps it. ``version`` moves with every change."""

    id: ScreenId
    name: str
    version: int
    screen: Screen
    note: str = ""
    active: bool = True
    archived_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """What a screen was at one of its versions, and who made it so (None: the migration)."""

    version: int
    active: bool
    screen: Screen
    made_at: datetime
    made_by: str | None


class NameTakenError(Exception):
    """Another screen, not archived, has this name; letter case makes no difference."""


async def active(connection: ReadConnection) -> Kept | None:
    """The screen in force; None only before the first start made one."""
    row = (await connection.execute(ACTIVE)).one_or_none()
    return kept_of(row) if row else None


async def one(connection: ReadConnection, id: ScreenId) -> Kept | None:
    row = (await connection.execute(ONE, {"id": id})).one_or_none()
    return kept_of(row) if row else None


async def listed(connection: ReadConnection, *, archived: bool = False) -> list[Kept]:
    """The active one first, then by name; the archived ones last, when they are wanted."""
    return [kept_of(row) for row in await connection.execute(LISTED, {"archived": archived})]


async def history(connection: ReadConnection, id: ScreenId) -> list[Version]:
    """What the screen was, the newest 100 versions first."""
    rows = await connection.execute(HISTORY, {"id": id})
    return [
        Version(
            version=row.version,
            active=row.active,
            screen=screen_of(row),
            made_at=row.made_at,
            made_by=row.made_by,
        )
        for row in rows
    ]


async def hold(connection: Connection, id: ScreenId) -> Kept | None:
    """A screen that nobody else changes until this transaction ends."""
    row = (await connection.execute(HOLD, {"id": id})).one_or_none()
    return kept_of(row) if row else None


async def hold_all(connection: Connection) -> list[Kept]:
    """Every screen; nobody changes one or puts it in force until this transaction ends."""
    return [kept_of(row) for row in await connection.execute(HOLD_ALL)]


async def hold_active(connection: Connection) -> Kept | None:
    """The active screen, which nobody else changes until this transaction ends."""
    row = (await connection.execute(HOLD_ACTIVE)).one_or_none()
    return kept_of(row) if row else None


async def create_first(connection: Connection, kept: Kept, *, actor: str) -> bool:
    """Make this the active screen, unless there is one already, made just now elsewhere or not."""
    made = await connection.execute(
        CREATE_FIRST, _values(kept, actor) | {"active": True, "first": True}
    )
    return made.scalar_one_or_none() is not None


async def create(connection: Connection, kept: Kept, *, actor: str) -> None:
    """Add a screen that is not in force. Raises NameTakenError."""
    try:
        async with connection.begin_nested():
            await connection.execute(
                CREATE, _values(kept, actor) | {"active": False, "first": False}
            )
    except IntegrityError as error:
        raise NameTakenError from error


async def change(connection: Connection, kept: Kept, *, actor: str) -> Kept | None:
    """Make this the next version of the screen; None when it is archived, or not there.

    Every replica follows within seconds. Raises NameTakenError.
    """
    try:
        async with connection.begin_nested():
            row = (await connection.execute(CHANGE, _values(kept, actor))).one_or_none()
    except IntegrityError as error:
        raise NameTakenError from error
    return kept_of(row) if row else None


async def activate(connection: Connection, id: ScreenId, *, actor: str) -> Kept | None:
    """Put this screen in force instead of the active one; None when it cannot be, or is already.

    When None, the transaction must not be committed: the old one is retired first. Only under
    ``hold_all``, or two at once would each find the other's screen in force.
    """
    old = (await connection.execute(RETIRE, {"id": id, "actor": actor})).one_or_none()
    was = {"was": old and old.id, "was_name": old and old.name}
    row = (await connection.execute(ACTIVATE, {"id": id, "actor": actor} | was)).one_or_none()
    return kept_of(row) if row else None


async def archive(connection: Connection, id: ScreenId, *, archived: bool, actor: str) -> bool:
    """Put a screen away, or take it out again; False when it is active or already so.

    Raises NameTakenError when it cannot come back because its name is in use again.
    """
    try:
        async with connection.begin_nested():
            values = {"id": id, "archived": archived, "actor": actor}
            row = (await connection.execute(ARCHIVE, values)).one_or_none()
    except IntegrityError as error:
        raise NameTakenError from error
    return row is not None


def screen_of(row: Row) -> Screen:
    """The screen in a row that has its terms."""
    return Screen(
        kind=ScreenKind(row.kind),
        url=ScreenUrl(row.url),
        top_n=row.top_n,
        refresh=timedelta(seconds=row.refresh_sec),
        margin=row.margin,
        wait=timedelta(seconds=row.wait_sec),
        tickers=tuple(Ticker(name) for name in row.tickers or ()),
        valid_until=row.valid_until,
        whole_market=row.whole_market,
        slow_when_closed=row.slow_when_closed,
    )


def kept_of(row: Row) -> Kept:
    return Kept(
        id=ScreenId(row.id),
        name=row.name,
        note=row.note,
        version=row.version,
        active=row.active,
        archived_at=row.archived_at,
        updated_at=row.updated_at,
        screen=screen_of(row),
    )


def _values(kept: Kept, actor: str) -> dict[str, object]:
    screen = kept.screen
    return {
        "id": kept.id,
        "name": kept.name,
        "note": kept.note,
        "actor": actor,
        "kind": screen.kind,
        "url": screen.url,
        "top_n": screen.top_n,
        "refresh_sec": screen.refresh.total_seconds(),
        "margin": screen.margin,
        "wait_sec": screen.wait.total_seconds(),
        "tickers": list(screen.tickers) or None,
        "valid_until": screen.valid_until,
        "whole_market": screen.whole_market,
        "slow_when_closed": screen.slow_when_closed,
    }
