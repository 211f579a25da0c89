"""One of several processes of the relay (`launcher.processes`), told by its parent what to do."""

import json
import logging
import os
import socket
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from signal import SIGTERM

from config import Settings
from engines.siblings import Place
from launcher import logs
from launcher.processes import SLACK, Order
from launcher.serve import Replica, relay
from launcher.server import NoStartError

log = logging.getLogger(__name__)


def run_process() -> int:
    """Serve until the parent says SIGTERM, or is gone; return the exit code."""
    channel = socket.socket(fileno=os.dup(0))
    with channel.makefile("rb") as lines:
        order = Order.read(lines.readline())
    settings = Settings.taken(order.settings)
    with logs.written(
        Path(order.data_folder) / "logs",
        secrets=settings.secrets(),
        level=settings.log_level,
        process=order.number,
    ) as log_file:
        longest = 3 * settings.shutdown_grace_sec + SLACK
        threading.Thread(target=_follow, args=(channel, longest), daemon=True).start()
        return _serve(order, settings, log_file, channel)


def _serve(order: Order, settings: Settings, log_file: Path, channel: socket.socket) -> int:
    place = Place(order.number, order.of, Path(order.meeting))
    try:
        replica = Replica(
            partial(relay, place=place),
            settings,
            order.database_url,
            on_ready=lambda: _tell(channel, {"is": "ready"}),
            say=log.info,
        )
        replica.run([socket.socket(fileno=number) for number in order.sockets], log_file)
    except NoStartError as error:
        _tell(channel, {"is": "refused", "why": error.line, "code": error.code})
        return error.code
    return 0


def _tell(channel: socket.socket, what: dict[str, object]) -> None:
    with suppress(OSError):  # it is gone: `_follow` sees that too
        channel.sendall(json.dumps(what).encode() + b"\n")


def _follow(channel: socket.socket, longest: float) -> None:
    """Stop as by SIGTERM once the parent is gone, however it went."""
    with suppress(OSError):
        while channel.recv(1):
            pass
    log.error("process.parent_gone")
    os.kill(os.getpid(), SIGTERM)
    time.sleep(longest)
    os._exit(1)
