"""A relay full of canaries, in this process: requests go in, and every answer is judged."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Generator, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import unquote

import httpx
from starlette.types import ASGIApp

from database.pool import is_unavailable
from tests.conftest import KEY
from tests.web.stage import ADMIN_TOKEN, UPDATE_TOKEN, WEBHOOK_TOKEN, Relay, cloned, relay

SIGNING = "Y2FuYXJ5LW9mLXRoZS1zaWduaW5nLXNlY3JldC0wMTI="
CHANGES: Mapping[str, str] = {
    "dest_webhook_url": "https://destination.example/hook/canary-in-a-path?key=canary-in-a-query",
    "dest_webhook_signing_secret": f"whsec_{SIGNING}",
    "finviz_auth_token": "canary-finviz-export-token",
}
PATIENCE = 20.0
"""Seconds for one answer: a hang is a finding."""
AGAIN = (0.2, 1.0, 3.0)
"""Seconds until a request is made again that was answered 503, "not now": what is answered so each
time is a finding, a moment in which this machine stood still is none."""
Answered: TypeAlias = tuple[int, "Headers", bytes]
Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, as it would stand on the wire; ``operation`` is what it was made from."""

    method: str
    target: bytes
    headers: Headers = ()
    body: bytes = b""
    operation: str = ""
    client: str = "127.0.0.1"


@dataclass(slots=True)
class Judge:
    """Counts answers and keeps what must not be."""

    canaries: Mapping[str, str]
    requests: int = 0
    classes: Counter[str] = field(default_factory=Counter[str])
    operations: Counter[str] = field(default_factory=Counter[str])
    faults: Counter[str] = field(default_factory=Counter[str])
    examples: dict[str, str] = field(default_factory=dict[str, str])

    def answer(self, asked: Asked, status: int, headers: Headers, body: bytes) -> None:
        self.requests += 1
        self.classes[f"{status // 100}xx"] += 1
        self.operations[asked.operation] += 1
        names = {name.lower(): value for name, value in headers}
        if status >= 500:
            self.fault(f"answer {status}", asked, body[:300])
        whole = body + b"\n".join(value for _, value in headers)
        for name, canary in self.canaries.items():
            if canary.encode() in whole:
                self.fault(f"canary {name}", asked, body[:300])
        if names.get(b"x-content-type-options") != b"nosniff":
            self.fault("no security headers", asked, str(status).encode())
        if (
            status >= 400
            and status != 413
            and body
            and not is_told(asked, names.get(b"content-type", b""))
        ):
            self.fault("a refusal in another form", asked, names.get(b"content-type", b"none"))

    def fault(self, kind: str, asked: Asked, shown: bytes = b"") -> None:
        self.faults[kind.partition(" ")[0]] += 1
        example = (
            f"{asked.method} {asked.target[:300]!r} {asked.headers!r:.600} {asked.body[:600]!r}"
        )
        self.examples.setdefault(f"{kind} of {asked.operation}", f"{example} -> {shown!r}")


def is_told(asked: Asked, content_type: bytes) -> bool:
    """Programs are refused in problem+json, senders in JSON, people on a page."""
    kind = content_type.partition(b";")[0]
    if asked.target.startswith((b"/webhook/in", b"/admin", b"/static")):
        return kind in {b"application/json", b"application/problem+json", b"text/html"}
    return kind in {b"application/problem+json", b"text/html"}


