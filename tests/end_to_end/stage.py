"""A stage for whole processes: the relay as users start it, between a made-up world on loopback."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from demo.asgi import answer, body_of
from demo.finviz import MadeUpFinviz, made_up_market
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
WEBHOOK_TOKEN = "end-to-end-webhook-token-0123456789abcdef"
UPDATE_TOKEN = "end-to-end-finviz-update-token-0123456789"
ADMIN_TOKEN = "end-to-end-operator-token-0123456789abcdef"
CALLER = httpx.Client(
    verify=False, trust_env=False, timeout=30, limits=httpx.Limits(max_keepalive_connections=0)
)
"""Loopback speaks http: certificates read anew for every call would cost more than the call. A
connection each: none that a killed relay left behind is used again."""


def until(condition: Callable[[], bool], seconds: float = 30, what: str = "it") -> None:
    """Wait for a condition with a deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.02)


def in_the_end(ask: Callable[[], httpx.Response], seconds: float = 60) -> httpx.Response:
    """What is answered but "not now", which a machine that stood still for a moment makes of it."""
    deadline = time.monotonic() + seconds
    while (answer := ask()).status_code == 503 and time.monotonic() < deadline:
        time.sleep(0.2)
    return answer


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request as the destination saw it; ``at`` is on the monotonic clock."""

    at: float
    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def resend(self) -> bool:
        return self.headers.get("relay-poss-resend") == "Y"


@dataclass(slots=True)
class Destination:
    """Answers 200 and remembers; ``delay`` makes it think."""

    delay: float = 0.0
    arrivals: list[Arrival] = field(default_factory=list[Arrival])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = await body_of(receive)
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        self.arrivals.append(Arrival(time.monotonic(), headers, body))
        await asyncio.sleep(self.delay)
        await answer(send, 200, b"ok", "text/plain")


@contextmanager
def served(app: ASGIApp) -> Generator[str]:
    """Serve an application on loopback from a thread of its own; yield its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="critical", lifespan="off", access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    try:
        until(lambda: server.started, what="a loopback server")
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


@dataclass(slots=True)
class Relay:
    """`python run.py` in a folder of its own; may be started again after it was killed."""

    folder: Path
    settings: Mapping[str, str]
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *arguments: str) -> None:
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "output.log").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "run.py"), *arguments],
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        until(self.is_ready, 90, f"a ready relay (see {self.folder / 'output.log'})")

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}  # noqa: TID251  handed on
        return {
            **kept,
            "RELAY_ENVIRONMENT": "system",
            "PORT": str(self.port),
            "WEBHOOK_TOKEN": WEBHOOK_TOKEN,
            "FINVIZ_UPDATE_TOKEN": UPDATE_TOKEN,
            "ADMIN_TOKEN": ADMIN_TOKEN,
            **self.settings,
        }

    def is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.output()
        try:
            return CALLER.get(f"{self.url}/health/ready", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def output(self) -> str:
        return (self.folder / "output.log").read_text()

    def kill(self) -> None:
        """kill -9 of the whole process group."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(60)

    def stop(self, within: float = 30) -> int:
        """SIGTERM, as a service manager does; return the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within)

    def read(self, path: str) -> Any:
        """GET as an operator; the JSON. A slow moment of the database is a 503: asked again."""
        headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
        answer = in_the_end(lambda: CALLER.get(f"{self.url}{path}", headers=headers))
        assert answer.status_code == 200, answer.text
        return answer.json()

    def is_idle(self) -> bool:
        """Nothing is unfinished; not while the database is on its way back."""
        headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
        answer = CALLER.get(f"{self.url}/status", headers=headers)
        assert answer.status_code in {200, 503}, answer.text
        return answer.status_code == 200 and not answer.json()["backlog"]["unfinished"]

    def wait_for_list(self, size: int = 1) -> None:
        until(lambda: len(self.read("/api/universe")["tickers"]) >= size, 60, "a list of this size")

    def post(self, body: str | bytes, **headers: str) -> httpx.Response:
        return CALLER.post(f"{self.url}/webhook/in/{WEBHOOK_TOKEN}", content=body, headers=headers)

    def accepted(self, body: str | bytes, **headers: str) -> str:
        """Post it, as a sender does who is told to come again; the signal that it became."""
        answer = in_the_end(lambda: self.post(body, **headers))
        assert answer.status_code in {200, 202}, answer.text
        return answer.json()["signal_id"]

    @property
    def postgres_pid(self) -> int:
        [file] = self.folder.glob("data/postgres-*/**/postmaster.pid")
        return int(file.read_text().splitlines()[0])


@dataclass(frozen=True, slots=True)
class World:
    """A relay, ready and with a list, and what is around it."""

    relay: Relay
    finviz: MadeUpFinviz
    destination: Destination
    tickers: list[str]


@contextmanager
def world(
    folder: Path,
    *,
    size: int = 60,
    top_n: int = 50,
    delay: float = 0.0,
    settings: Mapping[str, str] | None = None,
) -> Generator[World]:
    """Start everything; stop what still runs at the end."""
    finviz = MadeUpFinviz(made_up_market(3, size), step=100)
    destination = Destination(delay)
    with served(finviz) as finviz_url, served(destination) as destination_url:
        relay = Relay(
            folder,
            {
                "FINVIZ_BASE_URL": finviz_url,
                "FINVIZ_SLOW_WHEN_CLOSED": "false",
                "TOP_N": str(top_n),
                "DEST_WEBHOOK_URL": f"{destination_url}/hook/secret",
                "PRIVATE_DESTINATIONS": "127.0.0.0/8",
                **(settings or {}),
            },
        )
        relay.start()
        try:
            relay.wait_for_list(min(size, top_n))
            tickers = [listing.ticker for listing in finviz.market[:top_n]]
            yield World(relay, finviz, destination, tickers)
        finally:
            if relay.process and relay.process.poll() is None:
                relay.kill()


def alert(ticker: str, action: str, number: int) -> str:
    return json.dumps({"ticker": f"NASDAQ:{ticker}", "action": action, "n": number})
