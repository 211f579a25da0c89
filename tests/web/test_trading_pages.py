"""The page twins of selling, pausing and correcting: forms, what they refuse, where they lead."""

import re
from collections.abc import AsyncGenerator

import httpx
import pytest
import pytest_asyncio

from tests.web.operating import signed_in
from tests.web.stage import Relay, cloned, relay, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(template: str) -> AsyncGenerator[Relay]:
    async with cloned(template) as url, relay(url) as one:
        yield one


@pytest_asyncio.fixture(loop_scope="module")
async def browser(house: Relay) -> dict[str, str]:
    return await signed_in(house)


async def bought(house: Relay, place: int) -> str:
    """A ticker of the list with an open position."""
    ticker = house.finviz.market[place].ticker
    answer = await house.post({"ticker": ticker, "action": "buy", "price": "10", "n": place})
    assert (await house.settled(answer.json()["signal_id"]))["status"] == "delivered"
    return ticker


async def submit(house: Relay, browser: dict[str, str], path: str, **fields: str) -> httpx.Response:
    return await house.http.post(f"/admin{path}", data=fields, headers=browser)


async def position(house: Relay, ticker: str) -> dict[str, str]:
    return (await house.read(f"/api/positions?ticker={ticker}"))["items"][0]


async def states(house: Relay, tickers: set[str]) -> set[str]:
    return {(await position(house, ticker))["state"] for ticker in tickers}


async def finished(house: Relay, location: str) -> str:
    """The page of a command once nothing of it is on its way."""
    id = location.rpartition("/")[2]

    async def done() -> bool:
        return (await house.read(f"/api/batches/{id}"))["done"]

    await until(done, "the end of the command")
    return id


async def test_one_is_sold_from_its_page(house: Relay, browser: dict[str, str]) -> None:
    ticker = await bought(house, 0)
    one = await position(house, ticker)
    shown = await house.http.get(f"/admin/positions/{one['id']}", headers=browser)
    assert f"Sell {ticker} now" in shown.text
    given = {"ticker": ticker, "position": one["id"], "key": "once", "reason": "enough"}
    first = await submit(house, browser, "/sell", **given)
    again = await submit(house, browser, "/sell", **given)
    assert first.status_code == again.status_code == 303
    assert first.headers["location"] == again.headers["location"], "a double click is one command"
    id = await finished(house, first.headers["location"])
    page = await house.http.get(first.headers["location"], headers=browser)
    assert "1 of 1 signal delivered." in page.text
    assert "enough" in page.text
    assert (await house.read(f"/api/batches/{id}"))["made_by"] == "admin session"
    refused = await submit(house, browser, "/sell", **(given | {"key": "other"}))
    assert refused.status_code == 409
    assert "There is no position of this ticker here." in refused.text


async def test_everything_is_sold_once_the_word_is_typed(
    house: Relay, browser: dict[str, str]
) -> None:
    tickers = {await bought(house, place) for place in (2, 3)}
    page = await house.http.get("/admin/positions", headers=browser)
    said = r"\d sells?, to those of these that bought it: main \((at once|about)"
    assert re.search(said, page.text)
    unsure = await submit(house, browser, "/sell/all", confirm="sell", key="a")
    assert unsure.status_code == 409
    assert "Nothing was sold: type SELL ALL to confirm." in unsure.text
    assert await states(house, tickers) == {"open"}
    sure = await submit(house, browser, "/sell/all", confirm=" sell  all ", key="b", reason="fire")
    assert sure.status_code == 303, sure.text
    await finished(house, sure.headers["location"])
    assert await states(house, tickers) == {"closed"}
    for path in ("/admin", "/admin/positions", sure.headers["location"]):
        page = await house.http.get(path, headers=browser)
        assert "Buying is paused by admin session" in page.text, path
        assert "fire" in page.text
    resumed = await submit(house, browser, "/buying/resume")
    assert resumed.headers["location"] == "/admin/positions"
    assert (await house.read("/api/buying"))["paused"] is None


async def test_the_sell_list_is_a_draft_until_it_is_sent(
    house: Relay, browser: dict[str, str]
) -> None:
    kept, sold = await bought(house, 4), await bought(house, 5)
    await submit(house, browser, "/sell-list/add", fill="1", tickers="")
    page = await house.http.get("/admin/positions", headers=browser)
    assert "Sell what is on the list (2)" in page.text
    await submit(house, browser, "/sell-list/remove", ticker=kept)
    wrong = await submit(house, browser, "/sell-list/add", tickers="AAPL", hours="soon")
    assert wrong.status_code == 400
    assert "hours: not a number" in wrong.text
    await submit(house, browser, "/sell-list/add", tickers="ghost, GHOST", hours="2")
    sent = await submit(house, browser, "/sell/list", key="c")
    await finished(house, sent.headers["location"])
    assert (await position(house, sold))["state"] == "closed"
    assert (await position(house, kept))["state"] == "open"
    assert [one["ticker"] for one in (await house.read("/api/sell-list"))["items"]] == ["GHOST"]


