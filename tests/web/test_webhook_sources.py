"""Alerts by a source's own token: whose they are, and how its policy takes them."""

import json
import logging
import time
from collections.abc import AsyncGenerator
from datetime import timedelta
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio

from database.vault import Vault
from engines.clock import utc_now
from tests.conftest import KEY
from tests.stalls import stalls
from tests.web.operating import ask
from tests.web.stage import (
    ADMIN_TOKEN,
    UPDATE_TOKEN,
    WEBHOOK_TOKEN,
    Relay,
    cloned,
    relay,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module", params=["asgi", "express"])
def route(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def open_relay(template: str) -> AsyncGenerator[Relay]:
    """One that needs no token, behind a name."""
    async with (
        cloned(template) as url,
        relay(url, allow_unauthenticated_ingress=True, public_url="https://relay.example") as one,
    ):
        yield one


NUMBERS = count()


async def source(relay: Relay, **policy: object) -> dict[str, Any]:
    """A source with this policy, and its token."""
    given = {"name": f"source-{next(NUMBERS)}"} | policy
    answer = await ask(relay, "POST", "/api/sources", given)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def post(relay: Relay, token: str, alert: object, **headers: str) -> httpx.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    bearer = {"authorization": f"Bearer {token}"}
    content = alert if isinstance(alert, str) else json.dumps(alert)
    return await relay.http.post("/webhook/in", content=content, headers=bearer | given)


def body_of(kept: Any) -> bytes:
    """The body as it was stored, unsealed."""
    return Vault.from_key(KEY).open(kept.body) if kept.body_sealed else kept.body


async def row(relay: Relay, answer: httpx.Response) -> Any:
    assert answer.status_code in {200, 202}, answer.text
    [found] = await relay.rows(
        "SELECT *, expires_at - received_at AS life FROM signals WHERE id = :id",
        id=UUID(answer.json()["signal_id"]),
    )
    return found


@pytest.mark.parametrize("way", ["path", "bearer", "token", "secret"])
async def test_a_signal_keeps_whose_it_is(shared: Relay, listed: str, way: str) -> None:
    made = await source(shared)
    alert: dict[str, object] = {"ticker": listed, "action": "buy", "test": way}
    token, headers, path = made["token"], {}, "/webhook/in"
    if way == "path":
        path = f"{path}/{token}"
    elif way == "bearer":
        headers = {"authorization": f"Bearer {token}"}
    else:
        alert[way] = token
    answer = await shared.http.post(path, json=alert, headers=headers)
    kept = await row(shared, answer)
    assert kept.source == made["name"]
    assert token.encode() not in body_of(kept)
    life = await shared.settled(str(kept.id))
    assert life["status"] == "delivered"
    (parcel,) = [one for one in shared.destination.parcels if one.id == life["id"]]
    assert token.encode() not in parcel.body


@pytest.mark.parametrize("by", [WEBHOOK_TOKEN, ADMIN_TOKEN])
async def test_any_other_token_posts_as_the_settings_do(
    shared: Relay, listed: str, by: str
) -> None:
    alert = {"ticker": listed, "action": "buy", "test": by[:20]}
    assert (await row(shared, await post(shared, by, alert))).source == "webhook"
    body = {"name": f"any-{by[:20]}", "scopes": ["ingest"]}
    made = (await ask(shared, "POST", "/api/tokens", body, token=ADMIN_TOKEN)).json()
    again = await post(shared, made["token"], alert)
    assert again.status_code == 200, "the same source, so a repeat"


async def test_the_same_bytes_of_two_sources_are_two_signals(shared: Relay, listed: str) -> None:
    """Whatever makes an alert the same: its bytes, its send time, its key."""
    one, other = await source(shared), await source(shared)
    plain = {"ticker": listed, "action": "buy"}
    for alert, headers in (
        (plain, {}),
        (plain | {"timenow": utc_now().isoformat()}, {}),
        (plain, {"idempotency_key": "the same"}),
    ):
        answers = [await post(shared, token["token"], alert, **headers) for token in (one, other)]
        answers += [await shared.post(alert, **headers)]
        assert [answer.status_code for answer in answers] == [202] * 3
        assert len({answer.json()["signal_id"] for answer in answers}) == 3
        again = await post(shared, one["token"], alert, **headers)
        assert again.json()["signal_id"] == answers[0].json()["signal_id"]


@pytest.mark.parametrize(("direction", "refused"), [("buy", "sell"), ("sell", "buy")])
async def test_a_source_sends_what_it_may(
    shared: Relay, listed: str, direction: str, refused: str
) -> None:
    made = await source(shared, direction=direction)
    await shared.settled(
        (await shared.post({"ticker": listed, "action": "buy"})).json()["signal_id"]
    )
    lives = [
        await shared.settled(
            (await post(shared, made["token"], {"ticker": listed, "action": side})).json()[
                "signal_id"
            ]
        )
        for side in (refused, direction)
    ]
    assert (lives[0]["status"], lives[0]["reason"]) == ("rejected", "source_direction")
    assert lives[1]["status"] == "delivered"


async def test_a_source_has_its_own_dedupe_window(shared: Relay, listed: str) -> None:
    short, long = await source(shared, dedupe_sec=0), await source(shared, dedupe_sec=3600)
    alert = {"ticker": listed, "action": "buy"}

    async def age(source: str, by: timedelta) -> None:
        await shared.execute(
            "UPDATE dedupe_keys AS keys SET expires_at = keys.expires_at - CAST(:by AS interval)"
            " FROM signals WHERE signals.id = signal_id AND source = :source",
            by=by,
            source=source,
        )

    for made, status in ((short, 202), (long, 200)):
        first = await post(shared, made["token"], alert)
        assert first.status_code == 202
        assert (await post(shared, made["token"], alert)).status_code == status
    await age(long["name"], timedelta(seconds=3590))
    assert (await post(shared, long["token"], alert)).status_code == 200
    await age(long["name"], timedelta(seconds=11))
    assert (await post(shared, long["token"], alert)).status_code == 202


async def test_without_a_window_only_a_key_or_a_send_time_folds(shared: Relay, listed: str) -> None:
    made = await source(shared, dedupe_sec=0)
    plain = {"ticker": listed, "action": "sell"}
    sent = plain | {"timenow": utc_now().isoformat()}
    broken = '{"ticker":'
    for alert, headers, expected in (
        (plain, {}, [202, 202]),
        (sent, {}, [202, 200]),
        (plain, {"idempotency_key": "one"}, [202, 200]),
        (broken, {}, [400, 400]),
    ):
        answers = [await post(shared, made["token"], alert, **headers) for _ in range(2)]
        assert [answer.status_code for answer in answers] == expected
        ids = {answer.json()["signal_id"] for answer in answers}
        assert len(ids) == (1 if 200 in expected else 2)


async def test_a_source_has_its_own_lifetimes(shared: Relay, listed: str) -> None:
    made = await source(shared, buy_ttl_sec=45.5)
    lives: list[timedelta] = []
    for side in ("buy", "sell"):
        answer = await post(shared, made["token"], {"ticker": listed, "action": side})
        lives.append((await row(shared, answer)).life)
    assert lives == [timedelta(seconds=45.5), timedelta(seconds=600)]


async def test_a_sources_time_field_is_a_send_time(shared: Relay, listed: str) -> None:
    """Its life counts from it, and the same bytes are the same alert for a day."""
    named, plain = await source(shared, time_field="fired"), await source(shared)
    fired = (utc_now() - timedelta(seconds=100)).replace(microsecond=0)
    alert = {"ticker": listed, "action": "sell", "fired": fired.isoformat()}
    kept = await row(shared, await post(shared, named["token"], alert))
    assert kept.expires_at == fired + timedelta(seconds=600)
    assert kept.sender_time == fired
    kept = await row(shared, await post(shared, plain["token"], alert))
    assert (kept.life, kept.sender_time) == (timedelta(seconds=600), None)

    late = alert | {"fired": (fired - timedelta(seconds=700)).isoformat()}
    answer = await post(shared, named["token"], late)
    assert answer.json()["status"] == "expired"
    ahead = {"ticker": listed, "action": "buy", "fired": "2999-01-01T00:00:00Z"}
    assert (await post(shared, named["token"], ahead)).json()["code"] == "time_in_future"
    assert (await post(shared, plain["token"], ahead)).status_code == 202


async def test_a_change_of_policy_holds_for_the_next_alert(shared: Relay, listed: str) -> None:
    made = await source(shared)
    alert = {"ticker": listed, "action": "buy"}
    assert (await row(shared, await post(shared, made["token"], alert))).life.seconds == 900
    changed = await ask(
        shared, "PATCH", f"/api/sources/{made['name']}", {"buy_ttl_sec": 60, "dedupe_sec": 0}
    )
    assert changed.status_code == 200
    assert (await row(shared, await post(shared, made["token"], alert))).life.seconds == 60


async def test_the_settings_source_has_a_policy_too(template: str) -> None:
    async with cloned(template) as url, relay(url) as it:
        policy = {"sell_ttl_sec": 77, "direction": "buy"}
        await ask(it, "PATCH", "/api/sources/webhook", policy)
        answer = await it.post({"ticker": "AAPL", "action": "sell"})
        assert (await row(it, answer)).life == timedelta(seconds=77)
        life = await it.settled(answer.json()["signal_id"])
        assert life["reason"] == "source_direction"


async def test_where_no_token_is_needed_one_still_says_whose_it_is(template: str) -> None:
    async with cloned(template) as url, relay(url, allow_unauthenticated_ingress=True) as it:
        made = await source(it)
        alert = {"ticker": "AAPL", "action": "buy"}
        assert (await row(it, await it.http.post("/webhook/in", json=alert))).source == "webhook"
        assert (await row(it, await post(it, made["token"], alert))).source == made["name"]


async def test_where_no_token_is_needed_another_sites_page_needs_one(template: str) -> None:
    """H9: a page that the operator has open beside the relay cannot post alerts to it."""
    async with cloned(template) as url, relay(url, allow_unauthenticated_ingress=True) as it:
        made = await source(it)
        for says in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
            alert = {"ticker": "AAPL", "action": "buy"} | says
            answer = await it.http.post("/webhook/in", json=alert, headers=says)
            assert answer.status_code == 401
            token = {"authorization": f"Bearer {made['token']}"}
            answer = await it.http.post("/webhook/in", json=alert, headers=says | token)
            assert answer.status_code == 202


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example:8000", 401),
        ("localhost.evil.example", 401),
        ("127.0.0.1.evil.example:8000", 401),
        ("relay.example", 202),
        ("localhost:8000", 202),
        ("127.0.0.1:8000", 202),
        ("[::1]:8000", 202),
    ],
)
async def test_where_no_token_is_needed_a_page_whose_name_leads_here_needs_one(
    open_relay: Relay, host: str, status: int
) -> None:
    """H9: DNS rebinding makes us of a page's own origin. Programs may call us what they like."""
    alert = {"ticker": "AAPL", "action": "buy", "n": host}
    for says in ({"origin": f"http://{host}"}, {"sec-fetch-site": "same-origin"}):
        headers = {"host": host, **says}
        answer = await open_relay.http.post("/webhook/in", json=alert | says, headers=headers)
        assert answer.status_code == status
        token = {"authorization": f"Bearer {WEBHOOK_TOKEN}"}
        told = alert | says | {"shown": True}
        answer = await open_relay.http.post("/webhook/in", json=told, headers=headers | token)
        assert answer.status_code == 202
    answer = await open_relay.http.post("/webhook/in", json=alert, headers={"host": host})
    assert answer.status_code == 202


