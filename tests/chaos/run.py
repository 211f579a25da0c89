"""The supervisor of a chaos run: load and blows in rounds, each round drained and checked."""

import asyncio
import dataclasses
import json
import random  # noqa: TID251  chance is drawn from the run's seed
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import reading
from tests.chaos.axis import now
from tests.chaos.checker import check
from tests.chaos.findings import Finding
from tests.chaos.nemesis import Nemesis
from tests.chaos.operating import resolve_held
from tests.chaos.records import Evidence
from tests.chaos.report import Report, machine, totals
from tests.chaos.stage import Scene, Stage, staged

EVERY = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be reached, and in which time: blows by kind, and at least so many alerts."""

    scene: Scene
    blows: Mapping[str, int]
    alerts: int = 0
    minutes: float = 1.0
    round: float = 10.0
    armed: float = 0.5
    moods: float = 0.15
    pause: tuple[float, float] = (3.0, 8.0)


@dataclass(slots=True)
class Run:
    """A run under way."""

    plan: Plan
    stage: Stage
    report: Report
    say: Callable[[str], None]
    nemesis: Nemesis = field(init=False)
    began: float = field(default_factory=now)

    def __post_init__(self) -> None:
        self.nemesis = Nemesis(
            stage=self.stage,
            chance=random.Random(self.plan.scene.seed + 3),
            left=Counter(self.plan.blows),
            armed=self.plan.armed,
            moods=self.plan.moods,
            pause=self.plan.pause,
        )

    @property
    def over(self) -> bool:
        reached = self.nemesis.done and self.stage.load.begun >= self.plan.alerts
        return reached or now() >= self.began + self.plan.minutes * 60

    async def rounds(self) -> list[Finding]:
        """Go on until over; return what the last check found, which is about everything."""
        while True:
            async with self.nemesis.patrolling(), self._operated():
                await self._round()
                await self.nemesis.whole()
            evidence = await self.stage.evidence()
            findings = await asyncio.to_thread(check, evidence)
            self.report.progress(self.stage, self._minutes)
            self.report.verify(self.stage, findings)
            if self.over or not all(finding.ok for finding in findings):
                _keep(evidence, findings, self.stage.folder)
                return findings

    async def _round(self) -> None:
        """Blows and load, until the round or the run is over; then wait until nothing is left."""
        until = min(now() + self.plan.round * 60, self.began + self.plan.minutes * 60)
        async with self._loaded(), self._reported():
            await self.nemesis.run(until, lambda: self.over)
        await self.stage.load.finished()
        await self.stage.drained()

    @asynccontextmanager
    async def _loaded(self) -> AsyncGenerator[None]:
        load = asyncio.create_task(self.stage.load.run())
        try:
            yield
        finally:
            load.cancel()
            await asyncio.wait([load])

    @asynccontextmanager
    async def _operated(self) -> AsyncGenerator[None]:
        """An operator looks after what is held."""
        if self.stage.once is None:
            yield
            return
        operator = asyncio.create_task(resolve_held(self.stage.load.doors, self.stage.once))
        try:
            yield
        finally:
            operator.cancel()
            await asyncio.gather(operator, return_exceptions=True)

    @asynccontextmanager
    async def _reported(self) -> AsyncGenerator[None]:
        async def keep_reporting() -> None:
            while True:
                await asyncio.sleep(EVERY)
                self.report.progress(self.stage, self._minutes)
                done = ", ".join(f"{n:,} {name}" for name, n in totals(self.stage).items())
                self.say(f"{self._minutes:.1f} min: {done}")

        reporting = asyncio.create_task(keep_reporting())
        try:
            yield
        finally:
            reporting.cancel()
            await asyncio.wait([reporting])

    @property
    def _minutes(self) -> float:
        return (now() - self.began) / 60


def _keep(evidence: Evidence, findings: Sequence[Finding], folder: Path) -> None:
    """Leave beside the logs what a violation was found in."""
    if not all(finding.ok for finding in findings):
        whole = dataclasses.asdict(evidence)
        (folder / "evidence.json").write_text(json.dumps(whole, default=sorted))


async def run(
    plan: Plan, folder: Path, report: Report, say: Callable[[str], None]
) -> list[Finding]:
    """Put up the stage, run, take it down."""
    async with staged(plan.scene, folder) as stage:
        report.machine = machine(str(await reading.ask(stage.server.url, reading.VERSION)))
        report.begin(seed=plan.scene.seed, replicas=plan.scene.replicas, rate=plan.scene.rate)
        findings = await Run(plan, stage, report, say).rounds()
    report.finish()
    return findings
