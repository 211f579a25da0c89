"""PostgreSQL is stopped under load for a while: told so, not lost, and gone on with at once."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos.axis import now
from tests.chaos.checker import check
from tests.chaos.records import Blow, Evidence, Send
from tests.chaos.result import Result, megabytes
from tests.chaos.stage import Scene, Stage, staged
from tests.chaos.times import AFTER_DATABASE

BEFORE, AFTER = 5.0, 5.0
"""Seconds of load around the outage."""
SLOWLY, AT_ONCE = 1.0, 0.01
"""A destination that thinks that long leaves something waiting when the outage begins."""
MOST_GROWTH = 40e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """What was when."""

    down: float
    up: float
    back: float
    pids: tuple[int, int]


async def outage(
    folder: Path,
    say: Callable[[str], None],
    *,
    seconds: float,
    seed: int = 1,
    rate: float = 20.0,
    sends: int = 1,
) -> Result:
    """``sends`` is how often an alert is sent at most: 1 is a sender that does not repeat."""
    life = str(seconds + 300)
    scene = Scene(
        replicas=1,
        seed=seed,
        rate=rate,
        tickers=150,
        sends=sends,
        settings={"BUY_TTL_SEC": life, "SELL_TTL_SEC": life},
    )
    async with staged(scene, folder) as stage:
        measured = await _stopped(stage, seconds, say)
        await stage.drained()
        evidence = await stage.evidence()
    numbers, faults = _measured(evidence, measured)
    return Result(
        mode=f"outage of {seconds:g} s",
        numbers={"rate": rate, "sends": sends, "skipped": stage.load.skipped, **numbers},
        faults=faults,
        findings=await asyncio.to_thread(check, evidence),
    )


async def _stopped(stage: Stage, seconds: float, say: Callable[[str], None]) -> Outage:
    [replica] = stage.replicas
    pid = replica.pid
    stage.destination.thinks = SLOWLY
    load = asyncio.create_task(stage.load.run())
    await asyncio.sleep(BEFORE)
    began = now()
    await stage.server.stop()
    down = now()
    say("PostgreSQL is stopped")
    stage.destination.thinks = AT_ONCE
    await asyncio.sleep(seconds)
    up = now()
    await stage.server.start()
    back = now()
    say("PostgreSQL is back")
    stage.blows.append(Blow(kind="outage", target="database", began=began, ended=back))
    await asyncio.sleep(AFTER)
    load.cancel()
    await asyncio.wait([load])
    await stage.load.finished()
    return Outage(down=down, up=up, back=back, pids=(pid, replica.pid if replica.lives else 0))


def _measured(evidence: Evidence, outage: Outage) -> tuple[dict[str, Any], list[str]]:
    sends = [send for alert in evidence.alerts for send in alert.sends]
    meanwhile = [s for s in sends if s.at >= outage.down and s.at + s.latency <= outage.up]
    waited = sum(
        1 for d in evidence.deliveries if d.queued_at < outage.down and _outlived(d, outage)
    )
    arrivals = [a.at for a in evidence.arrivals if a.at > outage.back]
    first = min(arrivals, default=float("inf")) - outage.back
    before = [s.resident for s in evidence.samples if s.at < outage.down]
    most = max(sample.resident for sample in evidence.samples)
    faults = _answers(meanwhile, evidence.terms.answer_within)
    if first > AFTER_DATABASE:
        faults.append(f"the first delivery came {first:.1f} s after PostgreSQL was back")
    if before and most > before[-1] + MOST_GROWTH:
        faults.append(f"memory grew from {before[-1] / 1e6:.0f} to {most / 1e6:.0f} MB")
    if len(set(outage.pids)) != 1:
        faults.append("the process is another one, or gone")
    numbers = {
        "answers_while_down": len(meanwhile),
        "slowest_answer_sec": round(max((s.latency for s in meanwhile), default=0.0), 3),
        "waiting_through_it": waited,
        "first_delivery_sec": round(first, 2),
        "megabytes": megabytes(evidence.samples),
    }
    return numbers, faults


def _outlived(delivery: Any, outage: Outage) -> bool:
    return delivery.finished_at is None or delivery.finished_at > outage.back


def _answers(sends: Sequence[Send], within: float) -> list[str]:
    wrong = [s for s in sends if s.status != 503]
    slow = [s for s in sends if s.latency > within]
    faults = [f"answered {s.status} {s.problem} while PostgreSQL was down" for s in wrong]
    faults += [f"answered after {s.latency:.2f} s while PostgreSQL was down" for s in slow]
    return faults if sends else ["nothing was sent while PostgreSQL was down"]
