"""/api/deliveries: pages of them, and the operator's word on held and queued ones."""

from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from tests.web.operating import signed_in
from tests.web.stage import UPDATE_TOKEN, WEBHOOK_TOKEN, Relay, cloned, relay, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

API = "/api/deliveries"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(template: str) -> AsyncGenerator[Relay]:
    """A relay whose destination answers 500, once only: every outcome is unknown, and held."""
    async with cloned(template) as url, relay(url) as one:
        one.destination.status = 500
        (main,) = await one.rows("SELECT id FROM destinations")
        path = f"/api/destinations/{main.id}"
        given = {"guarantee": "at_most_once"}
        bearer = {"authorization": f"Bearer {UPDATE_TOKEN}"}
        assert (await one.http.patch(path, json=given, headers=bearer)).status_code == 200
        yield one


async def say(
    relay: Relay, id: object, word: str, body: object = None, token: str = UPDATE_TOKEN
) -> httpx.Response:
    bearer = {"authorization": f"Bearer {token}"}
    return await relay.http.post(f"{API}/{id}/{word}", json=body, headers=bearer)


async def held(relay: Relay, ticker: str) -> dict[str, Any]:
    """A buy whose outcome is unknown. Its breaker does not matter here, so that it is closed."""
    await relay.execute(
        "UPDATE destinations SET breaker = 'closed', breaker_until = NULL, breaker_failures = 0"
    )
    answer = await relay.post({"ticker": ticker, "action": "buy", "n": str(uuid4())})
    id = answer.json()["signal_id"]
    found: list[dict[str, Any]] = []

    async def is_held() -> bool:
        listed = await relay.read(f"{API}?state=held")
        found[:] = [item for item in listed["items"] if item["signal_id"] == id]
        return bool(found)

    await until(is_held, "a held delivery")
    return found[0]


async def test_a_held_delivery_is_listed_and_raises_attention(shared: Relay, listed: str) -> None:
    one = await held(shared, listed)
    assert (one["state"], one["destination"], one["ticker"]) == ("held", "main", listed)
    assert (one["outcome"], one["status"], one["reason"]) == ("ambiguous", 500, "http 500")
    assert one["possibly_sent"] is True
    (main,) = (await shared.read("/status"))["destinations"]
    assert main["held"] >= 1
    browser = await signed_in(shared)
    page = (await shared.http.get("/admin", headers=browser)).text
    assert "held: outcome unknown" in page
    assert "held for main, outcome unknown" in page

    async def is_told() -> bool:
        page = (await shared.http.get("/admin", headers=browser)).text
        return one["signal_id"] in page.partition("Wants a look")[2].partition("Latest signals")[0]

    await until(is_told, "an item of the held delivery")


@pytest.mark.parametrize(
    ("word", "state", "position"),
    [("delivered", "delivered", "open"), ("drop", "cancelled", "void")],
)
async def test_the_operator_says_what_became_of_it(
    shared: Relay, listed: str, word: str, state: str, position: str
) -> None:
    one = await held(shared, listed)
    answer = await say(shared, one["id"], "resolve", {"as": word, "reason": "asked the broker"})
    assert (answer.status_code, answer.json()) == (200, {"id": one["id"], "state": state})
    again = await say(shared, one["id"], "resolve", {"as": word})
    assert (again.status_code, again.json()["code"]) == (409, "not_held")
    life = await shared.read(f"/api/signals/{one['signal_id']}")
    assert life["status"] == state
    (event,) = [e for e in life["events"] if e["event"] == f"delivery.{state}"]
    assert event["actor"] == "finviz update token"
    assert "asked the broker" in event["detail"]["reason"]
    assert f"position.{position}" in [e["event"] for e in life["events"]]


async def test_sent_again_it_says_so(shared: Relay, listed: str) -> None:
    one = await held(shared, listed)
    shared.destination.status = 200
    try:
        await shared.execute("UPDATE destinations SET breaker = 'closed', breaker_until = NULL")
        answer = await say(shared, one["id"], "resolve", {"as": "resend"})
        assert answer.json()["state"] == "queued"
        life = await shared.settled(one["signal_id"])
    finally:
        shared.destination.status = 500
    assert life["status"] == "delivered"
    first, second = (p for p in shared.destination.parcels if p.id == one["signal_id"])
    assert "relay-poss-resend" not in first.headers
    assert second.headers["relay-poss-resend"] == "Y"
    assert first.body == second.body


async def test_too_late_is_too_late(shared: Relay, listed: str) -> None:
    one = await held(shared, listed)
    await shared.execute("UPDATE deliveries SET expires_at = now() WHERE id = :id", id=one["id"])
    answer = await say(shared, one["id"], "resolve", {"as": "resend"})
    assert (answer.status_code, answer.json()["code"]) == (409, "expired")
    assert answer.headers["content-type"] == "application/problem+json"
    assert (await say(shared, one["id"], "resolve", {"as": "drop"})).status_code == 200


async def test_only_what_is_queued_is_cancelled(shared: Relay, listed: str) -> None:
    one = await held(shared, listed)
    answer = await say(shared, one["id"], "cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_queued")


@pytest.mark.parametrize("word", ["resolve", "cancel"])
async def test_who_may_not_is_told_nothing(shared: Relay, listed: str, word: str) -> None:
    one = await held(shared, listed)
    body = {"as": "drop"} if word == "resolve" else {}
    for token in (WEBHOOK_TOKEN, "", "wrong"):
        answer = await say(shared, one["id"], word, body, token)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    missing = await say(shared, uuid4(), word, body)
    assert (missing.status_code, missing.json()["code"]) == (404, "no_such_delivery")
    listing = await shared.http.get(API, headers={"authorization": f"Bearer {WEBHOOK_TOKEN}"})
    assert listing.status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        *(None, {}, {"as": "dead"}, {"resolution": "drop"}, {"as": "drop", "more": 1}),
        *({"as": "drop", "reason": wrong} for wrong in ("", "a\nb", "x" * 201, 1)),
    ],
)
async def test_another_word_is_refused(shared: Relay, body: object) -> None:
    answer = await say(shared, uuid4(), "resolve", body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_field")


async def test_pages_follow_one_another(shared: Relay, listed: str) -> None:
    await held(shared, listed)
    everything = (await shared.read(f"{API}?limit=500"))["items"]
    seen: list[str] = []
    cursor = ""
    while True:
        page = await shared.read(f"{API}?limit=2{cursor}")
        seen += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == [item["id"] for item in everything]
    assert len(set(seen)) == len(seen) > 0
    (main,) = await shared.rows("SELECT id FROM destinations")
    of_main = await shared.read(f"{API}?limit=500&destination={main.id}")
    assert len(of_main["items"]) == len(seen)


@pytest.mark.parametrize(
    "query", ["state=lost", "cursor=x", "cursor=%20", "limit=0", "limit=501", "destination=main"]
)
async def test_a_bad_question_is_refused(shared: Relay, query: str) -> None:
    answer = await shared.get(f"{API}?{query}")
    assert (answer.status_code, answer.json()["field"]) == (400, query.partition("=")[0])
