"""Screens: what we ask Finviz. Several may be kept, one is active."""

from dataclasses import dataclass
from datetime import timedelta
from typing import NewType
from uuid import UUID

from sqlalchemy import Row, text

from database.pool import Connection, ReadConnection
from domain.screen import Screen, ScreenUrl

ScreenId = NewType("ScreenId", UUID)

ACTIVE = text("SELECT id, name, url, top_n, refresh_sec, version FROM screens WHERE active")
CREATE = text("""
    WITH made AS (
        INSERT INTO screens (id, name, url, top_n, refresh_sec, active)
        SELECT :id, :name, :url, :top_n, :refresh_sec, true
        WHERE NOT EXISTS (SELECT FROM screens)
        ON CONFLICT DO NOTHING
        RETURNING *
    )
    INSERT INTO events (event, actor, detail)
    SELECT 'screen.created', :actor, jsonb_build_object(
        'screen_id', id, 'url', url, 'top_n', top_n, 'refresh_sec', refresh_sec)
    FROM made
""")
CHANGE = text("""
    WITH before AS (
        SELECT * FROM screens WHERE active FOR UPDATE
    ), changed AS (
        UPDATE screens
        SET url = :url, top_n = :top_n, refresh_sec = :refresh_sec, version = screens.version + 1,
            updated_at = clock_timestamp()
        FROM before WHERE screens.id = before.id
        RETURNING screens.*
    ), told AS (
        INSERT INTO events (event, actor, detail)
        SELECT 'screen.changed', :actor, jsonb_build_object(
            'screen_id', changed.id, 'version', changed.version,
            'url', changed.url, 'top_n', changed.top_n, 'refresh_sec', changed.refresh_sec,
            'was', jsonb_build_object('url', before.url, 'top_n', before.top_n,
                                      'refresh_sec', before.refresh_sec))
        FROM changed JOIN before ON before.id = changed.id
    )
    SELECT id, name, url, top_n, refresh_sec, version FROM changed
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A screen as the database keeps it. ``version`` moves with every change."""

    id: ScreenId
    name: str
    version: int
    screen: Screen


async def active(connection: ReadConnection) -> Kept | None:
    """The screen in force; None only before the first start made one."""
    row = (await connection.execute(ACTIVE)).one_or_none()
    return _kept(row) if row else None


async def create_first(
    connection: Connection, id: ScreenId, name: str, screen: Screen, *, actor: str
) -> None:
    """Make this the active screen, unless there is one already, made just now elsewhere or not."""
    await connection.execute(CREATE, _columns(screen) | {"id": id, "name": name, "actor": actor})


async def change_active(connection: Connection, screen: Screen, *, actor: str) -> Kept:
    """Replace what the active screen asks for; every replica follows within seconds."""
    return _kept((await connection.execute(CHANGE, _columns(screen) | {"actor": actor})).one())


def _columns(screen: Screen) -> dict[str, object]:
    return {
        "url": screen.url,
        "top_n": screen.top_n,
        "refresh_sec": screen.refresh.total_seconds(),
    }


def _kept(row: Row[tuple[object, ...]]) -> Kept:
    return Kept(
        id=ScreenId(row.id),
        name=row.name,
        version=row.version,
        screen=Screen(
            url=ScreenUrl(row.url),
            top_n=row.top_n,
            refresh=timedelta(seconds=row.refresh_sec),
        ),
    )
