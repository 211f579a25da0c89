"""A test of a destination: one marked request that is no order, by call and by button."""

import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime

import pytest
import pytest_asyncio

from domain.delivery import Answer, Outcome
from domain.signature import key_of, sign
from engines.destinations.examiner import Examined
from tests.web.operating import CANARY, HEADERS, ask, create, signed_in, tell
from tests.web.stage import Relay, cloned, relay
from web.views import destinations as views

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(template: str) -> AsyncGenerator[Relay]:
    async with cloned(template) as url, relay(url) as one:
        yield one


async def test_it_leaves_signed_with_its_headers_and_is_no_order(house: Relay) -> None:
    mapping = {"preset": "traderspost", "add": {"action": "buy", "ticker": "AAPL"}}
    one = await create(house, headers=HEADERS, mapping=mapping)
    house.destination.answer = json.dumps({"echo": f"{CANARY}-header", "ok": 1}).encode()
    sent = len(house.destination.parcels)
    told = await tell(house, one, "test")
    (parcel,) = house.destination.parcels[sent:]
    body = json.loads(parcel.body)
    assert body.keys() == {"test", "message", "test_id", "sent_at"}
    assert body["test"] is True
    assert parcel.headers["x-api-key"] == f"{CANARY}-header"
    assert parcel.id == body["test_id"]
    timestamp = int(parcel.headers["webhook-timestamp"])
    assert abs(timestamp - datetime.now(UTC).timestamp()) < 60  # noqa: TID251  the wall clock
    key = key_of(one["signing_secret"])
    wanted = sign(key, id=parcel.id, timestamp=timestamp, body=parcel.body)
    assert parcel.headers["webhook-signature"] == wanted
    assert (told["sent"], told["status"], told["outcome"]) == (True, 200, "delivered")
    assert CANARY not in json.dumps(told)
    assert "•••" in told["answer"]
    (event,) = await house.rows(
        "SELECT actor, detail FROM events WHERE event = 'destination.tested'"
        " AND detail->>'destination_id' = :id",
        id=one["id"],
    )
    assert event.detail["status"] == 200
    assert CANARY not in json.dumps(event.detail)
    assert not await house.rows("SELECT 1 FROM deliveries WHERE destination_id = :id", id=one["id"])


async def test_it_is_sent_once_in_a_while(house: Relay) -> None:
    one = await create(house)
    await tell(house, one, "test")
    again = await ask(house, "POST", f"/api/destinations/{one['id']}/test")
    assert (again.status_code, again.json()["code"]) == (429, "too_soon")
    await house.execute("UPDATE destinations SET tested_at = now() - interval '6 s'")
    await tell(house, one, "test")


async def test_a_dry_run_only_shows_it(house: Relay) -> None:
    one = await create(house, mode="dry_run", headers=HEADERS)
    sent = len(house.destination.parcels)
    told = await tell(house, one, "test")
    assert len(house.destination.parcels) == sent
    assert (told["sent"], told["status"]) == (False, None)
    assert json.loads(told["body"])["test"] is True
    assert told["headers"]["x-api-key"] == "•••"
    assert CANARY not in json.dumps(told)


async def test_a_disabled_one_and_a_full_window_are_left_alone(house: Relay) -> None:
    sent = len(house.destination.parcels)
    one = await create(house)
    await tell(house, one, "disable")
    refused = await ask(house, "POST", f"/api/destinations/{one['id']}/test")
    assert (refused.status_code, refused.json()["code"]) == (409, "wrong_state")
    full = await create(house, windows="2/60s")
    await _bought(house, full["id"])
    refused = await ask(house, "POST", f"/api/destinations/{full['id']}/test")
    assert (refused.status_code, refused.json()["code"]) == (409, "window_full")
    assert len([p for p in house.destination.parcels[sent:] if p.id.startswith("test_")]) == 0


async def _bought(house: Relay, id: str) -> None:
    """Fill a window of two by a buy: the other slot is kept for sells."""
    ticker = house.finviz.market[0].ticker
    answer = await house.post({"ticker": ticker, "action": "buy"})
    await house.settled(answer.json()["signal_id"])
    assert await house.rows("SELECT 1 FROM attempts WHERE destination_id = :id", id=id)


async def test_the_button_says_what_came_back(house: Relay) -> None:
    browser, one = await signed_in(house), await create(house)
    house.destination.status, house.destination.answer = 400, b'{"messageCode":"invalid-ticker"}'
    try:
        path = f"/admin/destinations/{one['id']}"
        answer = await house.http.post(f"{path}/test", headers=browser)
        assert answer.status_code == 303, answer.text
        page = (await house.http.get(path, headers=browser)).text
        assert "Test sent. It was answered 400 after" in page
        assert "invalid-ticker" in page
        soon = await house.http.post(f"{path}/test", headers=browser)
        assert soon.status_code == 429
        assert "once in 5 seconds is enough" in soon.text
    finally:
        house.destination.status = 200


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("TLS refused", "its certificate is not valid for this address, or not trusted"),
        ("ConnectError", "nobody answers at this address"),
        ("forbidden address", "private or special address"),
        ("no address to send to", "does not exist, or leads to a private or special address"),
        ("total deadline passed", "no whole answer in time"),
        ("SomethingNew", "SomethingNew"),
    ],
)
async def test_what_went_wrong_is_said_in_words(error: str, words: str) -> None:
    answer = Answer(outcome=Outcome.NOT_SENT, error=error)
    done = Examined(sent=True, body="{}", headers={}, answer=answer, excerpt="")
    assert views.tested_words(done).startswith("Test sent. It failed, ")
    assert words in views.tested_words(done)
