"""The stage: replicas, each behind a proxy of its own, and everything around them."""

import asyncio
import random  # noqa: TID251  chance is drawn from the run's seed
import shutil
import signal
import subprocess
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from demo.finviz import MadeUpFinviz, made_up_market
from tests.chaos import canaries, reading
from tests.chaos.axis import aligned, now, until
from tests.chaos.canaries import Watch
from tests.chaos.destination import Destination
from tests.chaos.load import SENDS, Door, Load
from tests.chaos.operating import create_once
from tests.chaos.processes import Replica
from tests.chaos.proxy import Proxy
from tests.chaos.records import Blow, Evidence, Sample, Terms
from tests.chaos.server import Server
from tests.end_to_end.stage import (
    ADMIN_TOKEN,
    UPDATE_TOKEN,
    WEBHOOK_TOKEN,
    served,
)
from tests.security.leaks import Canaries

ENCRYPTION_KEY = "Y2hhb3MtY2hhb3MtY2hhb3MtY2hhb3MtY2hhb3MtMTI="
SIGNING_SECRET = "whsec_Y2hhb3Mtc2lnbmluZy1jaGFvcy1zaWduaW5nLTEyMzQ="
HOOK, HOOK_ONCE = "/hook/canary-5e2d8f", "/hook/canary-9c41ab"
CANARIES = (
    WEBHOOK_TOKEN,
    UPDATE_TOKEN,
    ADMIN_TOKEN,
    ENCRYPTION_KEY,
    SIGNING_SECRET,
    HOOK,
    HOOK_ONCE,
)
ARMED = "armed"
PAUSE = 0.05
"""Seconds; who is later than that stood still, and so did others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What is put on the stage.

    ``refresh`` is of the list; ``sends`` of an alert at most; with ``once`` there is a second
    destination, which is sent nothing twice; ``direct`` leaves the proxies out. With ``canaries``
    every kind of secret is there, and looked for afterwards in everything that there is to read.
    """

    replicas: int = 2
    seed: int = 1
    tickers: int = 50
    rate: float = 8.0
    windows: str = "60/4s,800/60s"
    refresh: int = 60
    sends: int = SENDS
    once: bool = False
    direct: bool = False
    own_disk_mb: int = 0
    canaries: bool = False
    settings: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(slots=True, kw_only=True)
class Stage:
    """Everything of one run."""

    scene: Scene
    folder: Path
    server: Server
    finviz: MadeUpFinviz
    destination: Destination
    replicas: Sequence[Replica]
    load: Load
    chance: random.Random
    once: Destination | None = None
    watch_for: Watch | None = None
    blows: list[Blow] = field(default_factory=list[Blow])
    samples: list[Sample] = field(default_factory=list[Sample])
    lag: float = 0.0
    pauses: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])

    @property
    def destinations(self) -> list[Destination]:
        return [self.destination, *([self.once] if self.once else [])]

    @property
    def armed(self) -> Path:
        return self.folder / ARMED

    def arm(self, strike: str) -> None:
        """Have the replica that gets there first struck, once."""
        unfinished = self.armed.with_suffix(".new")
        unfinished.write_text(strike)
        unfinished.rename(self.armed)

    async def drained(self, within: float = 180.0) -> None:
        """Wait until nothing is undecided or unfinished, as far as the deadline lets us."""

        async def nothing_left() -> bool:
            return not await reading.ask(self.server.url, reading.UNFINISHED)

        await until(nothing_left, within, every=0.5)
        await asyncio.sleep(0.5)  # a slow destination notes what it answered when it has

    async def watch(self) -> None:
        """Measure the replicas, and how late we ourselves are."""
        while True:
            for replica in self.replicas:
                if replica.lives and (sample := replica.sample()):
                    self.samples.append(sample)
            for _ in range(20):
                due = now() + 0.1
                await asyncio.sleep(0.1)
                late = now() - due
                self.lag = max(self.lag, late)
                if late > PAUSE:
                    self.pauses.append((due, due + late))

    async def evidence(self) -> Evidence:
        rows = await reading.read(self.server.url)
        return Evidence(
            terms=Terms(
                windows=rows.windows,
                at_most_once=rows.at_most_once,
                refresh=float(self.scene.refresh),
            ),
            alerts=[*self.load.alerts],
            arrivals=[arrival for each in self.destinations for arrival in each.arrivals],
            signals=rows.signals,
            deliveries=rows.deliveries,
            attempts=rows.attempts,
            events=rows.events,
            positions=rows.positions,
            universes=rows.universes,
            blows=[*self.blows],
            breaks=rows.breaks,
            samples=[*self.samples],
            looks=[aligned(arrival.at) for arrival in self.finviz.arrivals],
            leaks=await self._leaks(),
            retold=rows.retold,
            pauses=[*self.pauses],
        )

    async def _leaks(self) -> list[str]:
        if self.watch_for:
            return await self.watch_for.search(self.folder)
        return await asyncio.to_thread(self._written)

    def _written(self) -> list[str]:
        written = [path for each in self.replicas for path in each.folder.rglob("*.log*")]
        return [
            f"secret number {number} is in {path.relative_to(self.folder)}"
            for path in written
            for number, canary in enumerate(CANARIES)
            if canary.encode() in path.read_bytes()
        ]