async def test_a_position_is_entered_and_closed_by_hand(
    house: Relay, browser: dict[str, str]
) -> None:
    wrong = await submit(house, browser, "/positions", ticker="HELD", price="-1")
    assert wrong.status_code == 400
    assert "price" in wrong.text
    entered = await submit(house, browser, "/positions", ticker="held", price="3.5", reason="old")
    assert entered.status_code == 303, entered.text
    page = await house.http.get(entered.headers["location"], headers=browser)
    assert "HELD" in page.text
    assert "admin session" in page.text
    location = entered.headers["location"].removeprefix("/admin")
    silent = await submit(house, browser, f"{location}/close")
    assert silent.status_code == 400, "why is asked"
    closed = await submit(house, browser, f"{location}/close", reason="sold at the broker")
    assert closed.status_code == 303
    assert (await position(house, "HELD"))["state"] == "closed"


async def test_a_pause_has_an_end_if_it_is_given_one(house: Relay, browser: dict[str, str]) -> None:
    answer = await submit(house, browser, "/buying/pause", reason="lunch", minutes="30")
    assert answer.status_code == 303
    page = await house.http.get("/admin", headers=browser)
    assert "lunch. It ends by itself" in page.text
    await submit(house, browser, "/buying/resume")


async def test_without_a_database_nothing_is_done_and_that_is_said(
    house: Relay, browser: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_given: object) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr("web.sells.sell_all", away)
    answer = await submit(house, browser, "/sell/all", confirm="SELL ALL", held="AAPL MSFT")
    assert answer.status_code == 503
    assert "Nothing was done" in answer.text
    assert "<b>AAPL</b>" in answer.text
    assert "<b>MSFT</b>" in answer.text


MANY = """
    INSERT INTO positions (id, ticker, state, opened_at, updated_at)
    SELECT gen_random_uuid(),
           'ZQ' || chr(65 + n / 676) || chr(65 + n / 26 % 26) || chr(65 + n % 26), 'open',
           now(), now()
    FROM generate_series(CAST(:first AS integer), CAST(:last AS integer)) AS n
"""


async def test_sell_all_counts_more_than_the_page_lists(
    template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_given: object) -> None:
        raise ConnectionRefusedError

    async with cloned(template) as url, relay(url) as one:
        browser = await signed_in(one)
        await one.execute(MANY, first=1, last=900)
        page = (await one.http.get("/admin/positions", headers=browser)).text
        assert page.count('id="position-') == 300
        assert ">900 open.<" in page
        assert "The newest 300 of a state are listed." in page
        assert "900 sells, to those of these that bought it" in page
        await one.execute(MANY, first=901, last=901)
        again = (await one.http.get("/admin/partials/sell-all", headers=browser)).text
        assert "901 sells" in again
        (held,) = re.findall(r'name="held" value="([^"]*)"', again)
        assert len(held.split()) == len(set(held.split())) == 901
        assert '<div id="sell-all" hx-get="/admin/partials/sell-all"' in page
        monkeypatch.setattr("web.sells.sell_all", away)
        answer = await submit(one, browser, "/sell/all", confirm="SELL ALL", held=held)
    assert answer.status_code == 503
    assert answer.text.count("<b>ZQ") == 901


async def test_another_site_can_order_nothing(house: Relay, browser: dict[str, str]) -> None:
    foreign = browser | {"sec-fetch-site": "cross-site"}
    answer = await submit(house, foreign, "/sell/all", confirm="SELL ALL")
    assert answer.status_code == 403
    signed_out = await submit(house, {}, "/sell/all", confirm="SELL ALL")
    assert signed_out.headers["location"] == "/admin/login?ended=undone"
    door = await house.http.get(signed_out.headers["location"])
    assert "You were signed out: nothing was done." in door.text
    assert (await house.read("/api/buying"))["paused"] is None


async def test_past_positions_are_found_by_ticker_and_state(
    house: Relay, browser: dict[str, str]
) -> None:
    ticker, other = await bought(house, 20), await bought(house, 21)
    await house.post({"ticker": ticker, "action": "sell", "sentiment": "flat", "price": "11"})
    path = "/admin/positions/past"

    async def closed() -> bool:
        return (await position(house, ticker))["state"] == "closed"

    await until(closed, "the end of the position")
    all_of_them = (await house.http.get(path, headers=browser)).text
    assert f"<b>{ticker}</b>" in all_of_them
    assert f"<b>{other}</b>" in all_of_them
    assert "1 above the entry" in all_of_them
    await house.execute("UPDATE positions SET state = 'closed' WHERE state = 'open'")
    only = (
        await house.http.get(f"{path}?state=closed&ticker={ticker.lower()}", headers=browser)
    ).text
    assert "+10.00 %" in only
    assert f"<b>{other}</b>" not in only
    for wrong in ("state=ended", "cursor=%27", f"ticker={'x' * 40}"):
        answer = await house.http.get(f"{path}?{wrong}", headers=browser)
        assert answer.status_code == 400
        assert 'role="alert"' in answer.text
