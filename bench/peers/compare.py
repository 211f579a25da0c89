"""A peer beside the bare application: rate at 64 connections, p99 at 500 a second, CPU time."""

import shutil
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager

from bench import machine, report
from bench.figures import TIMES, Figure, Line, Round, medians, quiet_rounds, tell
from bench.load import at_rate, saturate
from bench.stage import Server, bare, posts

CONNECTIONS, RATE = 64, 500
WATCHED, STILL, LONGEST_REST = 0.5, 0.04, 60.0
"""Seconds between two looks, the share of a core that is rest, and how long it is waited for."""

TICKERS = [f"T{number}" for number in range(500)]
PEERS = report.FOLDER / "results" / "peers.json"


def program(name: str, hint: str) -> str:
    """Where a program is; says in a word what to install, and ends, when it is not there."""
    if found := shutil.which(name):
        return found
    raise SystemExit(f"skipped: {name} is not installed ({hint})")


def compare(
    name: str, peer: AbstractContextManager[Server], path: str, rounds: int = 3, seconds: float = 5
) -> Sequence[Figure]:
    """Measure in turns, print, and keep what was found with the figures of other peers."""
    lines = {
        "ratio": Line(f"{name}: rate, to the bare application", TIMES),
        "cpu": Line(f"{name}, a request, whatever it starts included", "µs CPU"),
        "rate": Line(f"{name}, {CONNECTIONS} connections", "/s"),
        "p50": Line(f"{name} at {RATE}/s: p50", "ms"),
        "p99": Line(f"{name} at {RATE}/s: p99", "ms"),
    }
    about = machine.described()
    with bare() as plain, peer as server:
        at_rate(server.port, posts(TICKERS, path), rate=100, seconds=1)
        made, quiet = quiet_rounds(lambda _: _round(plain, server, path, seconds), rounds)
    found = medians(made, lines, quiet=quiet)
    tell(found)
    report.keep(PEERS, name, found, about, quick=False)
    return found


def _round(plain: Server, server: Server, path: str, seconds: float) -> Round:
    before = machine.spent()
    base = saturate(plain.port, posts(TICKERS), connections=CONNECTIONS, seconds=seconds)
    cpu = machine.seconds_of(machine.tree(server.pid))
    peer = saturate(server.port, posts(TICKERS, path), connections=CONNECTIONS, seconds=seconds)
    cpu = _at_rest(server) - cpu
    steady = at_rate(server.port, posts(TICKERS, path), rate=RATE, seconds=seconds)
    _at_rest(server)
    values = {
        "ratio": peer.accepted_per_second / base.accepted_per_second,
        "cpu": cpu / peer.answered * 1e6,
        "rate": peer.accepted_per_second,
        "p50": steady.percentile(0.5) * 1000,
        "p99": steady.percentile(0.99) * 1000,
    }
    print(f"  {peer.statuses} and {steady.statuses}, ratio {values['ratio']:.2f}")
    return Round(values, machine.others(before, machine.spent()))


def _at_rest(server: Server) -> float:
    """CPU seconds of the peer, once it has done what it had answered for already."""
    spent, ends = -1.0, time.monotonic() + LONGEST_REST
    while (now := machine.seconds_of(machine.tree(server.pid))) - spent > STILL * WATCHED:
        if time.monotonic() > ends:
            raise TimeoutError("the peer is still at work a minute after the load")
        spent = now
        time.sleep(WATCHED)
    return now
