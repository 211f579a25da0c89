"""`run.py backup`: everything the relay keeps in one file, as of one moment."""

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from database import backups
from database.backup_file import InTheWayError, is_of_files, written
from database.backups import PATIENCE, About, EmptyError, Taken
from database.pool import FAILED, Database
from domain.backup import DamagedError
from launcher import site
from launcher.backup_reading import KEYS_INSIDE, told
from launcher.credentials import KEY
from launcher.postgres_programs import PostgresError
from launcher.site import Site
from launcher.terminal import Progress, Refusal, say
from version import VERSION

SUFFIX = ".backup.gz"


def run(file: str, *, with_keys: bool, as_json: bool, **overrides: object) -> int:
    """Write the backup and say what is in it. Raises Refusal; ``overrides`` win over settings."""
    here = site.find(overrides)
    if with_keys and KEY not in here.given:
        raise Refusal(f"--with-keys: no {KEY} is set here, nor in {here.folder}.", 2)
    path = _named(file)
    about = About(version=VERSION, keys=here.keys, secrets=here.secrets() if with_keys else {})
    progress = Progress("Backing up") if not as_json else None
    taken = _refused(lambda: _taken(here, path, about, progress))
    if progress:
        progress.done(f"{taken.rows:,} rows, {size(path.stat().st_size)}")
        _show(path, here, taken, with_keys=with_keys)
    else:
        say(json.dumps(_told(path, taken, with_keys=with_keys), indent=2))
    return 0


def _taken(here: Site, path: Path, about: About, progress: Progress | None) -> Taken:
    with here.beside() as url:
        return asyncio.run(_take(url, path, about, progress))


def _refused(work: Callable[[], Taken]) -> Taken:
    """What goes wrong with files and databases, as one line."""
    try:
        return work()
    except InTheWayError as error:
        raise Refusal(f"{error}.", 2) from None
    except EmptyError:
        raise Refusal("There is nothing to back up: no relay was started here yet.", 2) from None
    except DamagedError as error:
        raise Refusal(
            f"What was written reads back otherwise ({error}): is the disk sound?"
        ) from None
    except PostgresError as error:
        raise Refusal(str(error)) from None
    except FAILED as error:
        if isinstance(error, OSError) and is_of_files(error):
            raise Refusal(f"The backup cannot be written: {error.strerror}.") from None
        raise Refusal(f"The database cannot be read: {type(error).__name__}.") from None


def size(count: int) -> str:
    """As people say it: `41.2 MB`."""
    units = ("kB", "MB", "GB", "TB")
    power = max(1, min(len(units), (len(str(count)) - 1) // 3))
    return f"{count / 1000**power:,.1f} {units[power - 1]}"


def _named(file: str) -> Path:
    """A folder's backup gets a name with the time. Raises Refusal."""
    path = Path(file)
    if not file.endswith("/") and not path.is_dir():
        return path
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise Refusal(f"{path} cannot be made: {error.strerror}.", 2) from None
    return path / f"relay-{datetime.now(UTC):%Y%m%d-%H%M%S}{SUFFIX}"


async def _take(url: str, path: Path, about: About, progress: Progress | None) -> Taken:
    def step(table: str, rows: int) -> None:
        if progress:
            progress.step(f"{table} {rows:,}")

    database = Database.connect(url, pool=1, patience=PATIENCE)
    try:
        with written(path) as file:
            return await backups.take(database, file.write, about, step)
    finally:
        await database.close()


def _show(path: Path, here: Site, taken: Taken, *, with_keys: bool) -> None:
    say(f"{path}: everything as of {taken.header.taken_at}, read back whole (mode 0600).")
    if with_keys:
        say(KEYS_INSIDE)
    else:
        say(
            f"Not in it: {KEY}. Without it the addresses and keys of destinations cannot be read:"
            f" keep a copy of {here.folder / 'secrets.env'} elsewhere."
        )
    say("Not in it: signed-in browsers, logs, and settings (.env).")
    if taken.others:
        say(f"Not in it, because not the relay's: {', '.join(taken.others)}.")


def _told(path: Path, taken: Taken, *, with_keys: bool) -> Mapping[str, object]:
    rows = {name: one.rows for name, one in taken.counts.items()}
    more = {"keys_inside": with_keys, "rows": rows, "others": list(taken.others)}
    return told(path, taken.header) | more
