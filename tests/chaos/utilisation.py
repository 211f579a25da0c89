"""How much of its windows the relay uses while more is waiting than may leave."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domain.rate import Window, parse_windows, reserved
from tests.chaos.axis import now, until
from tests.chaos.checker import check
from tests.chaos.records import Evidence
from tests.chaos.result import Result
from tests.chaos.stage import Scene, Stage, staged

LEAST = 0.9
SHARE = 0.1
"""SELL_RESERVED_SHARE, its default."""
LIFE = "1200"
AT_ONCE = 20
MORE_SELLS = 2.0
"""Sells come at this many times the rate that is reserved for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A backlog of so many buys, and sells that keep coming or none."""

    replicas: int
    sells: bool
    window: str = "60/20s"
    buys: int = 320
    seed: int = 1

    @property
    def kind(self) -> str:
        return "buys and sells" if self.sells else "buys"


async def utilisation(folder: Path, say: Callable[[str], None], case: Case) -> Result:
    """Nothing misbehaves meanwhile."""
    scene = Scene(
        replicas=case.replicas,
        seed=case.seed,
        tickers=100,
        windows=case.window,
        settings={"BUY_TTL_SEC": LIFE, "SELL_TTL_SEC": LIFE, "SELL_POLICY": "always"},
    )
    async with staged(scene, folder) as stage:
        await _waited_out(stage, case)
        await stage.drained()
        evidence = await stage.evidence()
    numbers, faults = measured(evidence, sells=case.sells)
    say(f"{case.replicas} replicas, {case.kind}: {numbers}")
    return Result(
        mode=f"utilisation, {case.replicas} replicas, {case.kind}",
        numbers={"replicas": case.replicas, "window": case.window, **numbers},
        faults=faults,
        findings=await asyncio.to_thread(check, evidence),
    )


async def _waited_out(stage: Stage, case: Case) -> None:
    """Post the backlog; while it lasts, sells of other tickers."""
    [window] = parse_windows(case.window)
    share, buys = reserved(window, SHARE), case.buys
    tickers = stage.load.tickers
    for first in range(0, buys, AT_ONCE):
        posted = (tickers[n % len(tickers)] for n in range(first, min(first + AT_ONCE, buys)))
        await asyncio.gather(*(stage.load.post(ticker, "buy") for ticker in posted))

    async def all_arrived() -> bool:
        return len(stage.destination.arrivals) >= buys

    selling = asyncio.create_task(
        _sell(stage, window.seconds / share / MORE_SELLS if case.sells else None)
    )
    try:
        await until(all_arrived, 3 * window.seconds * (1 + buys / window.limit), every=0.2)
    finally:
        selling.cancel()
        await asyncio.wait([selling])


async def _sell(stage: Stage, every: float | None) -> None:
    if every is None:
        return
    began, number = now(), 0
    while True:
        number += 1
        await asyncio.sleep(max(0.0, began + number * every - now()))
        await stage.load.post(f"SOLD{number}", "sell")


def measured(evidence: Evidence, *, sells: bool) -> tuple[dict[str, Any], list[str]]:
    """How long as many requests took as fill so many windows, as long as buys were left to send.

    Buys alone may use a window less its reserved share, together with enough sells all of it.
    """
    [(limit, seconds)] = evidence.terms.windows["main"]
    usable = limit - (0 if sells else reserved(Window(limit=limit, seconds=round(seconds)), SHARE))
    times = [each.at for each in evidence.arrivals_at.get("main", [])]
    over = _last_buy(evidence)
    filled = (sum(1 for at in times if at <= over) - 1) // usable
    if filled < 1:
        return {"windows": []}, ["no window was full of waiting"]
    share = filled * seconds / (times[filled * usable] - times[0])
    numbers = {
        "usable": usable,
        "windows": _full(times, over, seconds),
        "used": round(share, 4),
    }
    return numbers, [] if share >= LEAST else [f"{share:.1%} of {usable} were used"]


def _last_buy(evidence: Evidence) -> float:
    buys = (a.at for a in evidence.arrivals if evidence.signal[a.id].side == "buy")
    return max(buys, default=0.0)


def _full(times: Sequence[float], over: float, seconds: float) -> list[int]:
    """What went into each window, one after the other, for the eye."""
    counts: list[int] = []
    began = times[0]
    while began + seconds < over:
        counts.append(sum(1 for at in times if began <= at < began + seconds))
        began += seconds
    return counts
