"""An operator sells in a real browser: one, all, nothing by mistake; and sees how far it is."""

import asyncio
import re

import pytest
from playwright.async_api import Browser, expect

from tests.pages.conftest import House, Looks, window
from tests.pages.test_pages import LOOKS, WIDE, check, post, shoot

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.browser,
    pytest.mark.timeout(240),
]


async def bought(house: House, places: range, look: str) -> list[str]:
    """Tickers of the list with an open position each."""
    tickers = [house.relay.finviz.market[place].ticker for place in places]
    await house.relay.execute("DELETE FROM dedupe_keys")
    ids = [await post(house, ticker, price="12.5", look=look) for ticker in tickers]
    await asyncio.gather(*map(house.relay.settled, ids))
    return tickers


@pytest.mark.parametrize("looks", LOOKS, ids=lambda looks: f"{looks.scheme} {looks.name}")
async def test_everything_is_sold_and_buying_goes_on(
    browser: Browser, house: House, looks: Looks, request: pytest.FixtureRequest
) -> None:
    folder: str | None = request.config.getoption("--shots", default=None)
    tickers = await bought(house, range(4), f"{looks.scheme} {looks.name}")
    async with window(browser, house, looks) as visitor:
        await visitor.enter()
        page = visitor.page
        await page.get_by_role("link", name="Positions").click()
        await expect(page.get_by_text("4 open.")).to_be_visible()
        await check(visitor)
        await page.get_by_text("Sell all…").click()
        await page.get_by_label("Reason (goes into the activity log)").fill("the war began")
        await page.get_by_label("Type SELL ALL to confirm").fill("sell")
        await check(visitor)
        await shoot(visitor, looks, "positions", folder)
        await page.get_by_role("button", name="Sell all positions now").click()
        assert "type SELL ALL to confirm" in await page.get_by_role("alert").inner_text()
        visitor.complaints.clear()  # the browser reports the refusal, a 409, as it should
        await page.get_by_label("Type SELL ALL to confirm").fill("SELL ALL")
        await page.get_by_role("button", name="Sell all positions now").click()
        await expect(page.get_by_text("4 of 4 signals delivered.")).to_be_visible()
        for ticker in tickers:
            await expect(page.get_by_role("cell", name=ticker, exact=True)).to_be_visible()
        await check(visitor)
        await shoot(visitor, looks, "sell-all", folder)
        await page.get_by_role("button", name="Resume buying").click()
        await expect(page.get_by_text("No position is open.")).to_be_visible()
        assert await page.get_by_role("button", name="Resume buying").count() == 0
        await check(visitor)


async def test_one_is_sold_in_three_clicks(browser: Browser, house: House) -> None:
    ticker, kept = await bought(house, range(5, 7), "one")
    async with window(browser, house, WIDE) as visitor:
        await visitor.enter()
        page = visitor.page
        await page.get_by_role("link", name="Positions").click()
        await page.get_by_role("link", name=f"Sell {ticker}").click()
        await check(visitor)
        await page.get_by_role("button", name=f"Sell {ticker} now").click()
        await expect(page.get_by_text("1 of 1 signal delivered.")).to_be_visible()
        await page.get_by_role("link", name="← Positions").click()
        await page.get_by_role("link", name=kept, exact=True).click()
        await expect(page.get_by_role("heading", level=1)).to_have_text(
            re.compile(rf"{kept}\s+open")
        )
        await page.get_by_text("Mark as closed…").click()
        await page.get_by_label("Reason", exact=True).fill("sold at the broker")
        await page.get_by_role("button", name="Mark as closed").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text(
            re.compile(rf"{kept}\s+closed")
        )
        await expect(page.get_by_text("sold at the broker")).to_be_visible()
        await check(visitor)


async def test_what_is_typed_survives_the_live_part(browser: Browser, house: House) -> None:
    async with window(browser, house, WIDE) as visitor:
        await visitor.enter("/positions")
        page = visitor.page
        await page.get_by_text("Pause buying…").click()
        reason = page.locator("#pause-reason")
        await reason.fill("half a wo")
        async with page.expect_response(lambda one: one.url.endswith("/partials/positions")):
            await bought(house, range(8, 9), "typed")
        assert await reason.input_value() == "half a wo"
        assert await page.get_by_role("button", name="Pause buying").is_visible()
    await house.relay.execute("UPDATE positions SET state = 'closed' WHERE state = 'open'")
