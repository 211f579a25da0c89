"""Screens at work: what tests of screens and of their files ask of a relay."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx

from engines.clock import utc_now
from tests.web.operating import ask
from tests.web.stage import Relay

API = "/api/screens"
URL = "https://finviz.com/screener.ashx?v=111&f=ta_gap_u5&o=-change"


def ahead(**by: float) -> str:
    return (utc_now() + timedelta(**by)).isoformat()


async def create(relay: Relay, **given: object) -> dict[str, Any]:
    name = f"s-{uuid4().hex[:8]}"
    kind: dict[str, object] = {} if "tickers" in given else {"url": URL}
    answer = await ask(relay, "POST", API, {"name": name} | kind | given)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def change(relay: Relay, one: dict[str, Any], **given: object) -> httpx.Response:
    return await ask(relay, "PATCH", f"{API}/{one['id']}", given)


async def tell(relay: Relay, one: dict[str, Any], order: str, status: int = 200) -> Any:
    answer = await ask(relay, "POST", f"{API}/{one['id']}/{order}")
    assert answer.status_code == status, answer.text
    return answer.json()


async def listed(relay: Relay, query: str = "") -> dict[str, Any]:
    found = await relay.read(f"{API}{query}")
    assert found["next"] is None
    return {one["name"]: one for one in found["items"]}


async def active(relay: Relay) -> dict[str, Any]:
    return next(one for one in (await listed(relay)).values() if one["active"])


async def events(relay: Relay, one: dict[str, Any]) -> list[str]:
    rows = await relay.rows(
        "SELECT event, actor FROM events WHERE detail->>'screen_id' = :id AND event LIKE 'screen.%'"
        " ORDER BY id",
        id=one["id"],
    )
    assert {row.actor for row in rows} <= {"finviz update token", "admin session"}
    return [row.event.removeprefix("screen.") for row in rows]


async def asked(relay: Relay, part: str) -> bool:
    return part in relay.finviz.arrivals[-1].query
