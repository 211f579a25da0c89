"""The list in a real browser: alive, tried before saving, put in force, looked up in the past."""

import re

import pytest
from playwright.async_api import Browser, expect

from tests.pages.conftest import House, Looks, window
from tests.pages.test_pages import BOTH, WIDE, check, shoot
from tests.web.screening import URL

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.browser,
    pytest.mark.timeout(240),
]


@pytest.mark.parametrize("looks", BOTH, ids=lambda looks: f"{looks.scheme} {looks.name}")
async def test_the_list_and_its_other_pages(
    browser: Browser, house: House, looks: Looks, request: pytest.FixtureRequest
) -> None:
    folder: str | None = request.config.getoption("--shots", default=None)
    first = house.relay.finviz.market[0].ticker
    async with window(browser, house, looks) as visitor:
        await visitor.enter()
        page = visitor.page
        await page.get_by_role("link", name="List", exact=True).click()
        await page.locator(".ranked").get_by_role("link", name=first, exact=True).wait_for()
        await check(visitor)
        await shoot(visitor, looks, "list", folder)
        await page.locator(".ranked").get_by_role("link", name=first, exact=True).click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text(first)
        await expect(page.locator("figure.chart canvas")).to_be_visible()
        await check(visitor)
        await shoot(visitor, looks, "ranks", folder)
        for name in ("Looks", "History", "Screens", "What if …"):
            link = page.get_by_role("link", name=name, exact=True)
            await link.click()
            await expect(link).to_have_attribute("aria-current", "page")
            await check(visitor)
            await shoot(visitor, looks, name.strip(" …").lower().replace(" ", "-"), folder)


async def test_the_list_moves_under_the_eyes(browser: Browser, house: House) -> None:
    await house.relay.execute("UPDATE lookout SET by_hand_at = NULL")
    first, *others = house.relay.finviz.market
    async with window(browser, house, WIDE) as visitor:
        await visitor.enter("/list")
        page = visitor.page
        rows = page.locator(".ranked tbody:first-of-type tr")
        tickers = (await house.relay.read("/api/universe"))["tickers"]
        await expect(rows).to_have_count(sum(one["counts"] for one in tickers))
        await expect(rows.first).to_contain_text(first.ticker)
        await page.get_by_text("Pause looking…").click()
        reason = page.get_by_label("Reason (everybody is shown it)")
        await reason.fill("half a wo")
        house.relay.finviz.market = [*others, first]
        await page.evaluate("fetch('/api/universe/refresh', {method: 'POST'})")
        await expect(rows.first).to_contain_text(others[0].ticker)
        await expect(rows.first.locator(".change.up")).to_be_visible()
        await expect(reason).to_have_value("half a wo")
        await check(visitor)


async def test_a_screen_is_tried_saved_and_put_in_force(browser: Browser, house: House) -> None:
    await house.relay.execute("UPDATE lookout SET by_hand_at = NULL")
    async with window(browser, house, WIDE) as visitor:
        await visitor.enter("/list/screens/new")
        page = visitor.page
        await check(visitor)
        await page.get_by_label("Name").fill("gaps")
        await page.get_by_label("Address of the screener").fill(URL)
        await page.get_by_label("Top N: so many ranks count").fill("7")
        await page.get_by_role("button", name=re.compile("^Try")).click()
        await expect(page.get_by_text("rows read; 7 would be in")).to_be_visible()
        await check(visitor)
        await page.get_by_label("Margin").fill("5000")
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("alert")).to_contain_text("margin must be 0 or more")
        visitor.complaints.clear()  # the browser reports the refusal, a 400, as it should
        await check(visitor)
        await page.get_by_label("Margin").fill("3")
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("gaps")
        await page.get_by_role("button", name="Put in force…").click()
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_contain_text("has no list yet")
        await check(visitor)
        await dialog.get_by_role("button", name="Put in force now").click()
        await expect(page.get_by_role("heading", name="gaps: top 7")).to_be_visible()
        await expect(page.locator(".ranked tbody:first-of-type tr")).to_have_count(7)
        await check(visitor)


async def test_a_moment_is_given_in_the_viewers_zone(browser: Browser, house: House) -> None:
    async with window(browser, house, WIDE) as visitor:
        await visitor.enter("/list/history")
        page = visitor.page
        zone = await page.evaluate("Intl.DateTimeFormat().resolvedOptions().timeZone")
        await expect(page.get_by_text(f"The list at this time ({zone})")).to_be_visible()
        given = await page.locator("#at").input_value()
        sent = await page.evaluate("at => new Date(at).toISOString()", given)
        await page.get_by_role("button", name="Show it").click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text(
            f"{sent[:10]} {sent[11:19]} UTC"
        )
        assert await page.locator("#at").input_value() == given
        await check(visitor)
