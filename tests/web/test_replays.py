"""Replay and resend over HTTP: what comes out at the destination, and what is refused."""

import json
from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from tests.web.operating import ask, signed_in
from tests.web.stage import UPDATE_TOKEN, WEBHOOK_TOKEN, Relay

pytestmark = pytest.mark.asyncio(loop_scope="module")

FORCED = {"force": True, "reason": "the broker was down"}
AGE = "UPDATE signals SET expires_at = now() WHERE id = :id"


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def well(shared: Relay) -> AsyncGenerator[None]:
    """The destination works, whatever a test made of it."""
    yield
    shared.destination.status = 200
    await shared.execute("UPDATE gate SET paused_at = NULL, paused_by = NULL")
    await shared.execute(
        "UPDATE destinations SET breaker = 'closed', breaker_until = NULL, breaker_failures = 0"
    )


async def sent(relay: Relay, ticker: str, action: str = "buy") -> Any:
    """An alert's whole life."""
    alert = {"ticker": ticker, "action": action, "n": str(uuid4()), "password": "hush-hush"}
    return await relay.settled((await relay.post(alert)).json()["signal_id"])


async def dead(relay: Relay, ticker: str, action: str = "buy") -> Any:
    relay.destination.status = 422
    life = await sent(relay, ticker, action)
    relay.destination.status = 200
    assert life["status"] == "dead"
    return life


async def replay(relay: Relay, id: object, body: object = None, **headers: str) -> httpx.Response:
    return await ask(relay, "POST", f"/api/signals/{id}/replay", body, **headers)


async def resend(relay: Relay, life: Any, body: object = None, **headers: str) -> httpx.Response:
    (delivery,) = life["deliveries"]
    return await ask(relay, "POST", f"/api/deliveries/{delivery['id']}/resend", body, **headers)