async def test_a_token_made_in_one_replica_is_known_and_refused_in_the_other(
    template: str,
) -> None:
    async with cloned(template) as url, relay(url) as one, relay(url, wait=False) as other:
        made = await source(one)
        alert = {"ticker": "AAPL", "action": "buy"}

        async def known() -> bool:
            return (await post(other, made["token"], alert)).status_code in {200, 202}

        with stalls() as stood:
            began = time.monotonic()
            await until(known, "the token to be known")
            assert stood.at_work(began) < 2
        await ask(one, "POST", f"/api/tokens/{made['token_id']}/revoke", token=ADMIN_TOKEN)
        assert (await post(one, made["token"], alert)).status_code == 401

        async def refused() -> bool:
            return (await post(other, made["token"], alert)).status_code == 401

        with stalls() as stood:
            began = time.monotonic()
            await until(refused, "the token to be refused")
            assert stood.at_work(began) < 2


async def test_a_token_is_known_to_the_very_first_alert_after_a_start(template: str) -> None:
    """Senders do not repeat what was answered 401."""
    async with cloned(template) as url:
        async with relay(url, wait=False) as before:
            made = await source(before)
        async with relay(url, wait=False) as after:
            answer = await post(after, made["token"], {"ticker": "AAPL", "action": "buy"})
        assert answer.status_code == 202


