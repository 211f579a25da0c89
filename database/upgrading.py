"""Before an upgrade: what is about to be migrated is backed up, so that there is a way back."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from sqlalchemy import text

from database import backups
from database.backup_file import InTheWayError, is_of_files, written
from database.backups import PATIENCE, About
from database.migrate import UnfitDatabaseError, applied, head
from database.pool import Database
from domain.backup import DamagedError

FOLDER = "backups"
MOST_FILES = 3
LARGEST = 2_000_000_000
"""Bytes of a database; a larger one would keep the relay from starting for too long."""

LOOK = text("SELECT clock_timestamp() AS at, pg_database_size(current_database()) AS bytes")


async def back_up_before(
    database: Database, folder: Path, about: About, too_large: Callable[[int], None]
) -> Path | None:
    """Back up a database that is about to be migrated, and keep the last of such backups.

    None where nothing is migrated, or where it is too large, which is told. Raises
    UnfitDatabaseError where it cannot be written: the version before still runs.
    """
    async with database.read() as connection:
        found = await applied(connection)
        if found is None or found >= head():
            return None
        row = (await connection.execute(LOOK)).one()
    if row.bytes > LARGEST:
        too_large(row.bytes)
        return None
    path = _path(folder / FOLDER, found, row.at)
    owner = Database.connect(database.url, pool=1, patience=PATIENCE)
    try:
        with written(path) as file:
            await backups.take(owner, file.write, about, _nobody)
    except (InTheWayError, DamagedError) as error:
        raise _unfit(path.parent, str(error)) from None
    except OSError as error:
        if is_of_files(error):
            raise _unfit(path.parent, error.strerror) from None
        raise
    finally:
        await owner.close()
    _forget(path.parent)
    return path


def _path(folder: Path, found: str, at: datetime) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise _unfit(folder, error.strerror) from None
    return folder / f"before-{head()}-from-{found}-{at:%Y%m%d-%H%M%S}.backup.gz"


def _forget(folder: Path) -> None:
    """The oldest of those that were made here go; what else is there stays."""
    made = sorted(folder.glob("before-*.backup.gz"), key=lambda path: path.stat().st_mtime)
    for path in made[:-MOST_FILES]:
        path.unlink(missing_ok=True)


def _unfit(folder: Path, why: str | None) -> UnfitDatabaseError:
    return UnfitDatabaseError(
        f"the database is to be upgraded, and cannot be backed up in {folder} before: {why};"
        " nothing was changed"
    )


def _nobody(_table: str, _rows: int) -> None:
    """Is told how far it is, and does not care."""
