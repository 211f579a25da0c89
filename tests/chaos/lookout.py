"""How often Finviz is asked while replicas are killed and frozen: as one, never sooner than due."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from demo.finviz import Arrival
from domain.pacing import JITTER
from tests.chaos import reading
from tests.chaos.axis import aligned, now
from tests.chaos.axis import until as reached
from tests.chaos.processes import Replica
from tests.chaos.result import Result
from tests.chaos.stage import Scene, Stage, staged

PAGES = 2
"""Of each look: the top N does not fit on one page."""
FROZEN = 8.0
BETWEEN = (4.0, 16.0)
IN_A_LOOK = 0.7
"""The share of blows that wait until somebody looks, whoever it is."""
LEASE = 60.0
NOTICED = 2.0
"""Seconds until a look that is due is made."""
HOLDER = "SELECT count(*) FROM watches WHERE lease_until > clock_timestamp()"
STALE = "SELECT count(*) FROM events WHERE event = 'trust.stale'"


@dataclass(slots=True)
class Blows:
    """What was done, and how often in the middle of a look."""

    kills: int = 0
    freezes: int = 0
    in_a_look: int = 0


async def lookout(
    folder: Path,
    say: Callable[[str], None],
    *,
    replicas: int,
    seconds: float,
    refresh: int = 10,
    seed: int = 1,
) -> Result:
    scene = Scene(replicas=replicas, seed=seed, tickers=30, refresh=refresh)
    async with staged(scene, folder) as stage:
        stage.finviz.step = scene.tickers // PAGES
        began = now()
        blows = await _struck(stage, began + seconds, refresh, say)
        ended = now()
        stale = await reading.ask(stage.server.url, STALE)
        arrivals = [each for each in stage.finviz.arrivals if aligned(each.at) >= began]
    numbers, faults = counted(arrivals, ended - began, refresh, blows)
    faults += [f"the list was stale {stale} times"] if stale else []
    return Result(
        mode=f"lookout, {replicas} replicas", numbers={"seconds": seconds, **numbers}, faults=faults
    )


async def _struck(stage: Stage, until: float, refresh: float, say: Callable[[str], None]) -> Blows:
    """Kill or freeze one after the other, now and then just when somebody looks."""
    blows, chance = Blows(), stage.chance
    while now() < until:
        await asyncio.sleep(chance.uniform(*BETWEEN))
        if chance.random() < IN_A_LOOK:
            blows.in_a_look += await reached(partial(_looking, stage), refresh, every=0.02)
        replica = chance.choice(list(stage.replicas))
        if chance.random() < 0.6:
            blows.kills += 1
            await _killed(replica)
        else:
            blows.freezes += 1
            await _frozen(replica)
        say(f"{blows}, requests: {len(stage.finviz.arrivals)}")
    return blows


async def _looking(stage: Stage) -> bool:
    return bool(await reading.ask(stage.server.url, HOLDER))


async def _killed(replica: Replica) -> None:
    replica.strike(signal.SIGKILL)
    await replica.ended()
    await replica.start()


async def _frozen(replica: Replica) -> None:
    replica.strike(signal.SIGSTOP)
    await asyncio.sleep(FROZEN)
    replica.strike(signal.SIGCONT)


def counted(
    arrivals: Sequence[Arrival], seconds: float, refresh: float, blows: Blows
) -> tuple[dict[str, Any], list[str]]:
    """Looks begin with a request for the first row; each has at most so many requests."""
    looks = [each.at for each in arrivals if "r=" not in each.query]
    apart = [later - earlier for earlier, later in pairwise(looks)]
    soonest = refresh * (1 - JITTER)
    most = int(seconds / soonest) + 1
    longest = max(LEASE, refresh * (1 + JITTER)) + refresh + NOTICED
    faults = [f"{gap:.2f} s between two looks" for gap in apart if gap < soonest]
    faults += [f"nobody looked for {gap:.1f} s" for gap in apart if gap > longest]
    if len(looks) > most:
        faults.append(f"{len(looks)} looks, at most {most} were due")
    if len(arrivals) > PAGES * len(looks):
        faults.append(f"{len(arrivals)} requests for {len(looks)} looks")
    numbers = {
        "refresh": refresh,
        "looks": len(looks),
        "looks_at_most": most,
        "requests": len(arrivals),
        "seconds_apart": [round(min(apart), 2), round(max(apart), 2)] if apart else [],
        "kills": blows.kills,
        "freezes": blows.freezes,
        "blows_in_a_look": blows.in_a_look,
    }
    return numbers, faults
