"""A scenario: a story with one known end, told line by line, and what was seen at its end."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from demo.alerts import BREAKOUT
from demo.clock import in_words
from demo.defaults import SPEED
from demo.desk import NIGHT_DESK, Desk, colleagues, strategies
from demo.destination import Parcel
from demo.hands import Hands, Posted
from demo.play import listed
from demo.world import World

LOOK = 0.3
PATIENCE = 240.0
"""Seconds after which something that should happen does not; more at less than the usual speed."""


ENDS = {
    *("delivered", "rejected", "invalid", "expired"),
    *("dead", "superseded", "cancelled", "held"),
}


class NotSeenError(Exception):
    """What the story waits for did not happen."""


@dataclass(frozen=True, slots=True)
class Check:
    """Something of the end state: as it should be, and as it is."""

    what: str
    expected: object
    seen: object
    as_expected: bool

    def line(self) -> str:
        sign = "ok  " if self.as_expected else "NOT "
        return f"  {sign} {self.what}: {self.seen} (expected: {self.expected})"


@dataclass(slots=True)
class Report:
    """What was told and seen."""

    scenario: str
    seed: int
    speed: float
    story: list[str] = field(default_factory=list[str])
    checks: list[Check] = field(default_factory=list[Check])

    @property
    def as_expected(self) -> bool:
        return bool(self.checks) and all(check.as_expected for check in self.checks)

    def told(self) -> dict[str, object]:
        """As JSON."""
        return {
            "scenario": self.scenario,
            "seed": self.seed,
            "speed": self.speed,
            "as_expected": self.as_expected,
            "story": self.story,
            "checks": [
                {"what": c.what, "expected": c.expected, "seen": c.seen, "ok": c.as_expected}
                for c in self.checks
            ],
        }


@dataclass(slots=True)
class Theatre:
    """What a scenario can do and see."""

    world: World
    hands: Hands
    desk: Desk
    report: Report
    show: Callable[[str], None]

    @property
    def night_desk(self) -> Hands:
        return self.desk[NIGHT_DESK]

    def tell(self, words: str) -> None:
        line = f"{in_words(self.world.clock.now())[-5:]}  {words}"
        self.report.story.append(line)
        self.show(line)

    async def wait(self, minutes: float) -> None:
        """Of the market's time."""
        await asyncio.sleep(minutes * 60 / self.world.clock.speed)

    async def until(self, there: Callable[[], Awaitable[bool]], what: str) -> None:
        """Raises NotSeenError."""
        try:
            async with asyncio.timeout(PATIENCE * max(1, SPEED / self.world.clock.speed)):
                while not await there():  # noqa: ASYNC110  asked over HTTP
                    await asyncio.sleep(LOOK)
        except TimeoutError:
            raise NotSeenError(what) from None

    async def settled(self) -> None:
        """Wait until every signal has ended."""

        async def idle() -> bool:
            return all(one["status"] in ENDS for one in await self.signals())

        await self.until(idle, "every signal ends")

    async def trusted(self, trust: str) -> None:
        async def so() -> bool:
            return (await self.hands.read("/api/universe"))["trust"] == trust

        await self.until(so, f"the list is {trust}")

    async def alert(self, ticker: str, action: str, source: str = BREAKOUT, **more: str) -> Posted:
        return await self.hands.post(source, self.body(ticker, action, source, **more))

    def body(self, ticker: str, action: str, source: str, **more: str) -> str:
        """What a strategy posts, about a company of the market or a stranger."""
        symbol = ticker if ":" in ticker else f"NASDAQ:{ticker}"
        price = str(self.world.market.price(ticker, self.world.now()) or "1.23")
        told = {"ticker": symbol, "action": action, "price": price, "strategy": source}
        return json.dumps(told | more)

    async def all_of(self, tickers: list[str], action: str, **more: str) -> None:
        """An alert for each, one after another."""
        for ticker in tickers:
            await self.alert(ticker, action, **more)

    async def signals(self) -> list[dict[str, Any]]:
        """All there are, in the order of their acknowledgement."""
        return (await self.hands.items("/api/signals?limit=500"))[::-1]

    async def became(self) -> Counter[str]:
        """How many signals ended how: "buy delivered", "buy rejected not_in_list"."""
        return Counter(
            " ".join(filter(None, (one["side"], one["status"], one["reason"])))
            for one in await self.signals()
        )

    async def positions(self, state: str) -> int:
        return len(await self.hands.items(f"/api/positions?state={state}&limit=500"))

    async def attention(self, cause: str) -> int:
        """How many items of a cause there were."""
        return len(await self.hands.items(f"/api/attention?state=all&cause={cause}"))

    async def over(self, cause: str) -> None:
        """Wait until there was attention to it, and what happened has settled that."""

        async def settled() -> bool:
            items = await self.hands.items(f"/api/attention?state=all&cause={cause}")
            return bool(items) and all(one["resolved_at"] for one in items)

        await self.until(settled, f"{cause} is settled")

    @property
    def parcels(self) -> list[Parcel]:
        return self.world.destination.parcels

    def check(self, what: str, seen: object, expected: object) -> None:
        self.report.checks.append(Check(what, expected, seen, seen == expected))

    def check_most(self, what: str, seen: int, most: int) -> None:
        self.report.checks.append(Check(what, f"at most {most}", seen, seen <= most))

    def check_least(self, what: str, seen: int, least: int) -> None:
        self.report.checks.append(Check(what, f"at least {least}", seen, seen >= least))

    async def check_arrivals(self) -> None:
        """What holds of every scenario: limits kept, lanes in order, nothing twice unmarked."""
        most, seconds = self.world.destination.limits[0]
        busiest = most_within([parcel.at for parcel in self.parcels], seconds)
        self.check_most(f"orders within any {seconds:g} s", busiest, most)
        refused = sum(parcel.status == 429 for parcel in self.parcels)
        self.check("answers 429 of the destination", refused, 0)
        self.check("orders that came twice without the mark", unmarked_repeats(self.parcels), 0)
        wrong = out_of_order(self.parcels, await self.signals())
        self.check("tickers whose orders came out of order", wrong, [])


