"""`run.py restore`: a backup becomes the database, once it was read and somebody said so."""

import asyncio
import os
import sys
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from config import SECRETS_FILE
from database import restoring
from database.backup_file import opened
from database.backups import PATIENCE
from database.migrate import ROLE, own_role
from database.pool import FAILED, Database
from database.restoring import NewerError, NotEmptyError, Restored, RunningError, Standing
from domain.backup import DamagedError, NotABackupError, Reading
from launcher import credentials, site
from launcher.backup_reading import looked_through
from launcher.credentials import KEY, OLD_KEY
from launcher.postgres import AlreadyRunningError
from launcher.postgres_programs import PostgresError
from launcher.site import Site
from launcher.terminal import Progress, Refusal, aside, say
from version import VERSION

ACTOR = "the command line"
TWO = """\
Only one relay may go on from here. Stop the one this backup is of, and see that nothing starts it
again: two that send to the same destinations buy and sell everything twice."""
RUNS = "A relay runs on this database: stop it, then run this again."

Answer = TypeVar("Answer")


def run(path: Path, *, replace: bool, yes: bool, **overrides: object) -> int:
    """Check, ask, restore. Raises Refusal; ``overrides`` win over settings."""
    reading = looked_through(path)
    here = site.find(overrides)
    _refuse_newer(reading)
    _refuse_other_key(reading, here)
    try:
        _make_folder(here.folder)
        with here.alone() as url:
            there = _asked(_look(url, embedded=here.embedded))
            _confirm(_summary(path, reading, here), there, replace=replace, yes=yes)
            _keep_secrets(reading, here)
            done = _asked(_restore(url, path, replace=replace, embedded=here.embedded))
            _show(reading, here, done)
            _show_role(here.relay_url or url)
    except AlreadyRunningError as error:
        raise Refusal(str(error)) from None
    except PostgresError as error:
        raise Refusal(str(error)) from None
    return 0


# ── Before ──────────────────────────────────────────────────────────────────────────────────


def _refuse_newer(reading: Reading) -> None:
    try:
        restoring.require_known(reading.header)
    except NewerError:
        raise Refusal(
            f"The backup is of version {reading.header.version} (schema {reading.header.schema}),"
            f" which is newer than this one ({VERSION}): restore it with that version.",
            2,
        ) from None
    except DamagedError as error:
        raise Refusal(f"The backup cannot be restored: {error}.", 2) from None


def _refuse_other_key(reading: Reading, here: Site) -> None:
    """A key that is set here, and opens nothing of the backup, is a mistake."""
    if here.keys and reading.header.keys and reading.header.keys[0] not in here.keys:
        path = here.folder / SECRETS_FILE
        inside = (
            f" The backup has its own inside: keep a copy of {path}, take the line {KEY} away"
            " there (and from the environment and .env, if it is set there), and run this again:"
            " the backup's is put there then."
        )
        without = (
            f" Set the one of the relay that it is of ({path}), or that one as {OLD_KEY}. If it is"
            f" lost, take {KEY} away here, and enter addresses anew later (docs/backup.md)."
        )
        raise Refusal(
            f"The {KEY} that is set here does not open the backup's addresses and keys."
            + (inside if reading.secrets.get(KEY) else without),
            2,
        )


def _summary(path: Path, reading: Reading, here: Site) -> str:
    header, counts = reading.header, reading.counts
    names = ("signals", "positions", "destinations", "events")
    rows = ", ".join(f"{name} {counts[name].rows:,}" for name in names if name in counts)
    return (
        f"{path} is whole: everything as of {header.taken_at}, version {header.version}.\n"
        f"  {rows}\n"
        f"It goes into {here.where}.\n{TWO}"
    )


def _confirm(summary: str, there: Standing | None, *, replace: bool, yes: bool) -> None:
    """Say what is about to happen, and have it confirmed. Raises Refusal."""
    say(summary)
    if there:
        newest = f", the last of {there.newest:%Y-%m-%d %H:%M} UTC" if there.newest else ""
        lost = (
            f"{there.signals:,} signals{newest}, {there.positions:,} unfinished positions,"
            f" {there.unfinished:,} unfinished deliveries and {there.events:,} audit events"
        )
        if not replace:
            raise Refusal(
                f"The database is not empty: it has {lost}. With --replace they go, for good."
            )
        say(f"WHAT IS THERE GOES, FOR GOOD: {lost}.")
        if there.unknown:
            say(f"It is of a newer version: all else in it goes too: {', '.join(there.unknown)}.")
    if yes:
        return
    word = "replace" if there else "restore"
    if not sys.stdin.isatty():
        raise Refusal("Nobody is here to ask: say --yes. Nothing was changed.", 2)
    if input(f'Type "{word}" to go on: ').strip() != word:
        raise Refusal("Nothing was changed.")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise Refusal(f"DATA_DIR: {folder} cannot be made: {error.strerror}", 2) from None


