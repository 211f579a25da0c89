"""Being told, from outside: items, channels, notices and the heartbeat of a running relay."""

import json
import logging
import re
from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from database.pool import Database
from engines.clock import utc_now
from engines.worker import Worker
from tests.web.operating import ask
from tests.web.stage import Relay, cloned, relay, until
from web.health import is_ready

pytestmark = pytest.mark.asyncio(loop_scope="module")

CANARY = "s3cret-canary-of-mine"
TELEGRAM = {"kind": "telegram", "token": f"123456:{CANARY}-0123456789", "chat_id": "4242"}
SLACK = {"kind": "slack", "url": f"https://hooks.slack.com/services/{CANARY}"}
HEARTBEAT = f"https://heartbeat.example/{CANARY}"


class World:
    """Everybody who is told: keeps every request, and answers as a bot does."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.status, self.text = 200, '{"ok":true}'

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(self.status, stream=httpx.ByteStream(self.text.encode()))

    def sent_to(self, host: str) -> list[Any]:
        return [
            json.loads(one.content) for one in self.requests if one.content and one.url.host == host
        ]


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(template: str, world: World) -> AsyncGenerator[Relay]:
    transport = httpx.MockTransport(world)
    public = "https://relay.example.com"
    async with (
        cloned(template) as url,
        relay(url, notices=transport, heartbeat_url=HEARTBEAT, public_url=public) as one,
    ):
        yield one


async def create(relay: Relay, terms: dict[str, str], **given: object) -> dict[str, Any]:
    body = {"name": f"c-{uuid4().hex[:8]}"} | terms | given
    answer = await ask(relay, "POST", "/api/channels", body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def raise_stale(relay: Relay) -> None:
    await relay.execute("INSERT INTO events (event, detail) VALUES ('trust.stale', '{}')")


async def the_item(relay: Relay, **filters: str) -> dict[str, Any]:
    query = "&".join(f"{name}={value}" for name, value in filters.items())
    found: list[dict[str, Any]] = []

    async def is_there() -> bool:
        found[:] = (await relay.read(f"/api/attention?{query}"))["items"]
        return bool(found)

    await until(is_there, f"an item with {query}", seconds=60)
    return found[0]


async def resolve_all(relay: Relay, cause: str) -> int:
    answer = await ask(relay, "POST", "/api/attention/resolve", {"cause": cause})
    assert answer.status_code == 200, answer.text
    return answer.json()["resolved"]


async def test_what_happens_is_told_and_resolved(told: Relay, world: World) -> None:
    channel = await create(told, TELEGRAM, chat_id="777")
    await raise_stale(told)
    item = await the_item(told, cause="list_stale")
    assert (item["severity"], item["count"], item["resolved_at"]) == ("warning", 1, None)

    def messages() -> list[Any]:
        return [one for one in world.sent_to("api.telegram.org") if one["chat_id"] == "777"]

    async def is_told() -> bool:
        return bool(messages())

    await until(is_told, "the notice")
    (message,) = messages()
    assert message["text"].splitlines()[1:] == [
        "[warning] The list is stale: buys are rejected, sells go out.",
        "https://relay.example.com/admin",
    ]

    async def is_sent() -> bool:
        page = await told.read(f"/api/channels/{channel['id']}/notices")
        return [one["state"] for one in page["items"]] == ["sent"]

    await until(is_sent, "its record")
    metrics = (await told.get("/metrics")).text
    assert 'relay_notices_total{kind="telegram",outcome="sent"}' in metrics
    answer = await ask(
        told, "POST", f"/api/attention/{item['id']}/resolve", {"reason": "seen to it"}
    )
    assert answer.json() == {"id": item["id"], "resolved": 1}
    again = await ask(told, "POST", f"/api/attention/{item['id']}/resolve")
    assert again.json() == {"id": item["id"], "resolved": 0}
    (done,) = (await told.read("/api/attention?state=resolved&cause=list_stale"))["items"]
    assert (done["resolved_by"], done["resolved_why"]) == ("finviz update token", "seen to it")
    (event,) = await told.rows(
        "SELECT actor, detail FROM events"
        " WHERE event = 'attention.resolved' AND detail->>'attention_id' = :id",
        id=str(item["id"]),
    )
    assert event.actor == "finviz update token"
    assert (event.detail["reason"], event.detail["cause"]) == ("seen to it", "list_stale")


async def test_a_sell_nobody_has_is_found_by_its_ticker(told: Relay) -> None:
    await told.post({"ticker": "NYSE:LONE.A", "action": "sell"})
    item = await the_item(told, ticker="NYSE:LONE.A")
    assert (item["cause"], item["ticker"], item["source"]) == ("sell_refused", "LONE-A", "webhook")
    assert (await told.read("/api/attention?ticker=LONE-A&severity=urgent"))["items"] == []
    assert await resolve_all(told, "sell_refused") == 1


async def test_pages_follow_one_another(told: Relay) -> None:
    for number in range(5):
        await told.execute(
            "INSERT INTO attention (cause, key, severity, text, first_at, last_at)"
            " VALUES ('buy_dead', :key, 'info', 'x', now(), now())",
            key=str(number),
        )
    seen: list[str] = []
    cursor = ""
    while cursor is not None:
        page = await told.read(f"/api/attention?cause=buy_dead&limit=2{cursor}")
        seen += [one["key"] for one in page["items"]]
        cursor = page["next"] and f"&cursor={page['next']}"
    assert seen == ["4", "3", "2", "1", "0"]
    ids = [one["id"] for one in (await told.read("/api/attention?cause=buy_dead"))["items"]]
    answer = await ask(told, "POST", "/api/attention/resolve", {"ids": ids[:2]})
    assert answer.json() == {"resolved": 2}
    assert await resolve_all(told, "buy_dead") == 3


@pytest.mark.parametrize(
    "body", [{}, {"ids": []}, {"ids": [1], "cause": "held"}, {"cause": "x"}, {"ids": ["1"]}]
)
async def test_one_says_which_items_are_meant(told: Relay, body: object) -> None:
    answer = await ask(told, "POST", "/api/attention/resolve", body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_field")


async def test_an_item_or_channel_that_is_not_there(told: Relay) -> None:
    answer = await ask(told, "POST", "/api/attention/999999/resolve")
    assert (answer.status_code, answer.json()["code"]) == (404, "no_such_item")
    doors = (("PATCH", ""), ("POST", "/test"), ("POST", "/archive"), ("GET", "/notices"))
    for method, path in doors:
        body: dict[str, object] | None = {} if method == "PATCH" else None
        answer = await ask(told, method, f"/api/channels/{uuid4()}{path}", body)
        assert (answer.status_code, answer.json()["code"]) == (404, "no_such_channel")


async def test_a_test_says_what_the_other_side_said_without_the_secret(
    told: Relay, world: World
) -> None:
    channel = await create(told, TELEGRAM)
    path = f"/api/channels/{channel['id']}/test"
    world.status, world.text = 401, f"who is {TELEGRAM['token']}?"
    answer = await ask(told, "POST", path)
    world.status, world.text = 200, "{}"
    assert answer.json() == {"sent": False, "error": "http 401", "answer": "who is •••?"}
    soon = await ask(told, "POST", path)
    assert (soon.status_code, soon.json()["code"]) == (429, "too_soon")
    assert 1 <= int(soon.headers["retry-after"]) <= 10
    await told.execute("UPDATE channels SET tested_at = tested_at - interval '10 seconds'")
    assert (await ask(told, "POST", path)).json()["sent"] is True


async def test_a_channel_is_changed_and_put_away(told: Relay) -> None:
    channel = await create(told, SLACK, severity="info")
    path = f"/api/channels/{channel['id']}"
    changed = await ask(told, "PATCH", path, {"window": 60, "version": 1})
    assert (changed.json()["window"], changed.json()["version"]) == (60, 2)
    late = await ask(told, "PATCH", path, {"window": 90, "version": 1})
    assert (late.status_code, late.json()["code"]) == (409, "changed_meanwhile")
    same = await ask(told, "PATCH", path, {"window": 60})
    assert (same.json()["changed"], same.json()["version"]) == (False, 2)
    wrong = await ask(told, "PATCH", path, {"chat_id": "1"})
    assert (wrong.status_code, wrong.json()["field"]) == (400, "chat_id")
    other = await ask(told, "POST", "/api/channels", SLACK | {"name": channel["name"].upper()})
    assert (other.status_code, other.json()["code"]) == (409, "name_taken")
    assert (await ask(told, "POST", f"{path}/archive", {"reason": "gone"})).status_code == 200
    assert (await ask(told, "POST", f"{path}/archive")).status_code == 404
    ids = {one["id"] for one in (await told.read("/api/channels"))["items"]}
    assert channel["id"] not in ids
    events = await told.rows(
        "SELECT event, actor, detail FROM events WHERE detail->>'channel_id' = :id ORDER BY id",
        id=channel["id"],
    )
    assert [one.event for one in events] == [
        f"channel.{verb}" for verb in ("created", "changed", "archived")
    ]
    assert (events[1].detail["was"]["window"], events[1].detail["becomes"]["window"]) == (3600, 60)
    assert events[2].detail["reason"] == "gone"


async def test_what_waits_for_a_channel_switched_off_is_not_sent(told: Relay) -> None:
    channel = await create(told, SLACK)
    await told.execute(
        "WITH item AS (INSERT INTO attention (cause, key, severity, text, first_at, last_at)"
        " VALUES ('held', 'off', 'info', 'x', now(), now()) RETURNING id)"
        " INSERT INTO notices (channel_id, attention_id, cause, key, severity, due_at)"
        " SELECT :id, id, 'held', 'off', 'info', now() + interval '1 hour' FROM item",
        id=channel["id"],
    )
    path = f"/api/channels/{channel['id']}"
    assert (await ask(told, "PATCH", path, {"enabled": False})).json()["queued"] == 0
    (one,) = (await told.read(f"{path}/notices"))["items"]
    assert (one["state"], one["error"]) == ("failed", "switched off")
    await resolve_all(told, "held")


async def test_mail_without_a_server_warns(told: Relay) -> None:
    channel = await create(told, {"kind": "email", "to": "me@example.com"})
    assert channel["warning"] == "No mail can be sent: SMTP_URL is not set."
    assert channel["shown"] == "m•••@example.com"
    answer = await ask(told, "POST", f"/api/channels/{channel['id']}/test")
    assert answer.json()["error"] == "SMTP_URL is not set"


async def test_a_webhook_gets_a_secret_that_is_shown_once(told: Relay, world: World) -> None:
    channel = await create(told, {"kind": "webhook", "url": f"https://hook.example/{CANARY}"})
    assert channel["signing_secret"].startswith("whsec_")
    (listed,) = [
        one for one in (await told.read("/api/channels"))["items"] if one["id"] == channel["id"]
    ]
    assert "signing_secret" not in listed
    await ask(told, "POST", f"/api/channels/{channel['id']}/test")
    assert world.sent_to("hook.example")[0]["cause"] == "test"


async def test_it_lives_and_says_so(told: Relay, world: World) -> None:
    async def was_called() -> bool:
        return any(one.url == HEARTBEAT and one.method == "GET" for one in world.requests)

    async def is_counted() -> bool:
        """Once, and again a minute later."""
        metrics = (await told.get("/metrics")).text
        sent = re.search(r'^relay_heartbeat_total\{outcome="sent"\} (\S+)$', metrics, re.MULTILINE)
        return sent is not None and float(sent[1]) >= 1

    await until(was_called, "the heartbeat")
    await until(is_counted, "its count")
    names = {one["name"] for one in (await told.read("/status"))["workers"]}
    assert {"watchman", "notifier", "heartbeat"} <= names
    metrics = (await told.get("/metrics")).text
    assert 'relay_attention_open{severity="urgent"}' in metrics


async def test_no_secret_is_anywhere(told: Relay, caplog: pytest.LogCaptureFixture) -> None:
    """Asked last: everything the module did is in these answers and rows."""
    with caplog.at_level(logging.DEBUG, "engines"):
        for terms in (TELEGRAM, SLACK):
            channel = await create(told, terms)
            await ask(told, "PATCH", f"/api/channels/{channel['id']}", {"window": 61})
        bad = await ask(told, "POST", "/api/channels", TELEGRAM | {"name": "x", "chat_id": CANARY})
    assert bad.status_code == 400
    shown = [bad.text, caplog.text]
    paths = ("/api/channels?archived=true", "/api/attention?state=all", "/status", "/metrics")
    shown += [(await told.get(path)).text for path in paths]
    for table in ("events", "attention", "notices", "channels"):
        shown += [str(row) for row in await told.rows(f"SELECT CAST(t AS text) FROM {table} AS t")]
    assert not [text for text in shown if CANARY in text]


async def test_ready_is_who_can_store_and_whose_workers_work(told: Relay) -> None:
    """What the heartbeat asks before each call."""

    async def nothing() -> None:
        return

    well, sick = (Worker(name, nothing, utc_now) for name in ("well", "sick"))
    assert await is_ready(told.database, [well, sick])
    sick.health.failures_in_row = 3
    assert not await is_ready(told.database, [well, sick])
    nowhere = Database.connect("postgresql+asyncpg://nobody@127.0.0.1:1/nothing")
    assert not await is_ready(nowhere, [well])
    await nowhere.close()
