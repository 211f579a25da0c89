"""Bring the schema up to date on start: one lock, one transaction, Alembic's scripts."""

from pathlib import Path

from sqlalchemy import Connection as SyncConnection
from sqlalchemy import text

from database.connection import UpgradingConnection
from database.pool import Database, ReadConnection

MIGRATIONS = Path(__file__).parent / "migrations"

LOCK = text("SELECT pg_advisory_xact_lock(hashtext('trading-signal-processor.migrations'))")
FOREIGN = text(
    "SELECT to_regclass('signal_events') IS NOT NULL AND to_regclass('finviz_urls') IS NOT NULL"
)
KNOWN = text("SELECT to_regclass('alembic_version') IS NOT NULL")
APPLIED = text("SELECT version_num FROM alembic_version")
ROLE = "trading_relay"
"""What the relay is once it runs: it can add to the audit trail, and change nothing in it."""
ALLOWED = text("""
    SELECT coalesce(bool_or(pg_has_role(current_user, oid, 'USAGE')), false)
    FROM pg_roles WHERE rolname = :role
""")
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
    async with database.upgrading() as connection:
        await connection.execute(LOCK)
        found = await applied(connection)
        if found == wanted:
            return False
        if found is None:
            await _require_own(connection)
        if found and to is None and found > wanted:
            raise UnfitDatabaseError(
                f"the database is of a newer version: its schema is {found}, this version knows"
                f" {wanted} at most; start the newer one, or restore a backup from before it"
            )
        await bring(connection, wanted)
        return True


async def bring(connection: UpgradingConnection, to: str) -> None:
    """Apply what is missing up to a revision, in the transaction of whoever has the LOCK."""
    await connection.run_sync(_upgrade, to)


async def own_role(database: Database) -> str | None:
    """The role to act in; None on a server where who migrated could not make it."""
    async with database.read() as connection:
        allowed = (await connection.execute(ALLOWED, {"role": ROLE})).scalar_one()
    return ROLE if allowed else None


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


async def _require_own(connection: ReadConnection) -> None:
    """Raise UnfitDatabaseError for the database of the original relay: tables have its names."""
    if (await connection.execute(FOREIGN)).scalar_one():
        raise UnfitDatabaseError(
            "DATABASE_URL leads to the original relay's database: name an empty one, or none"
            " (docs/migration.md)"
        )


async def applied(connection: ReadConnection) -> str | None:
    """The revision of the schema that is there; None: none yet."""
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
