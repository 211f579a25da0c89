"""A thousand alerts of different tickers at once: until the last answer, verdict and delivery."""

import resource

from bench import machine
from bench.figures import Figure, Line, Round, medians, quiet_rounds, tell
from bench.leave import finished
from bench.load import planned
from bench.stage import Server, Sink, listed, posts, relay, sink

ALERTS = 1_000
TICKERS = [f"B{number}" for number in range(ALERTS)]
KINDS = (64, 1_000)
"""Over how many connections they come."""

LAST = "SELECT extract(epoch FROM max(judged_at))::float8 AS at FROM signals"
MOST_FILES = 4_096


def _lines() -> dict[str, Line]:
    found: dict[str, Line] = {}
    for connections in KINDS:
        what = f"burst of {ALERTS:,}, {connections:,} connections"
        found |= {
            f"{connections} cpu": Line(f"{what}, a signal: the relay", "µs CPU"),
            f"{connections} postgres": Line(f"{what}, a signal: PostgreSQL", "µs CPU"),
            f"{connections} p99": Line(f"{what}: p99 of accept", "ms", most=250),
            f"{connections} answered": Line(f"{what}: the last 202", "s"),
            f"{connections} decided": Line(f"{what}: the last verdict", "s", most=0.5),
            f"{connections} delivered": Line(f"{what}: the last delivery", "s", most=2),
        }
    return found


def run(rounds: int = 5) -> list[Figure]:
    """Both kinds in turns. All times count from the moment at which all alerts are due."""
    _allow_files()
    with sink() as destination, relay(**destination.settings()) as server:
        listed(server, TICKERS)
        _burst(server, destination, KINDS[0])
        made, quiet = quiet_rounds(lambda number: _round(number, server, destination), rounds)
    found = medians(made, _lines(), quiet=quiet)
    tell(found)
    return found


def _round(number: int, server: Server, destination: Sink) -> Round:
    before, values = machine.spent(), dict[str, float]()
    for connections in KINDS:
        found = _burst(server, destination, connections)
        values |= {f"{connections} {name}": value for name, value in found.items()}
        told = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
        print(f"  round {number}, {connections} connections: {told}")
    return Round(values, machine.others(before, machine.spent()))


def _burst(server: Server, destination: Sink, connections: int) -> dict[str, float]:
    app, postgres = server.cpu_seconds(), server.postgres_seconds()
    load = planned(server.port, posts(TICKERS), [0.0] * ALERTS, connections=connections)
    if load.statuses != {"202": ALERTS}:
        raise SystemExit(f"not every alert was accepted: {load.statuses}")
    finished(server)
    app, postgres = server.cpu_seconds() - app, server.postgres_seconds() - postgres
    arrived = destination.arrivals()
    if len(arrived) != ALERTS:
        raise SystemExit(f"{len(arrived)} of {ALERTS} alerts were delivered")
    return {
        "p99": load.percentile(0.99) * 1000,
        "answered": max(load.latencies),
        "decided": float(server.rows(LAST)[0]["at"]) - load.began,
        "delivered": max(arrived.values()) - load.began,
        "cpu": app / ALERTS * 1e6,
        "postgres": postgres / ALERTS * 1e6,
    }


def _allow_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, MOST_FILES), most))
