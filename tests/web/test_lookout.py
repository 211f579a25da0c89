"""Looking at Finviz by hand: try, refresh, pause, and the operator's word on a suspect list."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from demo.finviz import made_up_market
from domain.screen import EXAMPLE_URL, Screen
from domain.universe import FetchOutcome
from engines.universe.source import Answer
from tests.database.rows import a_screen
from tests.web.calm import list_at_rest
from tests.web.operating import ask
from tests.web.screening import API, URL, active, ahead, asked, change, create
from tests.web.stage import WEBHOOK_TOKEN, Relay, cloned, relay, until
from web.lookout import fetch_within

pytestmark = pytest.mark.asyncio(loop_scope="module")

OTHERS = made_up_market(77, 60)


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def free(shared: Relay) -> AsyncGenerator[None]:
    """Nobody has asked by hand, nothing is paused; the market is as it was afterwards."""
    market = shared.finviz.market
    await shared.execute("UPDATE lookout SET by_hand_at = NULL, paused_at = NULL")
    await list_at_rest(shared)
    yield
    shared.finviz.market = market
    shared.finviz.answer_with(None)


async def attempt(relay: Relay, **given: object) -> httpx.Response:
    return await ask(relay, "POST", f"{API}/try", given)


async def tried(relay: Relay, **given: object) -> dict[str, Any]:
    answer = await attempt(relay, **given)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def post(relay: Relay, path: str, body: object = None) -> httpx.Response:
    return await ask(relay, "POST", f"/api/{path}", body)


async def stored(relay: Relay) -> list[Any]:
    counts = ("screens", "screen_versions", "universes", "fetches", "watches")
    return [await relay.rows(f"SELECT * FROM {table}") for table in counts]


# ── Try before saving ───────────────────────────────────────────────────────────────────────


async def test_a_look_is_shown_and_nothing_is_kept(shared: Relay) -> None:
    before = await stored(shared)
    said = await tried(shared, url=URL, top_n=2, margin=5)
    first, second, third = said["rows"][:3]
    listing = shared.finviz.market[0]
    assert (first["rank"], first["ticker"]) == (1, listing.ticker)
    assert (first["price"], first["volume"]) == (float(listing.price), listing.volume)
    assert [row["counts"] for row in (first, second, third)] == [True, True, False]
    assert (said["outcome"], said["total"], said["pages"], said["premium"]) == ("ok", 60, 1, False)
    assert said["witness"]
    assert said["took_sec"] >= 0
    assert (said["warnings"], said["surprise"]) == ([], None)
    assert shared.finviz.arrivals[-1].query == URL.partition("?")[2]
    assert await stored(shared) == before


async def test_a_change_of_a_screen_is_tried_without_making_it(shared: Relay) -> None:
    kept = await create(shared, top_n=3)
    said = await tried(shared, id=kept["id"], url=f"{URL}&ft=3", refresh=20)
    assert [row["counts"] for row in said["rows"][:4]] == [True, True, True, False]
    assert "180 s" in said["warnings"][0]
    assert await asked(shared, "ft=3")
    assert (await shared.read(f"{API}/{kept['id']}"))["version"] == 1


async def test_it_warns_of_what_a_look_alone_can_tell(shared: Relay) -> None:
    shared.finviz.step, step = 20, shared.finviz.step
    shared.finviz.filters, shared.finviz.everything = {"ta_gap_u5"}, made_up_market(5, 8_100)
    said = await tried(shared, url=URL.replace("ta_gap_u5", "ta_gap_up5"), top_n=15, margin=10)
    shared.finviz.step, shared.finviz.filters = step, None
    whole, requests = said["warnings"]
    assert "8100 rows" in whole
    assert "2 requests" in requests
    assert (said["pages"], len(said["rows"]), said["surprise"]) == (2, 40, None)


async def test_it_says_whether_the_active_screen_would_be_surprised(shared: Relay) -> None:
    await until(lambda: fresh(shared), "a list")
    first = await active(shared)
    shared.finviz.market = list(OTHERS)
    said = await tried(shared, id=first["id"])
    assert said["surprise"] == "only 0 of 60 tickers are still there: less than a fifth"
    await shared.execute("UPDATE lookout SET by_hand_at = NULL")
    assert (await tried(shared, url=URL))["surprise"] is None


async def fresh(relay: Relay) -> bool:
    return (await relay.read("/api/universe"))["trust"] == "fresh"


async def test_a_refusal_is_shown_as_what_it_is(shared: Relay) -> None:
    shared.finviz.answer_with("throttled_429")
    said = await tried(shared, url=URL)
    assert (said["outcome"], said["rows"], said["surprise"]) == ("throttled", [], None)
    assert said["detail"]


async def test_a_fixed_list_asks_nobody(shared: Relay) -> None:
    before = len(shared.finviz.arrivals)
    for _ in range(2):
        said = await tried(shared, tickers="AAPL MSFT", valid_until=ahead(days=1), top_n=1)
        assert (said["outcome"], said["surprise"]) == ("ok", None)
        rows = [(row["ticker"], row["counts"], row["price"]) for row in said["rows"]]
        assert rows == [("AAPL", True, None), ("MSFT", False, None)]
    assert len(shared.finviz.arrivals) == before


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "url"),
        ({"url": "https://example.com/"}, "url"),
        ({"url": URL, "top_n": 0}, "top_n"),
        ({"url": URL, "id": "x"}, "id"),
        ({"url": URL, "unknown": 1}, "unknown"),
    ],
)
async def test_what_cannot_be_is_not_tried(
    shared: Relay, given: dict[str, object], field: str
) -> None:
    answer = await attempt(shared, **given)
    assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert await shared.rows("SELECT 1 FROM lookout WHERE by_hand_at IS NOT NULL") == []


async def test_a_screen_that_is_not_there_is_not_tried(shared: Relay) -> None:
    answer = await attempt(shared, id=str(uuid4()))
    assert (answer.status_code, answer.json()["code"]) == (404, "no_such_screen")


class Endless:
    """A source that never answers."""

    async def fetch(self, screen: Screen) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError(screen)


async def test_a_look_that_takes_too_long_is_given_up() -> None:
    answer = await fetch_within(0.05, Endless(), a_screen())
    assert answer.outcome is FetchOutcome.UNREACHABLE
    assert "0.05 s" in answer.detail


# ── Asking, and asking nothing ──────────────────────────────────────────────────────────────


async def test_by_hand_is_asked_once_in_ten_seconds(shared: Relay) -> None:
    """Whatever for: a try and a refresh are one as the other to Finviz."""
    assert (await post(shared, "universe/refresh")).json() == {"due": True}
    await until(lambda: has_asked(shared), "the look that was asked for")
    await shared.execute("UPDATE lookout SET by_hand_at = clock_timestamp()")  # it may take a while
    asked_before = len(shared.finviz.arrivals)
    for answer in (await attempt(shared, url=URL), await post(shared, "universe/refresh")):
        assert (answer.status_code, answer.json()["code"]) == (429, "too_soon")
        assert answer.headers["content-type"] == "application/problem+json"
        assert 1 <= int(answer.headers["retry-after"]) <= 10
        assert "last look by hand" in answer.json()["detail"]
    assert len(shared.finviz.arrivals) == asked_before
    assert (await shared.read("/api/lookout"))["by_hand_at"]
    told = await shared.rows("SELECT actor FROM events WHERE event = 'lookout.refresh'")
    assert {row.actor for row in told} == {"finviz update token"}


async def has_asked(relay: Relay) -> bool:
    """Whether a look was made after the last one by hand was asked for."""
    found = await relay.rows(
        "SELECT 1 FROM lookout WHERE by_hand_at < (SELECT max(at) FROM fetches)"
    )
    return bool(found)


async def test_finviz_is_left_alone_as_long_as_it_asked(shared: Relay) -> None:
    await shared.execute("UPDATE watches SET asked_until = now() + interval '90 seconds'")
    for answer in (await attempt(shared, url=URL), await post(shared, "universe/refresh")):
        assert (answer.status_code, answer.json()["code"]) == (429, "too_soon")
        assert 60 < int(answer.headers["retry-after"]) <= 90
        assert "Finviz asked us" in answer.json()["detail"]
    assert (await shared.read("/api/lookout"))["asked_until"]
    await shared.execute("UPDATE watches SET asked_until = NULL")


async def test_nobody_asks_while_it_is_paused(shared: Relay) -> None:
    for reason in (None, "", "x" * 201, "a\nb"):
        body = None if reason is None else {"reason": reason}
        assert (await post(shared, "lookout/pause", body)).status_code == 400
    first, again = [
        (await post(shared, "lookout/pause", {"reason": "a new layout"})).json() for _ in range(2)
    ]
    assert (first["changed"], again["changed"]) == (True, False)
    assert first["paused"]["reason"] == "a new layout"
    for answer in (await attempt(shared, url=URL), await post(shared, "universe/refresh")):
        assert (answer.status_code, answer.json()["code"]) == (409, "paused")
    assert (await shared.read("/api/lookout"))["paused"] == first["paused"]
    changed = [(await post(shared, "lookout/resume")).json()["changed"] for _ in range(2)]
    assert changed == [True, False]
    assert (await shared.read("/api/lookout"))["paused"] is None


async def test_who_may_not_is_told_nothing(shared: Relay) -> None:
    for path in (
        *("screens/try", "universe/refresh", "universe/accept", "universe/refuse"),
        *("lookout/pause", "lookout/resume"),
    ):
        for token in (WEBHOOK_TOKEN, "", "wrong"):
            answer = await ask(shared, "POST", f"/api/{path}", {"reason": "x"}, token)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert (await shared.get("/api/lookout", WEBHOOK_TOKEN)).status_code == 401


# ── A word on the suspect list ──────────────────────────────────────────────────────────────


async def suspected(relay: Relay) -> list[str]:
    """Have the list suspected, and no second look confirm it; return its tickers."""
    assert (await post(relay, "universe/refresh")).status_code == 202
    await until(lambda: has_pending(relay), "a suspect list")
    await post(relay, "lookout/pause", {"reason": "a test"})
    return (await relay.read("/api/universe"))["pending"]["tickers"]


async def has_pending(relay: Relay) -> bool:
    return (await relay.read("/api/universe"))["pending"] is not None


async def test_an_accepted_list_is_in_force_at_once(template: str) -> None:
    async with cloned(template) as url, relay(url) as it:
        it.finviz.market = list(OTHERS)
        before, seen = await it.read("/api/universe"), await suspected(it)
        assert seen == [one.ticker for one in OTHERS]
        for other in ([], seen[1:], seen[::-1]):
            answer = await post(it, "universe/accept", {"tickers": other})
            assert (answer.status_code, answer.json()["code"]) == (409, "changed_meanwhile")
        answer = await post(it, "universe/accept", {"tickers": seen, "reason": "seen"})
        assert answer.status_code == 200, answer.text
        assert answer.json() | {"version": None} == {
            "version": None,
            "tickers": 60,
            "total": 60,
            "whole_market": False,
        }
        after = await it.read("/api/universe")
        assert (after["version"], after["pending"]) == (answer.json()["version"], None)
        assert after["version"] > before["version"]
        assert [row["ticker"] for row in after["tickers"]] == seen
        bought = await it.post({"ticker": seen[0], "action": "buy"})
        assert (await it.settled(bought.json()["signal_id"]))["status"] == "delivered"
        again = await post(it, "universe/accept", {"tickers": seen})
        assert (again.status_code, again.json()["code"]) == (409, "nothing_pending")
        (row,) = await it.rows("SELECT actor, detail FROM events WHERE event = 'list.accepted'")
        assert (row.actor, row.detail["reason"]) == ("finviz update token", "seen")
        (by,) = await it.rows("SELECT accepted_by FROM universes ORDER BY version DESC LIMIT 1")
        assert by.accepted_by == "finviz update token"


async def test_a_refused_list_stays_out_however_often_it_is_seen(template: str) -> None:
    async with cloned(template) as url, relay(url) as it:
        it.finviz.market = list(OTHERS)
        before, seen = await it.read("/api/universe"), await suspected(it)
        assert (await post(it, "universe/refuse", {"tickers": seen[1:]})).status_code == 409
        assert (await post(it, "universe/refuse", {"tickers": seen})).json() == {"refused": True}
        assert (await post(it, "universe/refuse", {"tickers": seen})).status_code == 409
        await it.execute("UPDATE watches SET due_at = now()")
        await post(it, "lookout/resume")
        await until(lambda: has_pending(it), "another look")
        after = await it.read("/api/universe")
        assert "refused by an operator" in after["pending"]["reason"]
        assert (after["version"], after["tickers"]) == (before["version"], before["tickers"])


async def test_a_whole_market_that_is_meant_is_not_doubted_again(template: str) -> None:
    async with cloned(template) as url, relay(url) as it:
        it.finviz.filters, it.finviz.everything = set(), made_up_market(5, 10_000)
        seen = await suspected(it)
        answer = await post(it, "universe/accept", {"tickers": seen})
        assert (answer.json()["whole_market"], answer.json()["total"]) == (True, 10_000)
        one = await active(it)
        assert (one["whole_market"], one["url"]) == (True, EXAMPLE_URL)
        await post(it, "lookout/resume")
        await until(lambda: has_asked_as(it, one["version"]), "a look at the changed screen")
        after = await it.read("/api/universe")
        assert (after["pending"], after["version"]) == (None, answer.json()["version"])


async def has_asked_as(relay: Relay, version: int) -> bool:
    found = await relay.rows(
        "SELECT outcome FROM fetches WHERE screen_version = :version", version=version
    )
    return [row.outcome for row in found] == ["ok"]


@pytest.mark.parametrize(
    "meanwhile", ["at = at - interval '1 h'", "outcome = 'blocked', detail = 'no'"]
)
async def test_a_list_that_is_no_longer_seen_is_not_taken_for_fresh(
    template: str, meanwhile: str
) -> None:
    async with cloned(template) as url, relay(url) as it:
        it.finviz.market = list(OTHERS)
        before, seen = await it.read("/api/universe"), await suspected(it)
        await it.execute(f"UPDATE fetches SET {meanwhile}")
        answer = await post(it, "universe/accept", {"tickers": seen})
        assert (answer.status_code, answer.json()["code"]) == (409, "too_old")
        after = await it.read("/api/universe")
        assert after["version"] == before["version"]
        assert after["pending"]["tickers"] == seen


async def test_a_word_on_a_list_of_another_address_comes_too_late(template: str) -> None:
    async with cloned(template) as url, relay(url) as it:
        it.finviz.market = list(OTHERS)
        seen = await suspected(it)
        await change(it, await active(it), url=URL)
        answer = await post(it, "universe/accept", {"tickers": seen})
        assert (answer.status_code, answer.json()["code"]) == (409, "nothing_pending")


@pytest.mark.parametrize(
    "tickers", [None, "AAPL", [5], ["aapl"], ["A\u0000"], ["x" * 33], ["A"] * 5_001]
)
async def test_what_is_no_list_is_refused(shared: Relay, tickers: object) -> None:
    for word in ("accept", "refuse"):
        answer = await post(shared, f"universe/{word}", {"tickers": tickers})
        assert answer.status_code == 400
        assert answer.json()["field"].partition(".")[0] == "tickers"
