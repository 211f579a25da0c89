"""Destinations: where approved signals go. Addresses and keys are sealed; pages see a mask."""

from sqlalchemy import text

from database.pool import Connection, ReadConnection
from database.vault import Vault
from domain.delivery import DestinationId
from domain.destination import Destination, shown
from domain.rate import format_windows, parse_windows

ANY_ENABLED = text("SELECT EXISTS (SELECT FROM destinations WHERE state <> 'disabled')")
VERSIONS = text("SELECT id, version FROM destinations WHERE state = 'enabled'")
ENABLED = text("""
    SELECT id, name, url_sealed, signing_sealed, windows, version
    FROM destinations WHERE state = 'enabled' ORDER BY name
""")
BY_NAME = text("""
    SELECT id, name, url_sealed, signing_sealed, windows
    FROM destinations WHERE name = :name FOR UPDATE
""")
INSERT = text("""
    WITH made AS (
        INSERT INTO destinations (id, name, url_sealed, url_shown, signing_sealed, windows)
        VALUES (:id, :name, :url_sealed, :url_shown, :signing_sealed, :windows)
        ON CONFLICT (name) DO NOTHING
        RETURNING id, name, url_shown, windows
    )
    INSERT INTO events (event, actor, detail)
    SELECT 'destination.created', :actor,
           jsonb_build_object(
               'destination_id', id, 'name', name, 'url', url_shown, 'windows', windows)
    FROM made RETURNING id
""")
UPDATE = text("""
    WITH changed AS (
        UPDATE destinations
        SET url_sealed = :url_sealed, url_shown = :url_shown, signing_sealed = :signing_sealed,
            windows = :windows, version = version + 1, updated_at = clock_timestamp()
        WHERE id = :id
        RETURNING id, name, url_shown, windows, version
    )
    INSERT INTO events (event, actor, detail)
    SELECT 'destination.changed', :actor,
           jsonb_build_object('destination_id', id, 'name', name, 'url', url_shown,
                              'windows', windows, 'version', version)
    FROM changed RETURNING id
""")


async def any_enabled(connection: ReadConnection) -> bool:
    """Whether an approved signal has anywhere to go (a paused destination keeps and holds)."""
    return (await connection.execute(ANY_ENABLED)).scalar_one()


async def enabled_versions(connection: ReadConnection) -> dict[DestinationId, int]:
    """A cheap look at what may be sent to now: ids and versions."""
    return {row.id: row.version for row in await connection.execute(VERSIONS)}


async def enabled(connection: ReadConnection, vault: Vault) -> list[Destination]:
    """Every destination that may be sent to now, unsealed."""
    return [
        Destination(
            id=DestinationId(row.id),
            name=row.name,
            url=vault.open(row.url_sealed).decode(),
            signing_key=vault.open(row.signing_sealed),
            windows=parse_windows(row.windows) if row.windows else (),
            version=row.version,
        )
        for row in await connection.execute(ENABLED)
    ]


async def put_named(
    connection: Connection, vault: Vault, destination: Destination, *, actor: str
) -> None:
    """Create the destination of this name, or bring it to this address, key and windows."""
    row = (await connection.execute(BY_NAME, {"name": destination.name})).one_or_none()
    given = {
        "url_sealed": vault.seal(destination.url.encode()),
        "url_shown": shown(destination.url),
        "signing_sealed": vault.seal(destination.signing_key),
        "windows": format_windows(destination.windows),
        "actor": actor,
    }
    if row is None:
        await connection.execute(INSERT, given | {"id": destination.id, "name": destination.name})
        return
    known = (
        vault.open(row.url_sealed).decode(),
        vault.open(row.signing_sealed),
        row.windows,
    )
    if known != (destination.url, destination.signing_key, given["windows"]):
        await connection.execute(UPDATE, given | {"id": row.id})
