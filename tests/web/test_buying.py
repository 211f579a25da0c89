"""The buying pause over HTTP: it stands, it ends, it is shown, and it outlives a restart."""

from datetime import datetime, timedelta

import pytest

from engines.clock import utc_now
from tests.web.operating import ask, signed_in
from tests.web.stage import Relay, cloned, relay, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

API = "/api/buying"


async def test_a_pause_and_a_resume(shared: Relay, listed: str) -> None:
    assert (await shared.read(API))["paused"] is None
    said = (await ask(shared, "POST", f"{API}/pause", {"reason": "storm"})).json()
    assert said["changed"] is True
    assert (said["paused"]["by"], said["paused"]["reason"]) == ("finviz update token", "storm")
    assert (await ask(shared, "POST", f"{API}/pause")).json()["changed"] is False
    buy = await shared.post({"ticker": listed, "action": "buy"})
    assert (await shared.settled(buy.json()["signal_id"]))["reason"] == "buying_paused"
    assert (await ask(shared, "POST", f"{API}/resume")).json()["changed"] is True
    assert (await ask(shared, "POST", f"{API}/resume")).json()["changed"] is False
    buy = await shared.post({"ticker": listed, "action": "buy", "id": "another"})
    assert (await shared.settled(buy.json()["signal_id"]))["status"] == "delivered"


async def test_a_pause_ends_by_itself(shared: Relay, listed: str) -> None:
    before = utc_now()
    said = (await ask(shared, "POST", f"{API}/pause", {"for_sec": 2})).json()
    end = datetime.fromisoformat(said["paused"]["until"])
    assert before <= end - timedelta(seconds=2) <= utc_now()

    async def is_over() -> bool:
        found = await shared.rows("SELECT actor FROM events WHERE event = 'buying.resumed'")
        return ("its end",) in map(tuple, found)

    await until(is_over, "the end of the pause")
    assert (await shared.read(API))["paused"] is None
    buy = await shared.post({"ticker": listed, "action": "buy"})
    assert (await shared.settled(buy.json()["signal_id"]))["status"] == "delivered"


@pytest.mark.parametrize(
    "given",
    [
        {"until": "2020-01-01T00:00:00Z"},
        {"until": "2999-01-01T00:00:00Z"},
        {"until": "2999-01-01T00:00:00"},
        {"until": "2027-01-01T00:00:00Z", "for_sec": 5},
        {"for_sec": 0},
        {"for_sec": True},
        {"reason": "a\nb"},
    ],
)
async def test_what_cannot_be_is_refused(shared: Relay, given: object) -> None:
    answer = await ask(shared, "POST", f"{API}/pause", given)
    assert answer.status_code == 400, answer.text
    assert (await shared.read(API))["paused"] is None


async def test_it_outlives_a_restart_and_is_shown(template: str) -> None:
    async with cloned(template) as url:
        async with relay(url) as it:
            until_ = (utc_now() + timedelta(hours=1)).isoformat()
            await ask(it, "POST", f"{API}/pause", {"reason": "<storm>", "until": until_})
        async with relay(url) as it:
            paused = (await it.read(API))["paused"]
            assert datetime.fromisoformat(paused["until"]) == datetime.fromisoformat(until_)
            assert (await it.read("/status"))["buying"]["paused"] == paused
            ticker = it.finviz.market[0].ticker
            buy = await it.post({"ticker": ticker, "action": "buy"})
            assert (await it.settled(buy.json()["signal_id"]))["reason"] == "buying_paused"
            cookie = await signed_in(it)
            page = (await it.http.get("/admin", headers=cookie)).text
            assert "Buying is paused by finviz update token" in page
            assert "&lt;storm&gt;" in page
            assert "It ends by itself" in page
            await ask(it, "POST", f"{API}/resume")
            assert "Buying is paused" not in (await it.http.get("/admin", headers=cookie)).text