def refusal(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


async def test_a_dead_letter_is_replayed_and_says_whose_replay_it_is(
    shared: Relay, listed: str
) -> None:
    old = await dead(shared, listed)
    answer = await replay(shared, old["id"])
    assert answer.status_code == 202, answer.text
    told = answer.json()
    assert (told["status"], told["reason"]) == ("approved", None)
    new = await shared.settled(told["signal_id"])
    assert (new["status"], new["replay_of"], new["replays"]) == ("delivered", old["id"], [])
    assert (new["batch_id"], new["source"]) == (told["batch_id"], old["source"])
    before, after = [p for p in shared.destination.parcels if p.id in {old["id"], new["id"]}]
    assert after.id == after.headers["idempotency-key"] == new["id"]
    assert after.headers["relay-replay-of"] == old["id"]
    assert "relay-replay-of" not in before.headers
    first, second = json.loads(before.body), json.loads(after.body)
    ours = {"signal_id": new["id"], "received_at": second["received_at"], "replay_of": old["id"]}
    assert second == first | ours
    assert "replay_of" not in first
    parent = await shared.read(f"/api/signals/{old['id']}")
    assert parent["replays"] == [{"id": new["id"], "state": "delivered", "destination": None}]
    assert "signal.replayed" in [event["event"] for event in parent["events"]]
    batch = await shared.read(f"/api/batches/{told['batch_id']}")
    assert batch["kind"] == "replay"
    assert [one["signal_id"] for one in batch["signals"]] == [new["id"]]


async def test_the_pages_lead_from_one_to_the_other(shared: Relay, listed: str) -> None:
    old = await dead(shared, listed)
    new = (await resend(shared, old)).json()["signal_id"]
    await shared.settled(new)
    cookie = await signed_in(shared)
    pages = [
        (await shared.http.get(f"/admin/signals/{id}", headers=cookie)).text
        for id in (old["id"], new)
    ]
    to = f'<a href="/admin/signals/{new}">Its replay</a>'
    assert f'{to} <span class="pill delivered">delivered</span> for main alone' in pages[0]
    assert f'<a href="/admin/signals/{old["id"]}">The signal it is a replay of</a>' in pages[1]
    assert "hush-hush" not in "".join(pages)


async def test_a_delivery_is_resent(shared: Relay, listed: str) -> None:
    await sent(shared, listed)
    old = await dead(shared, listed, "sell")
    assert "position.open" in [event["event"] for event in old["events"]]
    told = (await resend(shared, old)).json()
    new = await shared.settled(told["signal_id"])
    assert (new["status"], new["replay_of"]) == ("delivered", old["id"])
    (main,) = await shared.rows("SELECT id FROM destinations")
    assert new["only_destination_id"] == str(main.id)
    assert "position.closed" in [event["event"] for event in new["events"]]


async def test_a_buy_that_is_too_old_needs_force_and_a_reason(shared: Relay, listed: str) -> None:
    old = await dead(shared, listed)
    await shared.execute(AGE, id=old["id"])
    assert refusal(await replay(shared, old["id"])) == (409, "stale")
    assert refusal(await resend(shared, old)) == (409, "stale")
    for half in ({"force": True}, {"force": True, "reason": None}):
        answer = await replay(shared, old["id"], half)
        assert (answer.status_code, answer.json()["field"]) == (400, "reason")
    assert (await replay(shared, old["id"], {"reason": "no force"})).json()["code"] == "stale"
    answer = await replay(shared, old["id"], FORCED)
    assert (answer.status_code, answer.json()["status"]) == (202, "approved")
    life = await shared.read(f"/api/signals/{old['id']}")
    (told,) = [event for event in life["events"] if event["event"] == "signal.replayed"]
    assert told["actor"] == "finviz update token"
    assert (told["detail"]["forced"], told["detail"]["reason"]) == (True, FORCED["reason"])


async def test_what_was_delivered_is_sent_again_by_force_only(shared: Relay, listed: str) -> None:
    old = await sent(shared, listed)
    assert refusal(await replay(shared, old["id"])) == (409, "already_delivered")
    assert refusal(await resend(shared, old)) == (409, "already_delivered")
    assert (await resend(shared, old, FORCED)).status_code == 202
    assert refusal(await replay(shared, old["id"])) == (409, "already_replayed")


async def test_the_gate_is_not_bypassed_by_force(shared: Relay, listed: str) -> None:
    old = await dead(shared, listed)
    await shared.execute("UPDATE gate SET paused_at = now(), paused_by = 'somebody'")
    told = (await replay(shared, old["id"], FORCED)).json()
    assert (told["status"], told["reason"]) == ("rejected", "buying_paused")
    assert (await shared.read(f"/api/signals/{told['signal_id']}"))["status"] == "rejected"


async def test_what_is_no_signal_is_not_replayed_whatever_is_said(shared: Relay) -> None:
    invalid = (await shared.post({"ticker": "AAPL", "action": "up"})).json()["signal_id"]
    imported = (await sent(shared, "GHOST"))["id"]
    await shared.execute("UPDATE signals SET imported_from = 'a file' WHERE id = :id", id=imported)
    for id, code in ((invalid, "not_a_signal"), (imported, "imported")):
        for body in ({}, FORCED):
            answer = await replay(shared, id, body)
            assert refusal(answer) == (409, code)
            assert "force" not in answer.json()["detail"]


async def test_what_is_held_is_resolved(shared: Relay, listed: str) -> None:
    old = await dead(shared, listed)
    await shared.execute(
        "UPDATE deliveries SET state = 'held', finished_at = NULL, due_at = now() + interval '1 h'"
        " WHERE signal_id = :id",
        id=old["id"],
    )
    assert refusal(await resend(shared, old, FORCED)) == (409, "held")
    assert refusal(await replay(shared, old["id"])) == (409, "not_final")


async def test_a_disabled_destination_gets_no_buy_again(shared: Relay, listed: str) -> None:
    old = await dead(shared, listed)
    await shared.execute("UPDATE destinations SET state = 'disabled'")
    try:
        assert refusal(await resend(shared, old, FORCED)) == (409, "no_destination")
    finally:
        await shared.execute("UPDATE destinations SET state = 'enabled'")


async def test_the_same_key_is_the_same_command(shared: Relay, listed: str) -> None:
    old, key = await dead(shared, listed), str(uuid4())
    first, again = [
        await replay(shared, old["id"], FORCED, **{"idempotency-key": key}) for _ in range(2)
    ]
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    other = await replay(shared, old["id"], **{"idempotency-key": key})
    assert refusal(other) == (409, "key_reused")
    life = await shared.read(f"/api/signals/{old['id']}")
    assert len(life["replays"]) == 1
    elsewhere = await resend(shared, old, FORCED, **{"idempotency-key": key})
    assert elsewhere.json()["batch_id"] != first.json()["batch_id"]


async def test_a_refused_command_gives_its_key_back(shared: Relay, listed: str) -> None:
    old, key = await sent(shared, listed), {"idempotency-key": str(uuid4())}
    body = {"reason": "the same words"}
    assert refusal(await replay(shared, old["id"], body, **key)) == (409, "already_delivered")
    await shared.execute("UPDATE deliveries SET state = 'dead' WHERE signal_id = :id", id=old["id"])
    await shared.execute(
        "UPDATE deliveries SET possibly_sent = false WHERE signal_id = :id", id=old["id"]
    )
    assert (await replay(shared, old["id"], body, **key)).status_code == 202


@pytest.mark.parametrize("path", ["/api/signals/{}/replay", "/api/deliveries/{}/resend"])
async def test_who_may_not_is_told_nothing(shared: Relay, path: str) -> None:
    path = path.format(uuid4())
    for token in (WEBHOOK_TOKEN, "", "wrong"):
        assert refusal(await ask(shared, "POST", path, {}, token)) == (401, "unauthorized")
    assert (await ask(shared, "POST", path)).json()["code"].startswith("no_such_")
    read_only = {"authorization": f"Bearer {UPDATE_TOKEN}", "idempotency-key": ""}
    answer = await shared.http.post(path, headers=read_only)
    assert (answer.status_code, answer.json()["field"]) == (400, "idempotency-key")


@pytest.mark.parametrize(
    "body", [[], {"force": 1}, {"force": "yes"}, {"more": 1}, {"reason": ""}, {"reason": "a\nb"}]
)
async def test_another_word_is_refused(shared: Relay, body: object) -> None:
    answer = await replay(shared, uuid4(), body)
    assert refusal(answer) == (400, "invalid_field")
