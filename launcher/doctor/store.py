"""The database: reachable, durable, of which schema, and whether our key opens what it holds."""

import os
import pwd
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from config import Settings
from database.condition import Condition, condition, openable
from database.migrate import ROLE, UnfitDatabaseError, head, own_role, require_durable
from database.pool import FAILED, Database, UnavailableError
from database.resealing import NO_KEY, OLD_KEY
from database.room import require_room
from database.vault import Vault
from engines.clock import utc_now
from launcher.doctor import clock
from launcher.doctor.findings import DATABASE, KEYS, Finding
from launcher.postgres import LocalPostgres
from launcher.postgres_programs import PostgresError, find

PATIENCE = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Reach:
    """Where the database is, when there is something to ask; what is known of it in any case."""

    url: str | None
    finding: Finding


def reach(settings: Settings) -> Reach:
    """DATABASE_URL, or the embedded one where it runs; nothing is started."""
    if own := settings.database_url:
        return Reach(own.get_secret_value(), DATABASE.ok("server", "that of DATABASE_URL"))
    return embedded(settings.data_dir.resolve())


def embedded(root: Path) -> Reach:
    """The one in the data folder: whose it is, or what would start."""
    clusters = sorted(root.glob("postgres-*/data/PG_VERSION"))
    if not clusters:
        words = "no DATABASE_URL, and none embedded yet: the first start makes it"
        return Reach(None, DATABASE.ok("server", words))
    data = clusters[-1].parent
    pid = running(data)
    if pid is None:
        return Reach(None, _at_rest(data))
    try:
        url = LocalPostgres.running(root)
    except PostgresError as error:
        return Reach(None, DATABASE.skipped("server", str(error)))
    words = f"embedded, runs as {_owner(pid)} (process {pid}), {data.parent}"
    return Reach(url, DATABASE.ok("server", words))


