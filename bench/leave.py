"""From accepted to leaving and to the recorded answer: an idle destination, a steady rate."""

import json
from collections.abc import Mapping

from bench import machine
from bench.figures import Figure, Line, Round, medians, percentile, quiet_rounds, tell
from bench.load import Result, at_rate
from bench.stage import Server, Sink, listed, posts, relay, sink, until_true

TICKERS = [f"L{number}" for number in range(200)]
UNFINISHED = """
    SELECT 1 FROM signals WHERE status = 'received'
    UNION ALL SELECT 1 FROM deliveries WHERE finished_at IS NULL LIMIT 1
"""
RECORDED = """
    SELECT signal_id, extract(epoch FROM finished_at)::float8 AS at FROM deliveries
    WHERE state = 'delivered'
"""
LINES = {
    "cpu": Line("a signal, accepted, judged and delivered at 50/s: the relay", "µs CPU"),
    "postgres": Line("the same: PostgreSQL", "µs CPU"),
    "leaves p50": Line("202 to its request at the destination, 50/s: p50", "ms", most=10),
    "leaves p99": Line("202 to its request at the destination, 50/s: p99", "ms", most=40),
    "recorded p50": Line("202 to the answer being recorded, 50/s: p50", "ms"),
    "recorded p99": Line("202 to the answer being recorded, 50/s: p99", "ms"),
    "whole p50": Line("alert due to the answer being recorded, 50/s: p50", "ms"),
    "whole p99": Line("alert due to the answer being recorded, 50/s: p99", "ms"),
}


def run(rounds: int = 3, seconds: float = 10.0, rate: int = 50) -> list[Figure]:
    """Print and return percentiles in milliseconds, and what a signal costs from door to door."""
    with sink() as destination, relay(**destination.settings()) as server:
        listed(server, TICKERS)
        at_rate(server.port, posts(TICKERS), rate=rate, seconds=2)
        finished(server)
        destination.arrivals()
        made, quiet = quiet_rounds(lambda _: _round(server, destination, rate, seconds), rounds)
    found = medians(made, LINES, quiet=quiet)
    tell(found)
    return found


def finished(server: Server) -> None:
    """Wait until every signal is judged and every delivery over."""
    until_true(lambda: not server.rows(UNFINISHED), every=0.2)


def _round(server: Server, destination: Sink, rate: int, seconds: float) -> Round:
    before, app, postgres = machine.spent(), server.cpu_seconds(), server.postgres_seconds()
    load = at_rate(server.port, posts(TICKERS), rate=rate, seconds=seconds, keep=True)
    finished(server)
    app, postgres = server.cpu_seconds() - app, server.postgres_seconds() - postgres
    recorded = {str(row["signal_id"]): float(row["at"]) for row in server.rows(RECORDED)}
    values = waits(load, destination.arrivals(), recorded)
    values |= {"cpu": app / load.answered * 1e6, "postgres": postgres / load.answered * 1e6}
    return Round(values, machine.others(before, machine.spent()))


def waits(
    load: Result, arrived: Mapping[str, float], recorded: Mapping[str, float]
) -> dict[str, float]:
    """Milliseconds by kind; every alert has to have left."""
    accepted = {json.loads(body)["signal_id"]: at for at, body in load.answers}
    if lost := accepted.keys() - arrived.keys():
        raise SystemExit(f"{len(lost)} of {len(accepted)} alerts did not leave")
    took = dict(zip(accepted, load.latencies, strict=True))
    kinds = {
        "leaves": [arrived[id] - at for id, at in accepted.items()],
        "recorded": [recorded[id] - at for id, at in accepted.items()],
        "whole": [recorded[id] - at + took[id] for id, at in accepted.items()],
    }
    return {
        f"{kind} p{share}": max(0.0, percentile(found, share / 100)) * 1000
        for kind, found in kinds.items()
        for share in (50, 99)
    }
