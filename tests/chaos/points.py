"""Every failpoint once: a replica is killed exactly there, and what waited is timed."""

import asyncio
import random  # noqa: TID251  chance is drawn from a seed
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.failpoints import Point
from tests.chaos import reading
from tests.chaos.axis import now, until
from tests.chaos.checker import check
from tests.chaos.nemesis import Nemesis
from tests.chaos.processes import TICK
from tests.chaos.records import Blow, Evidence
from tests.chaos.result import Result
from tests.chaos.stage import Scene, Stage, staged

THINKS = 0.7
"""So long does the destination think that some requests are always under way."""
REACHED_WITHIN = 90.0
"""A keeper's point may have to wait for the lease of a look that was struck before: a minute."""
UP_WITHIN = 120.0
ON_THE_WIRE = 0.1
"""What the dead had sent arrives this much later, at most."""
SETTLED_WITHIN = 30.0
NEWEST = "SELECT coalesce(max(seq), 0) FROM signals"
LEFT_OF = """
    SELECT (SELECT count(*) FROM signals WHERE status = 'received' AND seq <= {seq})
         + (SELECT count(*) FROM deliveries WHERE state IN ('queued', 'sending') AND seq <= {seq})
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """After one kill: how much was waiting, when the first of it arrived, when all was settled."""

    point: str
    replica: str
    waiting: int
    first: float | None
    all: float | None


def in_turn(points: Sequence[Point] = tuple(Point)) -> list[Point]:
    """The keeper's points apart from each other, so that none waits for the lease of the last."""
    keeper = [point for point in points if point.startswith("keeper.")]
    others = [point for point in points if not point.startswith("keeper.")]
    step = max(1, len(others) // max(1, len(keeper)))
    for place, point in enumerate(keeper):
        others.insert(place * (step + 1), point)
    return others


async def strike_points(
    points: Sequence[Point],
    folder: Path,
    say: Callable[[str], None],
    *,
    replicas: int,
    seed: int = 1,
) -> Result:
    """Strike at each of them in turn on one stage, under light load."""
    scene = Scene(replicas=replicas, seed=seed, rate=6.0, refresh=5)
    async with staged(scene, folder) as stage:
        stage.destination.thinks = THINKS
        missed = await _strike_all(stage, points, say)
        evidence = await stage.evidence()
    recoveries = [recovery(evidence, blow) for blow in evidence.blows if blow.note]
    faults = [f"{point} was not struck" for point in missed]
    faults += _slow(recoveries, evidence.terms.recover_within)
    return Result(
        mode=f"failpoints, {replicas} replica{'s' * (replicas > 1)}",
        numbers=_numbers(stage, recoveries),
        faults=faults,
        findings=await asyncio.to_thread(check, evidence),
    )


async def _strike_all(
    stage: Stage, points: Sequence[Point], say: Callable[[str], None]
) -> list[Point]:
    """Return those where nobody was struck."""
    nemesis = Nemesis(
        stage=stage, chance=random.Random(stage.scene.seed), left=Counter(), armed=0.0
    )
    missed: list[Point] = []
    load = asyncio.create_task(stage.load.run())
    async with nemesis.patrolling():
        for point in points:
            began = now()
            struck = await _strike(stage, nemesis, point)
            missed += [] if struck else [point]
            say(f"{point} of {stage.scene.replicas}: {now() - began:.0f} s until all was settled")
        load.cancel()
        await asyncio.wait([load])
        await stage.load.finished()
        await stage.drained()
        await nemesis.whole()
    return missed


async def _strike(stage: Stage, nemesis: Nemesis, point: Point) -> bool:
    """Return when the replica is up again and what had waited is settled."""
    before = len(stage.blows)

    async def is_reached() -> bool:
        return not stage.armed.exists()

    async def is_up() -> bool:
        return len(stage.blows) > before

    stage.arm(f"{point}:kill")
    if not await until(is_reached, REACHED_WITHIN, every=0.01):
        stage.armed.unlink(missing_ok=True)
        return False
    newest = await reading.ask(stage.server.url, NEWEST)

    async def is_settled() -> bool:
        return not await reading.ask(stage.server.url, LEFT_OF.format(seq=newest))

    up = await until(is_up, UP_WITHIN)
    await until(is_settled, SETTLED_WITHIN, every=0.2)
    await nemesis.whole()
    return up and stage.blows[before].note == point


def recovery(evidence: Evidence, blow: Blow) -> Recovery:
    """From the kill to the next request with something that had been acknowledged before it."""
    at = blow.began + TICK
    acknowledged = {
        id
        for alert in evidence.alerts
        if alert.acknowledged_at is not None and alert.acknowledged_at < at
        for id in alert.ids
    }
    waiting = [
        each
        for each in evidence.deliveries
        if each.signal_id in acknowledged
        and each.state == "delivered"
        and (each.finished_at is None or each.finished_at > at)
    ]
    ids = {each.signal_id for each in waiting}
    gaps = (each.at - at for each in evidence.arrivals if each.id in ids)
    ended = [each.finished_at - at for each in waiting if each.finished_at is not None]
    return Recovery(
        point=blow.note,
        replica=blow.target,
        waiting=len(waiting),
        first=min((gap for gap in gaps if gap > ON_THE_WIRE), default=None),
        all=max(ended, default=None),
    )


def _slow(recoveries: Sequence[Recovery], within: float) -> list[str]:
    return [
        f"{each.point}: the next delivery came {each.first:.1f} s after the kill"
        for each in recoveries
        if each.first is not None and each.first > within
    ]


def _numbers(stage: Stage, recoveries: Sequence[Recovery]) -> dict[str, Any]:
    firsts = [each.first for each in recoveries if each.first is not None]
    every = [each.all for each in recoveries if each.all is not None]
    return {
        "replicas": stage.scene.replicas,
        "seed": stage.scene.seed,
        "struck": len(recoveries),
        "acknowledged": stage.load.acknowledged,
        "first_sec_slowest": round(max(firsts, default=0.0), 2),
        "all_sec_slowest": round(max(every, default=0.0), 2),
        "points": {
            each.point: {
                "waiting": each.waiting,
                "first_sec": None if each.first is None else round(each.first, 2),
                "all_sec": None if each.all is None else round(each.all, 2),
            }
            for each in recoveries
        },
    }
