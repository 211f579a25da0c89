"""Commands over many: seen first, done to exactly as many, once for each key."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from database import selections
from tests.web.operating import ask
from tests.web.stage import WEBHOOK_TOKEN, Relay, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

SIGNALS, DELIVERIES = "/api/signals", "/api/deliveries"
COMMANDS = (
    *(f"{SIGNALS}/replay", f"{DELIVERIES}/resend", f"{DELIVERIES}/cancel"),
    f"{DELIVERIES}/resolve",
)
OF_STATES = [*zip(COMMANDS, ("dead", "dead", "queued", "held"), strict=True)]
AS = {f"{DELIVERIES}/resolve": {"as": "drop"}}


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def well(shared: Relay) -> AsyncGenerator[None]:
    """The destination is in use and works, whatever a test made of it."""
    yield
    shared.destination.status = 200
    await shared.execute(
        "UPDATE destinations SET state = 'enabled', breaker = 'closed', breaker_until = NULL,"
        " breaker_failures = 0"
    )


async def standing(relay: Relay, ticker: str, count: int, state: str) -> list[str]:
    """Buys of a ticker whose deliveries are in this state; their signals' ids, oldest first."""
    await relay.execute("UPDATE destinations SET state = 'paused'")
    answers = [
        await relay.post({"ticker": ticker, "action": "buy", "n": str(uuid4())})
        for _ in range(count)
    ]
    ids = [answer.json()["signal_id"] for answer in answers]

    async def all_queued() -> bool:
        query = "SELECT id FROM deliveries WHERE signal_id = ANY(CAST(:ids AS uuid[]))"
        return len(await relay.rows(query, ids=ids)) == count

    await until(all_queued, "the verdicts")
    await relay.execute(
        "UPDATE deliveries SET state = :state, reason = 'a test',"
        " due_at = now() + interval '1 hour',"
        " finished_at = CASE WHEN :state NOT IN ('queued', 'held') THEN now() END"
        " WHERE signal_id = ANY(CAST(:ids AS uuid[]))",
        state=state,
        ids=ids,
    )
    return ids


async def post(relay: Relay, path: str, body: Any, **headers: str) -> httpx.Response:
    return await ask(relay, "POST", path, AS.get(path, {}) | body, **headers)


async def seen(relay: Relay, path: str, chosen: Any) -> Any:
    answer = await post(relay, path, chosen | {"preview": True})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def states(relay: Relay, ids: list[str]) -> list[str]:
    rows = await relay.rows(
        "SELECT state FROM deliveries WHERE signal_id = ANY(CAST(:ids AS uuid[])) ORDER BY seq",
        ids=ids,
    )
    return [row.state for row in rows]


# ── Replay and resend ───────────────────────────────────────────────────────────────────────


async def test_dead_letters_are_seen_and_then_replayed(shared: Relay, listed: str) -> None:
    ids = await standing(shared, listed, 12, "dead")
    await shared.execute("UPDATE signals SET expires_at = now() WHERE id = :id", id=ids[0])
    chosen = {"filter": {"state": "dead", "ticker": listed}}
    found = await seen(shared, f"{SIGNALS}/replay", chosen)
    assert (found["matching"], found["would"]) == (12, 11)
    assert found["refused"] == {"stale": 1}
    assert [one["signal_id"] for one in found["examples"]] == ids[:5]
    assert [one["refused"] for one in found["examples"]] == ["stale", *[None] * 4]
    answer = await post(shared, f"{SIGNALS}/replay", chosen | {"expect": 11, "reason": "mended"})
    assert answer.status_code == 202, answer.text
    told = answer.json()
    assert (told["done"], told["refused"]) == (11, {"stale": 1})
    assert told["verdicts"] == {"approved": 11}
    made = await shared.rows(
        "SELECT replay_of FROM signals WHERE batch_id = :id ORDER BY seq", id=told["batch_id"]
    )
    assert [str(row.replay_of) for row in made] == ids[1:]


