"""A stage inside one process: the application as main builds it, between a made-up world."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeAlias

import httpx
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource
from sqlalchemy import text
from starlette.types import ASGIApp, Receive, Scope, Send

from config import Settings
from database.pool import Database
from demo.asgi import answer, body_of
from demo.finviz import Account, MadeUpFinviz, made_up_market
from main import Outside, build
from tests.clones import address, fresh
from tests.conftest import KEY
from tests.web.express import by_express
from web.webhook import Express

WEBHOOK_TOKEN = "in-process-webhook-token-0123456789abcdef"
UPDATE_TOKEN = "in-process-finviz-update-token-0123456789"
ADMIN_TOKEN = "in-process-operator-token-0123456789abcdef"
TOP_N = 50

LEISURE = 6
"""A machine that runs tests side by side stands still at times: seen were 3 s."""

Condition: TypeAlias = Callable[[], Awaitable[bool]]


class Explicit(Settings):
    """Settings from arguments alone: neither the environment nor a file reaches a test."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  pydantic-settings' signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def settings(**changes: object) -> Settings:
    given: dict[str, object] = {
        "webhook_token": WEBHOOK_TOKEN,
        "finviz_update_token": UPDATE_TOKEN,
        "admin_token": ADMIN_TOKEN,
        "encryption_key": KEY,
        "dest_webhook_signing_secret": f"whsec_{KEY}",
        "dest_webhook_url": "https://destination.example/hook/a-password",
        "dest_webhook_rate_limiting_enabled": False,
        "finviz_base_url": "http://finviz.example",
        "finviz_slow_when_closed": False,
        "finviz_config_file": "no-such-folder/no-such-file.json",
        "top_n": TOP_N,
        "worker_concurrency": 2,
        "buy_ttl_sec": 900,
        "shutdown_grace_sec": 2,
    }
    return Explicit(**(given | changes))  # pyright: ignore[reportArgumentType]  checked by pydantic


async def until(condition: Condition, what: str, seconds: float = 60) -> None:
    """Wait for a condition with a deadline."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        await asyncio.sleep(0.02)


async def insisting(again: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
    """The answer of a relay that may be busy: whoever is told so (503) asks again."""
    answers: list[httpx.Response] = []

    async def is_answered() -> bool:
        answers.append(await again())
        return answers[-1].status_code != 503

    await until(is_answered, "an answer other than 503")
    return answers[-1]


@asynccontextmanager
async def cloned(template: str) -> AsyncGenerator[str]:
    """A database of one's own; yield its address."""
    async with fresh(template) as name:
        yield address(name)


@dataclass(frozen=True, slots=True)
class Parcel:
    """A request as the destination saw it."""

    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass(slots=True)
class Destination:
    """Remembers what it is sent, and answers ``status`` and ``answer``."""

    status: int = 200
    answer: bytes = b'{"success":true}'
    parcels: list[Parcel] = field(default_factory=list[Parcel])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await body_of(receive)
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        self.parcels.append(Parcel(headers, body))
        await answer(send, self.status, self.answer)


@asynccontextmanager
async def alive(
    app: Express, *, limited: bool = True, express: bool = True
) -> AsyncGenerator[ASGIApp]:
    """Start and stop an application as a server does; requests carry the state it left.

    Not ``limited``: it takes any number of wrong tokens. Without ``express`` all requests go by
    plain ASGI, which our own server does with those that are not there whole.
    """
    state: dict[str, Any] = {}
    said: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
    asked: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": state}
    life = asyncio.ensure_future(app(scope, asked.get, said.put))
    await asked.put({"type": "lifespan.startup"})
    answer = await said.get()
    assert answer["type"] == "lifespan.startup.complete", answer
    if not limited:
        state["refusals"].most = state["refusals"].most_together = 10**9

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        with_it = {**scope, "state": dict(state)}
        await (by_express(app, with_it, receive, send) if express else app(with_it, receive, send))

    try:
        yield with_state
    finally:
        await asked.put({"type": "lifespan.shutdown"})
        await life


