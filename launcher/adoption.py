"""Taking over: what would be written here, writing it, and what the running relay imports."""

import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, TypeAlias

from domain.original_settings import RENAMED, Fate, Verdict
from engines.universe import config_file
from launcher import credentials
from launcher.asking import Relay, UnreachableError, answered
from launcher.old_folder import PIECE, History, Old, UnfitFileError, opened, shown
from launcher.terminal import Progress, Refusal

Told: TypeAlias = dict[str, Any]

ENV_FILE, COPY = Path(".env"), "before-adopt"
HEADER = "# Taken over from the original relay by `python run.py adopt`."
PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./?&~!*()-]*")
IMPORTER = ("ADMIN_TOKEN",)
PATIENCE = 60
"""Seconds without a word of an import's progress."""


@dataclass(frozen=True, slots=True)
class Change:
    """A line of `.env` here. ``told`` is its value for people, of a secret whether there is one."""

    name: str
    value: str = field(repr=False)
    told: str
    needed: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be written here."""

    changes: list[Change]
    removed: list[str]
    screens: list[config_file.NamedScreen]
    config: Path
    elite: bool
    furnished: bool
    """Whether there is a database already, which has screens and destinations of its own."""


def planned(old: Old, verdicts: list[Verdict]) -> Plan:
    """Compare with what is here. Raises Refusal where `.env` here cannot be read."""
    try:
        here = credentials.read(ENV_FILE)
    except (OSError, UnicodeDecodeError):
        raise Refusal(".env here cannot be read: mend it first.", 2) from None
    changes = [_change(one, here) for one in verdicts if one.fate is Fate.TAKEN]
    values = {one.name: one.value for one in changes}
    folder = Path(os.environ.get("DATA_DIR") or here.get("DATA_DIR") or "data")
    return Plan(
        changes=changes,
        removed=[one.name for one in verdicts if _is_in_the_way(one, old.settings, here)],
        screens=old.screens,
        config=Path(here.get("FINVIZ_CONFIG_FILE") or "finviz_config.json"),
        elite=values.get("FINVIZ_USE_ELITE", here.get("FINVIZ_USE_ELITE")) == "true",
        furnished=any(folder.glob("postgres-*")) or "DATABASE_URL" in here,
    )


def _change(one: Verdict, here: Mapping[str, str]) -> Change:
    name, value = one.becomes or one.name, one.value or ""
    before = here.get(name)
    after = "set, not shown" if one.secret else value
    if before == value:
        return Change(name, value, "is so here already", needed=False)
    if before:
        after = f"another value → {after}" if one.secret else f"{shown(before)} → {after}"
    return Change(name, value, after, needed=True)


def _is_in_the_way(one: Verdict, theirs: Mapping[str, str], here: Mapping[str, str]) -> bool:
    """An old `.env` was put in place here: what is not taken over would be read all the same."""
    left = one.fate in {Fate.LEFT, Fate.DEAD} or one.name in RENAMED
    return left and bool(theirs[one.name]) and here.get(one.name) == theirs[one.name]


# ── Writing ─────────────────────────────────────────────────────────────────────────────────


def carry_out(plan: Plan) -> list[str]:
    """Write what is to be written; return how to undo it. Raises Refusal."""
    undo: list[str] = []
    try:
        if plan.removed or any(one.needed for one in plan.changes):
            undo.append(_keep(ENV_FILE))
            _write_env(plan)
        if plan.screens and not _is_written(plan):
            undo.append(_keep(plan.config))
            config_file.write(plan.config, _first_active(plan.screens))
    except OSError as error:
        raise Refusal(f"{error.filename}: cannot be written: {error.strerror}.") from None
    return undo


def _first_active(screens: list[config_file.NamedScreen]) -> list[config_file.NamedScreen]:
    """One of them is in force: where none was, or several, the first."""
    chosen = next((one for one in screens if one.active), screens[0])
    return [
        config_file.NamedScreen(
            name=one.name, note=one.note, screen=one.screen, active=one is chosen
        )
        for one in screens
    ]


def _is_written(plan: Plan) -> bool:
    try:
        found = json.loads(plan.config.read_text("utf-8-sig"))
    except (OSError, ValueError):
        return False
    wanted = json.loads(json.dumps(config_file.exported(_first_active(plan.screens)), default=str))
    return isinstance(found, dict) and found.get("screens") == wanted  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  JSON


def _keep(path: Path) -> str:
    """Keep a copy beside it that nobody else can read; return how to go back."""
    if not path.exists():
        return f"Undo: rm {path}"
    number, copy = 1, path.with_name(f"{path.name}.{COPY}")
    while copy.exists() or copy.is_symlink():
        number += 1
        copy = path.with_name(f"{path.name}.{COPY}-{number}")
    descriptor = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file, path.open("rb") as source:
        shutil.copyfileobj(source, file)
    return f"Undo: mv {copy} {path}"


def _write_env(plan: Plan) -> None:
    path = ENV_FILE.resolve()
    wanted = {one.name: f"{one.name}={_spelt(one.value)}" for one in plan.changes if one.needed}
    lines: list[str] = []
    for line in path.read_text("utf-8-sig").splitlines() if path.exists() else ():
        name = line.strip().removeprefix("export ").partition("=")[0].strip().upper()
        if name in plan.removed:
            continue
        if name in {one.name for one in plan.changes if one.needed}:
            if found := wanted.pop(name, None):
                lines.append(found)
            continue
        lines.append(line)
    if wanted:
        lines += ["", HEADER, *wanted.values()] if lines else [HEADER, *wanted.values()]
    _replace(path, "\n".join(lines) + "\n")


def _spelt(value: str) -> str:
    """As every reader of such files understands it; quotes in it were refused before."""
    return value if PLAIN.fullmatch(value) else f"'{value}'"


def _replace(path: Path, text: str) -> None:
    """All or nothing; only the owner reads it."""
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)


# ── What the running relay imports ──────────────────────────────────────────────────────────


def hand_over(relay: Relay, old: Old, plan: Plan, *, wrote: bool, quiet: bool) -> Told:
    """Have it import what files cannot bring. ``waiting``: what is still to be done."""
    done: list[str] = []
    waiting: list[str] = []
    imports: list[Told] = []
    histories = [one for one in old.histories if one.good]
    if not _runs(relay):
        if wrote or histories or plan.screens:
            waiting.append("start the relay (python run.py), then give this command once more.")
    else:
        if wrote:
            waiting.append("restart the relay: it reads .env when it starts.")
        if plan.screens:
            said, ok = _import_screens(relay, plan)
            (done if ok else waiting).append(said)
        for one in histories:
            imports.append(_import_history(relay, one, quiet=quiet))
            done.append(f"{shown(one.path.name)}: {_outcome(imports[-1])}")
    return {"done": done, "waiting": waiting, "imports": imports}


def _runs(relay: Relay) -> bool:
    """Whether a relay is there, and one of ours: the original called itself healthy."""
    connection = relay.dial(5)
    try:
        connection.request("GET", f"{relay.at.path.rstrip('/')}/health")
        found = json.loads(connection.getresponse().read())
    except (OSError, HTTPException, ValueError):
        return False
    finally:
        connection.close()
    return found == {"status": "alive"}


def _import_screens(relay: Relay, plan: Plan) -> tuple[str, bool]:
    """Those it does not have; what it has stays as it is, and none is put in force."""
    given = json.dumps({"screens": config_file.exported(plan.screens)}, default=str)
    try:
        reply = relay.ask("POST", "/api/screens/import", IMPORTER, body=json.loads(given))
    except UnreachableError as error:
        raise Refusal(str(error)) from None
    if reply.status == 409:
        return f"screens: {reply.found['detail']}", False
    found = answered(relay, reply, "created", IMPORTER)
    new, same = len(found["created"]), len(found["unchanged"])
    return f"Screens: {new} new, {same} there already; the one in force is chosen under List.", True


def _outcome(told: Told) -> str:
    if failure := told.get("failure"):
        return f"not imported: {failure}"
    counts = (f"{told.get(name, 0)} {name}" for name in ("imported", "skipped", "refused"))
    return ", ".join(counts)


def _import_history(relay: Relay, history: History, *, quiet: bool) -> Told:
    """Send the file while its progress is read. Raises Refusal."""
    progress = None if quiet else Progress(f"Importing {shown(history.path.name)}")
    last: Told = {}
    try:
        with os.fdopen(opened(history.path), "rb") as file:
            for last in _told(relay, iter(lambda: file.read(PIECE), b"")):
                if progress and "read" in last:
                    progress.step(f"{last['read']} of {history.rows}")
    except (OSError, HTTPException, ValueError, UnfitFileError) as error:
        last = {"failure": f"it broke off ({type(error).__name__}): give the command once more"}
    if progress:
        progress.done(_outcome(last)) if "imported" in last else progress.abandoned()
    return last


def _told(relay: Relay, pieces: Iterator[bytes]) -> Iterator[Told]:
    """What it says meanwhile, a line each. Raises Refusal where it does not take the file."""
    connection = relay.dial(PATIENCE)
    try:
        _begin(relay, connection)
        sending = threading.Thread(target=_sending(connection, pieces), daemon=True)
        sending.start()
        reply = connection.getresponse()
        if reply.status != 200:
            answered(relay, relay.understood(reply.status, reply.read()), "job", IMPORTER)
        yield from map(json.loads, _lines(reply))
        sending.join()
    finally:
        connection.close()


def _begin(relay: Relay, connection: HTTPConnection) -> None:
    path = f"{relay.at.path.rstrip('/')}/api/signals/import?format=csv"
    connection.putrequest("POST", path)
    connection.putheader("authorization", f"Bearer {relay.token(IMPORTER)}")
    connection.putheader("transfer-encoding", "chunked")
    connection.endheaders()


def _sending(connection: HTTPConnection, pieces: Iterator[bytes]) -> Callable[[], None]:
    def send() -> None:
        try:
            for piece in pieces:
                connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            connection.send(b"0\r\n\r\n")
        except OSError:
            return  # whoever reads the answer learns why

    return send


def _lines(reply: HTTPResponse) -> Iterator[bytes]:
    while line := reply.readline():
        yield line
