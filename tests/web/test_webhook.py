"""POST /webhook/in: what it answers, whom it lets in, and what it keeps."""

import asyncio
import json
from uuid import UUID

import pytest

from database.vault import Vault
from engines.clock import utc_now
from tests.conftest import KEY
from tests.web.stage import (
    ADMIN_TOKEN,
    UPDATE_TOKEN,
    WEBHOOK_TOKEN,
    Relay,
    call,
    cloned,
    relay,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module", params=["asgi", "express"])
def route(request: pytest.FixtureRequest) -> str:
    return request.param


FORGED = WEBHOOK_TOKEN[:-1] + "g"


async def kept(relay: Relay, id: str) -> bytes:
    """The body as it stands in the table, unsealed."""
    [row] = await relay.rows("SELECT body, body_sealed FROM signals WHERE id = :id", id=UUID(id))
    return Vault.from_key(KEY).open(row.body) if row.body_sealed else row.body


async def how_many(relay: Relay) -> int:
    [row] = await relay.rows("SELECT count(*) AS signals FROM signals")
    return row.signals


async def test_an_alert_is_acknowledged_with_exactly_the_contract(
    shared: Relay, listed: str
) -> None:
    answer = await shared.post({"ticker": f"NASDAQ:{listed.lower()}", "action": "buy", "n": 1})
    receipt = answer.json()
    assert answer.status_code == 202
    assert receipt == {
        "signal_id": receipt["signal_id"],
        "status": "received",
        "ticker": listed,
        "duplicate": False,
    }
    assert UUID(receipt["signal_id"]).version == 7
    assert answer.headers["content-type"] == "application/json"
    assert await kept(shared, receipt["signal_id"])


async def test_a_repeat_is_answered_with_the_first_id(shared: Relay, listed: str) -> None:
    alert = {"ticker": listed, "action": "buy", "test": "repeat"}
    first, again = await shared.post(alert), await shared.post(alert)
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json()["signal_id"] == first.json()["signal_id"]
    assert (again.json()["duplicate"], again.json()["ticker"]) == (True, listed)
    life = await shared.settled(first.json()["signal_id"])
    assert [e["event"] for e in life["events"]].count("signal.duplicate") == 1
    assert sum(parcel.id == life["id"] for parcel in shared.destination.parcels) == 1


async def test_one_byte_makes_another_alert(shared: Relay, listed: str) -> None:
    one = await shared.post(f'{{"ticker":"{listed}","action":"buy","test":"byte"}}')
    other = await shared.post(f'{{"ticker":"{listed}","action":"buy","test":"byte"}} ')
    assert (one.status_code, other.status_code) == (202, 202)
    assert one.json()["signal_id"] != other.json()["signal_id"]


async def test_twenty_at_the_same_instant_are_one_signal(shared: Relay, listed: str) -> None:
    alert = {"ticker": listed, "action": "buy", "test": "instant"}
    answers = await asyncio.gather(*(shared.post(alert) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [202]
    assert len({answer.json()["signal_id"] for answer in answers}) == 1
    assert sorted(answer.json()["duplicate"] for answer in answers) == [False] + [True] * 19
    rows = await shared.rows("SELECT id FROM signals WHERE ticker = :ticker", ticker=listed)
    assert len(rows) == 1
    life = await shared.settled(str(rows[0].id))
    assert [e["event"] for e in life["events"]].count("signal.duplicate") == 19


async def test_the_idempotency_key_names_an_alert(shared: Relay, listed: str) -> None:
    """Its sender may write it anew: other bytes, the same alert."""
    key = f"key-{listed}"
    one = await shared.post({"ticker": listed, "action": "buy", "sent_at": 1}, idempotency_key=key)
    same = await shared.post({"ticker": listed, "action": "buy", "sent_at": 2}, idempotency_key=key)
    other = await shared.post(
        {"ticker": listed, "action": "buy", "sent_at": 1}, idempotency_key=f"{key}-2"
    )
    assert (one.status_code, same.status_code, other.status_code) == (202, 200, 202)
    assert one.json()["signal_id"] == same.json()["signal_id"] != other.json()["signal_id"]


async def test_an_alert_is_not_lost_behind_its_broken_first_try(shared: Relay, listed: str) -> None:
    """The same Idempotency-Key, mended: what never was an alert must not swallow the alert."""
    key = f"mended-{listed}"
    half = f'{{"ticker":"{listed}","action"'
    broken = await shared.post(half, idempotency_key=key)
    assert broken.status_code == 400
    mended = await shared.post(f'{half}:"sell"}}', idempotency_key=key)
    assert (mended.status_code, mended.json()["status"]) == (202, "received")
    late = await shared.post(half, idempotency_key=key)
    assert (late.status_code, late.json()["signal_id"]) == (400, broken.json()["signal_id"])


@pytest.mark.parametrize("name", ["sent", "timenow"])
async def test_an_alert_may_be_expired_on_arrival(shared: Relay, listed: str, name: str) -> None:
    alert = {"ticker": listed, "action": "buy", name: "2020-01-02T15:00:00Z"}
    answer = await shared.post(alert)
    assert (answer.status_code, answer.json()["status"]) == (202, "expired")
    life = await shared.read(f"/api/signals/{answer.json()['signal_id']}")
    assert (life["status"], life["reason"]) == ("expired", "expired")


async def test_the_time_of_a_bar_expires_nothing(shared: Relay, listed: str) -> None:
    answer = await shared.post({"ticker": listed, "action": "buy", "time": "2020-01-02T15:00:00Z"})
    assert (answer.status_code, answer.json()["status"]) == (202, "received")


async def test_a_repeat_of_an_expired_one_says_so(shared: Relay, listed: str) -> None:
    alert = {"ticker": listed, "action": "buy", "sent": "2020-01-02T15:00:01Z"}
    first, again = await shared.post(alert), await shared.post(alert)
    assert (again.status_code, again.json()) == (200, first.json() | {"duplicate": True})


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("", 400, "empty_body"),
        (b"\xff\xfe", 400, "invalid_utf8"),
        ('{"ticker":"XSECRETX"', 400, "invalid_json"),
        ("XSECRETX crossing 195", 400, "not_json"),
        ('["XSECRETX"]', 422, "body_is_array"),
        ('"XSECRETX"', 422, "body_not_an_object"),
        ('{"action":"buy","note":"XSECRETX"}', 422, "no_ticker"),
        ('{"ticker":"AAPL","action":"XSECRETX"}', 422, "unknown_action"),
        ('{"ticker":"<XSECRETX>","action":"buy"}', 422, "invalid_ticker"),
        (
            '{"ticker":"AAPL","action":"buy","timenow":"2099-01-01T00:00:00Z"}',
            422,
            "time_in_future",
        ),
    ],
)
async def test_what_is_no_alert_is_refused_and_kept_without_an_echo(
    shared: Relay, body: str | bytes, status: int, code: str
) -> None:
    answer = await shared.post(body)
    refusal = answer.json()
    assert (answer.status_code, refusal["code"], refusal["status"]) == (status, code, "invalid")
    assert refusal.keys() == {"error", "code", "detail", "signal_id", "status", "duplicate"}
    assert "XSECRETX" not in answer.text
    life = await shared.read(f"/api/signals/{refusal['signal_id']}")
    assert (life["status"], life["reason"], life["deliveries"]) == ("invalid", code, [])
    assert await kept(shared, refusal["signal_id"]) == (
        body if isinstance(body, bytes) else body.encode()
    )


@pytest.mark.parametrize("name", ["token", "secret"])
async def test_our_token_in_the_body_is_cut_out_before_storage(
    shared: Relay, listed: str, name: str
) -> None:
    body = f'{{ "ticker":"{listed}","{name}":"{WEBHOOK_TOKEN}" , "action":"buy","x": 1.50}}'
    answer = await shared.http.post("/webhook/in", content=body)
    assert answer.status_code == 202
    stored = await kept(shared, answer.json()["signal_id"])
    assert WEBHOOK_TOKEN.encode() not in stored
    assert stored == f'{{ "ticker":"{listed}" , "action":"buy","x": 1.50}}'.encode()
    life = await shared.settled(answer.json()["signal_id"])
    (parcel,) = [one for one in shared.destination.parcels if one.id == life["id"]]
    assert WEBHOOK_TOKEN.encode() not in parcel.body


async def test_the_operators_own_token_opens_too_and_is_cut_out(shared: Relay, listed: str) -> None:
    body = json.dumps({"ticker": listed, "action": "buy", "token": ADMIN_TOKEN})
    answer = await shared.http.post("/webhook/in", content=body)
    assert answer.status_code == 202
    assert ADMIN_TOKEN.encode() not in await kept(shared, answer.json()["signal_id"])


async def test_a_secret_that_is_not_ours_stays_sealed_and_masked(
    shared: Relay, listed: str
) -> None:
    """It is the destination's: it goes there, and nobody else reads it."""
    alert = {"ticker": listed, "action": "buy", "token": "password-of-the-destination"}
    answer = await shared.http.post(f"/webhook/in/{WEBHOOK_TOKEN}", json=alert)
    assert answer.status_code == 202
    id = answer.json()["signal_id"]
    [row] = await shared.rows("SELECT body, body_sealed FROM signals WHERE id = :id", id=UUID(id))
    assert row.body_sealed
    assert b"password-of-the-destination" not in row.body
    life = await shared.settled(id)
    assert "password-of-the-destination" not in json.dumps(life)
    assert "•••" in life["body"]
    (parcel,) = [one for one in shared.destination.parcels if one.id == id]
    assert json.loads(parcel.body)["token"] == "password-of-the-destination"


async def test_the_token_may_be_in_the_path(shared: Relay, listed: str) -> None:
    alert = {"ticker": listed, "action": "buy", "test": "path"}
    answer = await shared.http.post(f"/webhook/in/{WEBHOOK_TOKEN}", json=alert)
    assert answer.status_code == 202
    assert WEBHOOK_TOKEN not in answer.text


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_token_may_be_a_bearer(shared: Relay, listed: str, scheme: str) -> None:
    headers = {"authorization": f"{scheme} {WEBHOOK_TOKEN}"}
    alert = {"ticker": listed, "action": "buy", "test": scheme}
    assert (await shared.http.post("/webhook/in", json=alert, headers=headers)).status_code == 202


STRANGERS: list[tuple[str, dict[str, str], dict[str, object]]] = [
    ("/webhook/in", {}, {}),
    ("/webhook/in/", {}, {}),
    (f"/webhook/in/{FORGED}", {}, {}),
    (f"/webhook/in/{UPDATE_TOKEN}", {}, {}),
    (f"/webhook/in/{WEBHOOK_TOKEN}/", {}, {}),
    (f"/webhook/in/{WEBHOOK_TOKEN}x", {}, {}),
    (f"/webhook/in/{FORGED}", {"authorization": f"Bearer {WEBHOOK_TOKEN}"}, {}),
    (f"/webhook/in/{FORGED}", {}, {"token": WEBHOOK_TOKEN}),
    ("/webhook/in", {"authorization": f"Bearer {FORGED}"}, {}),
    ("/webhook/in", {"authorization": f"Bearer {UPDATE_TOKEN}"}, {}),
    ("/webhook/in", {"authorization": f"Basic {WEBHOOK_TOKEN}"}, {}),
    ("/webhook/in", {"authorization": WEBHOOK_TOKEN}, {}),
    ("/webhook/in", {"authorization": "Bearer"}, {}),
    ("/webhook/in", {}, {"token": FORGED}),
    ("/webhook/in", {}, {"secret": FORGED}),
    ("/webhook/in", {}, {"Token": WEBHOOK_TOKEN}),
    ("/webhook/in", {}, {"token": [WEBHOOK_TOKEN]}),
    ("/webhook/in", {}, {"data": {"token": WEBHOOK_TOKEN}}),
    (f"/webhook/in?token={WEBHOOK_TOKEN}", {}, {}),
]


@pytest.mark.parametrize(("path", "headers", "more"), STRANGERS)
async def test_a_stranger_leaves_nothing_behind(
    shared: Relay, path: str, headers: dict[str, str], more: dict[str, object]
) -> None:
    before = await how_many(shared)
    body = {"ticker": "AAPL", "action": "buy"} | more
    answer = await shared.http.post(path, json=body, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json() == {
        "error": "a token for alerts is needed",
        "code": "unauthorized",
        "detail": "a token for alerts is needed",
    }
    assert await how_many(shared) == before


@pytest.mark.parametrize("body", [b"", b"\xff", b"[", b'{"ticker":"AAPL"}', b"x" * 60_000])
async def test_a_stranger_is_not_told_what_is_wrong_with_a_body(shared: Relay, body: bytes) -> None:
    assert (await shared.http.post("/webhook/in", content=body)).status_code == 401


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_alerts_are_posted(shared: Relay, method: str) -> None:
    answer = await shared.http.request(method, f"/webhook/in/{WEBHOOK_TOKEN}")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_a_neighbouring_path_is_another(shared: Relay) -> None:
    answer = await call(shared.app, "POST", "/webhook/inside")
    assert answer.status == 404


async def test_a_wrong_token_is_told_to_the_audit_trail(template: str) -> None:
    """Once a minute from an address: the operator who mistyped it learns that somebody knocks."""
    async with cloned(template) as url, relay(url) as one:
        minutes: set[int] = set()
        for _ in range(3):
            minutes.add(utc_now().minute)
            answer = await one.http.post("/webhook/in/not-the-token", json={"ticker": "AAPL"})
            assert answer.status_code == 401
            minutes.add(utc_now().minute)
        told = await one.rows(
            "SELECT actor, detail->>'door', origin FROM events WHERE event = 'access.refused'"
        )
        assert {tuple(row) for row in told} == {("nobody", "POST /webhook/in", "127.0.0.1")}
        assert len(told) <= len(minutes), "one, or two where a minute ended meanwhile"
