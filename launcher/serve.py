"""Serve: settings, secrets, log, database, address, application; closed in reverse."""

import errno
import gc
import logging
import os
import re
import socket
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from math import ceil
from pathlib import Path
from typing import TypeAlias

import uvicorn

from config import Settings, SettingsError, load
from domain.original_settings import at_start
from engines.siblings import Place
from launcher import credentials, greeting, logs, systemd
from launcher.connections import CONNECTIONS, SHARED, most_open
from launcher.postgres import LocalPostgres
from launcher.postgres_programs import PostgresError
from launcher.processes import Processes
from launcher.server import Application, Entrance, NoStartError, Server, allow_open_files
from launcher.sockets import WEBSOCKETS
from launcher.terminal import Progress, Refusal, say
from version import VERSION, revision

log = logging.getLogger(__name__)

Build: TypeAlias = Callable[[Settings, str], Application]

BACKLOG = 2048
OUR_ERRORS = re.compile(r"^(config|database\.migrate)\.\w+: ")
"""These say everything in words; the name of the exception adds nothing."""
NOT_HERE = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}  # a name like localhost may have ::1 too


def relay(settings: Settings, database_url: str, place: Place | None = None) -> Application:
    """Make the application as it is; ``place`` is where it stands among several processes."""
    gc.disable()  # nothing that is loaded is garbage; the server begins to look for some
    from main import build  # noqa: PLC0415  loads everything: a wrong setting is told before

    return build(settings, database_url, conceal=logs.conceal, place=place)


def run(build: Build = relay, **overrides: object) -> int:
    """Serve what ``build`` makes until stopped; return the exit code or raise Refusal.

    ``overrides`` win over every setting.
    """
    folder = data_folder(overrides)
    new = _make_secrets(folder, overrides)
    try:
        settings = load(**overrides)
    except SettingsError as error:
        raise Refusal(str(error), 2) from None
    secrets = settings.secrets()
    with logs.written(folder / "logs", secrets=secrets, level=settings.log_level) as log_file:
        log.info("relay.starting", extra={"version": VERSION, "revision": revision()})
        place = greeting.Place(folder, log_file, "")
        return _Run(settings, place, new, build).serve()


class _Run:
    """One run of the relay, from an empty table to a cleared one."""

    def __init__(
        self,
        settings: Settings,
        place: greeting.Place,
        new: Mapping[str, str],
        build: Build,
    ) -> None:
        self._settings, self._place, self._new = settings, place, new
        self._build = build
        self._serving: Replica | Processes | None = None
        self._lost = ""

    def serve(self) -> int:
        try:
            with self._database() as (url, where, stop):
                place = greeting.Place(self._place.folder, self._place.log_file, where)
                with _bound(self._settings.host, self._settings.port) as sockets:
                    self._serve(url, place, sockets, stop)
        except PostgresError as error:
            log.exception("database.refused", extra={"_file_only": True})
            raise Refusal(str(error)) from None
        except NoStartError as error:
            raise Refusal(error.line, error.code) from None
        if self._lost:
            raise Refusal(self._lost)
        say("Stopped.")
        return 0

    @contextmanager
    def _database(self) -> Generator[tuple[str, str, Callable[[], None]]]:
        """Yield a URL, words for it, and what stops it; the embedded one unless DATABASE_URL."""
        if own := self._settings.database_url:
            yield own.get_secret_value(), "the server of DATABASE_URL", lambda: None
            return
        connections = self._settings.workers * self._settings.connections
        with LocalPostgres(
            self._place.folder, connections=connections, say=say, on_lost=self._lose
        ) as postgres:
            where = f"embedded PostgreSQL {postgres.version}, {postgres.folder} (socket only)"
            yield postgres.url, where, postgres.stop

    def _lose(self, reason: str) -> None:
        self._lost = reason
        if self._serving:
            self._serving.stop()

    def _serve(
        self,
        url: str,
        place: greeting.Place,
        sockets: list[socket.socket],
        at_once: Callable[[], None],
    ) -> None:
        starting = Progress("Starting, and bringing the database up to date", plain=False)

        def greet() -> None:
            starting.abandoned()
            say("\n".join(greeting.lines(self._settings, place, self._new)))
            systemd.tell("READY=1", f"STATUS={greeting.address(self._settings)}")

        if self._settings.workers > 1:
            self._serving = Processes(
                self._settings, url, place.folder, on_ready=greet, at_once=at_once
            )
        else:
            self._serving = Replica(
                self._build, self._settings, url, on_ready=greet, at_once=at_once
            )
        if self._lost:
            self._serving.stop()
        try:
            self._serving.run(sockets, place.log_file)
        finally:
            starting.abandoned()


