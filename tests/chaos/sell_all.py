"""Everything is sold under fire: three replicas, buys pouring in, one killed after the command."""

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from domain.rate import Window, parse_windows
from tests.chaos import reading
from tests.chaos.axis import now, until
from tests.chaos.checker import check
from tests.chaos.destination import CALM, Manner
from tests.chaos.findings import Finding, found
from tests.chaos.processes import Replica
from tests.chaos.records import Blow, Evidence
from tests.chaos.result import Result
from tests.chaos.stage import Scene, Stage, staged
from tests.chaos.wire import Reply, ask
from tests.end_to_end.stage import UPDATE_TOKEN

LATEST = 1.1
"""How many times the least possible time the last sell may take at a destination that is well."""
HALF_FAILING = {
    Manner.FAILED: 0.12,
    Manner.FAILED_AFTER: 0.08,
    Manner.HANG: 0.04,
    Manner.THROTTLED: 0.13,
    Manner.BUSY: 0.13,
}
"""Half of all requests."""
OPEN = "SELECT count(*) FROM positions WHERE state = 'open'"
LEFT = """
    SELECT count(*) FROM deliveries JOIN signals ON signals.id = signal_id
    WHERE batch_id IS NOT NULL AND finished_at IS NULL
"""
BATCHES = "SELECT count(*) FROM batches WHERE kind = 'sell_all'"
UNSOLD = "SELECT count(*) FROM positions WHERE state IN ('opening', 'open', 'closing')"
QUEUED_BUYS = "SELECT count(*) FROM deliveries WHERE side = 'buy' AND finished_at IS NULL"
PATIENCE = 300.0
PAUSES = 20
UNDER_WAY = 1.0
"""Seconds that a request may take to arrive that had left before."""
AFTER = 3.0
"""Seconds for which buys go on pouring in after buying was resumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """``killed`` is the replica commanded; ``fails``: so does half of what the destination is sent.

    Where something happens to it, nobody asks how long it takes.
    """

    positions: int = 40
    replicas: int = 3
    window: str = "20/10s"
    fails: bool = False
    killed: bool = False
    rate: float = 15.0
    seed: int = 1

    @property
    def only_window(self) -> Window:
        [window] = parse_windows(self.window)
        return window


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """When it was given and answered, when buying went on, and every answer to it."""

    asked_at: float
    answered_at: float
    resumed_at: float
    answers: Sequence[Mapping[str, Any]]
    batches: int
    unsold: int

    @property
    def sells(self) -> dict[str, str]:
        """The tickers that are sold, by the id of their sells."""
        return {one["signal_id"]: one["ticker"] for one in self.answers[0]["signals"]}


async def sell_all(folder: Path, say: Callable[[str], None], case: Case) -> Result:
    scene = Scene(
        replicas=case.replicas,
        seed=case.seed,
        tickers=case.positions,
        windows=case.window,
        settings={"BUY_TTL_SEC": "900", "LOG_LEVEL": "WARNING"},
    )
    async with staged(scene, folder) as stage:
        await _opened(stage)
        command = await _commanded(stage, case, say)
        stage.destination.mood = CALM
        await stage.load.finished()
        await stage.drained(PATIENCE)
        evidence = await stage.evidence()
    numbers, faults = measured(evidence, case, command)
    kept = [each for each in await asyncio.to_thread(check, evidence) if each.id != "I14"]
    return Result(
        mode="sell-all, " + ("failing half the time, one killed" if case.fails else "all is well"),
        numbers={"window": case.window, "replicas": case.replicas, **numbers},
        faults=faults,
        findings=[*kept, everything_sold(evidence, command)],
    )


async def _opened(stage: Stage) -> None:
    """Have a position of every ticker."""
    for ticker in stage.load.tickers:
        await stage.load.post(ticker, "buy")

    async def is_open() -> bool:
        return await reading.ask(stage.server.url, OPEN) == len(stage.load.tickers)

    if not await until(is_open, PATIENCE):
        raise RuntimeError("no position of every ticker")


async def _commanded(stage: Stage, case: Case, say: Callable[[str], None]) -> Command:
    """Sell everything while buys pour in; when all of it has ended, go on buying for a while."""
    pouring = asyncio.create_task(_pour(stage, case.rate))
    try:
        await asyncio.sleep(case.only_window.seconds)
        stage.destination.mood = HALF_FAILING if case.fails else CALM
        waiting = await reading.ask(stage.server.url, QUEUED_BUYS)
        say(f"{waiting} buys wait; everything is sold now")
        asked_at, key = now(), uuid4().hex
        answers = [await _ask_to_sell(stage.replicas[0], key)]
        answered_at = now()
        if case.killed:
            await _killed(stage, stage.replicas[0])
        answers += [await _ask_to_sell(replica, key) for replica in stage.replicas]
        await until(partial(_all_ended, stage), PATIENCE, every=0.2)
        batches = await reading.ask(stage.server.url, BATCHES)
        unsold = await reading.ask(stage.server.url, UNSOLD)
        resumed_at = now()
        await _post(stage.replicas[-1], "/api/buying/resume")
        await asyncio.sleep(AFTER)
    finally:
        pouring.cancel()
        await asyncio.wait([pouring])
    return Command(
        asked_at=asked_at,
        answered_at=answered_at,
        resumed_at=resumed_at,
        answers=answers,
        batches=batches,
        unsold=unsold,
    )


async def _pour(stage: Stage, rate: float) -> None:
    """Buys of every ticker, whatever becomes of them; of a ticker one after the other."""
    loop, tickers = asyncio.get_running_loop(), stage.load.tickers

    async def buy(ticker: str) -> None:
        while True:
            due = loop.time() + stage.chance.expovariate(rate / len(tickers))
            await asyncio.sleep(max(0.0, due - loop.time()))
            await stage.load.post(ticker, "buy")

    async with asyncio.TaskGroup() as buyers:
        for ticker in tickers:
            buyers.create_task(buy(ticker))


async def _ask_to_sell(replica: Replica, key: str) -> Mapping[str, Any]:
    reply = await _post(replica, "/sell/all", key)
    for _ in range(PAUSES):  # a machine that stands still makes a 503: the same key, once more
        if reply.status != 503:
            break
        await asyncio.sleep(0.5)
        reply = await _post(replica, "/sell/all", key)
    if reply.status != 202:
        raise RuntimeError(f"POST /sell/all: {reply.status} {reply.body.decode()}{reply.problem}")
    return reply.json


async def _post(replica: Replica, path: str, key: str = "") -> Reply:
    headers = {"content-type": "application/json", "authorization": f"Bearer {UPDATE_TOKEN}"}
    headers |= {"idempotency-key": key} if key else {}
    return await ask(replica.port, "POST", path, body=b"{}", headers=headers, within=30.0)


async def _killed(stage: Stage, replica: Replica) -> None:
    began, replica.up = now(), False
    replica.strike(signal.SIGKILL)
    await replica.ended()
    await replica.start()
    stage.blows.append(Blow(kind="kill", target=replica.name, began=began, ended=now()))


async def _all_ended(stage: Stage) -> bool:
    return await reading.ask(stage.server.url, LEFT) == 0


# ── What came of it ─────────────────────────────────────────────────────────────────────────


def measured(evidence: Evidence, case: Case, command: Command) -> tuple[dict[str, Any], list[str]]:
    """Seconds from the command to the last sell's delivery, against the least there can be."""
    arrived = [a for a in evidence.arrivals_at.get("main", []) if a.id in command.sells]
    delivered = {a.id: a.answered_at for a in arrived if a.status is not None and a.status < 300}
    others = [
        a.at
        for a in evidence.arrivals_at.get("main", [])
        if a.at < command.answered_at + UNDER_WAY and a.id not in command.sells
    ]
    least = soonest(others, case.only_window, len(command.sells), command.asked_at)
    last = max(delivered.values(), default=command.asked_at) - command.asked_at
    ends = Counter(each.state for each in evidence.deliveries if each.signal_id in command.sells)
    abandoned = sum(each.reason == "sell_all" for each in evidence.deliveries)
    numbers = {
        "positions": len(command.sells),
        "answered_in_sec": round(command.answered_at - command.asked_at, 3),
        "expected_sec": command.answers[0]["expected_sec"],
        "last_sell_sec": round(last, 2),
        "since_answer_sec": round(last - (command.answered_at - command.asked_at), 2),
        "least_sec": round(least, 2),
        "ratio": round(last / least, 3) if least else None,
        "ends": dict(ends),
        "requests_for_sells": len(arrived),
        "buys_abandoned": abandoned,
        "still_held": command.unsold,
    }
    late = not (case.fails or case.killed) and (not least or last > LATEST * least)
    return numbers, [f"the last sell took {last:.2f} s, at best {least:.2f}"] if late else []


