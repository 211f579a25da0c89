"""The safety exit over HTTP: who may, what is answered, how far it is, and what is repeated."""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.web.operating import ask, signed_in
from tests.web.stage import UPDATE_TOKEN, WEBHOOK_TOKEN, Relay, cloned, insisting, relay, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def calm(shared: Relay) -> AsyncGenerator[None]:
    """Nothing is held when a test begins, and buying goes on."""
    yield
    shared.destination.status = 200
    await ask(shared, "POST", "/sell/all")
    await until(lambda: nothing_waits(shared), "the end of every delivery")
    await shared.execute(
        "UPDATE positions SET state = 'closed' WHERE state IN ('opening', 'open', 'closing')"
    )
    await shared.execute("DELETE FROM sell_list")
    await ask(shared, "POST", "/api/buying/resume")


async def nothing_waits(relay: Relay) -> bool:
    return (await relay.read("/status"))["backlog"]["unfinished"] == 0


async def bought(relay: Relay, ticker: str) -> str:
    """Buy it, and wait until its position is open."""
    answer = await relay.post({"ticker": ticker, "action": "buy", "price": "10"})
    life = await relay.settled(answer.json()["signal_id"])
    assert life["status"] == "delivered", life["why"]
    return life["id"]


async def sell(relay: Relay, which: str, body: object = None, **headers: str) -> httpx.Response:
    return await ask(relay, "POST", f"/sell/{which}", body, **headers)


async def done(relay: Relay, batch: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    async def is_done() -> bool:
        found.update(await relay.read(f"/api/batches/{batch}"))
        return found["done"]

    await until(is_done, "the end of the batch")
    return found


# ── One ─────────────────────────────────────────────────────────────────────────────────────


async def test_one_is_sold_and_its_batch_tells_how_it_went(shared: Relay, listed: str) -> None:
    entry = await bought(shared, listed)
    answer = await sell(shared, "individual", {"ticker": listed.lower(), "reason": "earnings"})
    assert answer.status_code == 202, answer.text
    said = answer.json()
    (signal,) = said["signals"]
    assert signal["ticker"] == listed
    assert (said["duplicate"], said["already_closing"], said["not_sold"]) == (False, [], [])
    assert said["buying_paused"] is False
    found = await done(shared, said["batch_id"])
    assert (found["kind"], found["reason"], found["counts"]) == (
        "sell",
        "earnings",
        {"delivered": 1},
    )
    (delivery,) = found["signals"][0]["deliveries"]
    assert (delivery["destination"], delivery["attempts"]) == ("main", 1)
    assert (found["expected_sec"], found["destinations"]) == (0, [])
    assert shared.destination.parcels[-1].id == signal["signal_id"]
    position = await shared.read(f"/api/positions/{entry}")
    assert (position["state"], position["exit"]["signal_id"]) == ("closed", signal["signal_id"])
    newest = (await shared.read("/api/batches?limit=1"))["items"]
    assert [one["id"] for one in newest] == [said["batch_id"]]
    assert newest[0]["counts"] == {"delivered": 1}


async def test_eight_at_once_sell_one_position_once(shared: Relay, listed: str) -> None:
    await bought(shared, listed)
    answers = await asyncio.gather(
        *(insisting(lambda: sell(shared, "individual", {"ticker": listed})) for _ in range(8))
    )
    (made,) = [one.json() for one in answers if one.status_code == 202]
    refused = [one.json() for one in answers if one.status_code == 409]
    assert len(refused) == 7
    # Whoever comes when it is sold already finds no position any more.
    assert {one["code"] for one in refused} <= {"already_closing", "no_position"}
    closing = [one for one in refused if one["code"] == "already_closing"]
    assert {one["signal_id"] for one in closing} <= {made["signals"][0]["signal_id"]}
    sells = await shared.rows(
        "SELECT id FROM signals WHERE ticker = :ticker AND side = 'sell'", ticker=listed
    )
    assert len(sells) == 1


async def test_what_is_not_held_is_not_sold(shared: Relay, listed: str) -> None:
    answer = await sell(shared, "individual", {"ticker": listed})
    assert answer.status_code == 409
    assert answer.json()["code"] == "no_position"
    assert "POST /api/positions" in answer.json()["detail"]


async def test_the_token_may_stand_in_the_body(shared: Relay, listed: str) -> None:
    for token, status in ((UPDATE_TOKEN, 409), (WEBHOOK_TOKEN, 401), ("x", 401), (None, 401)):
        body = {"ticker": listed, "token": token}
        answer = await shared.http.post("/sell/individual", json=body)
        assert answer.status_code == status
    answer = await shared.http.post("/sell/all", json={"token": WEBHOOK_TOKEN})
    assert answer.status_code == 401
    assert await shared.rows("SELECT paused_at FROM gate") == [(None,)]


async def test_a_signed_in_browser_may_sell_from_our_own_page_alone(
    shared: Relay, listed: str
) -> None:
    cookie = await signed_in(shared)
    for site, status in (("same-origin", 409), ("cross-site", 403)):
        answer = await shared.http.post(
            "/sell/individual",
            json={"ticker": listed},
            headers={**cookie, "sec-fetch-site": site},
        )
        assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "ticker"), ({"ticker": "no ticker!!"}, "ticker"), ({"tiker": "A"}, "tiker")],
)
async def test_what_cannot_be_is_named(shared: Relay, body: object, field: str) -> None:
    answer = await sell(shared, "individual", body)
    assert (answer.status_code, answer.json()["field"]) == (400, field)


