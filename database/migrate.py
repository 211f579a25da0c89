"""Bring the schema up to date on start: one lock, one transaction, Alembic's scripts."""

from pathlib import Path

from sqlalchemy import Connection as SyncConnection
from sqlalchemy import text

from database.pool import Connection, Database

MIGRATIONS = Path(__file__).parent / "migrations"

LOCK = text("SELECT pg_advisory_xact_lock(hashtext('trading-signal-processor.migrations'))")
KNOWN = text("SELECT to_regclass('alembic_version') IS NOT NULL")
APPLIED = text("SELECT version_num FROM alembic_version")
DURABILITY = text(
    "SELECT current_setting('fsync'), current_setting('synchronous_commit'),"
    " current_setting('full_page_writes'), current_setting('server_version_num')::int"
)


class UnfitDatabaseError(Exception):
    """The PostgreSQL server cannot keep our promise; the message says what to change."""


def head() -> str:
    """The newest revision there is, read from the file names: `0001_relay.py` is `0001`."""
    return max(path.name.split("_")[0] for path in (MIGRATIONS / "versions").glob("0*.py"))


async def migrate(database: Database, *, to: str | None = None) -> bool:
    """Apply what is missing, up to a revision; return whether anything was.

    Replicas wait for one another.
    """
    wanted = to or head()
    async with database.write() as connection:
        await connection.execute(LOCK)
        if await _applied(connection) == wanted:
            return False
        await connection.run_sync(_upgrade, wanted)
        return True


async def require_durable(database: Database) -> None:
    """Raise UnfitDatabaseError unless a commit on this server survives a crash of it."""
    async with database.read() as connection:
        row = (await connection.execute(DURABILITY)).one()
    names = ("fsync", "synchronous_commit", "full_page_writes")
    for name, value in zip(names, row[:3], strict=True):
        if value == "off":
            raise UnfitDatabaseError(
                f"PostgreSQL runs with {name}=off: acknowledged alerts could be lost"
            )
    if row[3] < 150_000:
        raise UnfitDatabaseError("PostgreSQL is older than 15: use 15 or newer")


async def _applied(connection: Connection) -> str | None:
    if not (await connection.execute(KNOWN)).scalar_one():
        return None
    return (await connection.execute(APPLIED)).scalar_one_or_none()


def _upgrade(connection: SyncConnection, wanted: str) -> None:
    # Alembic takes 0.4 s to import: only a start that migrates pays for it.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, wanted)
