"""`run.py --demo`: a made-up Finviz, a made-up destination and a stream of alerts, no network."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from config import Settings
from demo.alerts import AlertStream
from demo.destination import MadeUpDestination
from demo.finviz import MadeUpFinviz, made_up_market, moved
from launcher import serve
from main import Outside, build

SEED = 7
FOLDER = Path("data") / "demo"
DESTINATION = "https://gateway.example/webhook/made-up-password"
SETTINGS: dict[str, object] = {
    "data_dir": FOLDER,
    "database_url": None,
    "dest_webhook_url": DESTINATION,
    "dest_webhook_rate_limits": "60/60s,500/3600s",
    "finviz_base_url": "http://finviz.example",
    "finviz_config_file": FOLDER / "finviz_config.json",
    "finviz_refresh_sec": 10,
    "finviz_slow_when_closed": False,
    "finviz_use_elite": False,
    "public_url": None,
}


def run_demo() -> int:
    """Serve the demo until stopped; its data is kept apart from the real one."""
    return serve.run(staged, **SETTINGS)


def staged(settings: Settings, database_url: str) -> ASGIApp:
    """The relay as it is, between a made-up market and a made-up destination."""
    chance = random.Random(SEED)  # noqa: S311  made up, no secret
    finviz = MadeUpFinviz(made_up_market(SEED, 45))
    outside = Outside(
        finviz=httpx.ASGITransport(finviz),
        destination=httpx.ASGITransport(MadeUpDestination(chance)),
    )
    relay = build(settings, database_url, outside=outside)
    play = Play(
        relay=relay,
        finviz=finviz,
        stream=AlertStream(chance),
        token=settings.webhook_token.get_secret_value(),
        chance=chance,
    )
    return Staged(relay, play.run)


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """Posts alerts to the relay as TradingView would, and lets the market move."""

    relay: ASGIApp
    finviz: MadeUpFinviz
    stream: AlertStream
    token: str
    chance: random.Random
    pause: float = 1.5
    top: int = 15
    states: dict[str, object] = field(default_factory=dict[str, object])

    async def run(self, state: dict[str, object]) -> None:
        """An alert every second or two, for as long as the demo runs."""
        transport = httpx.ASGITransport(_with_state(self.relay, state))
        async with httpx.AsyncClient(transport=transport, base_url="http://demo") as client:
            await self._first_look()
            while True:
                listed = [listing.ticker for listing in self.finviz.market[: self.top]]
                await client.post(f"/webhook/in/{self.token}", content=self.stream.next(listed))
                if self.stream.number % 5 == 0:
                    self.finviz.market[:] = moved(self.finviz.market, self.stream.number)
                await asyncio.sleep(self.chance.uniform(0.3, 2 * self.pause - 0.3))

    async def _first_look(self) -> None:
        """Wait until the relay has asked for the list, and a moment for it to be read."""
        looked = asyncio.Event()
        self.finviz.before = lambda _: looked.set()
        await looked.wait()
        await asyncio.sleep(0.5)


@dataclass(frozen=True, slots=True)
class Staged:
    """Starts the play when the application is ready, and ends it before it stops."""

    app: ASGIApp
    play: Callable[[dict[str, object]], Awaitable[None]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        playing: list[asyncio.Future[None]] = []

        async def sending(message: Message) -> None:
            await send(message)
            if message["type"] == "lifespan.startup.complete":
                playing.append(asyncio.ensure_future(self.play(scope["state"])))

        async def receiving() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                for one in playing:
                    one.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await one
            return message

        await self.app(scope, receiving, sending)


def _with_state(app: ASGIApp, state: dict[str, object]) -> ASGIApp:
    """ASGI transports in this process know no lifespan state: hand it in."""

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": dict(state)}, receive, send)

    return with_state
