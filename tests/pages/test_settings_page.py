"""The settings in a real browser: every page readable, rules tried, a file sent, all signed out."""

import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.pages.conftest import House, Looks, window
from tests.pages.noting import noting, signing_out
from tests.pages.test_pages import BOTH, PHONE, WIDE, check, post, shoot
from tests.web.stage import ADMIN_TOKEN
from tests.web.test_imports import a_signal, as_lines

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.browser,
    pytest.mark.timeout(240),
]

PAGES = ("Rules", "Sources", "Tokens", "Channels", "Files", "Sessions", "Environment")


@pytest.mark.parametrize("looks", BOTH, ids=lambda looks: f"{looks.scheme} {looks.name}")
async def test_every_page_can_be_read(
    browser: Browser, house: House, looks: Looks, request: pytest.FixtureRequest
) -> None:
    folder: str | None = request.config.getoption("--shots", default=None)
    async with window(browser, house, looks) as visitor:
        await visitor.enter()
        page = visitor.page
        await page.get_by_role("link", name="Settings").click()
        for name in PAGES:
            await page.get_by_label("Settings").get_by_role("link", name=name).click()
            await expect(page).to_have_title(re.compile(f"^{name} · Settings"))
            await check(visitor)
            await shoot(visitor, looks, f"settings-{name.lower()}", folder)
        await page.goto(f"{house.url}/admin/settings/sources/webhook")
        await check(visitor)
        await page.goto(f"{house.url}/admin/settings/channels?kind=telegram")
        await check(visitor)


async def test_rules_are_tried_then_saved(browser: Browser, house: House) -> None:
    ticker = house.relay.finviz.market[3].ticker
    await house.relay.settled(await post(house, ticker, price="10"))
    async with window(browser, house, WIDE) as visitor:
        await visitor.enter("/settings")
        page = visitor.page
        await page.locator("#every-refused").fill(ticker)
        await page.get_by_role("button", name="Try on the last 24 hours").click()
        await expect(page.get_by_text("would have turned away 1 buy that passed")).to_be_visible()
        await check(visitor)
        await page.get_by_role("button", name="Save these rules").click()
        await expect(page.get_by_text(f"Never buy: + {ticker}").first).to_be_visible()
        assert await page.locator("#every-refused").input_value() == ticker
        await page.locator("#every-refused").fill("")
        await page.get_by_role("button", name="Save these rules").click()
        await page.get_by_role("link", name="Use version").last.click()
        await expect(page.get_by_text("They are not in force before you save them")).to_be_visible()
        await check(visitor)


async def test_a_token_is_made_copied_and_revoked(browser: Browser, house: House) -> None:
    async with window(browser, house, PHONE) as visitor:
        await visitor.enter("/settings")
        await house.relay.execute("UPDATE sessions SET proved_at = proved_at - interval '1 h'")
        page = visitor.page
        await page.goto(f"{house.url}/admin/settings/tokens")
        await page.get_by_label("Name").fill("phone")
        await page.get_by_label("read", exact=False).first.check()
        await page.get_by_label("Your token again").last.fill(ADMIN_TOKEN)
        await page.get_by_role("button", name="Make the token").click()
        await expect(page.locator("#made-token")).to_have_text(re.compile("^tsp_.{43}$"))
        await check(visitor)
        await page.get_by_role("button", name="Revoke…").click()
        await expect(page.get_by_role("dialog")).to_contain_text("nobody has used it yet")
        await check(visitor)
        await page.get_by_role("button", name="Revoke phone").click()
        await expect(page.get_by_text("The token phone is revoked")).to_be_visible()
        await check(visitor)


async def test_a_file_is_sent_and_its_progress_shown(
    browser: Browser, house: House, tmp_path: Path
) -> None:
    file = tmp_path / "signals.jsonl"
    file.write_text(as_lines(*(a_signal(number) for number in range(3))))
    async with window(browser, house, WIDE) as visitor:
        await visitor.enter("/settings/files")
        page = visitor.page
        await page.locator("#import-file").set_input_files(file)
        await page.get_by_role("button", name="Dry run").click()
        progress = page.locator("#import-progress")
        await expect(progress).to_contain_text("3 signals read: 3 would be imported")
        await page.get_by_role("button", name="Import", exact=True).click()
        await expect(progress).to_contain_text("3 signals read: 3 imported")
        await check(visitor)
        config = tmp_path / "config.json"
        config.write_text('{"format": "trading-signal-processor/config", "version": 1}')
        await page.locator("#config-file").set_input_files(config)
        await expect(page.locator("#config")).to_have_value(re.compile("trading-signal"))
        await page.get_by_role("button", name="Show what it would change").click()
        await expect(page.get_by_text("Nothing would change")).to_be_visible()
        await check(visitor)


async def test_everybody_is_signed_out_at_once(browser: Browser, house: House) -> None:
    async with window(browser, house, WIDE) as one, window(browser, house, PHONE) as two:
        await two.enter()
        page = one.page
        await noting(page)
        await one.enter("/settings/sessions")
        await page.get_by_role("button", name="Sign out everywhere…").click()
        await check(one)
        async with signing_out(page, house):
            await page.get_by_role("button", name=re.compile(r"End \d+ sessions")).click()
        await expect(page.get_by_text("Every session was ended.")).to_be_visible()
        await check(one)
        await two.page.wait_for_url("**/admin/login")


async def test_without_scripts_what_a_dialog_asks_stands_on_the_page(
    browser: Browser, house: House
) -> None:
    async with window(browser, house, PHONE, java_script=False) as visitor:
        await visitor.enter("/settings/sessions")
        page = visitor.page
        await page.get_by_role("button", name=re.compile(r"End \d+ session")).click()
        await expect(page.get_by_label("Admin token")).to_be_visible()