@dataclass(frozen=True, slots=True)
class Scenario:
    """``settings`` are those that differ, by the speed; ``prepare`` sets the world before."""

    name: str
    about: str
    settings: Callable[[float], dict[str, object]]
    prepare: Callable[[World], None]
    play: Callable[[Theatre], Awaitable[None]]


async def perform(
    scenario: Scenario, world: World, token: str, hands: Hands, show: Callable[[str], None]
) -> Report:
    """Play it to a relay with an empty database, and say what came of it."""
    report = Report(scenario.name, world.seed, world.clock.speed)
    show(f"\n{scenario.name}: {scenario.about}\n")
    await listed(hands)
    senders = await strategies(hands, token)
    theatre = Theatre(world, senders, Desk(senders, await colleagues(senders)), report, show)
    try:
        await scenario.play(theatre)
    except NotSeenError as error:
        report.checks.append(Check(str(error), "in time", "not in time", as_expected=False))
    show("\nAt the end:")
    for check in report.checks:
        show(check.line())
    show("As expected." if report.as_expected else "Not as expected.")
    return report


def most_within(times: list[float], seconds: float) -> int:
    """The most that came within any stretch of so many seconds."""
    most = first = 0
    for number, at in enumerate(times):
        while times[first] <= at - seconds:
            first += 1
        most = max(most, number - first + 1)
    return most


def unmarked_repeats(parcels: list[Parcel]) -> int:
    """How many orders came again after one that may count, and did not say so."""
    taken: set[tuple[str, str]] = set()
    wrong = 0
    for parcel in parcels:
        key = (parcel.host, parcel.id)
        wrong += key in taken and not parcel.marked
        if parcel.taken:
            taken.add(key)
    return wrong


def out_of_order(parcels: list[Parcel], signals: list[dict[str, Any]]) -> list[str]:
    """The tickers of which an order was taken before an older one, for the first time."""
    place = {one["id"]: number for number, one in enumerate(signals)}
    ticker = {one["id"]: one["ticker"] for one in signals}
    last: dict[str, int] = {}
    seen: set[str] = set()
    wrong: set[str] = set()
    for parcel in parcels:
        if parcel.id in place and parcel.taken and parcel.id not in seen:
            seen.add(parcel.id)
            if place[parcel.id] < last.get(ticker[parcel.id], -1):
                wrong.add(ticker[parcel.id])
            last[ticker[parcel.id]] = place[parcel.id]
    return sorted(wrong)