@pytest.mark.parametrize("name", ["token", "secret"])
async def test_no_token_of_ours_reaches_a_destination_whatever_it_allows(
    shared: Relay, listed: str, name: str
) -> None:
    made = await source(shared)
    body = {"name": f"reader {name}", "scopes": ["read"]}
    reader = (await ask(shared, "POST", "/api/tokens", body, token=ADMIN_TOKEN)).json()["token"]
    for token in (reader, UPDATE_TOKEN):
        alert = {"ticker": listed, "action": "buy", name: token}
        kept = await row(shared, await post(shared, made["token"], alert))
        assert token.encode() not in body_of(kept)
        assert body_of(kept) == json.dumps({"ticker": listed, "action": "buy"}).encode()


async def is_attempted(relay: Relay) -> bool:
    """Whether a delivery has left and come back: by then it stands in the log as well."""
    return bool(await relay.rows("SELECT 1 FROM attempts WHERE finished_at IS NOT NULL"))


async def test_a_token_stands_nowhere_but_in_the_answer_that_made_it(
    template: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Every column of every table, and every line of the log."""
    caplog.set_level(logging.DEBUG)
    async with cloned(template) as url, relay(url) as it:
        made = await source(it, note="canary")
        body = {"name": "canary", "scopes": ["admin"]}
        admin = (await ask(it, "POST", "/api/tokens", body, token=ADMIN_TOKEN)).json()
        tokens = [made["token"], admin["token"]]
        ticker = it.finviz.market[0].ticker
        for number, alert in enumerate(
            [{"ticker": ticker, "action": "buy", "token": tokens[0]}, {"ticker": 1}]
        ):
            await it.http.post(f"/webhook/in/{tokens[0]}", json=alert | {"n": number})
        await it.http.post(
            "/webhook/in", json={"ticker": ticker, "action": "buy", "secret": admin["token"]}
        )
        await it.http.post("/admin/login", data={"token": admin["token"]})
        it.http.cookies.clear()
        await it.get(f"/api/signals?ticker={ticker}", admin["token"])
        await ask(it, "POST", f"/api/tokens/{admin['id']}/revoke", token=admin["token"])
        await ask(it, "POST", f"/api/sources/{made['name']}/archive", {"reason": str(uuid4())})
        await until(lambda: is_attempted(it), "an attempt")
        dump = await everything(it)
        signals = await it.rows("SELECT body, body_sealed FROM signals")
    # The test's own client is not the relay.
    logged = "".join(str(vars(one)) for one in caplog.records if one.name != "httpx")
    assert "delivery.attempted" in logged
    assert "canary" in dump
    assert len(signals) == 3
    for token in tokens:
        assert token not in dump
        assert not any(token.encode() in body_of(one) for one in signals)
        assert token.encode().hex() not in dump
        assert token not in logged


async def everything(relay: Relay) -> str:
    """All rows of all tables as text; bytes are in hexadecimal."""
    tables = await relay.rows(
        "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'"
    )
    assert {"events", "tokens", "signals", "sessions"} <= {table.name for table in tables}
    texts = [
        str(one.words)
        for table in tables
        for one in await relay.rows(f'SELECT CAST(t AS text) AS words FROM "{table.name}" AS t')
    ]
    return "\n".join(texts)
