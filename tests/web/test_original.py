"""The original relay's addresses: each is served or says where to go, and none is a weaker door."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Message

from tests.web.doors_original import DOORS
from tests.web.stage import (
    ADMIN_TOKEN,
    UPDATE_TOKEN,
    WEBHOOK_TOKEN,
    Relay,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIGRATION = Path(__file__).parents[2] / "docs" / "migration.md"
DONE = "SELECT count(*) FROM events WHERE actor IS NOT NULL AND event NOT LIKE 'access.%'"
"""What somebody did; refusals at doors are events too."""
NOBODY = "01a1fc1f-537e-78ef-a699-c5d9b4210879"
SERVED_AS_THEY_WERE = {
    *("GET /health", "GET /admin", "POST /webhook/in", "POST /finviz/config"),
    *("GET /openapi.json", "GET /static"),
}

ORIGINAL = """
GET /health; GET /health/detailed; GET /admin; POST /webhook/in; POST /finviz/config
POST /admin/webhook/update; POST /admin/metrics/reset; POST /admin/engine/pause
POST /admin/engine/resume; POST /admin/engine/manual-refresh; GET /admin/system-info
GET /admin/status; POST /admin/order/sell-individual; POST /admin/order/close-position
POST /admin/order/sell-all; GET /admin/signals-history; GET /admin/audit-trail
POST /admin/webhook-rate-limiter/update; POST /admin/webhook-rate-limiter/pause
POST /admin/webhook-rate-limiter/resume; GET /admin/sell-all-queue; POST /admin/sell-all-queue
POST /admin/sell-all-queue/clear; GET /admin/webhook/config; GET /admin/finviz/config
POST /admin/system/config; WS /ws/admin-updates; GET /admin/top-n-tickers; GET /admin/orders
GET /admin/orders/stats; POST /admin/orders/{id}/close; POST /admin/clear-database
POST /admin/database/clear; GET /admin/export-csv; GET /admin/database/export
POST /admin/import-csv; POST /admin/database/import; POST /admin/sell-all/config
GET /admin/sell-all/config; GET /admin/reprocessing/health; POST /admin/reprocessing/trigger
GET /admin/finviz/strategies; POST /admin/finviz/strategies; PUT /admin/finviz/strategies/{id}
DELETE /admin/finviz/strategies/{id}; POST /admin/finviz/strategies/{id}/activate
POST /admin/finviz/strategies/{id}/duplicate; GET /admin/finviz/strategies/active
GET /admin/actions-log; GET /admin/actions-log/summary; GET /admin/actions-log/export
GET /docs; GET /openapi.json; GET /static
"""
ADDRESSES = re.split(r"; |\n", ORIGINAL.strip())
"""All there were, in the order of the original's own source."""


def told() -> dict[str, str]:
    """What docs/migration.md says of each address: the last cell of its row."""
    rows = re.findall(r"^\| `(\w+ /[^`]*)` \|(.*)\|$", MIGRATION.read_text(), re.MULTILINE)
    return {address: cells.rpartition("|")[2].strip() for address, cells in rows}


async def send(
    relay: Relay, address: str, body: dict[str, Any] | None = None, token: str | None = UPDATE_TOKEN
) -> httpx.Response:
    """As the original's scripts do: the token is in the body; for reading in a header."""
    method, path = address.split()
    path = path.format(id=NOBODY)
    if method == "GET":
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return await relay.http.get(path, headers=headers)
    given: dict[str, Any] = {"token": token} if token else {}
    given |= body or {}
    return await relay.http.request(method, path, json=given)


