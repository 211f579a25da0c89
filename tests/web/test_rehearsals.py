"""Rehearsals: what would happen is what then does; and nothing of them stays."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from database import gate
from tests.web.operating import CANARY, HEADERS, HOOK, ask, create, tell
from tests.web.stage import ADMIN_TOKEN, WEBHOOK_TOKEN, Relay, cloned, insisting, relay

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(template: str) -> AsyncGenerator[Relay]:
    """As any module's, with as many rehearsals as its tests like."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("engines.relay.rehearsal.A_MINUTE", 10_000)
        async with cloned(template) as url, relay(url) as one:
            yield one


COUNTED = (
    *("signals", "deliveries", "positions", "dedupe_keys", "attempts", "gate_versions"),
    "events WHERE signal_id IS NOT NULL",
)
API = "/api/rehearsals"


async def rehearse(house: Relay, body: object, **more: str) -> Any:
    """Who is told that the relay is busy asks again: a rehearsal gives way after 0.3 s."""
    given = {"body": body if isinstance(body, str) else json.dumps(body), **more}
    answer = await insisting(lambda: ask(house, "POST", API, given))
    assert answer.status_code == 200, answer.text
    return answer.json()


async def counts(house: Relay) -> dict[str, int]:
    return {what: (await house.rows(f"SELECT count(*) FROM {what}"))[0][0] for what in COUNTED}


async def outcome(house: Relay, body: dict[str, Any]) -> tuple[Any, Any]:
    """What was rehearsed, and what then became of the very same alert."""
    before = await counts(house)
    played = await rehearse(house, body)
    assert await counts(house) == before, "nothing of a rehearsal stays"
    answer = await house.post(body)
    return played, await house.settled(answer.json()["signal_id"])


async def test_an_approved_buy_leaves_as_rehearsed(shared: Relay, listed: str) -> None:
    body = {"ticker": f"NASDAQ:{listed}", "action": "buy", "price": 12.50, "secret": "pass-word"}
    played, real = await outcome(shared, body)
    decision, verdict = played["decision"], real["verdict"]
    assert decision["status"] == verdict["status"] == "approved"
    same = ("universe_version", "rank", "cutoff")
    assert {name: decision[name] for name in same} == {name: verdict[name] for name in same}
    assert decision["position"] == {"id": None, "does": "opens", "becomes": "opening"}
    (request,) = played["requests"]
    parcel = shared.destination.parcels[-1]
    names = {"content-type", "webhook-id", "webhook-signature", "idempotency-key", "relay-hop"}
    assert names <= request["headers"].keys() <= parcel.headers.keys()
    for name in ("content-type", "relay-hop"):
        assert request["headers"][name] == parcel.headers[name]
    assert request["headers"]["webhook-signature"] == "•••"
    left, rehearsed = json.loads(parcel.body), json.loads(request["body"])
    assert left.pop("secret") == "pass-word"
    assert rehearsed.pop("secret") == "•••"
    for made in ("signal_id", "received_at"):
        assert left.pop(made) != rehearsed.pop(made)
    assert left == rehearsed
    assert "pass-word" not in json.dumps(played)
    assert (request["url"], request["mode"]) == ("https://destination.example/•••", "live")


async def test_what_is_read_of_each_member_is_told(shared: Relay) -> None:
    body = {
        "ticker": "nyse:brk.b",
        "action": "sell",
        "sentiment": "flat",
        "price": "1,234.5",
        "timenow": "2026-01-05T15:30:02Z",
        "comment": "hello",
        "token": WEBHOOK_TOKEN,
        "passphrase": "hush",
    }
    played = await rehearse(shared, body)
    reading = played["reading"]
    assert reading["alert"]["ticker"] == "BRK-B"
    assert "NYSE before the colon" in reading["alert"]["normalised"]
    assert (reading["alert"]["side"], reading["alert"]["closes"]) == ("sell", True)
    assert reading["alert"]["sent_at"] == "2026-01-05T15:30:02Z"
    tells = {one["name"]: one["tells"] for one in reading["members"]}
    assert tells["ticker"][0] == "ticker"
    assert tells["timenow"] == ["time", "when it was sent"]
    assert tells["comment"] == tells["passphrase"] == []
    assert [one["name"] for one in reading["members"] if one["secret"]] == ["token", "passphrase"]
    assert reading["token_cut"]
    assert any("commas between its thousands" in one for one in reading["advice"])
    assert WEBHOOK_TOKEN not in json.dumps(played)
    assert "hush" not in json.dumps(played)
    decision = played["decision"]
    assert (decision["status"], decision["reason"]) == ("expired", "expired")
    assert "too old when it comes" in decision["why"]