@dataclass(frozen=True, slots=True)
class Answer:
    """What an application answered, below any HTTP client."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


async def call(
    app: ASGIApp,
    method: str,
    path: str,
    headers: Sequence[tuple[bytes, bytes]] = (),
    chunks: Sequence[bytes] = (b"",),
) -> Answer:
    """One request spoken in plain ASGI: any header, any body, in any pieces."""
    pieces = list(chunks)
    got: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        if not pieces:
            return {"type": "http.disconnect"}
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def send(message: MutableMapping[str, Any]) -> None:
        got.append(message)

    await app(http_scope(method, path, headers), receive, send)
    start = got[0]
    return Answer(
        status=start["status"],
        headers={n.decode().lower(): v.decode("latin-1") for n, v in start["headers"]},
        body=b"".join(message.get("body", b"") for message in got[1:]),
    )


def http_scope(method: str, path: str, headers: Sequence[tuple[bytes, bytes]]) -> Scope:
    path, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode("latin-1"),
        "headers": [(name.lower(), value) for name, value in headers],
        "client": ("127.0.0.1", 40_000),
        "server": ("127.0.0.1", 8000),
    }


@dataclass(frozen=True, slots=True)
class Relay:
    """A running application and all it speaks to."""

    app: ASGIApp
    http: httpx.AsyncClient
    database: Database
    finviz: MadeUpFinviz
    destination: Destination

    async def post(self, body: object, **headers: str) -> httpx.Response:
        """Post an alert as an authenticated sender: bytes and text as they are, else as JSON."""
        content = body if isinstance(body, bytes | str) else json.dumps(body)
        bearer = {"authorization": f"Bearer {WEBHOOK_TOKEN}"}
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.post("/webhook/in", content=content, headers=bearer | given)

    async def get(self, path: str, token: str = ADMIN_TOKEN) -> httpx.Response:
        return await self.http.get(path, headers={"authorization": f"Bearer {token}"})

    async def read(self, path: str) -> Any:
        answer = await insisting(lambda: self.get(path))
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def settled(self, id: str) -> Any:
        """The whole life of a signal, once nothing more will happen to it."""
        ends = {"delivered", "rejected", "invalid", "expired", "dead", "superseded", "cancelled"}
        found: dict[str, Any] = {}

        async def is_settled() -> bool:
            found.update(await self.read(f"/api/signals/{id}"))
            return found["status"] in ends

        await until(is_settled, f"the end of signal {id}")
        return found

    async def rows(self, query: str, **values: object) -> list[Any]:
        """What a query finds in the relay's own database."""
        async with self.database.autocommit() as connection:
            return list(await connection.execute(text(query), values))

    async def execute(self, statement: str, **values: object) -> None:
        async with self.database.autocommit() as connection:
            await connection.execute(text(statement), values)


@asynccontextmanager
async def relay(
    url: str,
    *,
    own_url: str | None = None,
    wait: bool = True,
    notices: httpx.AsyncBaseTransport | None = None,
    strict: bool = False,
    parts: Mapping[str, Any] | None = None,
    **changes: object,
) -> AsyncGenerator[Relay]:
    """Build, start, and (``wait``) have a list. The test's own view goes by ``own_url``.

    Tests show more wrong tokens a minute than anybody else: only ``strict`` ones are limited.
    Only those of a silent database are in a hurry with it (``leisure``, of its ``parts``; of them
    is ``express``, too).
    """
    token = str(changes.get("finviz_auth_token", ""))
    email, password = (str(changes.get(f"finviz_{name}", "")) for name in ("email", "password"))
    finviz, destination = (
        MadeUpFinviz(
            made_up_market(3, 60),
            step=100,
            token=token,
            account=Account(email=email, password=password) if email else None,
        ),
        Destination(),
    )
    outside = Outside(
        finviz=httpx.ASGITransport(finviz),
        destination=httpx.ASGITransport(destination),
        notices=notices,
    )
    given: dict[str, Any] = {"leisure": LEISURE, **(parts or {})}
    express = given.pop("express", True)
    built = build(settings(**changes), url, outside=outside, check_durability=False, **given)
    database = Database.connect(own_url or url, pool=2, patience=timedelta(seconds=20))
    async with (
        alive(built, limited=strict, express=express) as app,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app, client=("127.0.0.1", 40_000)),
            base_url="http://127.0.0.1:8000",
        ) as http,
    ):
        one = Relay(app, http, database, finviz, destination)
        if wait:
            await until(lambda: _has_list(one), "the first list")
        yield one
    await database.close()


async def _has_list(relay: Relay) -> bool:
    return bool((await relay.read("/api/universe"))["tickers"])