async def held(relay: Relay, ticker: str) -> str:
    """Have a position of this ticker, entered by hand."""
    headers = {"authorization": f"Bearer {UPDATE_TOKEN}"}
    answer = await relay.http.post("/api/positions", json={"ticker": ticker}, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


# ── All of them ─────────────────────────────────────────────────────────────────────────────


async def test_the_document_has_every_address_of_the_original_and_no_other() -> None:
    assert set(told()) == set(ADDRESSES)
    assert set(told().values()) <= {"same", "alias", "410"}


async def test_the_document_says_of_each_what_it_is() -> None:
    gone = {f"{method} {path}" for (method, path), row in DOORS.items() if row[0] == 410}
    served = {f"{method} {path}" for method, path in DOORS} - gone
    assert {one for one, what in told().items() if what == "410"} == {*gone, "WS /ws/admin-updates"}
    assert {one for one, what in told().items() if what == "alias"} == served
    assert {one for one, what in told().items() if what == "same"} == SERVED_AS_THEY_WERE


@pytest.mark.parametrize(
    "address", [one for one in ADDRESSES if one not in SERVED_AS_THEY_WERE and one[:2] != "WS"]
)
async def test_each_is_there_and_tells_a_script_what_to_do(shared: Relay, address: str) -> None:
    """No token: refused with words, or 410. None is unknown, and none fails."""
    answer = await send(shared, address, token=None)
    assert answer.status_code in {401, 403, 410}
    said = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert said["detail"]
    if answer.status_code == 410:
        assert said["code"] == "gone"
        assert re.search(r"(GET|POST|PATCH) /|RETENTION_DAYS", said["detail"])


@pytest.mark.parametrize("token", ["changeme-token", UPDATE_TOKEN[:-1], WEBHOOK_TOKEN, ""])
async def test_a_wrong_token_in_the_body_changes_nothing(shared: Relay, token: str) -> None:
    before = await shared.rows(DONE)
    for door, row in DOORS.items():
        if door[0] != "GET" and row[0] in {401, 403}:
            answer = await send(shared, " ".join(door), {"ticker": "NONE"}, token)
            assert answer.status_code == row[0], door
            assert token not in answer.text or not token
    after = await shared.rows(DONE)
    assert after == before


async def test_another_sites_page_can_do_nothing_with_the_operators_cookie(shared: Relay) -> None:
    answer = await shared.http.post("/admin/login", data={"token": ADMIN_TOKEN})
    shared.http.cookies.clear()
    headers = {"cookie": f"session={answer.cookies['session']}", "origin": "https://evil.example"}
    for door, row in DOORS.items():
        if door[0] != "GET" and row[0] in {401, 403}:
            path = door[1].format(id=NOBODY)
            given = json.dumps({"ticker": "NONE"})
            answer = await shared.http.request(
                door[0], path, content=given, headers=headers | {"content-type": "application/json"}
            )
            assert (answer.status_code, answer.json()["code"]) == (403, "cross_site"), door


async def test_the_old_socket_is_refused_with_the_new_address(shared: Relay) -> None:
    said: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def answered(message: Message) -> None:
        said.append(message)

    scope: dict[str, Any] = {
        "type": "websocket",
        "asgi": {"version": "3.0"},
        "scheme": "ws",
        "path": "/ws/admin-updates",
        "raw_path": b"/ws/admin-updates",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:8000")],
        "client": ("127.0.0.1", 40_000),
        "server": ("127.0.0.1", 8000),
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}},
    }
    await shared.app(scope, receive, answered)
    assert said[0]["status"] == 410
    assert "/ws/live" in json.loads(said[1]["body"])["detail"]


# ── Orders ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["sell-individual", "close-position"])
async def test_a_script_sells_a_position(shared: Relay, listed: str, how: str) -> None:
    await held(shared, listed)
    answer = await send(shared, f"POST /admin/order/{how}", {"ticker": listed.lower()})
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert said.get("action") == ("exit" if how == "close-position" else None)
    signal = await shared.settled(said["signal_id"])
    assert (signal["side"], signal["ticker"], signal["status"]) == ("sell", listed, "delivered")
    again = await send(shared, f"POST /admin/order/{how}", {"ticker": listed})
    assert again.status_code == (404 if how == "close-position" else 409)


async def test_selling_all_is_the_batch_of_ours_and_pauses_buying(
    shared: Relay, listed: str
) -> None:
    await held(shared, listed)
    queue = (await send(shared, "GET /admin/sell-all-queue")).json()
    assert listed in queue["tickers"]
    said = (await send(shared, "POST /admin/order/sell-all")).json()
    assert listed in said["tickers_processed"]
    assert said["total_requested"] == len(said["tickers_processed"])
    assert said["buying_paused"] is True
    batch = await shared.read(f"/api/batches/{said['batch_id']}")
    assert batch["kind"] == "sell_all"
    for one in batch["signals"]:
        await shared.settled(one["signal_id"])
    nothing = (await send(shared, "POST /admin/order/sell-all")).json()
    assert nothing["tickers_processed"] == []
    assert nothing["message"] == "No open positions to sell."
    headers = {"authorization": f"Bearer {UPDATE_TOKEN}"}
    await shared.http.post("/api/buying/resume", headers=headers)


