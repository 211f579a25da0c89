"""`run.py verify`: is the audit trail as it was told? Of the database, or of an export offline."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from domain.chain import Anchor, Broken, Examination
from domain.chain_file import NotATrailError, Reading
from launcher.terminal import Refusal, say

DAYS = 7
"""Of which the head is printed; --json has all."""

ANCHORS = ("chain.day_closed", "chain.head")
"""What the log calls a link's hash."""

TOO_OLD = "The database is older than the chain: start the relay of this version once."


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the command line understands; with a FILE it needs nothing but Python."""
    parser.description = (
        "Reckons the chain of the audit trail again and names the first event or link that was"
        " changed, removed or added later. Nothing is written."
    )
    parser.epilog = """\
example: python run.py verify trail.jsonl --anchors relay.log

exit codes: 0 whole, 1 broken, 2 cannot be read"""
    parser.add_argument(
        "file",
        nargs="?",
        type=Path,
        metavar="FILE",
        help="an export of GET /api/activity/trail; default: the relay's database",
    )
    parser.add_argument(
        "--anchors",
        action="append",
        type=Path,
        default=[],
        metavar="LOG",
        help="a log of the relay: whoever made the whole chain anew is found by the heads in it;"
        " may be given again for the next",
    )
    parser.add_argument("--json", action="store_true", help="everything, as JSON")


def run_verify(options: argparse.Namespace, **overrides: object) -> int:
    """Say what was found; 0: whole, 1: broken. Raises Refusal with 2 where it cannot be read.

    ``overrides`` win over every setting.
    """
    examination = Examination(anchors=_anchors(options.anchors))
    path: Path | None = options.file
    broken = _file(path, examination) if path else _database(examination, overrides)
    if options.json:
        say(json.dumps(_told(examination, broken), indent=2))
    else:
        _show(examination, broken)
    return 0 if broken is None else 1


# ── What is read ────────────────────────────────────────────────────────────────────────────


def _file(path: Path, examination: Examination) -> Broken | None:
    try:
        with path.open("rb") as file:
            return Reading(examination).whole(iter(file))
    except OSError as error:
        raise Refusal(f"{path} cannot be read: {error.strerror}", 2) from None
    except NotATrailError:
        raise Refusal(f"{path} is no export of GET /api/activity/trail.", 2) from None


def _anchors(paths: Sequence[Path]) -> Mapping[int, Sequence[Anchor]]:
    """What logs say of links. A log without any would prove nothing, and is refused."""
    found: dict[int, list[Anchor]] = {}
    for path in paths:
        try:
            lines = path.read_text("utf-8", "replace").splitlines()
        except OSError as error:
            raise Refusal(f"{path} cannot be read: {error.strerror}", 2) from None
        for anchor in filter(None, map(_anchor, lines)):
            found.setdefault(anchor.link, []).append(anchor)
    if paths and not found:
        raise Refusal(f"No head of the chain is in {', '.join(map(str, paths))}.", 2)
    return found


def _anchor(line: str) -> Anchor | None:
    """A line of our log, with whatever a log driver put before it."""
    if not any(name in line for name in ANCHORS):
        return None
    try:
        told = json.loads(line[line.index("{") :])
        if told["event"] not in ANCHORS:
            return None
        return Anchor(int(told["link"]), str(told["hash"]), str(told["ts"]))
    except (ValueError, KeyError, TypeError):
        return None


def _database(examination: Examination, overrides: Mapping[str, object]) -> Broken | None:
    import asyncio  # noqa: PLC0415  slow to load, and a file does without

    from database.pool import FAILED, UnavailableError  # noqa: PLC0415  needs the environment
    from launcher.postgres_programs import PostgresError  # noqa: PLC0415

    try:
        with _server(overrides) as url:
            return asyncio.run(_walk(url, examination))
    except (*FAILED, UnavailableError) as error:
        if getattr(getattr(error, "orig", None), "sqlstate", None) == "42P01":  # no such table
            raise Refusal(TOO_OLD, 2) from None
        raise Refusal(f"The database cannot be read: {type(error).__name__}.", 2) from None
    except PostgresError as error:
        raise Refusal(str(error), 2) from None


@contextmanager
def _server(overrides: Mapping[str, object]) -> Generator[str]:
    """The address of the relay's database; the embedded one is started where it is not running."""
    from config import SettingsError, load  # noqa: PLC0415  needs the environment
    from launcher.credentials import MAKERS  # noqa: PLC0415
    from launcher.postgres import AlreadyRunningError, LocalPostgres  # noqa: PLC0415

    made_up = {name.lower(): make() for name, make in MAKERS.items()}
    try:
        settings = load(**{**made_up, **overrides})
    except SettingsError as error:
        raise Refusal(str(error), 2) from None
    if own := settings.database_owner_url or settings.database_url:
        yield own.get_secret_value()
        return
    folder = settings.data_dir.resolve()
    if not any(folder.glob("postgres-*/data/PG_VERSION")):
        raise Refusal(f"There is no database in {folder} (DATA_DIR).", 2)
    try:
        postgres = LocalPostgres(folder, say=_aside)
        with postgres:
            yield postgres.url
    except AlreadyRunningError:
        yield LocalPostgres.running(folder)


async def _walk(url: str, examination: Examination) -> Broken | None:
    from database import chain  # noqa: PLC0415  needs the environment
    from database.pool import Database  # noqa: PLC0415

    database, progress = Database.connect(url, pool=1, patience=timedelta(minutes=2)), _Progress()
    try:
        async with aclosing(chain.walk(database)) as stretches:
            async for stretch in stretches:
                if broken := examination.take(stretch):
                    return broken
                progress.step(examination)
        if broken := examination.end():
            return broken
        async with aclosing(chain.waiting(database, examination.last_id)) as pages:
            async for events in pages:
                examination.await_links(events)
        return None
    finally:
        await database.close()


class _Progress:
    """A line on stderr now and then; none where it is quick."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._next = clock, clock() + 2

    def step(self, examination: Examination) -> None:
        if self._clock() >= self._next:
            self._next = self._clock() + 2
            _aside(f"… {examination.links:,} links, {examination.events:,} events")


def _aside(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


# ── What is said ────────────────────────────────────────────────────────────────────────────


def _told(examination: Examination, broken: Broken | None) -> Mapping[str, Any]:
    days = [
        {"day": day, "links": one.links, "events": one.events, "hash": one.hash}
        for day, one in examination.days.items()
    ]
    return {
        "whole": broken is None,
        "broken": broken and {"words": broken.words, "event": broken.event, "link": broken.link},
        "links": examination.links,
        "events": examination.events,
        "forgotten": examination.forgotten,
        "waiting": examination.waiting,
        "waiting_since": examination.waiting_since,
        "head": examination.head,
        "days": days,
    }


def _show(examination: Examination, broken: Broken | None) -> None:
    looked = f"{examination.links:,} links, {examination.events:,} events"
    gone = f"; {examination.forgotten:,} forgotten by retention" if examination.forgotten else ""
    if broken:
        say(f"BROKEN: {broken.words}.")
        say(f"Before it: {looked}{gone}.")
        return
    say(f"Whole: {looked}{gone}.")
    if examination.waiting:
        say(f"Not linked yet: {examination.waiting:,}, since {examination.waiting_since}.")
    days = list(examination.days.items())
    if len(days) > DAYS:
        say(f"… and {len(days) - DAYS} days before (--json)")
    for day, one in days[-DAYS:]:
        say(f"{day}  {one.links:>6,} links {one.events:>9,} events  {one.hash}")
