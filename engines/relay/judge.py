"""The judge: claimed signals held against the list, the positions and the rules; recorded."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from database import gate, universes, verdicts
from database.pool import Connection
from database.universes import Current
from database.verdicts import Claimed
from domain.gate import GatePolicy, Judged, SellPolicy, judge_in_order, list_max_age
from engines.failpoints import Point, Reach, passes
from engines.relay.early_verdicts import EarlyVerdicts


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """What a gatekeeper decides by, and an operator's command too. ``until_open``: the market.

    ``early`` is shown what it decides by.
    """

    current: "CurrentList"
    sell_policy: SellPolicy
    list_max_age: timedelta | None
    until_open: Callable[[datetime], Awaitable[timedelta | None]]
    reach: Reach = passes
    early: EarlyVerdicts = field(default_factory=EarlyVerdicts)

    async def look(self, connection: Connection) -> Current:
        return await self.current.look(connection)

    async def judge(self, connection: Connection, claimed: Claimed, current: Current) -> Judged:
        """Decide what is claimed, in order, and write it down."""
        self.reach(Point.GATEKEEPER_CLAIMED)
        in_force = await gate.read(connection)
        policy = await self._policy(current, in_force, claimed.now)
        self.early.shown(current, in_force, policy)
        tickers = {signal.ticker for signal in claimed.signals}
        judged = judge_in_order(
            claimed.signals,
            universe=current.universe,
            positions=claimed.positions,
            policy=policy,
            now=claimed.now,
            standing=await gate.standing(connection, in_force.rulebook, tickers, claimed.now),
        )
        await verdicts.record(connection, judged, gate_version=in_force.version)
        return judged

    async def _policy(self, current: Current, in_force: gate.Gate, now: datetime) -> GatePolicy:
        watches = in_force.rulebook.watches_hours
        return GatePolicy(
            top_n=current.screen.top_n,
            margin=current.screen.margin,
            wait=current.screen.wait,
            list_max_age=list_max_age(current.screen.refresh, self.list_max_age),
            sell_policy=self.sell_policy,
            has_destination=in_force.has_destination,
            buying_paused=in_force.pause is not None,
            market_open=not watches or await self.until_open(now) is None,
            rulebook=in_force.rulebook,
        )


class CurrentList:
    """The list in force, read again only when its version moved: a list is large, a look is not."""

    def __init__(self) -> None:
        self._seen: Current | None = None

    async def look(self, connection: Connection) -> Current:
        """The active screen and its current universe, as this transaction sees them."""
        mark = await universes.mark(connection)
        seen = self._seen
        if seen is None or seen.key != mark.key:
            seen = self._seen = await universes.current(connection)
        elif seen.universe and seen.universe.confirmed_at != mark.confirmed_at:
            universe = replace(seen.universe, confirmed_at=mark.confirmed_at)
            seen = self._seen = replace(seen, universe=universe)
        return seen