async def test_what_is_not_in_the_list_is_rejected_in_both(shared: Relay) -> None:
    played, real = await outcome(shared, {"ticker": "ZZZZ", "action": "buy"})
    assert played["decision"]["reason"] == real["reason"] == "not_in_list"
    assert played["requests"] == []
    assert "Not ranked; the top 50 count." in played["decision"]["why"]


async def test_a_sell_without_a_position_and_one_with(shared: Relay, listed: str) -> None:
    sell = {"ticker": listed, "action": "sell", "n": 1}
    played, real = await outcome(shared, sell)
    assert played["decision"]["reason"] == real["reason"] == "no_position"
    answer = await shared.post({"ticker": listed, "action": "buy"})
    bought = await shared.settled(answer.json()["signal_id"])
    played, real = await outcome(shared, sell | {"n": 2})
    assert played["decision"]["status"] == "approved"
    assert played["decision"]["position"] == {
        "id": bought["id"],
        "does": "ends",
        "becomes": "closing",
    }
    assert real["status"] == "delivered"


async def test_a_rule_and_a_pause_are_told(shared: Relay, listed: str) -> None:
    buy = {"ticker": listed, "action": "buy", "price": "10"}
    await ask(shared, "PATCH", "/api/rules", {"every": {"max_price": "5"}})
    try:
        played, real = await outcome(shared, buy)
        assert played["decision"]["reason"] == real["reason"] == "price_limit"
        assert played["decision"]["rule"]["limit"] == "at most 5"
    finally:
        await ask(shared, "PATCH", "/api/rules", {"every": {"max_price": None}})
    await ask(shared, "POST", "/api/buying/pause", {})
    try:
        assert (await rehearse(shared, buy))["decision"]["reason"] == "buying_paused"
    finally:
        await ask(shared, "POST", "/api/buying/resume", {})


async def test_a_repeat_is_told_with_what_would_be_otherwise(shared: Relay, listed: str) -> None:
    body = {"ticker": listed, "action": "buy", "n": uuid4().hex}
    answer = await shared.post(body)
    await shared.settled(answer.json()["signal_id"])
    played = await rehearse(shared, body)
    assert played["decision"]["repeats"] == answer.json()["signal_id"]
    assert played["decision"]["status"] == "approved"
    assert played["decision"]["position"]["does"] == "adds to"
    again = await shared.post(body)
    assert again.json() == answer.json() | {"duplicate": True, "status": again.json()["status"]}


async def test_a_buy_that_would_wait_for_its_ticker_is_told_until_when(shared: Relay) -> None:
    (screen,) = (await shared.read("/api/screens"))["items"]
    path = f"/api/screens/{screen['id']}"
    answer = await ask(shared, "PATCH", path, {"wait": 60})
    assert answer.status_code == 200, answer.text
    try:
        decision = (await rehearse(shared, {"ticker": "ZZZW", "action": "buy"}))["decision"]
        assert decision["status"] == "received"
        assert decision["waits_until"]
        assert "for ZZZW to come into the list" in decision["why"]
    finally:
        await ask(shared, "PATCH", path, {"wait": 0})


