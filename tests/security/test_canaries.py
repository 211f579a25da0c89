"""H15, H16, I20: secrets of settings and database turn up nowhere, whatever goes wrong."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from database import destinations, pending_addresses
from database.vault import Vault
from domain.delivery import DestinationId
from engines.failpoints import Point
from launcher import logs
from tests.conftest import KEY
from tests.security.leaks import TABLES, Canaries
from tests.web.operating import ask, signed_in
from tests.web.sockets import Socket, connected
from tests.web.stage import (
    ADMIN_TOKEN,
    UPDATE_TOKEN,
    WEBHOOK_TOKEN,
    Condition,
    Relay,
    cloned,
    relay,
    settings,
    until,
)
from tests.web.test_doors import DOORS

C = "cnry7"
ADDRESS = f"https://destination.example/hook/{C}-address-path?k={C}-address-query"
OTHER = f"https://other.example/hook/{C}-other-path?k={C}-other-query"
HEARTBEAT = f"https://heartbeat.example/{C}-heartbeat"
LICENCE = "6012345678901"
TERMS: Mapping[str, dict[str, str]] = {
    "telegram": {"token": f"123456:{C}-telegram-0123456789", "chat_id": "-100771042331"},
    "slack": {"url": f"https://hooks.slack.com/services/{C}-slack"},
    "discord": {"url": f"https://discord.com/api/webhooks/1/{C}-discord"},
    "webhook": {"url": f"https://hook.example/{C}-webhook"},
    "email": {"to": f"{C}-mailbox@example.com", "sender": "relay@example.com"},
}
GIVEN: dict[str, Any] = {
    "dest_webhook_url": ADDRESS,
    "finviz_use_elite": True,
    "finviz_auth_token": f"{C}-finviz-token",
    "finviz_email": f"{C}-login@example.com",
    "finviz_password": f"{C}-finviz-password",
    "smtp_url": f"smtp://{C}-user:{C}%40smtp@127.0.0.1:1",
    "heartbeat_url": HEARTBEAT,
    "database_url": f"postgresql+asyncpg://relay:{C}-database@nowhere/relay",
}
SECRETS = {
    "ADMIN_TOKEN": ADMIN_TOKEN,
    "FINVIZ_UPDATE_TOKEN": UPDATE_TOKEN,
    "WEBHOOK_TOKEN": WEBHOOK_TOKEN,
    "ENCRYPTION_KEY and signing key": KEY,
    "the first address, path": f"{C}-address-path",
    "the first address, query": f"{C}-address-query",
    "Finviz token": f"{C}-finviz-token",
    "Finviz password": f"{C}-finviz-password",
    "Finviz login": f"{C}-login",
    "SMTP password": f"{C}@smtp",
    "SMTP password as written": f"{C}%40smtp",
    "heartbeat": f"{C}-heartbeat",
    "database password": f"{C}-database",
    "another address, path": f"{C}-other-path",
    "another address, query": f"{C}-other-query",
    "a pending address": f"{C}-pending",
    "a header": f"{C}-header",
    "a constant": f"{C}-constant",
    "a licence": LICENCE,
    "a body's secret": f"{C}-body-secret",
    "an unreadable body": f"{C}-unreadable",
    "a wrong token": f"{C}-wrong-token",
    "a refused address": f"{C}-refused",
    **{f"channel {kind}": f"{C}-{kind}" for kind in ("telegram", "slack", "discord", "webhook")},
    "channel email": f"{C}-mailbox",
    "a chat": "-100771042331",
}

SHOWN = re.compile(r"an unreadable body is in GET /(api|admin)/.*")
"""Sealed at rest, because what cannot be read may hold anything; shown to who may read alerts."""


class World:
    """Everybody who is told; they repeat what they were asked, or fail with it."""

    raises = False

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.raises:
            raise RuntimeError(f"{request.url} {request.headers}")
        said = f"{request.url} {request.content!r}".encode()
        return httpx.Response(500, stream=httpx.ByteStream(said))


async def echo(_self: object, scope: Any, receive: Any, send: Any) -> None:
    """A destination that repeats address, headers and body."""
    body = (await receive()).get("body", b"")
    said = {
        "path": scope["path"],
        "query": scope["query_string"].decode(),
        "headers": {name.decode(): value.decode() for name, value in scope["headers"]},
        "body": body.decode(),
    }
    await send({"type": "http.response.start", "status": 400, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(said).encode()})


async def failing(_self: object, scope: Any, _receive: Any, _send: Any) -> None:
    """One that fails with its address in the words."""
    raise RuntimeError(f"{scope['path']}?{scope['query_string'].decode()} {scope['headers']}")


class Stage:
    """A relay full of secrets, and everything that was seen of it."""

    def __init__(self, it: Relay, canaries: Canaries, log: Path) -> None:
        self.it, self.canaries, self.log = it, canaries, log
        self.leaks: set[str] = set()
        self.known: dict[str, str] = {}

    def look(self, place: str, text: bytes | str) -> None:
        found = self.canaries.found(place, text)
        self.leaks.update(leak for leak in found if not SHOWN.fullmatch(leak))

    async def ask(self, method: str, path: str, body: object = None, **more: str) -> httpx.Response:
        """A request whose answer may hold no secret."""
        answer = await ask(self.it, method, path, body, ADMIN_TOKEN, **more)
        self.look(f"{method} {path}: {answer.status_code}", f"{answer.headers} {answer.text}")
        return answer

    def told(self, event: str) -> Condition:
        """Whether it stands in the log, which is written a moment after."""

        async def is_told() -> bool:
            return f'"{event}"' in await asyncio.to_thread(self.log.read_text)

        return is_told

    async def make(self, path: str, body: object) -> dict[str, Any]:
        """A request whose answer shows a secret once."""
        answer = await ask(self.it, "POST", path, body, ADMIN_TOKEN)
        assert answer.status_code in {200, 201}, answer.text
        return answer.json()


async def furnish(stage: Stage) -> None:
    """Secrets of every kind that the database holds."""
    terms = {
        "name": "other",
        "url": OTHER,
        "headers": {"X-Api-Key": f"{C}-header"},
        "mapping": {"add": {"license_id": LICENCE, "password": f"{C}-constant"}},
    }
    made = await stage.make("/api/destinations", terms)
    stage.known["destinations"] = made["id"]
    if secret := made.get("secret") or made.get("signing_secret"):
        stage.canaries.add("a signing key", secret)
    rotated = await stage.make(f"/api/destinations/{made['id']}/rotate-secret", {})
    stage.canaries.add("a rotated key", next(v for k, v in rotated.items() if "secret" in k))
    for kind, given in TERMS.items():
        channel = await stage.make("/api/channels", {"name": kind, "kind": kind, **given})
        stage.known["channels"] = channel["id"]
        for name in ("key", "secret"):
            if channel.get(name):
                stage.canaries.add(f"the key of channel {kind}", channel[name])
    for scope in ("read", "trade", "config", "admin"):
        token = await stage.make("/api/tokens", {"name": f"{scope} one", "scopes": [scope]})
        stage.canaries.add(f"a token to {scope}", token["token"])
    source = await stage.make("/api/sources", {"name": "tv"})
    stage.known["name"] = "tv"
    stage.canaries.add("a source's token", source["token"])
    await enter_address(stage, UUID(made["id"]))


async def enter_address(stage: Stage, id: UUID) -> None:
    vault = Vault.from_key(KEY)
    async with stage.it.database.write() as connection:
        found = await destinations.hold(connection, vault, DestinationId(id))
        assert found
        moved = replace(found[0], url=f"https://third.example/{C}-pending")
        assert await pending_addresses.enter(connection, vault, found[0], moved, actor="me")


async def go_wrong(stage: Stage, world: World, point: list[str], patch: pytest.MonkeyPatch) -> None:
    """Every bad path: what is refused, what fails, and what fails with the secret in its words."""
    it, wrong = stage.it, f"{C}-wrong-token"
    ticker = it.finviz.market[0].ticker
    body: dict[str, object] = {"ticker": ticker, "action": "buy", "secret": f"{C}-body-secret"}
    posted = await it.post(body)
    stage.look("202", posted.text)
    stage.known["signals"] = posted.json()["signal_id"]
    await it.settled(stage.known["signals"])
    patch.setattr("tests.web.stage.Destination.__call__", failing)
    for more in (
        await it.post(body | {"n": 1}),
        await it.post(f"{{broken {C}-unreadable"),
        await it.post({"action": f"{C}-unreadable", "token": WEBHOOK_TOKEN}),
        await it.http.post(f"/webhook/in/{wrong}", content=b"{}"),
        await it.http.post(f"/webhook/out/{wrong}", content=b"{}"),
        await it.http.post("/webhook/in", json={"token": wrong, "ticker": "A", "action": "buy"}),
        await it.http.post("/admin/login", data={"token": wrong}),
        await it.http.get(f"/api/{wrong}?token={wrong}", headers={"accept": "text/html"}),
        await it.http.get("/api/signals", headers={"authorization": f"Bearer {wrong}"}),
        await it.http.get("/admin", headers={"cookie": f"session={wrong}"}),
    ):
        stage.look(f"{more.request.method} {more.request.url.path}: {more.status_code}", more.text)
    await until(stage.told("delivery.failed"), "the failure of a delivery")
    refused = f"http://10.0.0.1/{C}-refused"
    for path, given in (
        ("/api/destinations", {"name": "x", "url": refused}),
        ("/api/destinations", {"name": "x", "url": 7, "headers": {"a": f"{C}-refused"}}),
        ("/api/channels", {"name": "x", "kind": "slack", "url": refused}),
        ("/api/channels", {"name": "x", "kind": "pigeon", "token": f"{C}-refused"}),
        ("/api/tokens", {"name": ["x"], "scopes": [f"{C}-refused"]}),
        ("/api/config/import", {"destinations": [{"name": "x", "url": refused}]}),
        (f"/api/destinations/{stage.known['destinations']}/test", {}),
        (f"/api/channels/{stage.known['channels']}/test", {}),
        ("/api/signals/test", {"body": json.dumps(body)}),
    ):
        await stage.ask("POST", path, given)
    for channel in (await it.read("/api/channels"))["items"]:
        world.raises = not world.raises
        await it.execute("UPDATE channels SET tested_at = NULL")
        await stage.ask("POST", f"/api/channels/{channel['id']}/test", {})
    point[:] = [f"struck with {ADMIN_TOKEN} and {OTHER}"]
    stage.look("a failing door", (await it.post(body | {"n": 2})).text)
    point.clear()
    it.finviz.answer_with("login")
    await stage.ask("POST", "/api/universe/refresh", {})
    await lose_database(stage, body)


async def lose_database(stage: Stage, body: dict[str, object]) -> None:
    """Its connections are cut while alerts and questions come."""
    cut = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name LIKE 'relay _%'"
    )
    for number in range(3):
        asked = [
            stage.it.post(body | {"lost": number}),
            stage.it.get("/api/destinations"),
            stage.it.get("/api/channels"),
        ]
        answers, _ = await asyncio.gather(asyncio.gather(*asked), stage.it.execute(cut))
        for answer in answers:
            stage.look(f"a lost database: {answer.status_code}", answer.text)


async def read_all(stage: Stage, cookie: Mapping[str, str]) -> None:
    """Every page, answer and export that there is to read."""
    for method, path in DOORS:
        if method != "GET":
            continue
        kind = path.removeprefix("/admin/partials").split("/")[2 if "/api/" in path else 1]
        ids = {"id": stage.known.get(kind, stage.known["signals"]), "version": "1", "name": "tv"}
        given = cookie if "/admin" in path else {"authorization": f"Bearer {ADMIN_TOKEN}"}
        answer = await stage.it.http.get(path.format_map(ids), headers=given)
        assert answer.status_code != 500, path
        stage.look(f"GET {path}", f"{answer.headers} {answer.text}")
    id = stage.known["destinations"]
    for path in (
        f"/api/destinations/{id}/versions",
        "/api/signals/export?format=csv",
        "/api/signals/export?format=jsonl",
        "/api/activity/export?format=csv",
        f"/admin/destinations/{id}",
        f"/api/signals/{stage.known['signals']}?events=all",
    ):
        given = cookie if "/admin" in path else {"authorization": f"Bearer {ADMIN_TOKEN}"}
        stage.look(f"GET {path}", (await stage.it.http.get(path, headers=given)).text)


async def read_database(stage: Stage) -> None:
    """What a dump holds; of bytes their hexadecimal."""
    tables = [row.relname for row in await stage.it.rows(TABLES)]
    assert len(tables) > 25
    for table in tables:
        for row in await stage.it.rows(f"SELECT CAST({table} AS text) AS whole FROM {table}"):
            stage.look(f"table {table}", row.whole)


@asynccontextmanager
async def asked(it: Relay) -> AsyncGenerator[Relay]:
    """As behind uvicorn, which logs what an application raises, and answers 500."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await it.app(scope, receive, send)
        except Exception:
            logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
            raise

    there = httpx.ASGITransport(app, raise_app_exceptions=False, client=("127.0.0.1", 40_000))
    async with httpx.AsyncClient(transport=there, base_url="http://127.0.0.1:8000") as http:
        yield replace(it, http=http)


