"""What somebody new wants first, and how many clicks it takes him."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, expect

from tests.pages.conftest import House, Visitor, window
from tests.pages.test_pages import WIDE, check, post
from tests.web.stage import ADMIN_TOKEN

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.browser,
    pytest.mark.timeout(240),
]


@dataclass(slots=True)
class Newcomer:
    """Somebody signed in who counts his clicks."""

    visitor: Visitor
    clicks: int = 0

    async def click(self, what: Locator) -> None:
        self.clicks += 1
        await what.click()


@pytest_asyncio.fixture(loop_scope="session")
async def newcomer(browser: Browser, house: House) -> AsyncGenerator[Newcomer]:
    async with window(browser, house, WIDE) as visitor:
        await visitor.enter()
        yield Newcomer(visitor)
        await check(visitor)


async def test_signing_in(browser: Browser, house: House) -> None:
    async with window(browser, house, WIDE) as visitor:
        one = Newcomer(visitor)
        await visitor.page.goto(house.url)
        await expect(visitor.page.get_by_label("Admin token")).to_be_focused()
        await visitor.page.keyboard.type(ADMIN_TOKEN)
        await one.click(visitor.page.get_by_role("button", name="Sign in"))
        await visitor.page.get_by_role("heading", name="Latest signals").wait_for()
        assert one.clicks == 1


async def test_finding_why_an_alert_was_rejected(newcomer: Newcomer, house: House) -> None:
    await house.relay.settled(await post(house, "WHYNOT"))
    page = newcomer.visitor.page
    await newcomer.click(page.get_by_role("link", name="Signals", exact=True))
    await page.get_by_label("Search").fill("whynot")
    row = page.locator("tr", has_text="WHYNOT")
    await expect(row).to_contain_text("not in the top of the list")
    assert newcomer.clicks == 1


async def test_pausing_buying(newcomer: Newcomer) -> None:
    page = newcomer.visitor.page
    await newcomer.click(page.get_by_role("button", name="Pause buying…"))
    await page.get_by_label("Reason").fill("a look at the news first")
    await newcomer.click(page.get_by_role("button", name="Pause buying", exact=True))
    await expect(page.locator(".pause")).to_contain_text("a look at the news first")
    assert newcomer.clicks == 2
    await newcomer.click(page.get_by_role("button", name="Resume buying"))
    await expect(page.locator(".pause")).to_have_count(0)
    assert newcomer.clicks == 3


async def test_selling_one_position(newcomer: Newcomer, house: House) -> None:
    ticker = house.relay.finviz.market[5].ticker
    await house.relay.settled(await post(house, ticker, price="10", why="to be sold"))
    page = newcomer.visitor.page
    await newcomer.click(page.get_by_role("link", name="Positions", exact=True))
    await newcomer.click(page.get_by_role("link", name=f"Sell {ticker}", exact=True))
    await newcomer.click(page.get_by_role("button", name=f"Sell {ticker} now"))
    await expect(page.locator("main")).to_contain_text("1 of 1 signal delivered")
    assert newcomer.clicks == 3


async def test_replaying_a_dead_letter(newcomer: Newcomer, house: House) -> None:
    ticker = house.relay.finviz.market[6].ticker
    house.relay.destination.status = 400
    try:
        id = await post(house, ticker, price="10", why="to be refused")
        assert (await house.relay.settled(id))["status"] == "dead"
    finally:
        house.relay.destination.status = 200
    page = newcomer.visitor.page
    await newcomer.click(page.get_by_role("link", name="Attention"))
    letter = page.locator("tr", has=page.locator(f'a[href="/admin/signals/{id}"]'))
    await newcomer.click(letter.get_by_role("button", name="Resend"))
    await expect(page.locator("main")).to_contain_text("1 of 1 signal delivered")
    assert newcomer.clicks == 2
