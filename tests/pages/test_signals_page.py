"""The search in a real browser: it answers while one types, and nothing moves while one reads."""

import asyncio
import re

import pytest
from playwright.async_api import Browser, Page, Route, expect

from tests.pages.conftest import House, Looks, window
from tests.pages.noting import heard, noting, quiet
from tests.pages.test_pages import BOTH, PHONE, WIDE, check, fill, post, shoot

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.browser,
    pytest.mark.timeout(240),
]


OLDER = re.compile(r"[?&]q=gh(&|$)")  # a request for the first two letters


async def top_of(page: Page, id: str) -> float:
    box = await page.locator(f"#signal-{id}").bounding_box()
    assert box
    return box["y"]


@pytest.mark.parametrize("looks", BOTH, ids=lambda looks: looks.name)
async def test_it_answers_while_one_types(
    browser: Browser, house: House, looks: Looks, request: pytest.FixtureRequest
) -> None:
    folder: str | None = request.config.getoption("--shots", default=None)
    await house.relay.execute("DELETE FROM dedupe_keys")
    await fill(house)
    await house.relay.settled(await post(house, "GHOST", note=f"{looks.scheme} {looks.name}"))
    async with window(browser, house, looks) as visitor:
        await visitor.enter("/signals")
        page = visitor.page
        box = page.get_by_label("Search", exact=True)
        await box.press_sequentially("ghost rej")
        await expect(page.get_by_text("“rej” in the body")).to_be_visible()
        await box.press_sequentially("ected")
        rows = page.locator(".signals tbody tr")
        await expect(rows.first.get_by_text("GHOST")).to_be_visible()
        await expect(page).to_have_url(re.compile(r"\?q=ghost\+rejected$"))
        assert await box.evaluate("one => one === document.activeElement")
        await page.go_back()
        assert "/admin/signals" not in page.url, "each letter is not a step of the history"
        await page.go_forward()
        assert await box.input_value() == "ghost rejected"
        button = rows.first.locator(".unfold")
        await box.press("End")
        await button.click()
        await expect(page.get_by_role("link", name="Its whole life")).to_be_visible()
        assert await button.get_attribute("aria-expanded") == "true"
        await check(visitor)
        await shoot(visitor, looks, "signals", folder)
        await button.click()
        await expect(page.locator(".unfolded")).to_have_count(0)
        assert await button.get_attribute("aria-expanded") == "false"


async def test_a_newer_letter_calls_the_older_request_off(browser: Browser, house: House) -> None:
    async with window(browser, house, WIDE) as visitor:
        await visitor.enter("/signals")
        page = visitor.page
        newer_came = asyncio.Event()

        async def dawdle(route: Route) -> None:
            """Answer for the older letters only after the newer ones are answered."""
            if OLDER.search(route.request.url):
                await newer_came.wait()
            await route.continue_()

        await page.route("**/admin/partials/signals*", dawdle)
        box = page.get_by_label("Search", exact=True)
        async with page.expect_request(OLDER) as older:
            await box.press_sequentially("gh")
        asked = await older.value
        async with page.expect_event("requestfailed", lambda one: one == asked):
            await box.press_sequentially("ost")
        await expect(page).to_have_url(re.compile(r"\?q=ghost$"))
        newer_came.set()
        await check(visitor)


async def test_filters_are_chosen_and_left_out_again(browser: Browser, house: House) -> None:
    await house.relay.settled(await post(house, "GHOST", n="filters"))
    async with window(browser, house, PHONE) as visitor:
        await visitor.enter("/signals?q=ghost+rejected")
        page = visitor.page
        await page.get_by_text("More filters").click()
        await page.get_by_label("Side").select_option("sell")
        await expect(page).to_have_url(re.compile("side=sell"))
        await expect(page.get_by_text("No signal is like this.")).to_be_visible()
        await page.get_by_role("link", name="rejected").click()
        await expect(page).to_have_url(re.compile(r"q=ghost&side=sell$"))
        await check(visitor)


async def test_the_top_is_live_and_stands_still_while_one_reads(
    browser: Browser, house: House
) -> None:
    for number in range(3):
        await house.relay.settled(await post(house, "STILL", n=number))
    async with window(browser, house, WIDE) as visitor:
        page = visitor.page
        await noting(page)
        await visitor.enter("/signals?q=STILL")
        await quiet(page, house)
        first = await post(house, "STILL", n=10)
        await expect(page.locator(f"#signal-{first}")).to_be_visible()
        await heard(page, "signal.received", first)  # who reads already is told of it as new
        await page.locator(f"#unfold-{first}").click()
        await expect(page.locator(".unfolded")).to_have_count(1)
        before = await top_of(page, first)
        second = await post(house, "STILL", n=11)
        news = page.get_by_role("button", name=re.compile("1 new signal: go to the top"))
        await expect(news).to_be_visible()
        assert await page.locator(f"#signal-{second}").count() == 0
        assert await page.locator(".unfolded").count() == 1
        assert await top_of(page, first) == before
        await check(visitor)
        await news.click()
        await expect(page.locator(f"#signal-{second}")).to_be_visible()
        await expect(news).to_have_count(0)
        await check(visitor)


async def test_an_export_is_saved_or_cancelled(browser: Browser, house: House) -> None:
    for number in range(3):
        await house.relay.settled(await post(house, "EXPORT", n=number))
    async with window(browser, house, PHONE) as visitor:
        await visitor.enter("/signals?q=EXPORT")
        page = visitor.page
        await page.get_by_role("link", name="Export these…").click()
        await expect(page.get_by_text("3 signals, each with its events")).to_be_visible()
        for name, kind in (("Download JSON lines", "jsonl"), ("Download CSV", "csv")):
            async with page.expect_download() as coming:
                await page.get_by_role("link", name=name).click()
            assert (await coming.value).suggested_filename.endswith(f".{kind}")
            await expect(page.get_by_text("Done: 3 signals")).to_be_visible()
        await page.route("**/api/signals/export**", lambda _route: None)
        await page.get_by_role("link", name="Download CSV").click()
        await page.get_by_role("button", name="Cancel").click()
        await expect(
            page.get_by_text("Cancelled after 0 signals; nothing was saved.")
        ).to_be_visible()
        await check(visitor)


async def test_a_signal_is_replayed_from_its_page_with_and_without_scripts(
    browser: Browser, house: House
) -> None:
    for scripts in (True, False):
        id = await post(house, "AGAIN", "sell", n=f"{scripts}")
        await house.relay.settled(id)
        async with window(browser, house, PHONE, java_script=scripts) as visitor:
            await visitor.enter(f"/signals/{id}")
            page = visitor.page
            await page.get_by_text("Replay it…").click()
            await page.locator("#replay-reason").fill("bought elsewhere")
            await page.get_by_role("button", name="Replay it now").click()
            await expect(page.get_by_text("Replayed as this new signal: rejected")).to_be_visible()
            if scripts:
                await check(visitor)
