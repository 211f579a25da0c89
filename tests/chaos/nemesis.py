"""The nemesis: strikes processes, the database and the destination, by plan and by seed."""

import asyncio
import random  # noqa: TID251  chance is handed in, drawn from the run's seed
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from engines.failpoints import Point
from tests.chaos.axis import now
from tests.chaos.destination import CALM, MOODS, Manner
from tests.chaos.processes import Replica
from tests.chaos.records import LEASE, Blow
from tests.chaos.stage import Stage

PROCESSES = ("kill", "stop", "roll")
DATABASE = ("crash", "outage", "blackhole", "partition", "slow", "reset", "cut", "full")
BAD_MOODS = sorted(MOODS.keys() - {"calm", "rough"})
ALL_AT_ONCE = 0.1
"""How often the last living replica is struck as well."""
LATEST_STRIKE = 15
HASTE = 0.8
"""Of the time that is left, so that the last strike still fits."""
LOOK = 0.05


@dataclass(slots=True, kw_only=True)
class Nemesis:
    """``left`` is what is still to be struck, by kind; ``armed`` the share of starts with a
    failpoint; ``moods`` the share of time in which the destination misbehaves badly.
    """

    stage: Stage
    chance: random.Random
    left: Counter[str]
    armed: float = 0.5
    moods: float = 0.15
    pause: tuple[float, float] = (3.0, 8.0)
    _until: float = 0.0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    @property
    def done(self) -> bool:
        return not +self.left

    async def run(self, until: float, over: Callable[[], bool]) -> None:
        """Strike until then, or until it is over; return when all is whole again."""
        self._until = until
        moods = asyncio.create_task(self._strike_destination())
        try:
            await asyncio.gather(self._strike_processes(), self._strike_database())
            while now() < until and not over():
                await self._look()
            await self.whole()
        finally:
            moods.cancel()
            await asyncio.gather(moods, return_exceptions=True)
            self._feel(CALM)

    async def whole(self) -> None:
        """Return when everything that was struck is up again."""
        while self._tasks:
            done, _ = await asyncio.wait(self._tasks)
            for task in done:
                task.result()

    @asynccontextmanager
    async def patrolling(self) -> AsyncGenerator[None]:
        """Meanwhile those that strike themselves are found and revived."""
        patrol = asyncio.create_task(self._patrol())
        try:
            yield
        finally:
            patrol.cancel()
            await asyncio.gather(patrol, return_exceptions=True)

    # ── Processes ───────────────────────────────────────────────────────────────────────────

    async def _strike_processes(self) -> None:
        while await self._rest(PROCESSES):
            replica = self._victim()
            kind = self._draw(PROCESSES)
            if replica is None or kind is None:
                await asyncio.sleep(0.3)
                continue
            self.left[kind] -= 1
            if kind == "roll":
                await self._roll()
            else:
                self._begin({"kill": self.kill, "stop": self.stop}[kind](replica))

    def _victim(self) -> Replica | None:
        """One to strike; mostly nobody while it would be the last."""
        replicas = [each for each in self.stage.replicas if each.up and not each.tended]
        last = len(self.stage.replicas) > 1 and len(replicas) == 1
        if not replicas or (last and self.chance.random() >= ALL_AT_ONCE):
            return None
        return self.chance.choice(replicas)

    async def kill(self, replica: Replica) -> None:
        began = _taken(replica)
        replica.strike(signal.SIGKILL)
        await replica.ended()
        await self._revive(replica)
        self._note("kill", replica.name, began)

    async def stop(self, replica: Replica) -> None:
        """Freeze it for longer than a lease lasts."""
        began = _taken(replica)
        replica.strike(signal.SIGSTOP)
        await self._thaw(replica, began)

    async def _thaw(self, replica: Replica, began: float, note: str = "") -> None:
        await asyncio.sleep(LEASE + self.chance.uniform(1, 3))
        replica.strike(signal.SIGCONT)
        self._note("stop", replica.name, began, note=note)
        replica.up, replica.tended = True, False

    async def _roll(self) -> None:
        """A rolling restart: one after the other, as an operator does it."""
        for replica in self.stage.replicas:
            while not replica.up or replica.tended:
                await self._look()
            await self.terminate(replica)

    async def terminate(self, replica: Replica) -> None:
        began = _taken(replica)
        replica.strike(signal.SIGTERM)
        code = await replica.ended()
        took, point = now() - began, replica.struck_at()
        await self._revive(replica)
        if point:  # it was on its way out, and did not get there
            self._note("kill", replica.name, began, note=point)
        else:
            self._note("terminate", replica.name, began, took=took, code=code)

    async def _revive(self, replica: Replica) -> None:
        """Start it until it is up; one that fails to is noted, and killed if need be."""
        points = self._points()
        while True:
            began = now()
            await replica.start(points)
            if replica.up:
                replica.tended = False
                return
            if replica.lives:
                self._note("died", replica.name, began, note="was never ready")
                replica.strike(signal.SIGKILL)
            self._mourn(replica, began, await replica.ended())
            points = ""

    def _points(self) -> str:
        """One failpoint at which this life is to end, sometimes."""
        if self.left["kill"] <= 0 or self.chance.random() >= self.armed:
            return ""
        return f"{self.chance.choice(list(Point))}:kill#{self.chance.randint(1, LATEST_STRIKE)}"

    def _mourn(self, replica: Replica, began: float, code: int) -> None:
        """A process that ended without our doing: by a failpoint, or for no good reason."""
        point = replica.struck_at()
        if point:
            self.left["kill"] -= 1
        self._note("kill" if point else "died", replica.name, began, code=code, note=point)

    async def _patrol(self) -> None:
        """Find those that struck themselves."""
        while True:
            await self._look()
            for replica in self.stage.replicas:
                if not replica.tended and not replica.lives:
                    _taken(replica)
                    self._begin(self._bury(replica, replica.struck_since()))
                elif not replica.tended and replica.is_frozen:
                    _taken(replica)
                    self._begin(self._thaw(replica, replica.struck_since(), replica.struck_at()))

    async def _bury(self, replica: Replica, began: float) -> None:
        code, point = await replica.ended(), replica.struck_at()
        self.left["kill"] -= bool(point)
        await self._revive(replica)
        self._note("kill" if point else "died", replica.name, began, code=code, note=point)

    # ── The database ────────────────────────────────────────────────────────────────────────

    async def _strike_database(self) -> None:
        strikes: dict[str, Callable[[], Coroutine[Any, Any, str]]] = {
            "crash": self.crash,
            "outage": self.outage,
            "blackhole": self.blackhole,
            "partition": self.partition,
            "slow": self.slow,
            "reset": self.reset,
            "cut": self.cut,
            "full": self.full,
        }
        while await self._rest(DATABASE):
            kind = self._draw(DATABASE)
            if kind is None:
                continue
            self.left[kind] -= 1
            began = now()
            target = await strikes[kind]()
            self._note(kind, target, began)

    async def crash(self) -> str:
        await self.stage.server.crash()
        await asyncio.sleep(self.chance.uniform(0, 2))
        await self.stage.server.start()
        return "database"

    async def outage(self) -> str:
        await self.stage.server.stop()
        await self._pause()
        await self.stage.server.start()
        return "database"

    async def blackhole(self) -> str:
        for replica in self.stage.replicas:
            replica.proxy.blacken()
        await self._pause()
        self._heal()
        return "database"

    async def partition(self) -> str:
        """One replica loses the database for longer than its leases last, and lives on."""
        replica = self.chance.choice(self.stage.replicas)
        replica.proxy.blacken()
        await asyncio.sleep(LEASE + self.chance.uniform(1, 3))
        replica.proxy.heal()
        return replica.name

    async def slow(self) -> str:
        latency = self.chance.uniform(0.02, 0.3)
        for replica in self.stage.replicas:
            replica.proxy.latency = latency
        await self._pause()
        self._heal()
        return "database"

    async def reset(self) -> str:
        for replica in self.stage.replicas:
            replica.proxy.reset()
        return "database"

    async def cut(self) -> str:
        """Break connections behind what was sent on them: a commit whose end nobody hears."""
        for replica in self.stage.replicas:
            replica.proxy.cut_after = self.chance.randint(1, 20_000)
        await self._pause()
        self._heal()
        return "database"

    async def full(self) -> str:
        """Fill the disk, and give it room again; a server that gave up is started."""
        self.stage.server.fill()
        await self._pause()
        self.stage.server.clear()
        if not self.stage.server.lives:
            await self.stage.server.start()
        return "database"

    def _heal(self) -> None:
        for replica in self.stage.replicas:
            replica.proxy.heal()

    # ── The destinations ───────────────────────────────────────────────────────────────────

    async def _strike_destination(self) -> None:
        """Rough most of the time, now and then really bad."""
        while True:
            began = now()
            if self.chance.random() < self.moods:
                mood = self.chance.choice(BAD_MOODS)
                self._feel(MOODS[mood])
                await self._pause()
                self._note("mood", "destinations", began, note=mood)
            self._feel(MOODS[self.chance.choice(["calm", "rough", "rough"])])
            await self._pause()

    def _feel(self, mood: Mapping[Manner, float]) -> None:
        for destination in self.stage.destinations:
            destination.mood = mood

    # ── When, and what was done ─────────────────────────────────────────────────────────────

    async def _rest(self, kinds: tuple[str, ...]) -> bool:
        """Wait for the next strike of these kinds; return whether there is one."""
        count = sum(max(0, self.left[kind]) for kind in kinds)
        time_left = self._until - now()
        if not count or time_left <= 0:
            return False
        mean = HASTE * time_left / (count + 1)
        await asyncio.sleep(min(self.chance.expovariate(1 / mean), 2 * mean))
        return now() < self._until

    def _draw(self, kinds: tuple[str, ...]) -> str | None:
        weights = [max(0, self.left[kind]) for kind in kinds]
        return self.chance.choices(kinds, weights)[0] if any(weights) else None

    async def _pause(self) -> None:
        await asyncio.sleep(self.chance.uniform(*self.pause))

    async def _look(self) -> None:
        await asyncio.sleep(LOOK)

    def _begin(self, strike: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(strike)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _note(
        self,
        kind: str,
        target: str,
        began: float,
        *,
        took: float | None = None,
        code: int | None = None,
        note: str = "",
    ) -> None:
        self.stage.blows.append(
            Blow(
                kind=kind, target=target, began=began, ended=now(), took=took, code=code, note=note
            )
        )


def _taken(replica: Replica) -> float:
    """From now on nobody sends to it, and nobody else strikes it."""
    replica.up, replica.tended = False, True
    return now()
