"""A free-running day: strategies post, people act, and things go wrong now and then."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from demo.alerts import Alert, alerts_of
from demo.clock import CLOSES, DAY, OPENS, in_words, is_trading_day
from demo.desk import Desk, colleagues, furnish, strategies
from demo.hands import Hands, NotDoneError
from demo.market import outage, weather
from demo.operators import ACTS, Act
from demo.past import Past
from demo.world import World
from engines.clock import utc_now

log = logging.getLogger(__name__)

TOLD = {
    "throttled": "Finviz says that we ask too often",
    "throttled_429": "Finviz answers 429 and asks for a pause",
    "failing": "Finviz answers 502",
    "half_the_rows": "Finviz leaves out half of its rows",
    "nothing": "Finviz answers with an empty page",
}


async def listed(hands: Hands) -> None:
    """Wait until the relay has read its first list."""
    while not (await hands.read("/api/universe"))["tickers"]:  # noqa: ASYNC110  over HTTP
        await asyncio.sleep(0.1)


@dataclass(slots=True)
class Play:
    """Plays the day to a relay that runs. ``told`` gets a line for people now and then."""

    world: World
    webhook_token: str = field(repr=False)
    told: Callable[[str], None]
    answers: Counter[int] = field(default_factory=Counter[int])
    """How often the relay answered an alert with which status; 0: not at all."""

    async def run(self, hands: Hands) -> None:
        """For as long as the demo runs."""
        await listed(hands)
        senders = await strategies(hands, self.webhook_token)
        desk = Desk(hands, await colleagues(hands))
        if await furnish(hands, desk):
            past = Past(self.world.seed, self.world.market)
            lines = await asyncio.to_thread(lambda: "\n".join(past.lines(utc_now())))
            await hands.upload("/api/signals/import?format=jsonl", lines)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._alerts(senders, group))
            group.create_task(self._people(desk))
            group.create_task(self._weather())

    async def _wait_for(self, at: float) -> None:
        await asyncio.sleep(self.world.clock.seconds_until(at))

    async def _alerts(self, senders: Hands, group: asyncio.TaskGroup) -> None:
        now = self.world.clock.now()
        day = int(now // DAY)
        while True:
            for alert in await asyncio.to_thread(alerts_of, self.world.seed, day):
                if alert.at >= now:
                    await self._wait_for(alert.at)
                    group.create_task(self._post(senders, alert))
            day += 1
            await self._wait_for(day * DAY)

    async def _post(self, senders: Hands, alert: Alert) -> None:
        posted = await senders.post(alert.source, alert.body(utc_now()))
        self.answers[posted.status] += 1

    async def _people(self, desk: Desk) -> None:
        day = int(self.world.clock.now() // DAY)
        while True:
            for minute, act in ACTS if is_trading_day(day) else ():
                at = day * DAY + OPENS + minute
                if at >= self.world.clock.now():
                    await self._wait_for(at)
                    await self._act(desk, act, at)
            day += 1
            await self._wait_for(day * DAY)

    async def _act(self, desk: Desk, act: Act, at: float) -> None:
        try:
            done = await act(desk, self.world)
        except NotDoneError as error:
            log.info("demo.act_refused", extra={"act": act.__name__, "answer": str(error)})
            return
        if done:
            self.told(f"{in_words(at)}  {done}.")

    async def _weather(self) -> None:
        day = int(self.world.clock.now() // DAY)
        while True:
            for at, words in sorted(_forecast(self.world.seed, day).items()):
                if at >= self.world.clock.now():
                    await self._wait_for(at)
                    self.told(f"{in_words(at)}  {words}.")
            day += 1
            await self._wait_for(day * DAY)


def _forecast(seed: int, day: int) -> Mapping[float, str]:
    """What is told of a day, and when."""
    if not is_trading_day(day):
        return {day * DAY + OPENS: "The exchange is closed: nothing moves until Monday"}
    down = outage(seed, day)
    return {
        day * DAY + OPENS: "The exchange opens",
        down.begins: "The destination answers 503",
        down.ends: "The destination is back",
        day * DAY + CLOSES: "The exchange closes; the night passes quickly",
        **{spell.begins: TOLD[spell.what] for spell in weather(seed, day)},
    }