class Replica:
    """The relay in this process. Raises NoStartError, whose line says what is wrong."""

    def __init__(
        self,
        build: Build,
        settings: Settings,
        database_url: str,
        *,
        on_ready: Callable[[], None],
        at_once: Callable[[], None] = lambda: None,
        say: Callable[[str], None] = say,
    ) -> None:
        try:
            self._entrance = Entrance(build(settings, database_url))
        except SettingsError as error:
            raise NoStartError(str(error), 2) from None
        self._redact = logs.Redactor(settings.secrets())
        self._server = Server(
            _uvicorn(self._entrance, settings), on_ready=on_ready, at_once=at_once, say=say
        )

    def stop(self) -> None:
        self._server.should_exit = True

    def run(self, sockets: list[socket.socket], log_file: Path) -> None:
        """Serve on these sockets until told to stop."""
        try:
            self._server.run(sockets)
        except SystemExit:
            if not self._entrance.failure:
                raise
            cause = OUR_ERRORS.sub("", self._redact(self._entrance.failure))
            raise NoStartError(f"The relay cannot start: {cause} ({log_file})") from None


def _uvicorn(application: Entrance, settings: Settings) -> uvicorn.Config:
    allow_open_files()
    return uvicorn.Config(
        application,
        interface="asgi3",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # `web.proxies` reads them
        limit_concurrency=most_open(settings.live_clients_max),
        timeout_graceful_shutdown=ceil(settings.shutdown_grace.total_seconds()),
        backlog=BACKLOG,
        **(SHARED if settings.workers > 1 else CONNECTIONS),
        **WEBSOCKETS,
        **systemd.beating(),
    )


def data_folder(overrides: Mapping[str, object]) -> Path:
    given = overrides.get("data_dir") or os.environ.get("DATA_DIR")
    folder = Path(str(given or credentials.read(Path(".env")).get("DATA_DIR") or "data"))
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise Refusal(f"DATA_DIR: {folder} cannot be made: {error.strerror}", 2) from None
    return folder.resolve()


def _make_secrets(folder: Path, overrides: Mapping[str, object]) -> dict[str, str]:
    handed = {name.upper(): str(value) for name, value in overrides.items() if value is not None}
    given = credentials.read(Path(".env")) | dict(os.environ) | handed
    try:
        new = credentials.complete(folder, given)
    except OSError as error:
        raise Refusal(f"DATA_DIR: {folder} cannot be used: {error}", 2) from None
    for line in greeting.made(folder, new):
        say(line)
    for path in credentials.exposed(folder):
        mode = "700" if path.is_dir() else "600"
        say(f"Others on this machine can read {path}: `chmod {mode} {path}` keeps secrets to you.")
    if line := at_start(given):
        say(line)
    return new


@contextmanager
def _bound(host: str, port: int) -> Generator[list[socket.socket]]:
    """Listen before the application starts: alerts that come meanwhile wait, none is refused."""
    with ExitStack() as stack:
        try:
            sockets = [stack.enter_context(one) for one in _listen(host, port)]
        except OSError as error:
            number = error.errno or 0  # negative: a name that does not resolve
            reason = os.strerror(number) if number > 0 else error.strerror
            raise Refusal(f"HOST, PORT: cannot listen on {host}:{port}: {reason}.") from None
        yield sockets


def _listen(host: str, port: int) -> Generator[socket.socket]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for number, (family, _, _, _, place) in enumerate(found, start=1):
        try:
            yield socket.create_server(place, family=family, backlog=BACKLOG)
        except OSError as error:
            if error.errno not in NOT_HERE or number == len(found):
                raise
