"""With nothing to do: how long until it is ready, what it costs meanwhile, and what it holds."""

import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

from bench import machine
from bench.figures import Figure, Line, Round, medians, quiet_rounds, tell
from bench.stage import ROOT, Server, free_port, relay_in, running, until_true

LINES = {
    "cpu": Line("idle: the relay, of a core", "%", most=1.0),
    "postgres": Line("idle: PostgreSQL, of a core", "%"),
    "start": Line("warm start to ready", "s", most=3.0),
    "rss": Line("idle: the relay, resident", "MB", most=150),
    "pss": Line("idle: the relay, proportional", "MB"),
    "postgres pss": Line("idle: PostgreSQL, proportional", "MB"),
}
LOOKED = "SELECT 1 FROM fetches WHERE outcome = 'ok'"


def run(rounds: int = 3, seconds: float = 20.0, settle: float = 5.0) -> list[Figure]:
    """Start it again and again on the same data, and watch it do nothing after a look at Finviz."""
    with TemporaryDirectory() as folder, _finviz() as address:
        with relay_in(folder, FINVIZ_BASE_URL=address):
            pass  # the database is made here

        def once(number: int) -> Round:
            before, began = machine.spent(), time.perf_counter()
            with relay_in(folder, FINVIZ_BASE_URL=address) as server:
                started = time.perf_counter() - began
                until_true(lambda: bool(server.rows(LOOKED)))
                time.sleep(settle)
                values = _watched(server, seconds) | {"start": started}
            print(f"  round {number}: " + ", ".join(f"{n} {v:.2f}" for n, v in values.items()))
            return Round(values, machine.others(before, machine.spent()))

        made, quiet = quiet_rounds(once, rounds)
    found = medians(made, LINES, quiet=quiet)
    tell(found)
    return found


def _watched(server: Server, seconds: float) -> dict[str, float]:
    app, postgres, began = server.cpu_seconds(), server.postgres_seconds(), time.perf_counter()
    time.sleep(seconds)
    took = time.perf_counter() - began
    memory = machine.memory_mb(server.pid)
    database = machine.tree(server.pid) - {server.pid}
    return {
        "cpu": (server.cpu_seconds() - app) / took * 100,
        "postgres": (server.postgres_seconds() - postgres) / took * 100,
        "rss": memory["Rss"],
        "pss": memory["Pss"],
        "postgres pss": sum(machine.memory_mb(pid).get("Pss", 0.0) for pid in database),
    }


@contextmanager
def _finviz() -> Generator[str]:
    port = free_port()
    command = [sys.executable, "-m", "bench.finviz", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (
        TemporaryDirectory() as folder,
        running(command, port, "/screener.ashx?v=111", folder, environment),
    ):
        yield f"http://127.0.0.1:{port}"
