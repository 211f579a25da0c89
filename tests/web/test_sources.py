"""/api/sources: named senders with a policy, counters and tokens of their own."""

import asyncio
from collections.abc import Iterator
from itertools import count
from typing import Any

import httpx
import pytest

from tests.web.operating import ask
from tests.web.stage import (
    ADMIN_TOKEN,
    UPDATE_TOKEN,
    WEBHOOK_TOKEN,
    Relay,
    cloned,
    insisting,
    relay,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

API = "/api/sources"


@pytest.fixture(scope="module")
def names() -> Iterator[str]:
    return (f"source-{number}" for number in count())


@pytest.fixture
def name(names: Iterator[str]) -> str:
    return next(names)


async def create(relay: Relay, name: str, **given: object) -> dict[str, Any]:
    answer = await ask(relay, "POST", API, {"name": name} | given)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def shown(relay: Relay, name: str, query: str = "") -> dict[str, Any]:
    listed = await relay.read(f"{API}{query}")
    (found,) = [one for one in listed["items"] if one["name"] == name]
    return found


async def post(relay: Relay, token: str, body: object = None) -> httpx.Response:
    alert = body or {"ticker": "AAPL", "action": "buy"}
    return await relay.http.post(f"/webhook/in/{token}", json=alert)


async def test_a_new_source_comes_with_its_address(shared: Relay, name: str) -> None:
    answer = await ask(shared, "POST", API, {"name": name, "direction": "buy", "buy_ttl_sec": 20})
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    made = answer.json()
    assert made["webhook"] == f"http://127.0.0.1:8000/webhook/in/{made['token']}"
    assert made["token_name"] == f"{name} {made['token'][-4:]}"
    assert (made["version"], made["direction"], made["buy_ttl_sec"]) == (1, "buy", 20)
    assert (made["dedupe_sec"], made["built_in"], made["archived_at"]) == (None, False, None)
    taken = await shared.http.post(made["webhook"], json={"ticker": "AAPL", "action": "buy"})
    assert taken.status_code == 202
    found = await shown(shared, name)
    assert made["token"] not in str(found)
    (token,) = found["tokens"]
    assert (token["id"], token["hint"], token["scopes"]) == (
        made["token_id"],
        made["token"][-4:],
        ["ingest"],
    )
    assert (token["made_by"], token["source"]) == ("finviz update token", name)


async def test_the_address_is_the_one_others_reach_us_by(template: str, name: str) -> None:
    async with cloned(template) as url, relay(url, public_url="https://relay.example") as it:
        made = await create(it, name)
        assert made["webhook"] == f"https://relay.example/webhook/in/{made['token']}"


async def test_what_came_is_counted(shared: Relay, name: str, listed: str) -> None:
    made = await create(shared, name)
    assert (await shown(shared, name))["last_signal_at"] is None
    for number in range(3):
        alert = {"ticker": listed, "action": "buy", "n": number}
        assert (await post(shared, made["token"], alert)).status_code == 202
    assert (await post(shared, made["token"], {"ticker": listed, "n": 1})).status_code == 422

    async def all_judged() -> bool:
        return (await shown(shared, name))["today"] == {"approved": 3, "invalid": 1}

    await until(all_judged, "the verdicts")
    found = await shown(shared, name)
    assert found["last_3_min"] == 4
    assert found["last_signal_at"]
    assert (await shown(shared, "webhook"))["tokens"] == []


async def test_the_built_in_one_has_a_policy_and_stays(shared: Relay) -> None:
    found = await shown(shared, "webhook")
    assert (found["built_in"], found["direction"]) == (True, "both")
    refused = await ask(shared, "POST", f"{API}/webhook/archive")
    assert (refused.status_code, refused.json()["code"]) == (409, "wrong_state")
    assert (await ask(shared, "PATCH", f"{API}/webhook", {"note": "x"})).status_code == 200


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "name"),
        *(({"name": bad}, "name") for bad in ("", "A", "webhook", "operator", "import", "a b")),
        *(({"name": bad}, "name") for bad in ("a\0", "x" * 41, "x" * 201, 1)),
        ({"name": "ok", "direction": "up"}, "direction"),
        ({"name": "ok", "dedupe_sec": -1}, "dedupe_sec"),
        ({"name": "ok", "dedupe_sec": "1"}, "dedupe_sec"),
        ({"name": "ok", "buy_ttl_sec": 0.5}, "buy_ttl_sec"),
        ({"name": "ok", "sell_ttl_sec": 86_401}, "sell_ttl_sec"),
        ({"name": "ok", "time_field": "--"}, "time_field"),
        ({"name": "ok", "note": "\0"}, "note"),
        ({"name": "ok", "expected_every_sec": 1}, "expected_every_sec"),
        ({"name": "ok", "pairs": "yes"}, "pairs"),
        ({"name": "ok", "token": "t" * 40}, "token"),
    ],
)
async def test_what_cannot_be_is_named(shared: Relay, given: object, field: str) -> None:
    refused = await ask(shared, "POST", API, given)
    assert (refused.status_code, refused.json()["field"]) == (400, field), refused.text


async def test_a_name_is_given_once(shared: Relay, name: str) -> None:
    await create(shared, name)
    again = await ask(shared, "POST", API, {"name": name})
    assert (again.status_code, again.json()["code"]) == (409, "name_taken")