async def test_positions_are_orders(shared: Relay, listed: str) -> None:
    made = await send(shared, "POST /admin/sell-all-queue", {"ticker": listed})
    assert made.status_code == 200
    assert (await send(shared, "POST /admin/sell-all-queue", {"ticker": listed})).status_code == 409
    before = (await send(shared, "GET /admin/orders/stats")).json()["stats"]
    answer = await send(shared, f"GET /admin/orders?status=open&ticker={listed}")
    (order,) = answer.json()["orders"]
    assert (order["ticker"], order["status"]) == (listed, "open")
    assert order["id"] == made.json()["position_id"]
    closed = await send(shared, f"POST /admin/orders/{order['id']}/close")
    assert (closed.status_code, closed.json()["status"]) == (200, "closed")
    after = (await send(shared, "GET /admin/orders/stats")).json()["stats"]
    assert after["open"] == before["open"] - 1
    assert (await send(shared, f"GET /admin/orders?status=open&ticker={listed}")).json() == {
        "orders": [],
        "count": 0,
        "more": False,
    }


# ── List, strategies, destination ───────────────────────────────────────────────────────────


async def test_the_list_is_paused_and_resumed(shared: Relay) -> None:
    assert (await send(shared, "POST /admin/engine/pause")).status_code == 204
    assert (await shared.read("/api/lookout"))["paused"]["by"] == "finviz update token"
    assert (await send(shared, "POST /admin/engine/manual-refresh")).status_code == 409
    assert (await send(shared, "POST /admin/engine/resume")).status_code == 204
    found = (await send(shared, "GET /admin/top-n-tickers")).json()
    assert found["count"] == len(found["tickers"]) > 0
    assert found["trust"] == "fresh"


async def test_the_names_of_the_original_change_the_screen(shared: Relay) -> None:
    wanted = {"top_n": 40, "refresh_interval_sec": 200}
    answer = await send(shared, "POST /finviz/config", wanted)
    assert (answer.status_code, answer.json()["refresh"]) == (200, 200)
    found = (await send(shared, "GET /admin/finviz/config")).json()
    assert (found["top_n"], found["refresh_interval_sec"]) == (40, 200)
    both = {"url": found["finviz_url"], "finviz_url": found["finviz_url"]}
    assert (await send(shared, "POST /finviz/config", both)).status_code == 400


async def test_strategies_are_screens(shared: Relay) -> None:
    url = "https://finviz.com/screener.ashx?v=111&f=exch_nasd&o=-change"
    path = "POST /admin/finviz/strategies"
    assert (await send(shared, path, {"name": "morning"})).status_code == 400
    again = {"name": "morning", "url": url, "reprocess_enabled": True}
    refused = await send(shared, path, again)
    assert (refused.status_code, refused.json()["field"]) == (400, "reprocess_enabled")
    made = await send(shared, path, {"name": "morning", "url": url, "description": "first hour"})
    assert made.status_code == 200, made.text
    id = made.json()["strategy_id"]
    changed = await send(shared, f"PUT /admin/finviz/strategies/{id}", {"top_n": 30})
    assert changed.status_code == 200, changed.text
    listed = (await send(shared, "GET /admin/finviz/strategies")).json()["strategies"]
    (own,) = [one for one in listed if one["id"] == id]
    assert (own["top_n"], own["description"], own["is_active"]) == (30, "first hour", False)
    copy = await send(shared, f"POST /admin/finviz/strategies/{id}/duplicate", {"new_name": "two"})
    assert copy.status_code == 200
    gone = await send(shared, f"DELETE /admin/finviz/strategies/{copy.json()['strategy_id']}")
    assert gone.status_code == 200
    active = (await send(shared, "GET /admin/finviz/strategies/active")).json()["active_strategy"]
    assert active["is_active"] is True
    refused = await send(shared, f"DELETE /admin/finviz/strategies/{active['id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "wrong_state")


async def test_the_destination_changes_and_its_address_is_never_told(shared: Relay) -> None:
    wanted = {"webhook_url": "https://destination.example/hook/another-password", "timeout": 8}
    assert (await send(shared, "POST /admin/webhook/update", wanted)).status_code == 204
    found = await send(shared, "GET /admin/webhook/config")
    assert "another-password" not in found.text
    assert (found.json()["timeout"], found.json()["rate_limiting_enabled"]) == (8, False)
    for wanted in ({"webhook_url": "not a url at all"}, {"webhook_url": "http://127.0.0.1:1/x"}):
        assert (await send(shared, "POST /admin/webhook/update", wanted)).status_code == 400
    path = "POST /admin/webhook-rate-limiter/update"
    assert (await send(shared, path, {"max_req_per_min": 30})).status_code == 204
    assert (await send(shared, "GET /admin/webhook/config")).json()["max_req_per_min"] == 30
    assert (await send(shared, path, {"max_req_per_min": 0})).status_code == 400
    assert (await send(shared, path, {})).status_code == 400
    assert (await send(shared, path, {"rate_limiting_enabled": False})).status_code == 204
    assert (await shared.read("/api/destinations"))["items"][0]["windows"] == ""