async def test_the_secrets_of_a_destination_are_masked(shared: Relay, listed: str) -> None:
    one = await create(
        shared,
        headers=HEADERS,
        mode="dry_run",
        mapping={"preset": "traderspost", "add": {"password": CANARY, "kind": "demo"}},
    )
    try:
        played = await rehearse(shared, {"ticker": listed, "action": "buy"})
        (request,) = [r for r in played["requests"] if r["destination"] == one["name"]]
        assert request["headers"]["x-api-key"] == "•••"
        assert json.loads(request["body"])["kind"] == "demo"
        assert request["mode"] == "dry_run"
        assert CANARY not in json.dumps(played)
        assert HOOK not in json.dumps(played)
    finally:
        await tell(shared, one, "disable")


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ("", "empty_body", "Write a message into the alert"),
        ("{'ticker': 'AAPL', 'action': 'buy'}", "invalid_json", "Use double quotes"),
        ('{"ticker": "AAPL", "action": "buy",}', "invalid_json", "Take the comma"),
        ('[{"ticker": "AAPL", "action": "buy"}]', "body_is_array", "square brackets"),
        ('{"ticker": "{{ticker}}", "action": "buy"}', "unresolved_placeholder", "{{ticker}}"),
        ("AAPL crossing 190", "not_json", "Write it as JSON"),
    ],
)
async def test_what_cannot_be_read_is_told_with_what_to_change(
    shared: Relay, body: str, code: str, words: str
) -> None:
    played = await rehearse(shared, body)
    assert played["reading"]["code"] == code
    assert any(words in one for one in played["reading"]["advice"]), played["reading"]["advice"]
    assert (played["decision"], played["requests"]) == (None, [])


async def test_a_policy_of_its_source_counts(shared: Relay, listed: str) -> None:
    given = {"name": "sells-only", "direction": "sell"}
    made = await ask(shared, "POST", "/api/sources", given, token=ADMIN_TOKEN)
    assert made.status_code == 201, made.text
    played = await rehearse(shared, {"ticker": listed, "action": "buy"}, source="sells-only")
    assert played["decision"]["reason"] == "source_direction"
    unknown = await ask(shared, "POST", API, {"body": "{}", "source": "nobody"})
    assert (unknown.status_code, unknown.json()["field"]) == (400, "source")


async def test_alerts_pass_while_rehearsals_are_under_way(shared: Relay, listed: str) -> None:
    """Also of the very ticker, and with the very bytes: none waits for the other for long."""

    taken: list[str] = []

    async def real(number: int) -> int:
        answer = await shared.post({"ticker": listed, "action": "buy", "n": number})
        taken.append(answer.json()["signal_id"])
        return answer.status_code

    async def play(number: int) -> str:
        body = json.dumps({"ticker": listed, "action": "buy", "n": number})
        answer = await ask(shared, "POST", API, {"body": body})
        return "busy" if answer.status_code == 503 else answer.json()["decision"]["status"]

    found = await asyncio.gather(*(do(n) for n in range(12) for do in (play, real)))
    assert found[1::2] == [202] * 12
    assert "approved" in found
    assert set(found[::2]) <= {"approved", "busy"}, "who would have to wait is told to come again"
    for one in taken:
        await shared.settled(one)  # the tests beside it count what there is


@pytest_asyncio.fixture(loop_scope="module")
async def alone(template: str) -> AsyncGenerator[Relay]:
    async with cloned(template) as url, relay(url) as one:
        yield one


async def test_whoever_commands_is_waited_for_and_then_given_up(alone: Relay) -> None:
    """A rehearsal is the first to give way: it neither hangs nor keeps anybody waiting."""
    listed = alone.finviz.market[0].ticker
    async with alone.database.write() as connection:
        await gate.hold_alone(connection)
        answer = await ask(
            alone, "POST", API, {"body": json.dumps({"ticker": listed, "action": "buy"})}
        )
    assert answer.status_code == 503
    assert (await rehearse(alone, {"ticker": listed, "action": "buy"}))["decision"]


async def test_whoever_asks_too_often_is_told_to_wait(
    template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engines.relay.rehearsal.A_MINUTE", 1)
    async with cloned(template) as url, relay(url) as one:
        body = {"body": '{"ticker":"A","action":"buy"}'}
        await ask(one, "POST", API, body)  # it counts, also when a relay just started is slow
        answer = await ask(one, "POST", API, body)
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_rehearsals")