async def test_a_change_is_of_the_version_that_was_seen(shared: Relay, name: str) -> None:
    await create(shared, name, dedupe_sec=5, note="first")
    changed = await ask(
        shared, "PATCH", f"{API}/{name}", {"direction": "sell", "dedupe_sec": None, "version": 1}
    )
    assert changed.status_code == 200, changed.text
    found = changed.json()
    assert (found["version"], found["changed"], found["direction"]) == (2, True, "sell")
    assert (found["dedupe_sec"], found["note"]) == (None, "first")
    late = await ask(shared, "PATCH", f"{API}/{name}", {"note": "x"}, **{"if-match": '"1"'})
    assert (late.status_code, late.json()["code"]) == (409, "changed_meanwhile")
    same = await ask(shared, "PATCH", f"{API}/{name}", {"direction": "sell"})
    assert (same.json()["version"], same.json()["changed"]) == (2, False)
    rows = await shared.rows(
        "SELECT event, actor, detail FROM events WHERE detail->>'source' = :name ORDER BY id",
        name=name,
    )
    assert [(row.event, row.actor) for row in rows] == [
        ("source.created", "finviz update token"),
        ("source.changed", "finviz update token"),
    ]
    detail = rows[1].detail
    assert (detail["was"]["direction"], detail["becomes"]["direction"]) == ("both", "sell")
    assert (detail["was"]["dedupe_sec"], detail["becomes"]["dedupe_sec"]) == (5, None)


async def test_a_token_is_rotated_without_a_gap(shared: Relay, name: str, listed: str) -> None:
    """Both tokens are good until the first is revoked; the alerts are those of one source."""
    first = await create(shared, name)
    second = (await ask(shared, "POST", f"{API}/{name}/tokens", {"expires_in_days": 90})).json()
    assert second["expires_at"]
    assert second["webhook"].endswith(second["token"])
    alert = {"ticker": listed, "action": "buy", "test": "rotate"}
    statuses = [
        (await post(shared, token, alert)).status_code
        for token in (first["token"], second["token"])
    ]
    assert statuses == [202, 200], "the same source: the same bytes are a repeat"
    revoked = await ask(
        shared, "POST", f"/api/tokens/{first['token_id']}/revoke", token=ADMIN_TOKEN
    )
    assert revoked.status_code == 200
    assert (await post(shared, first["token"])).status_code == 401
    assert (await post(shared, second["token"], alert)).status_code == 200
    assert [one["id"] for one in (await shown(shared, name))["tokens"]] == [second["token_id"]]


async def test_putting_a_source_away_stops_its_alerts_at_once(shared: Relay, name: str) -> None:
    made = await create(shared, name)
    assert (await post(shared, made["token"])).status_code == 202
    gone = await ask(shared, "POST", f"{API}/{name}/archive", {"reason": "not mine any more"})
    assert gone.status_code == 200, gone.text
    assert gone.json()["archived_at"]
    assert (await post(shared, made["token"])).status_code == 401
    assert name not in [one["name"] for one in (await shared.read(API))["items"]]
    assert (await shown(shared, name, "?archived=true"))["tokens"] == []
    for method, path, code in (
        ("POST", f"{API}/{name}/archive", "wrong_state"),
        ("PATCH", f"{API}/{name}", "wrong_state"),
        ("POST", f"{API}/{name}/tokens", "no_such_source"),
        ("POST", f"{API}/nobody/archive", "no_such_source"),
    ):
        refused = await ask(shared, method, path, {})
        assert (refused.status_code, refused.json()["code"]) == (
            404 if code.startswith("no_such") else 409,
            code,
        )
    [row] = await shared.rows(
        "SELECT detail FROM events WHERE event = 'source.archived' AND detail->>'source' = :name",
        name=name,
    )
    assert row.detail["reason"] == "not mine any more"


@pytest.mark.parametrize("odd", ["A", "%00", "a%20b", "x" * 41, "-"])
async def test_an_odd_name_in_an_address_is_refused(shared: Relay, odd: str) -> None:
    for method, path in (("PATCH", odd), ("POST", f"{odd}/archive"), ("POST", f"{odd}/tokens")):
        assert (await ask(shared, method, f"{API}/{path}", {})).status_code in {400, 404}


async def test_twenty_tokens_at_once_are_twenty(shared: Relay, name: str) -> None:
    await create(shared, name)
    made = await asyncio.gather(
        *(insisting(lambda: ask(shared, "POST", f"{API}/{name}/tokens")) for _ in range(20))
    )
    tokens = {one.json()["token"] for one in made}
    assert len(tokens) == 20
    assert all([(await post(shared, token)).status_code in {200, 202} for token in tokens])


async def test_only_its_own_kind_of_token_is_made(shared: Relay, name: str) -> None:
    """Who may configure gives out tokens for alerts, and none that can do more."""
    made = await create(shared, name)
    for path in ("/api/sources", "/api/signals", "/api/tokens", "/status"):
        assert (await shared.get(path, made["token"])).status_code == 401
    refused = await ask(shared, "POST", API, {"name": "other"}, token=made["token"])
    assert refused.status_code == 401
    for token in (WEBHOOK_TOKEN, "x" * 47):
        assert (await ask(shared, "POST", API, {"name": "other"}, token=token)).status_code == 401
    assert (await shared.get(API, UPDATE_TOKEN)).status_code == 200