async def test_those_that_are_refused_are_done_by_force(shared: Relay, listed: str) -> None:
    ids = await standing(shared, listed, 3, "dead")
    await shared.execute("UPDATE signals SET expires_at = now() WHERE id = :id", id=ids[0])
    chosen = {"ids": ids, "force": True}
    refused = await post(shared, f"{SIGNALS}/replay", chosen | {"expect": 3})
    assert (refused.status_code, refused.json()["field"]) == (400, "reason")
    found = await seen(shared, f"{SIGNALS}/replay", chosen | {"reason": "all of them"})
    assert (found["would"], found["refused"]) == (3, {})
    done = await post(shared, f"{SIGNALS}/replay", chosen | {"expect": 3, "reason": "all of them"})
    assert done.json()["done"] == 3


async def test_deliveries_are_resent_to_where_they_failed(shared: Relay, listed: str) -> None:
    ids = await standing(shared, listed, 4, "superseded")
    chosen = {"filter": {"state": "superseded", "ticker": listed, "side": "buy"}}
    assert (await seen(shared, f"{DELIVERIES}/resend", chosen))["would"] == 4
    told = (await post(shared, f"{DELIVERIES}/resend", chosen | {"expect": 4})).json()
    made = await shared.rows(
        "SELECT replay_of, only_destination_id IS NOT NULL AS one FROM signals"
        " WHERE batch_id = :id ORDER BY seq",
        id=told["batch_id"],
    )
    assert [(str(row.replay_of), row.one) for row in made] == [(id, True) for id in ids]


# ── Cancel and resolve ──────────────────────────────────────────────────────────────────────


async def test_what_is_queued_is_cancelled(shared: Relay, listed: str) -> None:
    ids = await standing(shared, listed, 5, "queued")
    chosen = {"filter": {"ticker": listed}}
    await shared.execute("UPDATE deliveries SET state = 'held' WHERE signal_id = :id", id=ids[2])
    found = await seen(shared, f"{DELIVERIES}/cancel", chosen)
    assert (found["matching"], found["would"], found["refused"]) == (5, 4, {"not_queued": 1})
    answer = await post(shared, f"{DELIVERIES}/cancel", chosen | {"expect": 4, "reason": "no more"})
    assert (answer.status_code, answer.json()) == (200, {"done": 4, "refused": {"not_queued": 1}})
    assert await states(shared, ids) == [
        *("cancelled", "cancelled", "held", "cancelled", "cancelled")
    ]
    life = await shared.read(f"{SIGNALS}/{ids[0]}")
    (told,) = [event for event in life["events"] if event["event"] == "delivery.cancelled"]
    assert (told["actor"], told["detail"]["reason"]) == (
        "finviz update token",
        "cancelled: no more",
    )


@pytest.mark.parametrize(
    ("word", "ends"),
    [
        ("delivered", ["delivered"] * 3),
        ("drop", ["cancelled"] * 3),
        ("resend", ["held", "held", "queued"]),
    ],
)
async def test_what_is_held_is_resolved(
    shared: Relay, listed: str, word: str, ends: list[str]
) -> None:
    """Of one lane only the newest is sent again: the others would come out of order."""
    ids = await standing(shared, listed, 3, "held")
    await shared.execute(
        "UPDATE deliveries SET attempts = 1 WHERE signal_id = ANY(CAST(:ids AS uuid[]))", ids=ids
    )
    chosen = {"filter": {"state": "held", "ticker": listed}, "as": word}
    found = await seen(shared, f"{DELIVERIES}/resolve", chosen)
    left = ends.count("held")
    assert found["refused"] == ({"overtaken": left} if left else {})
    done = await post(shared, f"{DELIVERIES}/resolve", chosen | {"expect": 3 - left})
    assert (done.status_code, done.json()["done"]) == (200, 3 - left)
    assert await states(shared, ids) == ends


