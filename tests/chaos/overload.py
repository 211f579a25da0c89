"""Ten times what it can take is offered: it refuses in order, stays small, takes every sell."""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tests.chaos import reading
from tests.chaos.axis import until
from tests.chaos.checker import check
from tests.chaos.crowd import Order, alert_of
from tests.chaos.load import PAUSE, SENDS
from tests.chaos.records import Alert, Send
from tests.chaos.result import Result, megabytes
from tests.chaos.stage import Scene, Stage, staged
from tests.chaos.times import STATUSES
from tests.end_to_end.stage import ROOT

TIMES = 10
CAPACITY_SOCKETS, CAPACITY_SECONDS = 64, 3.0
REPEATS = (SENDS - 1) * PAUSE
"""Seconds from a sell's first send to its last."""
OPEN = "SELECT count(*) FROM positions WHERE state = 'open'"
DRAIN = 300.0


async def overload(
    folder: Path,
    say: Callable[[str], None],
    *,
    seconds: float,
    queue: int,
    sockets: int = 400,
    seed: int = 1,
) -> Result:
    """``queue`` is QUEUE_MAX_SIZE: from there on buys are refused, sells from a fifth more."""
    scene = Scene(
        replicas=1,
        seed=seed,
        tickers=100,
        direct=True,
        windows="100000/1s",
        settings={"QUEUE_MAX_SIZE": str(queue), "LOG_LEVEL": "WARNING"},
    )
    async with staged(scene, folder) as stage:
        await _opened(stage)
        capacity, before = await _crowd(stage, seconds=CAPACITY_SECONDS, sockets=CAPACITY_SOCKETS)
        rate = len(before) / capacity["seconds"]
        say(f"capacity: {rate:.0f} a second; {TIMES * rate:.0f} are offered")
        told, alerts = await _crowd(
            stage, seconds=seconds, sockets=sockets, rate=TIMES * rate, first=10_000_000
        )
        stage.load.alerts += [*before, *alerts]
        say("offered; what was accepted is worked off")
        await stage.drained(DRAIN)
        evidence = await stage.evidence()
    most = evidence.terms.most_descriptors + sockets
    evidence = replace(evidence, terms=replace(evidence.terms, most_descriptors=most))
    numbers, faults = _measured(alerts)
    return Result(
        mode=f"overload, {TIMES} times for {seconds:g} s",
        numbers={
            "capacity_per_sec": round(rate),
            "sockets": sockets,
            "queue": queue,
            **_told(told),
            **numbers,
            "megabytes": megabytes(evidence.samples),
        },
        faults=faults,
        findings=await asyncio.to_thread(check, evidence),
    )


async def _opened(stage: Stage) -> None:
    """Have a position of every ticker."""
    for ticker in stage.load.tickers:
        await stage.load.post(ticker, "buy")

    async def is_open() -> bool:
        return await reading.ask(stage.server.url, OPEN) == len(stage.load.tickers)

    if not await until(is_open, 30):
        raise RuntimeError("no position of every ticker")


async def _crowd(
    stage: Stage, *, seconds: float, sockets: int, rate: float | None = None, first: int = 1_000_000
) -> tuple[dict[str, Any], list[Alert]]:
    """Run a crowd; return what it says it did, and its alerts."""
    [replica] = stage.replicas
    file = stage.folder / f"crowd-{first}.jsonl"
    order = Order(
        port=replica.port,
        replica=replica.name,
        tickers=stage.load.tickers,
        sockets=sockets,
        seconds=seconds,
        sells_for=seconds - REPEATS if seconds > 3 * REPEATS else seconds,
        file=str(file),
        first=first,
        rate=rate,
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.chaos.crowd",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    used = _cpu(replica.pid)
    said, _ = await process.communicate(json.dumps(asdict(order)).encode() + b"\n")
    told = json.loads(said) | {"replica_cpu": _cpu(replica.pid) - used}
    lines = await asyncio.to_thread(lambda: file.read_text().splitlines())
    return told, [alert_of(line) for line in lines]


def _cpu(pid: int) -> float:
    """Seconds a process has computed: proc(5), utime and stime."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _told(told: dict[str, Any]) -> dict[str, Any]:
    return {
        "offered": told["due"],
        "no_socket_free": told["due"] - told["begun"],
        "sent": told["begun"],
        "seconds": round(told["seconds"], 1),
        "cpu_of_crowd": round(told["cpu"] / told["seconds"], 2),
        "cpu_of_replica": round(told["replica_cpu"] / told["seconds"], 2),
    }


def _measured(alerts: Sequence[Alert]) -> tuple[dict[str, Any], list[str]]:
    sends = [send for alert in alerts for send in alert.sends]
    sells = [alert for alert in alerts if alert.side == "sell"]
    unheard = [alert for alert in sells if alert.acknowledged_at is None]
    answers = Counter(_kind(send) for send in sends)
    times = sorted(send.latency for send in sends if send.status is not None)
    faults = [
        f"{count:,} times answered {kind}"
        for kind, count in answers.items()
        if kind.isdecimal() and int(kind) not in STATUSES
    ]
    faults += [
        f"sell {alert.number} was sent {len(alert.sends)} times and never acknowledged:"
        f" {[_kind(send) for send in alert.sends]}"
        for alert in unheard
    ]
    numbers = {
        "answers": dict(answers),
        "p99_ms": round(times[int(len(times) * 0.99)] * 1000) if times else None,
        "slowest_ms": round(times[-1] * 1000) if times else None,
        "sells": len(sells),
        "sells_acknowledged": len(sells) - len(unheard),
        "sells_sent_again": sum(1 for alert in sells if len(alert.sends) > 1),
    }
    return numbers, faults


def _kind(send: Send) -> str:
    return str(send.status) if send.status is not None else send.problem