@asynccontextmanager
async def staged(scene: Scene, folder: Path) -> AsyncGenerator[Stage]:
    """Put everything up, replicas ready and with a list; take everything down."""
    chance = random.Random(scene.seed)
    finviz = MadeUpFinviz(
        made_up_market(scene.seed, scene.tickers + 10),
        step=1000,
        token=canaries.FINVIZ_TOKEN if scene.canaries else "",
    )
    tickers = [listing.ticker for listing in finviz.market[: scene.tickers]]
    async with AsyncExitStack() as stack:
        server = Server(folder / "database")
        server.folder.mkdir(parents=True, exist_ok=True)
        if scene.own_disk_mb:
            _mount(server.folder, scene.own_disk_mb)
            stack.callback(_unmount, server.folder)
        await server.create()
        await server.start()
        stack.push_async_callback(server.stop)
        destination = Destination(chance=random.Random(scene.seed + 1))
        await destination.open()
        stack.push_async_callback(destination.close)
        finviz_url = stack.enter_context(served(finviz))
        settings = _settings(scene, destination, finviz_url) | {
            "FAILPOINT_FILE": str(folder / ARMED),
            **({"DATABASE_URL": server.url} if scene.direct else {}),
        }
        replicas = [
            await _replica(stack, n, folder, server, settings) for n in range(scene.replicas)
        ]
        load = Load(
            tickers=tickers,
            doors=partial(doors, replicas),
            chance=random.Random(scene.seed + 2),
            rate=scene.rate,
            sends=scene.sends,
        )
        stage = Stage(
            scene=scene,
            folder=folder,
            server=server,
            finviz=finviz,
            destination=destination,
            replicas=replicas,
            load=load,
            chance=chance,
        )
        await _all_ready(stage)
        if scene.once:
            stage.once = await _destination_once(stack, stage)
        if scene.canaries:
            stage.watch_for = await _watch(stack, stage)
        watch = asyncio.create_task(stage.watch())
        stack.push_async_callback(_cancelled, watch)
        yield stage


def _settings(scene: Scene, destination: Destination, finviz_url: str) -> dict[str, str]:
    return {
        "WEBHOOK_TOKEN": WEBHOOK_TOKEN,
        "FINVIZ_UPDATE_TOKEN": UPDATE_TOKEN,
        "ADMIN_TOKEN": ADMIN_TOKEN,
        "ENCRYPTION_KEY": ENCRYPTION_KEY,
        "DEST_WEBHOOK_SIGNING_SECRET": SIGNING_SECRET,
        "DEST_WEBHOOK_URL": f"http://127.0.0.1:{destination.port}{HOOK}",
        "DEST_WEBHOOK_RATE_LIMITS": scene.windows,
        "PRIVATE_DESTINATIONS": "127.0.0.0/8",
        "FINVIZ_BASE_URL": finviz_url,
        "FINVIZ_REFRESH_SEC": str(scene.refresh),
        "FINVIZ_SLOW_WHEN_CLOSED": "false",
        "LIST_MAX_AGE_SEC": "180",
        "TOP_N": str(scene.tickers),
        **(canaries.SETTINGS if scene.canaries else {}),
        **scene.settings,
    }


async def _watch(stack: AsyncExitStack, stage: Stage) -> Watch:
    known = {f"secret number {n}": secret for n, secret in enumerate(CANARIES)}
    watch = Watch(
        doors=stage.load.doors,
        url=stage.server.url,
        canaries=Canaries(known | dict(canaries.SECRETS)),
    )
    await watch.furnish()
    listening = asyncio.create_task(watch.listen())
    stack.push_async_callback(_cancelled, listening)
    return watch


async def _destination_once(stack: AsyncExitStack, stage: Stage) -> Destination:
    destination = Destination(chance=random.Random(stage.scene.seed + 4), name="once")
    await destination.open()
    stack.push_async_callback(destination.close)
    address = f"http://127.0.0.1:{destination.port}{HOOK_ONCE}"
    await create_once(stage.replicas[0].port, destination.name, address, stage.scene.windows)
    return destination


async def _replica(
    stack: AsyncExitStack, number: int, folder: Path, server: Server, settings: Mapping[str, str]
) -> Replica:
    proxy = Proxy(target=server.socket)
    await proxy.open()
    stack.push_async_callback(proxy.close)
    replica = Replica(
        name=f"replica-{number + 1}",
        folder=folder / f"replica-{number + 1}",
        proxy=proxy,
        settings=settings,
    )
    stack.push_async_callback(_killed, replica)
    return replica


def doors(replicas: Sequence[Replica]) -> list[Door]:
    return [Door(each.name, each.port) for each in replicas if each.up]


async def _killed(replica: Replica) -> None:
    if replica.lives:
        replica.strike(signal.SIGKILL)
        await replica.ended()


def _mount(folder: Path, megabytes: int) -> None:
    """A disk that can be full; whoever asks for it has seen to it that mounts are its own."""
    size = f"size={megabytes}m,mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], check=True)


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", str(folder)], check=True)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def _all_ready(stage: Stage) -> None:
    await asyncio.gather(*(replica.start() for replica in stage.replicas))
    for replica in stage.replicas:
        if not replica.up:
            said = (replica.folder / "output.log").read_text()
            raise RuntimeError(f"{replica.name} did not start:\n{said}")

    async def is_listed() -> bool:
        return bool(await reading.ask(stage.server.url, "SELECT count(*) FROM universes"))

    if not await until(is_listed, 90):
        raise RuntimeError("no list was read")


def cleared(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
