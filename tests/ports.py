"""Ports that nobody else takes before whoever they are for listens there."""

import os
import secrets
import socket
from itertools import cycle

FIRST, EACH, WORKERS = 18_000, 1_000, 12
"""Below those that the system gives away by itself, for port 0 and for outgoing connections."""


def _in_turn() -> "cycle[int]":
    """Those of this worker, from anywhere on: none comes again soon."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")  # noqa: TID251  which of them we are
    begin, start = FIRST + int(worker[2:]) % WORKERS * EACH, secrets.randbelow(EACH)
    return cycle([begin + (start + number) % EACH for number in range(EACH)])


_PORTS = _in_turn()


def free_port() -> int:
    """One of loopback; it stays free also while who had it was killed and is started again."""
    while True:
        port = next(_PORTS)
        with socket.socket() as one:
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
