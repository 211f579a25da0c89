"""The doctor and the activity in a real browser: read, rehearsed, sent, found again in the log."""

import json

import pytest
from playwright.async_api import Browser, expect

from tests.pages.conftest import House, Looks, window
from tests.pages.test_pages import BOTH, PHONE, WIDE, check
from tests.web.stage import until

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.browser,
    pytest.mark.timeout(240),
]

SAID = """(button) => {
  window.said = [];
  const note = () => window.said.push(button.textContent);
  new MutationObserver(note).observe(button, { childList: true });
}"""
"""Note what a button says: two seconds later it says something else."""


@pytest.mark.parametrize("looks", BOTH, ids=lambda looks: f"{looks.scheme} {looks.name}")
async def test_a_message_is_mended_rehearsed_and_read(
    browser: Browser, house: House, looks: Looks
) -> None:
    ticker = house.relay.finviz.market[1].ticker
    async with window(browser, house, looks) as visitor:
        await visitor.enter("/doctor")
        page = visitor.page
        await check(visitor)
        field = page.get_by_label("The message of an alert")
        await field.fill(f"{{'ticker': 'NASDAQ:{ticker}', 'action': 'buy'}}")
        await page.get_by_role("button", name="What becomes of it?").click()
        await expect(page.get_by_text("Use double quotes")).to_be_visible()
        await check(visitor)
        await field.fill(json.dumps({"ticker": f"NASDAQ:{ticker}", "action": "buy"}))
        await page.get_by_role("button", name="What becomes of it?").click()
        await expect(page.get_by_text(f"It buys {ticker}.")).to_be_visible()
        await expect(page.get_by_text("It would be approved.")).to_be_visible()
        await expect(page.get_by_text("POST https://destination.example/•••")).to_be_visible()
        await check(visitor)


async def test_a_test_alert_is_sent_behind_a_dialog_and_stands_in_the_log(
    browser: Browser, house: House
) -> None:
    ticker = house.relay.finviz.market[2].ticker
    async with window(browser, house, WIDE) as visitor:
        await visitor.enter("/doctor")
        page = visitor.page
        await page.get_by_label("Ticker (filled in").fill(ticker)
        await page.get_by_role("button", name="Dry run").click()
        await page.get_by_role("button", name="Send it for real…").click()
        dialog = page.get_by_role("dialog")
        await expect(dialog.get_by_text("1 request leaves, to main")).to_be_visible()
        await check(visitor)
        await dialog.get_by_role("button", name="Send it for real now").click()
        await expect(page.get_by_text("The test alert was sent.")).to_be_visible()
        await page.get_by_role("link", name="Activity").click()
        await page.get_by_label("Search").fill("signal.tested")
        await page.wait_for_url("**/admin/activity?text=signal.tested")
        rows = page.get_by_role("row").filter(has_text="signal tested")
        await expect(rows).to_have_count(1)
        await expect(page.get_by_role("row")).to_have_count(2)
        await expect(rows.get_by_role("link", name=ticker)).to_be_visible()
        await check(visitor)


async def test_a_ready_message_is_copied(browser: Browser, house: House) -> None:
    async with window(browser, house, PHONE) as visitor:
        page = visitor.page
        await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await visitor.enter("/doctor")
        message = page.locator("#message-strategy")
        button = page.locator("[data-copies=message-strategy]")
        await button.evaluate(SAID)
        await button.click()

        async def has_said() -> bool:
            return await page.evaluate("window.said.length > 0")

        await until(has_said, "what the button says")
        assert await page.evaluate("window.said[0]") == "Copied"
        copied = await page.evaluate("navigator.clipboard.readText()")
        assert copied == await message.text_content()
        await page.goto(f"{house.url}/admin/activity")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Activity")
        await check(visitor)
