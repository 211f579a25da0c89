"""`run.py --demo`: the whole relay between a made-up Finviz and a made-up destination."""

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from config import Settings
from demo.asgi import answer, body_of
from demo.hands import Hands
from demo.play import Play
from demo.ribbon import Ribbon
from demo.scenario import Report, perform
from demo.scenarios import SCENARIOS, Scenario
from demo.world import HOUSE_ADDRESS, World, made_up_world
from launcher import serve
from launcher.demo_options import Wishes
from launcher.terminal import Refusal, say
from main import Outside, build

log = logging.getLogger(__name__)

FOLDER = Path("data") / "demo"
SETTINGS: Mapping[str, object] = {
    "database_url": None,
    "dest_webhook_url": HOUSE_ADDRESS,
    "dest_webhook_rate_limits": "60/60s,500/3600s",
    "finviz_base_url": "http://finviz.example",
    "finviz_url": "https://finviz.com/screener.ashx?v=111&s=ta_topgainers&o=-change",
    "finviz_refresh_sec": 10,
    "finviz_slow_when_closed": False,
    "finviz_use_elite": False,
    "top_n": 15,
    "public_url": None,
    "workers": 1,
}

Part = Callable[[Hands], Awaitable[None]]
"""What is played to the relay once it runs."""


def run_demo(wishes: Wishes | None = None, folder: Path = FOLDER) -> int:
    """Serve the demo until stopped; its data is kept apart from the real one.

    A scenario always begins with an empty database. Return 1 when it did not end as it should.
    """
    wishes = wishes or Wishes()
    scenario = SCENARIOS[wishes.scenario] if wishes.scenario else None
    if scenario:
        folder /= scenario.name
    if scenario or wishes.fresh:
        clear(folder)
    places = {"data_dir": folder, "finviz_config_file": folder / "finviz_config.json"}
    own = scenario.settings(wishes.speed) if scenario else {}
    stage = Stage(wishes, scenario)
    with contextlib.redirect_stdout(sys.stderr) if wishes.as_json else contextlib.nullcontext():
        code = serve.run(stage.build, **{**SETTINGS, **own, **places})
    return code or stage.told()


def clear(folder: Path) -> None:
    """Begin with nothing, unless somebody else is using it."""
    for file in folder.rglob("postmaster.pid"):
        with contextlib.suppress(ProcessLookupError, ValueError, PermissionError):
            os.kill(int(file.read_text().split()[0]), 0)
            raise Refusal(f"A demo with its data in {folder} is running: stop that one first.")
    shutil.rmtree(folder, ignore_errors=True)


@dataclass(slots=True)
class Stage:
    """What is built for one run, and what came of it."""

    wishes: Wishes
    scenario: Scenario | None
    report: Report | None = None

    def build(self, settings: Settings, database_url: str) -> ASGIApp:
        for one in logging.getLogger().handlers:
            one.addFilter(for_the_file)
        world = made_up_world(self.wishes.seed, self.wishes.speed)
        relay = Ribbon(build(settings, database_url, outside=outside(world)))
        part = self._scenario if self.scenario else self._day
        if self.scenario:
            self.scenario.prepare(world)
        return Staged(relay, settings, lambda hands: part(world, settings, hands))

    async def _day(self, world: World, settings: Settings, hands: Hands) -> None:
        pace = f"{world.clock.speed:g} times as fast as ours"
        say(f"A made-up market day begins, {pace}. Its times are its own.\n")
        await Play(world, settings.webhook_token.get_secret_value(), say).run(hands)

    async def _scenario(self, world: World, settings: Settings, hands: Hands) -> None:
        assert self.scenario is not None
        token = settings.webhook_token.get_secret_value()
        try:
            self.report = await perform(self.scenario, world, token, hands, say)
        finally:
            if self.wishes.ends:
                signal.raise_signal(signal.SIGINT)
        say("The pages stay as they are now. Ctrl-C stops.")

    def told(self) -> int:
        """Tell the end; 0 if it is as it should be, 1 if not, or if there should be one."""
        if self.scenario is None or (self.report is None and not self.wishes.ends):
            return 0
        if self.wishes.as_json:
            told = self.report.told() if self.report else {"scenario": self.scenario.name}
            print(json.dumps({"as_expected": False} | told, indent=2))
        return 0 if self.report and self.report.as_expected else 1


def for_the_file(record: logging.LogRecord) -> bool:
    """The terminal is for the story: what is less than an error goes to the log's file alone."""
    record.__dict__.setdefault("_file_only", record.levelno < logging.ERROR)
    return True


def outside(world: World) -> Outside:
    """The systems that the relay speaks to, played in this process."""
    return Outside(
        finviz=httpx.ASGITransport(world.finviz),
        destination=httpx.ASGITransport(world.destination),
        notices=httpx.ASGITransport(_phone),
    )


async def _phone(_scope: Scope, receive: Receive, send: Send) -> None:
    """Somebody's phone: hears every notice, and does nothing."""
    await body_of(receive)
    await answer(send, 200, b'{"heard": true}')


@dataclass(frozen=True, slots=True)
class Staged:
    """Starts the part when the application is ready, and ends it before it stops."""

    app: ASGIApp
    settings: Settings = field(repr=False)
    part: Part

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        playing: list[asyncio.Future[None]] = []

        async def sending(message: Message) -> None:
            await send(message)
            if message["type"] == "lifespan.startup.complete":
                playing.append(asyncio.ensure_future(self._play(scope["state"])))
                playing[0].add_done_callback(_complain)

        async def receiving() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                for one in playing:
                    one.cancel()
                    await asyncio.wait({one})
            return message

        await self.app(scope, receiving, sending)

    async def _play(self, state: dict[str, object]) -> None:
        transport = httpx.ASGITransport(_with_state(self.app, state))
        async with httpx.AsyncClient(transport=transport, base_url="http://demo") as client:
            await self.part(Hands(client, self.settings.admin_token.get_secret_value()))


def _complain(played: "asyncio.Future[None]") -> None:
    """A play that ends by itself is a mistake of the demo: say so, the relay goes on."""
    if not played.cancelled() and (error := played.exception()):
        log.error("demo.broke_off", exc_info=error)
        say("The play broke off, the relay goes on: the log says why.")


def _with_state(app: ASGIApp, state: dict[str, object]) -> ASGIApp:
    """ASGI transports in this process know no lifespan state: hand it in."""

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": dict(state)}, receive, send)

    return with_state


if __name__ == "__main__":
    sys.exit(run_demo(folder=Path(sys.argv[1])))