def soonest(before: Sequence[float], window: Window, sells: int, began: float) -> float:
    """Seconds until the last of so many sells can arrive, after what was on its way before."""
    times = sorted(before)
    for _ in range(sells):
        freed = times[-window.limit] + window.seconds if len(times) >= window.limit else began
        times.append(max(began, freed))
    return times[-1] - began if sells else 0.0


def everything_sold(evidence: Evidence, command: Command) -> Finding:
    """I14: one batch, each position sold once or said not to be, and nothing bought meanwhile."""
    faults = [*_repeated(command), *_unsold(evidence, command), *_bought(evidence, command)]
    words = f"{len(command.sells)} sells, {len(command.answers)} times commanded"
    return found("I14", "sell-all", words, faults)


def _repeated(command: Command) -> Iterator[str]:
    if command.batches != 1 or len({one["batch_id"] for one in command.answers}) != 1:
        yield f"{command.batches} batches of one command"
    if [one["duplicate"] for one in command.answers] != [False] + [True] * (
        len(command.answers) - 1
    ):
        yield "a repeat was not told to be one"


def _unsold(evidence: Evidence, command: Command) -> Iterator[str]:
    """Every position there was has one sell; what did not arrive is held still, and said so."""
    sold = Counter(command.sells.values())
    bought = {s.ticker for s in evidence.signals if s.side == "buy" and s.status == "approved"}
    yield from (f"{ticker} was sold {sold[ticker]} times" for ticker in bought if sold[ticker] != 1)
    failed = 0
    for each in evidence.deliveries:
        if each.signal_id not in command.sells:
            continue
        arrived = evidence.arrivals_of.get((each.destination, each.signal_id), ())
        answered = any(a.status is not None and a.status < 300 for a in arrived)
        failed += each.state != "delivered"
        if answered is not (each.state == "delivered"):
            yield f"the sell of {each.ticker} is {each.state}; answered well: {answered}"
    if failed != command.unsold:
        yield f"{failed} sells failed, {command.unsold} positions are held"


def _bought(evidence: Evidence, command: Command) -> Iterator[str]:
    """No older buy arrives that had not been tried before, and no newer one before the resume."""
    first_sell = min(evidence.signal[id].seq for id in command.sells)
    for arrival in evidence.arrivals_at.get("main", []):
        signal = evidence.signal[arrival.id]
        if signal.side != "buy" or not command.answered_at < arrival.at < command.resumed_at:
            continue
        delivery = evidence.delivery[arrival.destination, arrival.id]
        first = min(each.started_at for each in evidence.attempts_of[delivery.id])
        if signal.seq > first_sell or first > command.answered_at:
            yield f"{signal.ticker} was bought (signal {signal.seq}) after everything was sold"
