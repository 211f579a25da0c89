"""Positions over HTTP: read, entered and closed by hand."""

from typing import Any
from uuid import uuid4

import pytest

from tests.web.operating import ask
from tests.web.stage import WEBHOOK_TOKEN, Relay

pytestmark = pytest.mark.asyncio(loop_scope="module")

API = "/api/positions"


async def traded(relay: Relay, ticker: str, action: str, price: str) -> Any:
    answer = await relay.post({"ticker": ticker, "action": action, "price": price})
    return await relay.settled(answer.json()["signal_id"])


async def test_a_position_from_its_buy_to_its_sell(shared: Relay, listed: str) -> None:
    buy = await traded(shared, listed, "buy", "10.50")
    (row,) = (await shared.read(f"{API}?ticker={listed}"))["items"]
    assert (row["state"], row["closed_at"], row["exit"]) == ("open", None, None)
    assert row["entry"] == {
        "signal_id": buy["id"],
        "price": "10.50",
        "source": "webhook",
        "at": row["opened_at"],
        "by_hand": False,
    }
    sell = await traded(shared, listed, "sell", "12.60")
    (row,) = (await shared.read(f"{API}?ticker={listed}&state=closed"))["items"]
    assert row["return_percent"] == pytest.approx(20)
    assert (row["exit"]["signal_id"], row["exit"]["price"]) == (sell["id"], "12.60")
    assert row["held_for_sec"] > 0
    assert row["signal_count"] == 2
    found = await shared.read(f"{API}/{row['id']}")
    assert [one["event"].split(".")[1] for one in found["events"]] == [
        *("opening", "open", "closing", "closed")
    ]
    assert [one["id"] for one in found["signals"]] == [buy["id"], sell["id"]]
    assert [one["state"] for one in found["deliveries"]] == ["delivered", "delivered"]


async def test_one_by_hand_is_entered_once_and_closed(shared: Relay) -> None:
    given = {"ticker": "nyse:brk.b", "price": "471.20", "reason": "from before"}
    answer = await ask(shared, "POST", API, given)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["ticker"], made["state"], made["source"]) == ("BRK-B", "open", "operator")
    assert (made["entry"]["price"], made["entry"]["by_hand"]) == ("471.20", True)
    again = await ask(shared, "POST", API, given)
    assert (again.status_code, again.json()["code"]) == (409, "already_open")
    closing = {"reason": "sold at the broker", "price": "500"}
    closed = await ask(shared, "POST", f"{API}/{made['id']}/close", closing)
    assert closed.status_code == 200, closed.text
    said = closed.json()
    assert (said["state"], said["exit"]["by_hand"], said["exit"]["price"]) == (
        "closed",
        True,
        "500",
    )
    assert said["return_percent"] == pytest.approx(100 * (500 / 471.2 - 1), abs=1e-3)
    again = await ask(shared, "POST", f"{API}/{made['id']}/close", closing)
    assert (again.status_code, again.json()["code"]) == (409, "wrong_state")
    events = (await shared.read(f"{API}/{made['id']}"))["events"]
    assert [(one["event"], one["actor"]) for one in events] == [
        ("position.open", "finviz update token"),
        ("position.closed", "finviz update token"),
    ]


async def test_pages_and_statistics(shared: Relay) -> None:
    for number in range(5):
        answer = await ask(shared, "POST", API, {"ticker": f"PAGE{number}"})
        assert answer.status_code == 201
    seen: list[str] = []
    page = await shared.read(f"{API}?limit=2&state=open")
    while page["next"]:
        seen += [one["ticker"] for one in page["items"]]
        page = await shared.read(f"{API}?limit=2&state=open&cursor={page['next']}")
    seen += [one["ticker"] for one in page["items"]]
    assert [ticker for ticker in seen if ticker.startswith("PAGE")] == [
        f"PAGE{number}" for number in (4, 3, 2, 1, 0)
    ]
    found = await shared.read(f"{API}/stats")
    assert found["states"]["open"] == len(seen)
    assert set(found["states"]) == {"opening", "open", "closing", "closed", "void"}
    assert found["opened_today"] >= 5


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"ticker": "two words"},
        {"ticker": "A", "price": "-1"},
        {"ticker": "A", "price": "NaN"},
        {"ticker": "A", "state": "open"},
    ],
)
async def test_what_cannot_be_is_refused(shared: Relay, given: object) -> None:
    assert (await ask(shared, "POST", API, given)).status_code == 400


async def test_it_needs_the_scope_and_the_position(shared: Relay) -> None:
    body = {"reason": "a reason"}
    answer = await ask(shared, "POST", f"{API}/{uuid4()}/close", body, token=WEBHOOK_TOKEN)
    assert answer.status_code == 401
    answer = await ask(shared, "POST", f"{API}/{uuid4()}/close", body)
    assert (answer.status_code, answer.json()["code"]) == (404, "no_such_position")
    for cursor in ("x", "!", "AAAA"):
        assert (await shared.get(f"{API}?cursor={cursor}")).status_code == 400