def running(data: Path) -> int | None:
    """The process that serves these files, by PostgreSQL's own note of it."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
        os.kill(pid, 0)
    except PermissionError:  # another user's: of the note, or of the process
        return _hidden(data)
    except (OSError, ValueError):
        return None
    return pid


def _hidden(data: Path) -> int | None:
    """Where its note cannot be read, run.py's own may say who it is."""
    try:
        return int((data.parent / "lock").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def _owner(pid: int) -> str:
    try:
        return pwd.getpwuid(Path(f"/proc/{pid}").stat().st_uid).pw_name
    except (OSError, KeyError):
        return "another user"


def _at_rest(data: Path) -> Finding:
    """It is stopped: whether it could be started."""
    try:
        version = (data / "PG_VERSION").read_text().strip()
    except OSError as error:
        return DATABASE.fails(
            "server",
            f"embedded, does not run; {data} cannot be read: {error.strerror}",
            "run the doctor as who runs the relay",
        )
    try:
        programs = find()
    except PostgresError as error:
        return DATABASE.fails("server", str(error), "without programs it does not start")
    if version != str(programs.major):
        return DATABASE.fails(
            "server",
            f"the files are of PostgreSQL {version}, the programs here of {programs.major}",
            f"set PG_BIN to the programs of {version} (docs/backup.md)",
        )
    words = f"embedded PostgreSQL {version}, does not run now: it starts with the relay"
    return DATABASE.ok("server", f"{words} ({data.parent})")


# ── What it says ────────────────────────────────────────────────────────────────────────────


NOT_ASKED = ("schema", "durable")


def not_asked() -> list[Finding]:
    words = "the database does not run"
    return [
        *(DATABASE.skipped(name, words) for name in NOT_ASKED),
        KEYS.skipped("ENCRYPTION_KEY", words),
        clock.CLOCK.skipped("against the database", words),
    ]


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found, and whether the tables are those that this version reads."""

    findings: list[Finding]
    usable: bool


async def examine(database: Database, settings: Settings, vault: Vault) -> Examined:
    """Everything that is read of it, in read-only transactions."""
    asked = utc_now()
    try:
        async with database.read() as connection:
            found = await condition(connection)
    except (*FAILED, UnavailableError) as error:
        return Examined([unreachable(error, settings)], usable=False)
    answered = utc_now()
    findings = [
        *described(found, head()),
        clock.against("against the database", asked, found.now, answered),
    ]
    if found.schema != head():
        return Examined(findings, usable=False)
    findings += [
        *await _durable(database, settings),
        role(await own_role(database)),
        *await _keys(database, vault),
    ]
    return Examined(findings, usable=True)


def unreachable(error: BaseException, settings: Settings) -> Finding:
    """In words that name no password, which some drivers repeat."""
    cause = getattr(error, "orig", None) or error
    state = getattr(cause, "sqlstate", None)
    if state in {"28P01", "28000"}:
        return DATABASE.fails(
            "reachable", "the server refuses this login", "correct the user or password"
        )
    if state == "3D000":
        return DATABASE.fails(
            "reachable", "the server has no such database", "make it, or correct its name"
        )
    words = getattr(cause, "strerror", None) or type(cause).__name__
    todo = "is it started, and is DATABASE_URL right? Alerts are answered 503 until then"
    if settings.database_url is None:
        todo = "run the doctor as who runs the relay; else see postgres.log in the data folder"
    return DATABASE.fails("reachable", f"it does not answer: {words}", todo)


def described(found: Condition, newest: str) -> list[Finding]:
    relay = "a relay is connected" if found.relays else "no relay is connected"
    words = f"PostgreSQL {found.version}, {found.bytes / 1e6:,.0f} MB, login {found.login}, {relay}"
    return [DATABASE.ok("reachable", words), schema(found.schema, newest)]


def schema(there: str | None, newest: str) -> Finding:
    if there is None:
        return DATABASE.ok("schema", "none yet: the first start makes it")
    if there == newest:
        return DATABASE.ok("schema", f"{there}, the newest")
    if there < newest:
        return DATABASE.warning(
            "schema",
            f"{there}, and this version has {newest}",
            "take a backup (docs/backup.md); the next start brings it up to date",
        )
    return DATABASE.fails(
        "schema",
        f"{there}, which this version does not know: it knows up to {newest}",
        "a newer relay was here: install that one again, or restore the backup from before it",
    )


async def _durable(database: Database, settings: Settings) -> list[Finding]:
    try:
        await require_durable(database)
        if settings.workers > 1:
            await require_room(database, settings.workers, settings.connections)
    except UnfitDatabaseError as error:
        return [DATABASE.fails("durable", str(error), "the relay refuses to start until then")]
    return [DATABASE.ok("durable", "what is acknowledged survives a crash of the server")]


def role(acts_as: str | None) -> Finding:
    if acts_as:
        return DATABASE.ok("role", f"acts as {ROLE}, which cannot change the audit trail")
    return DATABASE.warning(
        "role",
        f"the login may not act as {ROLE}: it could change the audit trail",
        "deploy/README.md makes a login that may (DATABASE_URL, DATABASE_OWNER_URL)",
    )


async def _keys(database: Database, vault: Vault) -> list[Finding]:
    try:
        async with database.read() as connection:
            return [keys(await openable(connection, vault))]
    except (*FAILED, UnavailableError) as error:
        words = f"could not be read in time ({type(error).__name__})"
        return [KEYS.skipped("ENCRYPTION_KEY", words, "python run.py rotate-key --check reads all")]


def keys(found: Counter[str]) -> Finding:
    total = found.total()
    if lost := found[NO_KEY]:
        return KEYS.fails(
            "ENCRYPTION_KEY",
            f"does not open {lost:,} of {total:,} sealed values that were tried",
            "put back the key they were sealed with (secrets.env of the backup) before all else",
        )
    if old := found[OLD_KEY]:
        return KEYS.warning(
            "ENCRYPTION_KEY",
            f"{old:,} of {total:,} sealed values need ENCRYPTION_KEY_OLD",
            "python run.py rotate-key finishes the change of keys",
        )
    words = f"opens all {total:,} sealed values that were tried" if total else "nothing sealed yet"
    return KEYS.ok("ENCRYPTION_KEY", words)