@asynccontextmanager
async def following(stage: Stage) -> AsyncGenerator[Socket]:
    """What the live feed tells meanwhile."""
    bearer = {"authorization": f"Bearer {UPDATE_TOKEN}"}
    async with connected(stage.it.app, bearer) as socket:
        yield socket
        while not socket.frames.empty():
            stage.look("a frame of the live feed", json.dumps(socket.frames.get_nowait()))


@pytest.mark.timeout(240)
async def test_no_secret_turns_up_anywhere(
    template: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    canaries, world, point = Canaries(SECRETS), World(), list[str]()
    monkeypatch.setattr("tests.web.stage.Destination.__call__", echo)

    def reach(here: Point) -> None:
        if here is Point.WEBHOOK_READ and point:
            raise RuntimeError(point[0])

    secrets = settings(**GIVEN).secrets()
    async with cloned(template) as url:
        with logs.written(tmp_path, secrets=secrets, level="DEBUG") as file:
            parts = {"conceal": logs.conceal, "reach": reach}
            notices = httpx.MockTransport(world)
            async with relay(url, notices=notices, parts=parts, **GIVEN) as made, asked(made) as it:
                stage = Stage(it, canaries, file)
                cookie = await signed_in(it)
                canaries.add("a session", cookie["cookie"].partition("=")[2])
                async with following(stage):
                    await furnish(stage)
                    await go_wrong(stage, world, point, monkeypatch)
                    await read_all(stage, cookie)
                    await read_database(stage)
    written = capfd.readouterr()
    for place, text in {"stderr": written.err, "stdout": written.out}.items():
        stage.look(place, text)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    stage.look("the log", file.read_bytes())
    assert sorted(stage.leaks) == []
    assert canaries.checked > 300
    told = {line["event"] for line in lines}
    assert "delivery.failed" in told, "the destination failed with its address in the words"
    assert any("•••" in line.get("exception", "") for line in lines), "which the log hides"
