"""Canary secrets in settings and database of a run, and the search for them afterwards."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from database.pool import Database
from tests.chaos.load import Door
from tests.chaos.reading import PATIENCE
from tests.end_to_end.stage import ADMIN_TOKEN, UPDATE_TOKEN
from tests.security.leaks import TABLES, Canaries

C = "cnry9"
FINVIZ_TOKEN = f"{C}-finviz-export-token"
SETTINGS: Mapping[str, str] = {
    "FINVIZ_USE_ELITE": "true",
    "FINVIZ_AUTH_TOKEN": FINVIZ_TOKEN,
    "SMTP_URL": f"smtp://{C}-user:{C}-smtp-password@127.0.0.1:1",
    "HEARTBEAT_URL": f"http://127.0.0.1:1/ping/{C}-heartbeat",
    "LOG_LEVEL": "DEBUG",
}
HEADERS = {"X-Api-Key": f"{C}-header-value"}
ADDED = {"license_id": "6012345678901", "password": f"{C}-constant"}
CHANNELS: Sequence[Mapping[str, str]] = (
    {"name": "hook", "kind": "webhook", "url": f"http://127.0.0.1:1/{C}-webhook"},
    {"name": "post", "kind": "email", "to": f"{C}-mailbox@example.com"},
)
SECRETS: Mapping[str, str] = {
    "Finviz token": FINVIZ_TOKEN,
    "SMTP password": f"{C}-smtp-password",
    "heartbeat": f"{C}-heartbeat",
    "a header": f"{C}-header-value",
    "a constant": f"{C}-constant",
    "a licence": ADDED["license_id"],
    "channel webhook": f"{C}-webhook",
    "channel email": f"{C}-mailbox",
    "a wrong token": f"{C}-wrong-token-0123456789",
}
READ = (
    *("/status", "/metrics", "/openapi.json", "/health/ready", "/api/signals", "/api/universe"),
    *("/api/destinations", "/api/deliveries?state=dead", "/api/channels", "/api/tokens"),
    *("/api/sources", "/api/activity", "/api/attention", "/api/fetches", "/api/rules"),
    *("/api/positions", "/api/screens", "/finviz/config"),
)
EXPORTS = (
    *("/api/signals/export?format=csv", "/api/signals/export?format=jsonl"),
    *("/api/activity/export?format=csv", "/api/config/export"),
)
PAGES = (
    *("/admin", "/admin/signals", "/admin/list", "/admin/positions", "/admin/destinations"),
    *("/admin/attention", "/admin/activity", "/admin/doctor", "/admin/settings/sources"),
    *("/admin/settings/tokens", "/admin/settings/channels", "/admin/settings/sessions"),
    *("/admin/settings/environment", "/admin/settings/files"),
)


@dataclass(slots=True, kw_only=True)
class Watch:
    """Puts secrets where the database holds them, listens meanwhile, searches at the end."""

    doors: Callable[[], Sequence[Door]]
    url: str
    canaries: Canaries
    searched: Counter[str] = field(default_factory=Counter[str])
    leaks: set[str] = field(default_factory=set[str])
    _cookie: str = ""

    def look(self, kind: str, place: str, content: bytes | str) -> None:
        self.searched[kind] += 1
        self.leaks.update(self.canaries.found(place, content))

    async def furnish(self) -> None:
        """Headers and constants at the destination, channels, tokens, a session, a wrong token."""
        async with self._client() as http:
            (main,) = (await http.get("/api/destinations")).json()["items"][:1]
            change = {"headers": HEADERS, "mapping": {"add": ADDED}}
            await _made(http, "PATCH", f"/api/destinations/{main['id']}", change)
            for channel in CHANNELS:
                made = await _made(http, "POST", "/api/channels", channel)
                if secret := made.get("secret") or made.get("key"):
                    self.canaries.add(f"the key of channel {channel['name']}", secret)
            for scope in ("read", "config", "admin"):
                made = await _made(
                    http, "POST", "/api/tokens", {"name": f"{scope} one", "scopes": [scope]}
                )
                self.canaries.add(f"a token to {scope}", made["token"])
            await http.post(f"/webhook/in/{SECRETS['a wrong token']}", content=b"{}")
            answer = await http.post("/admin/login", data={"token": ADMIN_TOKEN})
            self._cookie = answer.headers["set-cookie"].partition(";")[0]
            self.canaries.add("a session", self._cookie.partition("=")[2])

    async def listen(self) -> None:
        """Follow the live feed of whichever replica is there, again and again."""
        headers = {"authorization": f"Bearer {UPDATE_TOKEN}"}
        while True:
            for door in self.doors():
                address = f"ws://127.0.0.1:{door.port}/ws/live"
                with contextlib.suppress(OSError, WebSocketException, TimeoutError):
                    async with connect(address, additional_headers=headers, proxy=None) as socket:
                        async for frame in socket:
                            self.look("frames", "a frame of the live feed", frame)
            await asyncio.sleep(0.5)

    async def search(self, folder: Path) -> list[str]:
        """Everything that was written, stored and shown; a line for each secret and place."""
        await asyncio.to_thread(self._search_logs, folder)
        await self._search_tables()
        async with self._client() as http:
            for kind, paths in (("answers", READ), ("exports", EXPORTS), ("pages", PAGES)):
                for path in paths:
                    headers = {"cookie": self._cookie} if kind == "pages" else {}
                    answer = await http.get(path, headers=headers)
                    self.searched[f"{kind} {answer.status_code}"] += 1
                    self.look(kind, f"GET {path}", answer.content)
        return sorted(self.leaks)

    def _search_logs(self, folder: Path) -> None:
        for path in sorted(folder.rglob("*.log*")):
            self.look("logs", str(path.relative_to(folder)), path.read_bytes())

    async def _search_tables(self) -> None:
        database = Database.connect(self.url, pool=1, patience=PATIENCE)
        try:
            async with database.read() as connection:
                for table in (await connection.execute(text(TABLES))).scalars().all():
                    rows = text(f"SELECT CAST({table} AS text) FROM {table}")
                    for row in (await connection.execute(rows)).scalars():
                        self.look("rows", f"table {table}", row)
        finally:
            await database.close()

    def _client(self) -> httpx.AsyncClient:
        door = self.doors()[0]
        return httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{door.port}",
            headers={"authorization": f"Bearer {ADMIN_TOKEN}"},
            timeout=60,
            trust_env=False,
        )

    def told(self) -> dict[str, Any]:
        """For the report: how much was looked through, for what, with what result."""
        return {
            "secrets": len(self.canaries.secrets),
            "searched": dict(sorted(self.searched.items())),
            "hits": len(self.leaks),
            "where": sorted(self.leaks)[:50],
        }


async def _made(http: httpx.AsyncClient, method: str, path: str, given: object) -> dict[str, Any]:
    answer = await http.request(method, path, json=given)
    if answer.status_code not in {200, 201}:
        raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text}")
    return answer.json()
