"""Several processes against one: durable accept at saturation, and forwarding without a limit."""

import time
from collections.abc import Callable
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from bench import machine
from bench.figures import TIMES, Figure, Line, Round, medians, quiet_rounds, tell
from bench.forward import UNFINISHED, Gate
from bench.load import planned, saturate
from bench.stage import UPDATE_TOKEN, Server, listed, operator, posts, relay, sink, until_true

COUNTS = (1, 2, 4)
CONNECTIONS, SIGNALS = 64, 3_000
REJECTED = [f"T{number}" for number in range(500)]
SENT = [f"P{number}" for number in range(1_000)]
UNDECIDED = "SELECT 1 FROM signals WHERE status = 'received' AND waits_until IS NULL LIMIT 1"


def _lines() -> dict[str, Line]:
    found: dict[str, Line] = {}
    for count in COUNTS:
        words = f"{count} processes" if count > 1 else "one process"
        for name, done in {"accept": "accept and judge", "forward": "forward and settle"}.items():
            if count > 1:
                found[f"{name} ratio {count}"] = Line(f"{done}: {words}, to one", TIMES)
            found[f"{name} app {count}"] = Line(f"{done} a signal, {words}: the relay", "µs CPU")
            found[f"{name} postgres {count}"] = Line(
                f"{done} a signal, {words}: PostgreSQL", "µs CPU"
            )
            found[f"{name} rate {count}"] = Line(f"{done}: {words}", "/s")
        found[f"accept p99 {count}"] = Line(f"accept, 64 connections, {words}: p99", "ms")
        if count > 1:
            found[f"least {count}"] = Line(f"alerts of the least busy of {words}", "%")
    return found


def run(rounds: int = 3, seconds: float = 5.0, signals: int = SIGNALS) -> list[Figure]:
    """Print and return rates and CPU: in every round each number of processes has its turn."""
    made, quiet = quiet_rounds(lambda number: _round(number, seconds, signals), rounds)
    found = medians(made, _lines(), quiet=quiet)
    tell(found)
    return found


def _round(number: int, seconds: float, signals: int) -> Round:
    """Started anew for each turn: those that idle beside it would take from it."""
    values: dict[str, float] = {}
    before = machine.spent()
    for count in COUNTS:
        values |= {f"{name} {count}": value for name, value in _turn(count, seconds, signals)}
    others = machine.others(before, machine.spent())
    for name in ("accept", "forward"):
        for count in COUNTS[1:]:
            values[f"{name} ratio {count}"] = (
                values[f"{name} rate {count}"] / values[f"{name} rate {COUNTS[0]}"]
            )
    shown = ", ".join(
        f"{name} {values[name]:,.{0 if 'rate' in name else 2}f}"
        for name in values
        if "rate" in name or "ratio" in name
    )
    print(f"  round {number}: {shown}")
    return Round(values, others)


def _turn(count: int, seconds: float, signals: int) -> list[tuple[str, float]]:
    with sink() as destination, relay(**destination.settings(), WORKERS=str(count)) as server:
        until_true(lambda: len(_alerts(server)) == count, 180)
        listed(server, SENT)
        found = _accept(server, seconds) + _forward(server, signals)
        if (arrived := len(destination.arrivals())) != signals:
            raise SystemExit(f"{arrived} of {signals} signals were delivered")
    return found


def _accept(server: Server, seconds: float) -> list[tuple[str, float]]:
    saturate(server.port, posts(REJECTED), connections=CONNECTIONS, seconds=1.0)
    until_true(lambda: not server.rows(UNDECIDED), every=0.25)
    told, app, postgres = _alerts(server), *_spent(server)
    load = saturate(server.port, posts(REJECTED), connections=CONNECTIONS, seconds=seconds)
    until_true(lambda: not server.rows(UNDECIDED), every=0.25)
    shares = {name: number - told[name] for name, number in _alerts(server).items()}
    return [
        ("accept rate", load.accepted_per_second),
        ("accept p99", load.percentile(0.99) * 1000),
        ("least", min(shares.values()) / sum(shares.values()) * 100),
        *_costs("accept", server, (app, postgres), load.answered),
    ]


def _forward(server: Server, signals: int) -> list[tuple[str, float]]:
    """What was accepted and judged while the destination was paused leaves all at once."""
    with operator(server) as http, Gate(server) as look:
        address = f"/destinations/{http.get('/destinations').json()['items'][0]['id']}"
        http.post(f"{address}/pause").raise_for_status()
        load = planned(server.port, posts(SENT), [0.0] * signals, connections=CONNECTIONS)
        if load.statuses != {"202": signals}:
            raise SystemExit(f"not every alert was accepted: {load.statuses}")
        until_true(lambda: not server.rows(UNDECIDED), every=0.1)
        before, began = _spent(server), time.perf_counter()
        http.post(f"{address}/resume").raise_for_status()
        until_true(lambda: look.ask(UNFINISHED), 180, every=0.02)
    return [
        ("forward rate", signals / (time.perf_counter() - began)),
        *_costs("forward", server, before, signals),
    ]


def _costs(
    name: str, server: Server, before: tuple[float, float], signals: int
) -> list[tuple[str, float]]:
    app, postgres = (now - then for now, then in zip(_spent(server), before, strict=True))
    return [(f"{name} app", app / signals * 1e6), (f"{name} postgres", postgres / signals * 1e6)]


def _spent(server: Server) -> tuple[float, float]:
    """CPU seconds of the relay, its parent included, and of its PostgreSQL."""
    pids = machine.tree(server.pid)
    ours = {pid for pid in pids if _is(pid, lambda words: b"run.py" in words)}
    return sum(machine.own_seconds(pid) for pid in ours), machine.seconds_of(pids - ours)


def _is(pid: int, wanted: Callable[[bytes], bool]) -> bool:
    try:
        return wanted(Path(f"/proc/{pid}/cmdline").read_bytes())
    except FileNotFoundError:  # it ended meanwhile
        return False


def _alerts(server: Server) -> dict[str, float]:
    """How many alerts each process that is up has answered; a single one has no number."""
    said = httpx.get(
        f"http://127.0.0.1:{server.port}/metrics",
        headers={"authorization": f"Bearer {UPDATE_TOKEN}"},
        timeout=10,
    ).raise_for_status()
    samples = [
        sample
        for family in text_string_to_metric_families(said.text)
        for sample in family.samples
        if sample.name in {"relay_alerts_total", "relay_process_up"}
    ]
    found = {s.labels["process"]: 0.0 for s in samples if s.name == "relay_process_up" and s.value}
    found = found or {"": 0.0}
    for sample in samples:
        if sample.name == "relay_alerts_total":
            found[sample.labels.get("process", "")] += sample.value
    return found
