"""Durable accept against the bare application, in turns: 202 only after the commit, checks on."""

import asyncio
import statistics
from collections.abc import Iterator

from bench.load import Result, posts, saturate
from bench.stage import TOKEN, Server, alerts, bare, relay

CONNECTIONS = 64
TICKERS = [f"T{number}" for number in range(500)]


def run(rounds: int = 3, seconds: float = 5.0) -> dict[str, float]:
    """Print a line a round, then the medians; return them."""
    bodies = alerts(TICKERS)
    ratios: list[float] = []
    costs: list[float] = []
    with bare() as baseline, relay() as ours:
        _measure(ours, bodies, 1.0)
        for number in range(1, rounds + 1):
            plain, plain_cpu = _measure(baseline, bodies, seconds)
            durable, cpu = _measure(ours, bodies, seconds)
            ratios.append(durable.accepted_per_second / plain.accepted_per_second)
            costs.append(cpu)
            print(
                f"  round {number}: bare {plain.accepted_per_second:,.0f}/s ({plain_cpu:.0f} µs), "
                f"durable {durable.accepted_per_second:,.0f}/s ({cpu:.0f} µs CPU, "
                f"p99 {durable.percentile(0.99) * 1000:.1f} ms), ratio {ratios[-1]:.2f}, "
                f"answers {durable.statuses}"
            )
        memory = ours.rss_mb()
    medians = {
        "ratio to the bare application": statistics.median(ratios),
        "CPU µs an alert (accept, judge and record)": statistics.median(costs),
        "resident MB afterwards": memory,
    }
    for name, value in medians.items():
        print(f"  {name}: {value:.2f}")
    return medians


def _measure(server: Server, bodies: Iterator[bytes], seconds: float) -> tuple[Result, float]:
    before = server.cpu_seconds()
    path = f"/webhook/in/{TOKEN}"
    result = asyncio.run(
        saturate(server.port, posts(path, bodies), connections=CONNECTIONS, seconds=seconds)
    )
    answered = max(1, sum(result.statuses.values()))
    return result, (server.cpu_seconds() - before) / answered * 1e6
