"""Replaying what a search finds: seen first, done to exactly as many, refused in place."""

import html
import re
from collections.abc import AsyncGenerator

import httpx
import pytest
import pytest_asyncio

from tests.web.operating import signed_in
from tests.web.stage import Relay, cloned, relay

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(template: str) -> AsyncGenerator[Relay]:
    async with cloned(template) as url, relay(url) as one:
        yield one


@pytest_asyncio.fixture(loop_scope="module")
async def browser(house: Relay) -> dict[str, str]:
    return await signed_in(house)


async def rejected(house: Relay, ticker: str, *, action: str = "sell") -> str:
    answer = await house.post({"ticker": ticker, "action": action})
    return (await house.settled(answer.json()["signal_id"]))["id"]


async def seen(house: Relay, browser: dict[str, str], query: str) -> tuple[str, dict[str, str]]:
    """What the page says, and what its form would send."""
    answer = await house.http.get(f"/admin/signals/replay?{query}", headers=browser)
    fields = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', answer.text)
    return html.unescape(answer.text), dict(fields)


async def send(house: Relay, browser: dict[str, str], query: str, **fields: str) -> httpx.Response:
    return await house.http.post(f"/admin/signals/replay?{query}", data=fields, headers=browser)


async def test_a_search_is_replayed_once_it_was_seen(house: Relay, browser: dict[str, str]) -> None:
    ids = [await rejected(house, ticker) for ticker in ("ONEA", "ONEB")]
    text, fields = await seen(house, browser, "q=one+sell")
    assert "2 signals are like this; 2 of them would be replayed." in text
    assert "Replay 2 signals now" in text
    later = await rejected(house, "ONEC")
    done = await send(house, browser, "q=one+sell", **fields, reason="held since")
    assert done.status_code == 303, done.text
    batch = await house.http.get(done.headers["location"], headers=browser)
    assert "2 signals are replayed." in batch.text
    for id, replays in ((ids[0], 1), (ids[1], 1), (later, 0)):
        assert len((await house.read(f"/api/signals/{id}"))["replays"]) == replays, "as were seen"


async def test_more_or_less_than_was_seen_is_not_done(
    house: Relay, browser: dict[str, str]
) -> None:
    id = await rejected(house, "TWOA")
    _, fields = await seen(house, browser, "q=TWOA")
    for changes in ({"expect": "2"}, {"expect": "0"}, {"expect": "x"}, {"newest": "!"}):
        refused = await send(house, browser, "q=TWOA", **(fields | changes))
        assert refused.status_code in {400, 409}, changes
        assert 'role="alert"' in refused.text
    assert (await house.read(f"/api/signals/{id}"))["replays"] == []


async def test_what_is_refused_is_counted_and_may_be_forced(
    house: Relay, browser: dict[str, str]
) -> None:
    ticker = house.finviz.market[0].ticker
    await rejected(house, ticker, action="buy")
    text, fields = await seen(house, browser, f"ticker={ticker}")
    assert "1 signal is like this; 0 of them would be replayed." in text
    assert "<b>1</b> It was delivered: once more would do it twice." in text
    assert "expect" not in fields
    text, fields = await seen(house, browser, f"force=1&ticker={ticker}")
    assert fields["force"] == "1"
    silent = await send(house, browser, f"ticker={ticker}", **fields)
    assert silent.status_code == 400
    assert "reason is needed with force" in silent.text
    forced = await send(house, browser, f"ticker={ticker}", **fields, reason="lost there")
    assert forced.status_code == 303, forced.text


@pytest.mark.parametrize("query", ["status=gone", "since=x", "destination=none"])
async def test_a_search_that_means_nothing_replays_nothing(
    house: Relay, browser: dict[str, str], query: str
) -> None:
    for path in ("replay", "export"):
        answer = await house.http.get(f"/admin/signals/{path}?{query}", headers=browser)
        assert answer.status_code == 400
        assert 'role="alert"' in answer.text
    answer = await send(house, browser, query, expect="1")
    assert answer.status_code == 400


async def test_nothing_like_it_is_said(house: Relay, browser: dict[str, str]) -> None:
    text, fields = await seen(house, browser, "ticker=NOSUCH")
    assert "there is nothing to replay" in text
    assert fields == {}