# ── As seen, or not at all ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("path", "state"), OF_STATES)
async def test_what_changed_meanwhile_is_not_done(
    shared: Relay, listed: str, path: str, state: str
) -> None:
    await standing(shared, listed, 3, state)
    chosen = {"filter": {"ticker": listed}}
    number = (await seen(shared, path, chosen))["would"]
    assert number == 3
    (more,) = await standing(shared, listed, 1, state)
    refused = await post(shared, path, chosen | {"expect": number})
    assert (refused.status_code, refused.json()["code"]) == (409, "changed_meanwhile")
    now = {name: refused.json()[name] for name in ("matching", "would", "refused")}
    assert now == {"matching": 4, "would": 4, "refused": {}}
    assert await states(shared, [more]) == [state]
    assert (await post(shared, path, chosen | {"expect": 4})).json()["done"] == 4


@pytest.mark.parametrize(("path", "state"), OF_STATES)
async def test_of_two_at_once_one_does_it_and_the_same_key_says_so(
    shared: Relay, listed: str, path: str, state: str
) -> None:
    await standing(shared, listed, 20, state)
    body = {"filter": {"state": state, "ticker": listed}, "expect": 20}
    key = {"idempotency-key": str(uuid4())}
    both = await asyncio.gather(post(shared, path, body), post(shared, path, body))
    assert sorted(answer.is_success for answer in both) == [False, True]
    await standing(shared, listed, 20, state)
    chosen = body | {"filter": {"state": state, "ticker": listed}}
    number = (await seen(shared, path, {"filter": chosen["filter"]}))["would"]
    chosen["expect"] = number
    same = await asyncio.gather(*(post(shared, path, chosen, **key) for _ in range(3)))
    assert [answer.is_success for answer in same] == [True] * 3
    assert same[0].json() == same[1].json() == same[2].json()
    assert same[0].json()["done"] == number


@pytest.mark.parametrize("path", COMMANDS)
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "expect"),
        ({"expect": 1}, "ids"),
        ({"preview": True}, "ids"),
        ({"ids": [], "expect": 1}, "ids"),
        ({"ids": [str(uuid4())], "filter": {"side": "buy"}, "expect": 1}, "ids"),
        ({"filter": {}, "expect": 1}, "filter"),
        ({"filter": {"side": "up"}, "expect": 1}, "filter.side"),
        ({"filter": {"more": 1}, "expect": 1}, "filter.more"),
        ({"filter": {"ticker": "A B"}, "preview": True}, "ticker"),
        ({"filter": {"since": "2026-11-21T15:00:00"}, "preview": True}, "filter.since"),
        ({"ids": [str(uuid4())], "expect": 0}, "expect"),
        ({"ids": [str(uuid4())], "expect": "1"}, "expect"),
        ({"ids": [str(uuid4())], "preview": 1}, "preview"),
    ],
)
async def test_what_is_not_clear_is_refused(
    shared: Relay, path: str, body: Any, field: str
) -> None:
    answer = await post(shared, path, body)
    assert (answer.status_code, answer.json().get("field")) == (400, field)


@pytest.mark.parametrize("path", COMMANDS)
async def test_a_thousand_are_the_most(shared: Relay, path: str) -> None:
    many = [str(uuid4()) for _ in range(1_001)]
    for body in ({"ids": many, "preview": True}, {"ids": many[:1], "expect": 1_001}):
        answer = await post(shared, path, body)
        assert (answer.status_code, answer.json()["code"]) == (400, "too_many")
        assert "1000" in answer.json()["detail"]
    found = await seen(shared, path, {"ids": many[:1_000]})
    assert (found["matching"], found["would"], found["examples"]) == (0, 0, [])


@pytest.mark.parametrize("path", COMMANDS)
async def test_what_is_too_much_to_look_through_is_not_counted(
    shared: Relay, listed: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number that leaves some out would be no number to agree to."""
    await standing(shared, listed, 3, "dead")
    monkeypatch.setattr(selections, "MOST_MATCHING", 2)
    for body in ({"preview": True}, {"expect": 3}, {"expect": 2}):
        answer = await post(shared, path, {"filter": {"ticker": listed}} | body)
        assert (answer.status_code, answer.json()["code"]) == (400, "too_many")


@pytest.mark.parametrize("path", COMMANDS)
async def test_a_token_for_alerts_may_not(shared: Relay, path: str) -> None:
    answer = await ask(shared, "POST", path, {"preview": True}, WEBHOOK_TOKEN)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