class Troubles(logging.Handler):
    """What any part of the relay logs as an error: nothing a caller sends may bring one about."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.counted: Counter[str] = Counter()
        self.traces: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        failed = record.exc_info[1] if record.exc_info else None
        if isinstance(failed, Exception) and is_unavailable(failed):
            return  # a slow database is not a caller's doing; what stays 503 counts all the same
        about = getattr(record, "worker", "")
        self.counted[f"{record.name} {record.getMessage()[:80]} {about}".strip()] += 1
        if record.exc_info and len(self.traces) < 5:
            self.traces.append(logging.Formatter().formatException(record.exc_info)[-1_500:])


@contextmanager
def listened() -> Generator[Troubles]:
    troubles = Troubles()
    root = logging.getLogger()
    root.addHandler(troubles)
    try:
        yield troubles
    finally:
        root.removeHandler(troubles)


@dataclass(slots=True)
class World:
    """The relay, who may ask it, and who judges what it answers."""

    relay: Relay
    judge: Judge
    credentials: dict[str, Headers]

    async def ask(self, asked: Asked) -> int:
        """Return the status; what is raised, or takes too long, is a fault."""
        answered = await self._answered(asked)
        for pause in AGAIN:
            if answered is None or answered[0] != 503:
                break
            await asyncio.sleep(pause)
            answered = await self._answered(asked)
        if answered is None:
            return 0
        self.judge.answer(asked, *answered)
        return answered[0]

    async def _answered(self, asked: Asked) -> Answered | None:
        try:
            async with asyncio.timeout(PATIENCE):
                return await spoken(self.relay.app, asked)
        except TimeoutError:
            self.judge.fault("hang", asked)
        except Exception as error:  # noqa: BLE001  whatever it is, it is a finding
            self.judge.fault(f"exception {type(error).__name__}", asked, repr(error).encode())
        return None

    async def sound(self) -> bool:
        """Whether it is as it was: pages and alerts are still answered."""
        await self.sign_in()
        page = await spoken(self.relay.app, Asked("GET", b"/admin", self.credentials["session"]))
        alert = await self.relay.post({"ticker": "AAPL", "action": "sell", "last": True})
        return page[0] == 200 and alert.status_code in {200, 202}

    async def sign_in(self) -> None:
        """A session for the pages: some request will have ended the one before."""
        answer = await self.relay.http.post("/admin/login", data={"token": ADMIN_TOKEN})
        self.relay.http.cookies.clear()
        cookie = f"session={answer.cookies['session']}".encode()
        self.credentials["session"] = [(b"cookie", cookie), (b"sec-fetch-site", b"same-origin")]


async def spoken(app: ASGIApp, asked: Asked) -> Answered:
    """A request in plain ASGI, as uvicorn hands it over."""
    sent = False
    got: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        nonlocal sent
        if sent:
            return {"type": "http.disconnect"}
        sent = True
        return {"type": "http.request", "body": asked.body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        got.append(message)

    path, _, query = asked.target.partition(b"?")
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": asked.method,
        "scheme": "http",
        "path": unquote(path.decode("ascii", "replace")),
        "raw_path": path,
        "root_path": "",
        "query_string": query,
        "headers": [(b"host", b"127.0.0.1:8000"), *asked.headers],
        "client": (asked.client, 40_000),
        "server": ("127.0.0.1", 8000),
    }
    await app(scope, receive, send)
    start = got[0]
    return start["status"], start["headers"], b"".join(one.get("body", b"") for one in got[1:])


def bearer(token: str) -> Headers:
    return [(b"authorization", b"Bearer " + token.encode())]


@asynccontextmanager
async def world(template: str) -> AsyncGenerator[World]:
    """A relay on a database of its own; what it sends anywhere is swallowed here."""
    swallow = httpx.MockTransport(lambda _request: httpx.Response(200))
    async with (
        cloned(template) as url,
        relay(url, notices=swallow, **dict[str, Any](CHANGES)) as one,
    ):
        others = await _other_tokens(one)
        named = {"webhook": WEBHOOK_TOKEN, "update": UPDATE_TOKEN, "admin": ADMIN_TOKEN}
        canaries = (
            named
            | others
            | {
                "encryption key": KEY.rstrip("="),
                "signing": SIGNING,
                "path": "canary-in-a-path",
                "query": "canary-in-a-query",
                "finviz": CHANGES["finviz_auth_token"],
            }
        )
        credentials: dict[str, Headers] = {
            name: bearer(token) for name, token in (named | others).items()
        }
        made = World(one, Judge(canaries), credentials | {"nobody": (), "forged": bearer("f" * 40)})
        await made.sign_in()
        for number, listing in enumerate(one.finviz.market[:40]):
            action = "sell" if number % 4 == 3 else "buy"
            await one.post({"ticker": listing.ticker, "action": action, "n": number})
        yield made


async def _other_tokens(relay: Relay) -> dict[str, str]:
    """Tokens of other operators: each is told once, when it is made, and never again."""
    made: dict[str, str] = {}
    for scope in ("read", "trade", "config"):
        given = {"name": f"operator {scope}", "scopes": [scope]}
        answer = await relay.http.post(
            "/api/tokens", json=given, headers={"authorization": f"Bearer {ADMIN_TOKEN}"}
        )
        assert answer.status_code == 201, answer.text
        made[f"other {scope}"] = answer.json()["token"]
    return made