def _keep_secrets(reading: Reading, here: Site) -> None:
    """Put the backup's secrets where the relay looks for them; those that are there stay.

    A file without a key gets the backup's: the next start would make another.
    """
    path = here.folder / SECRETS_FILE
    if not reading.secrets:
        return
    lines = "".join(f"{name}={value}\n" for name, value in reading.secrets.items())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        _add_key(reading.secrets, here)
        return
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())
    say(f"Tokens and keys of the backup are in {path}.")


def _add_key(secrets: Mapping[str, str], here: Site) -> None:
    """Raises Refusal."""
    path = here.folder / SECRETS_FILE
    keys = {name: secrets[name] for name in (KEY, OLD_KEY) if secrets.get(name)}
    if KEY in here.given or KEY not in keys:
        say(f"{path} is there, and stays as it is.")
        return
    try:
        credentials.add(here.folder, keys)
    except OSError as error:
        raise Refusal(f"{path} cannot be written: {error.strerror}. Nothing was changed.") from None
    say(f"{path} is there, without {KEY}: the backup's was added. The rest stays as it is.")


# ── The database ────────────────────────────────────────────────────────────────────────────


def _asked(work: Coroutine[Any, Any, Answer]) -> Answer:
    """What the database says, or why not as one line."""
    try:
        return asyncio.run(work)
    except RunningError:
        raise Refusal(RUNS) from None
    except NotEmptyError as error:
        raise Refusal(f"Nothing is restored into this database: {error}.") from None
    except (DamagedError, NotABackupError) as error:
        raise Refusal(f"Nothing was changed: the backup cannot be restored: {error}.") from None
    except FAILED as error:
        raise Refusal(f"Nothing was changed: {_words(error)}.") from None


def _words(error: BaseException) -> str:
    """The kind of it alone: what it says may tell what is in the rows."""
    cause = getattr(error, "orig", None) or error
    state = getattr(cause, "sqlstate", None)
    return f"the database failed ({type(cause).__name__}{f', SQLSTATE {state}' if state else ''})"


async def _look(url: str, *, embedded: bool) -> Standing | None:
    database = Database.connect(url, pool=1, patience=PATIENCE)
    try:
        async with database.read() as connection:
            return await restoring.look(connection, embedded=embedded)
    finally:
        await database.close()


async def _restore(url: str, path: Path, *, replace: bool, embedded: bool) -> Restored:
    database, progress = Database.connect(url, pool=1, patience=PATIENCE), Progress("Restoring")
    try:
        with opened(path) as reading:
            done = await restoring.restore(
                database,
                reading,
                replace=replace,
                embedded=embedded,
                actor=ACTOR,
                step=lambda table, rows: progress.step(f"{table} {rows:,}"),
            )
        progress.done(f"{done.rows:,} rows")
        return done
    finally:
        await database.close()


async def _role(url: str) -> str | None:
    """What the relay will act as: it may log in as somebody else than we."""
    database = Database.connect(url, pool=1)
    try:
        return await own_role(database)
    finally:
        await database.close()


# ── After ───────────────────────────────────────────────────────────────────────────────────


def _show(reading: Reading, here: Site, done: Restored) -> None:
    say(
        f"Everything is as of {reading.header.taken_at}: {done.positions:,} unfinished positions"
        " are as they were then."
    )
    say(
        f"Nothing is sent twice: {done.held:,} deliveries are held, {done.expired:,} undecided"
        f" signals expired, {done.addresses:,} waiting addresses were cancelled. Buying is paused."
    )
    if KEY not in here.given and not reading.secrets.get(KEY):
        say(
            f"{KEY} of the relay that was backed up is missing: put it into"
            f" {here.folder / SECRETS_FILE} before the first start."
        )
    say(
        "Tokens that were revoked since are valid again. Next: python run.py verify, start the"
        " relay, look at Attention, compare positions with your broker, then resume buying."
    )


def _show_role(url: str) -> None:
    """Say where the relay has none to act in. Everything is restored, whatever comes of this."""
    try:
        role = asyncio.run(_role(url))
    except FAILED as error:
        aside(
            f"The role could not be looked at: {_words(error)}. See that the login of DATABASE_URL"
            " is there before you start the relay (docs/backup.md)."
        )
        return
    if role is None:
        say(f"The role {ROLE} could not be made: have an administrator make it (docs/backup.md).")
