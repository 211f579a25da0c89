"""How long an accept takes at a fixed rate: an open loop, counted from when each was due."""

from collections.abc import Mapping

from bench import machine
from bench.accept import TICKERS, settled
from bench.figures import Figure, Line, Round, medians, percentile, quiet_rounds, tell
from bench.load import at_rate
from bench.stage import Server, bare, control, listed, posts, relay, sink

BUDGETS = {500: 5.0, 2_000: 10.0}
"""Of the relay: milliseconds at p99, by rate."""

SERVERS = {
    "relay": "accept",
    "bare": "the bare application",
    "control": "accept, one transaction a request",
}


def _lines() -> dict[str, Line]:
    found: dict[str, Line] = {}
    for rate, most in BUDGETS.items():
        found[f"relay {rate} cpu"] = Line(f"accept and judge at {rate:,}/s: the relay", "µs CPU")
        for name, words in SERVERS.items():
            what = f"{words} at {rate:,}/s"
            found[f"{name} {rate} p50"] = Line(f"{what}: p50", "ms")
            budget = most if name == "relay" else None
            found[f"{name} {rate} p99"] = Line(f"{what}: p99", "ms", most=budget)
        found[f"late {rate}"] = Line(f"the load generator at {rate:,}/s: late by, p99", "ms")
        found[f"disk {rate}"] = Line(f"the disk alone, 8 kB at {rate:,}/s: p99", "ms")
    return found


def run(rounds: int = 3, seconds: float = 5.0) -> list[Figure]:
    """Each server at each rate in turns; a destination is there, and idle."""
    with (
        sink() as destination,
        bare() as plain,
        control() as single,
        relay(**destination.settings()) as durable,
    ):
        servers = {"bare": plain, "control": single, "relay": durable}
        for server in (durable, single):
            listed(server, ["LISTED"])
            at_rate(server.port, posts(TICKERS), rate=200, seconds=1)
        made, quiet = quiet_rounds(lambda number: _round(number, servers, seconds), rounds)
    found = medians(made, _lines(), quiet=quiet)
    tell(found)
    return found


def _round(number: int, servers: Mapping[str, Server], seconds: float) -> Round:
    values: dict[str, float] = {}
    before = machine.spent()
    for rate in BUDGETS:
        values[f"disk {rate}"] = percentile(machine.disk_waits(seconds / 2, rate), 0.99) * 1000
        for name, server in servers.items():
            values |= _measured(name, server, rate, seconds)
    told = ", ".join(
        f"{name} {rate}/s {values[f'{name} {rate} p99']:.1f}"
        for rate in BUDGETS
        for name in servers
    )
    print(f"  round {number}: p99 in ms: {told}")
    return Round(values, machine.others(before, machine.spent()))


def _measured(name: str, server: Server, rate: int, seconds: float) -> dict[str, float]:
    cpu = server.cpu_seconds()
    result = at_rate(server.port, posts(TICKERS), rate=rate, seconds=seconds)
    settled(server)
    spent = server.cpu_seconds() - cpu
    if unwanted := {status: n for status, n in result.statuses.items() if status != "202"}:
        print(f"    {name} at {rate}/s: {unwanted} of {result.answered} answers")
    values = {
        f"{name} {rate} p50": result.percentile(0.5) * 1000,
        f"{name} {rate} p99": result.percentile(0.99) * 1000,
        f"{name} {rate} cpu": spent / result.answered * 1e6,
    }
    if name == "bare":  # whom nothing keeps waiting for a free connection
        values[f"late {rate}"] = percentile(result.late, 0.99) * 1000
    return values
