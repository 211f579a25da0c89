"""Durable accept against the bare application and the control: 202 after the commit, checks on."""

from collections.abc import Iterator
from dataclasses import dataclass

from bench import machine
from bench.figures import TIMES, Figure, Line, Round, medians, quiet_rounds, tell
from bench.load import Result, saturate
from bench.stage import Server, bare, control, listed, posts, relay, until_true

CONNECTIONS = 64
TICKERS = [f"T{number}" for number in range(500)]
LISTED = [f"L{number}" for number in range(500)]
"""These are in the list, those are not."""
UNDECIDED = "SELECT 1 FROM signals WHERE status = 'received' AND waits_until IS NULL LIMIT 1"
LINES = {
    "ratio": Line("accept: rate, to the bare application", TIMES, least=0.30),
    "control ratio": Line(
        "accept, one transaction a request: rate, to the bare application", TIMES
    ),
    "over control": Line("accept: rate, to one transaction a request", TIMES),
    "cpu": Line("accept and reject a signal: the relay", "µs CPU"),
    "postgres": Line("accept and reject a signal: PostgreSQL", "µs CPU"),
    "gate ratio": Line("accept, all in the list: rate, to the bare application", TIMES),
    "gate cpu": Line("the same, judged by the gate: the relay", "µs CPU"),
    "gate postgres": Line("the same, judged by the gate: PostgreSQL", "µs CPU"),
    "control cpu": Line("the same, one transaction a request: the relay", "µs CPU"),
    "control postgres": Line("the same, one transaction a request: PostgreSQL", "µs CPU"),
    "bare cpu": Line("the bare application, a request", "µs CPU"),
    "load cpu": Line("the load generator, a request", "µs CPU"),
    "rate": Line("accept, 64 connections", "/s"),
    "control rate": Line("accept, 64 connections, one transaction a request", "/s"),
    "bare rate": Line("the bare application, 64 connections", "/s"),
    "p99": Line("accept, 64 connections: p99", "ms"),
    "memory": Line("resident memory afterwards", "MB"),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """A run of alerts, and CPU µs an alert: of the server, and of its PostgreSQL."""

    load: Result
    app: float
    postgres: float


def run(rounds: int = 5, seconds: float = 4.0) -> list[Figure]:
    """Print a line a round, then the medians; return them."""
    with bare() as plain, relay() as durable, control() as single:
        for server in (durable, single):
            listed(server, LISTED)
            measured(server, 1.0)
        made, quiet = quiet_rounds(
            lambda number: _round(number, plain, durable, single, seconds), rounds
        )
    found = medians(made, LINES, quiet=quiet)
    tell(found)
    return found


def _round(number: int, plain: Server, durable: Server, single: Server, seconds: float) -> Round:
    before = machine.spent()
    bottom, ours, after = (measured(one, seconds) for one in (plain, durable, plain))
    gate, control_ = measured(durable, seconds, posts(LISTED)), measured(single, seconds)
    noise = machine.others(before, machine.spent())
    rate, one = (m.load.accepted_per_second for m in (ours, control_))
    base = (bottom.load.accepted_per_second + after.load.accepted_per_second) / 2
    print(
        f"  round {number}: bare {base:,.0f}/s ({bottom.app:.0f} µs), "
        f"durable {rate:,.0f}/s ({ours.app:.0f} + {ours.postgres:.0f} µs), "
        f"in the list {gate.load.accepted_per_second:,.0f}/s, "
        f"one by one {one:,.0f}/s, ratio {rate / base:.2f}, "
        f"answers {ours.load.statuses} and {control_.load.statuses}"
    )
    values = {
        "ratio": rate / base,
        "control ratio": one / base,
        "over control": rate / one,
        "cpu": ours.app,
        "postgres": ours.postgres,
        "gate ratio": gate.load.accepted_per_second / base,
        "gate cpu": gate.app,
        "gate postgres": gate.postgres,
        "control cpu": control_.app,
        "control postgres": control_.postgres,
        "bare cpu": bottom.app,
        "load cpu": bottom.load.cpu_us,
        "rate": rate,
        "control rate": one,
        "bare rate": base,
        "p99": ours.load.percentile(0.99) * 1000,
        "memory": durable.rss_mb(),
    }
    return Round(values, noise)


def measured(server: Server, seconds: float, requests: Iterator[bytes] | None = None) -> Measured:
    """As many alerts as are answered; what is spent on judging them is counted, too."""
    app, postgres = server.cpu_seconds(), server.postgres_seconds()
    asked = requests or posts(TICKERS)
    result = saturate(server.port, asked, connections=CONNECTIONS, seconds=seconds)
    settled(server)
    return Measured(
        result,
        (server.cpu_seconds() - app) / result.answered * 1e6,
        (server.postgres_seconds() - postgres) / result.answered * 1e6,
    )


def settled(server: Server) -> None:
    """Wait until all is judged, so that the next run begins with nothing to do."""
    if (server.folder / "data").exists():  # the bare application has none
        until_true(lambda: not server.rows(UNDECIDED), every=0.25)