async def test_a_key_is_one_command(shared: Relay, listed: str) -> None:
    await bought(shared, listed)
    key = {"idempotency-key": f"key of {listed}"}
    both = await asyncio.gather(
        *(sell(shared, "individual", {"ticker": listed}, **key) for _ in range(2))
    )
    said = [one.json() for one in both]
    assert [one.status_code for one in both] == [202, 202]
    assert sorted(one["duplicate"] for one in said) == [False, True]
    assert said[0]["batch_id"] == said[1]["batch_id"]
    assert said[0]["signals"][0]["signal_id"] == said[1]["signals"][0]["signal_id"]
    other = await sell(shared, "individual", {"ticker": "ZZZZ"}, **key)
    assert (other.status_code, other.json()["code"]) == (409, "key_reused")


# ── All, and the list ───────────────────────────────────────────────────────────────────────


async def test_all_is_sold_and_told_by_ticker(shared: Relay, listed: str) -> None:
    await bought(shared, listed)
    said = (await sell(shared, "all", {"reason": "storm"})).json()
    assert [one["ticker"] for one in said["signals"]] == [listed]
    assert said["buying_paused"] is True
    again = (await sell(shared, "all")).json()
    assert again["signals"] == []
    assert (await done(shared, said["batch_id"]))["counts"] == {"delivered": 1}
    buy = await shared.post({"ticker": listed, "action": "buy"})
    assert (await shared.settled(buy.json()["signal_id"]))["reason"] == "buying_paused"
    paused = (await shared.read("/status"))["buying"]["paused"]
    assert (paused["reason"], paused["until"]) == ("storm", None)


async def test_a_failed_sell_is_sold_again(shared: Relay, listed: str) -> None:
    await bought(shared, listed)
    shared.destination.status = 404
    first = (await sell(shared, "all")).json()["batch_id"]
    assert (await done(shared, first))["counts"] == {"dead": 1}
    shared.destination.status = 200
    answer = await ask(shared, "POST", f"/api/batches/{first}/retry", {"reason": "mended"})
    assert answer.status_code == 202, answer.text
    found = await done(shared, answer.json()["batch_id"])
    assert (found["kind"], found["retry_of"], found["counts"]) == (
        "retry",
        first,
        {"delivered": 1},
    )
    assert found["signals"][0]["replay_of"]
    again = await ask(shared, "POST", f"/api/batches/{first}/retry")
    assert (again.status_code, again.json()["code"]) == (409, "nothing_failed")


async def test_the_sell_list_is_drafted_and_sold(shared: Relay, listed: str) -> None:
    await bought(shared, listed)
    assert (await sell(shared, "list")).json()["code"] == "empty_list"
    await ask(shared, "POST", "/api/sell-list/fill")
    given = {"tickers": ["nyse:ibm", "IBM", "KO"], "note": "too much of it", "expires_in_sec": 60}
    answer = await ask(shared, "POST", "/api/sell-list", given)
    drafted = {one["ticker"]: one for one in answer.json()["items"]}
    assert {ticker: one["position"] for ticker, one in drafted.items()} == {
        listed: "open",
        "IBM": None,
        "KO": None,
    }
    assert drafted["IBM"]["expires_at"]
    assert (await ask(shared, "DELETE", "/api/sell-list/KO")).status_code == 200
    assert (await ask(shared, "DELETE", "/api/sell-list/KO")).status_code == 404
    said = (await sell(shared, "list")).json()
    assert [one["ticker"] for one in said["signals"]] == [listed]
    assert [(one["ticker"], one["code"]) for one in said["not_sold"]] == [("IBM", "no_position")]
    assert said["buying_paused"] is False
    left = (await shared.read("/api/sell-list"))["items"]
    assert [one["ticker"] for one in left] == ["IBM"]
    cleared = await ask(shared, "POST", "/api/sell-list/clear")
    assert cleared.json()["items"] == []


async def test_it_tells_when_the_last_one_leaves(template: str) -> None:
    """Six sells at two in any three seconds: the last pair leaves after twice the window."""
    windows: dict[str, Any] = {
        "dest_webhook_rate_limits": "2/3s",
        "dest_webhook_rate_limiting_enabled": True,
    }
    async with cloned(template) as url, relay(url, **windows) as it:
        for number in range(6):
            ticker = {"ticker": f"HELD{number}", "price": "10"}
            assert (await ask(it, "POST", "/api/positions", ticker)).status_code == 201
        began = time.monotonic()
        said = (await sell(it, "all")).json()
        passed = time.monotonic() - began  # the first pair may have left in the midst of it
        assert len(said["signals"]) == 6
        assert 5.5 - passed <= said["expected_sec"] <= 6.6
        (there,) = said["destinations"]
        assert (there["name"], there["ahead"]) == ("main", 0)
        assert there["waiting"] + there["on_the_wire"] <= 6
        batch = said["batch_id"]
        found = await done(it, batch)
        assert found["counts"] == {"delivered": 6}
        (row,) = await it.rows(
            "SELECT extract(epoch FROM max(written_at) - min(received_at)) AS took"
            " FROM attempts JOIN deliveries ON deliveries.id = delivery_id"
            " JOIN signals ON signals.id = signal_id WHERE batch_id = :id",
            id=batch,
        )
        late = float(row.took) - (said["expected_sec"] + passed) * 1.1
        assert late < 2.5, "a slow machine is forgiven, another window of three seconds is not"
