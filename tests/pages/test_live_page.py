"""The live connection as a browser has it: lost and found again, without it, closed, put away."""

import asyncio
from itertools import pairwise

import pytest
from playwright.async_api import Browser, expect

from tests.pages.conftest import House, window
from tests.pages.noting import heard, live, noting, quiet, reads, seconds, signing_out, told
from tests.pages.test_pages import WIDE, check, post
from tests.web.stage import until

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.browser,
    pytest.mark.timeout(240),
]

WAITS = """
  window.waits = [];
  const later = window.setTimeout;
  window.setTimeout = (what, ms, ...more) => {
    if (what.name === "connect") window.waits.push(ms);
    return later(what, ms, ...more);
  };
"""
"""Note for how long the page means to wait before each try to connect."""


async def test_a_server_that_went_and_came_back_with_nothing_missed(
    browser: Browser, house: House
) -> None:
    async with window(browser, house, WIDE) as visitor:
        page = visitor.page
        await page.add_init_script(WAITS)
        await visitor.enter()
        await live(page)
        await page.evaluate("window.sameDocument = true")
        closing = asyncio.create_task(house.close())
        try:
            await expect(page.locator("#lamp")).to_have_text("reconnecting …")
            await closing
            id = await post(house, "WHILEAWAY")  # by another way in: the server has no door now

            async def waits_long() -> bool:
                """As long as it will between two tries."""
                return len(await page.evaluate("window.waits")) >= 4

            await until(waits_long, "four tries")
        finally:
            await closing
            await house.open()
        await live(page)
        waits: list[float] = await page.evaluate("window.waits")
        assert max(waits) <= 2_000, "however long it was gone, it is back soon after"
        await page.locator(f'a[href="/admin/signals/{id}"]').wait_for()
        assert await page.evaluate("window.sameDocument"), "it came by a reload"


async def test_events_lead_to_few_reads_the_first_at_once_and_one_after_the_last(
    browser: Browser, house: House
) -> None:
    async with window(browser, house, WIDE) as visitor:
        page = visitor.page
        await noting(page)
        await visitor.enter()
        await quiet(page, house)
        ids = [await post(house, "MANY", n=number) for number in range(30)]
        await page.locator(f'a[href="/admin/signals/{ids[-1]}"]').wait_for()
        times = await reads(page)
        slow = await seconds(page)  # 30 alerts in a row are there in less than six, mostly
        assert 1 <= len(times) <= max(8, slow + 2)
        assert all(after - before >= 990 for before, after in pairwise(times))
        await heard(page, "signal.received", *ids)
        assert sorted(map(str, await told(page, "signal.received"))) == sorted(ids), "each once"
        await check(visitor)


async def test_what_concerns_no_part_is_not_read_for(browser: Browser, house: House) -> None:
    async with window(browser, house, WIDE) as visitor:
        page = visitor.page
        await noting(page)
        await visitor.enter("/positions")
        await quiet(page, house)
        await house.relay.execute("INSERT INTO events (event) VALUES ('token.created')")
        await heard(page, "token.created")
        await asyncio.sleep(0.2)
        assert await reads(page) == []


async def test_a_page_put_away_rests_and_is_read_when_it_is_looked_at(
    browser: Browser, house: House
) -> None:
    async with window(browser, house, WIDE) as visitor:
        page = visitor.page
        await noting(page)
        await visitor.enter()
        await quiet(page, house)
        hide = """(hidden) => {
          Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
          document.dispatchEvent(new Event("visibilitychange"));
        }"""
        await page.evaluate(hide, True)
        id = await post(house, "HIDDEN")
        await heard(page, "signal.rejected", id)
        await asyncio.sleep(1.2)
        assert await reads(page) == []
        await page.evaluate(hide, False)
        await page.locator(f'a[href="/admin/signals/{id}"]').wait_for()
        assert len(await reads(page)) == 1


async def test_a_read_that_came_under_a_pressed_button_comes_again(
    browser: Browser, house: House
) -> None:
    first = await post(house, "PRESSED", n=1)
    async with window(browser, house, WIDE) as visitor:
        page = visitor.page
        await noting(page)
        await visitor.enter()
        await quiet(page, house)
        await page.locator("h2", has_text="Latest signals").hover()
        await page.mouse.down()
        async with page.expect_response("**/partials/overview"):
            second = await post(house, "PRESSED", n=2)
        assert await page.locator(f'a[href="/admin/signals/{second}"]').count() == 0
        assert await page.locator(f'a[href="/admin/signals/{first}"]').count() == 1
        await page.mouse.up()
        await page.locator(f'a[href="/admin/signals/{second}"]').wait_for()


async def test_where_no_socket_can_be_had_the_page_is_read_every_few_seconds(
    browser: Browser, house: House
) -> None:
    async with window(browser, house, WIDE) as visitor:
        page = visitor.page
        await page.route_web_socket("**/ws/live", lambda one: one.close(code=1013))
        await visitor.enter()
        await expect(page.locator("#lamp")).to_have_text("reading every 5 s")
        id = await post(house, "WITHOUT")
        await page.locator(f'a[href="/admin/signals/{id}"]').wait_for()
        await check(visitor)


async def test_who_is_signed_out_is_led_to_the_door_and_back(
    browser: Browser, house: House
) -> None:
    """In one window; the page in the other one follows at once."""
    async with window(browser, house, WIDE) as visitor:
        await noting(visitor.page)
        await visitor.enter()
        other = await visitor.page.context.new_page()
        await noting(other)  # nor does it read by itself what would tell it so
        await other.goto(f"{house.url}/admin/positions")
        await live(other)
        async with signing_out(visitor.page, house):
            await visitor.page.get_by_role("button", name="Sign out").click()
        await other.wait_for_url("**/admin/login?to=%2Fadmin%2Fpositions")
        assert visitor.complaints == []
