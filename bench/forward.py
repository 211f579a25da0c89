"""The stages one after another, each with nothing else to do: accept, judge, forward.

While the gate is held alone, as a command to sell does it, nobody judges; while the destination is
paused, nothing leaves. Then it leaves without a limit.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from sqlalchemy import text

from bench import machine
from bench.figures import Figure, Line, Round, medians, quiet_rounds, tell
from bench.load import planned
from bench.stage import Server, Sink, listed, operator, posts, relay, sink, until_true

SIGNALS, CONNECTIONS = 3_000, 64
TICKERS = [f"F{number}" for number in range(1_000)]
HOLD = "SELECT pg_advisory_lock(hashtext('trading-signal-processor.gate'))"
LET = "SELECT pg_advisory_unlock(hashtext('trading-signal-processor.gate'))"
UNDECIDED = "SELECT NOT EXISTS (SELECT FROM signals WHERE status = 'received')"
UNFINISHED = "SELECT NOT EXISTS (SELECT FROM deliveries WHERE finished_at IS NULL)"
STAGES = {"accept": "accepted", "judge": "judged", "forward": "forwarded and settled"}


def _lines() -> dict[str, Line]:
    found: dict[str, Line] = {}
    for stage, done in STAGES.items():
        found[f"{stage} app"] = Line(f"a signal {done}, in bulk: the relay", "µs CPU")
        found[f"{stage} postgres"] = Line(f"a signal {done}, in bulk: PostgreSQL", "µs CPU")
    found["accept rate"] = Line("accept alone, 64 connections, nothing judged", "/s")
    found["judge rate"] = Line("judge alone, all approved", "/s")
    found["forward rate"] = Line("deliveries without a limit, by one process", "/s", least=500)
    return found


def run(rounds: int = 3, signals: int = SIGNALS) -> list[Figure]:
    """Print and return CPU by stage, and the rate of each."""
    with sink() as destination, relay(**destination.settings()) as server:
        listed(server, TICKERS)
        _round(0, server, destination, signals)
        made, quiet = quiet_rounds(
            lambda number: _round(number, server, destination, signals), rounds
        )
    found = medians(made, _lines(), quiet=quiet)
    tell(found)
    return found


class Gate:
    """Holds the gate, so that nobody judges, and looks whether work is done."""

    def __init__(self, server: Server) -> None:
        self._runner = asyncio.Runner()
        self._database = server.database()
        self._stack = AsyncExitStack()

    def __enter__(self) -> Self:
        lent = self._stack.enter_async_context(self._database.autocommit())
        self._connection = self._runner.run(lent)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._runner.run(self._stack.aclose())
        self._runner.run(self._database.close())
        self._runner.close()

    def ask(self, query: str) -> bool:
        return self._runner.run(self._asked(query))

    async def _asked(self, query: str) -> bool:
        return (await self._connection.execute(text(query))).scalar_one()


def _round(number: int, server: Server, destination: Sink, signals: int) -> Round:
    values: dict[str, float] = {}
    before = machine.spent()

    def stage(name: str, work: Callable[[], object]) -> None:
        app, postgres, began = server.cpu_seconds(), server.postgres_seconds(), time.perf_counter()
        work()
        values[f"{name} rate"] = signals / (time.perf_counter() - began)
        values[f"{name} app"] = (server.cpu_seconds() - app) / signals * 1e6
        values[f"{name} postgres"] = (server.postgres_seconds() - postgres) / signals * 1e6

    with operator(server) as http, Gate(server) as gate:
        address = f"/destinations/{http.get('/destinations').json()['items'][0]['id']}"
        http.post(f"{address}/pause").raise_for_status()
        gate.ask(HOLD)
        stage("accept", lambda: _accept(server, signals))
        gate.ask(LET)
        stage("judge", lambda: until_true(lambda: gate.ask(UNDECIDED), every=0.02))

        def forward() -> None:
            http.post(f"{address}/resume").raise_for_status()
            until_true(lambda: gate.ask(UNFINISHED), every=0.02)

        stage("forward", forward)
    arrived = destination.arrivals()
    if len(arrived) != signals:
        raise SystemExit(f"{len(arrived)} of {signals} signals were delivered")
    told = ", ".join(f"{name} {value:,.0f}" for name, value in values.items())
    print(f"  round {number}: {told}")
    return Round(values, machine.others(before, machine.spent()))


def _accept(server: Server, signals: int) -> None:
    load = planned(server.port, posts(TICKERS), [0.0] * signals, connections=CONNECTIONS)
    if load.statuses != {"202": signals}:
        raise SystemExit(f"not every alert was accepted: {load.statuses}")
