"""The live connection as a browser has it: lost and found again, without it, closed, put away."""

import asyncio
from itertools import pairwise

import pytest
from playwright.async_api import Browser, Page, expect

from tests.pages.conftest import House, Visitor, window
from tests.pages.test_pages import WIDE, check, post
from tests.web.stage import until

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.browser,
    pytest.mark.timeout(90),
]

COUNT = """() => {
  window.reads = [];
  window.told = [];
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (event.detail.elt.hasAttribute("data-live")) {
      window.reads.push([event.detail.elt.id, performance.now()]);
    }
  });
  document.addEventListener("relay:events", (event) => { window.told.push(...event.detail); });
}"""
"""Note every read of a live part, and every event that other modules are told of."""


async def live(page: Page) -> None:
    await expect(page.locator("#lamp")).to_have_text("live")


async def reads(page: Page) -> list[float]:
    """When the first live part of the page was read again, in milliseconds."""
    part = await page.locator("main [data-live]").first.get_attribute("id")
    found: list[tuple[str, float]] = await page.evaluate("window.reads")
    return [at for id, at in found if id == part]


async def told(page: Page) -> list[str]:
    return await page.evaluate("window.told.map((one) => one.event)")


async def heard(page: Page, event: str) -> None:
    async def is_heard() -> bool:
        return event in await told(page)

    await until(is_heard, event)


async def quiet(visitor: Visitor) -> None:
    """Wait until the read that follows a connection is done."""
    await live(visitor.page)
    await visitor.page.wait_for_load_state("networkidle")


async def test_a_server_that_went_and_came_back_with_nothing_missed(
    browser: Browser, house: House
) -> None:
    async with window(browser, house, WIDE) as visitor:
        await visitor.enter()
        page = visitor.page
        await live(page)
        await page.evaluate("window.sameDocument = true")
        closing = asyncio.create_task(house.close())
        try:
            await expect(page.locator("#lamp")).to_have_text("reconnecting …", timeout=2_000)
            await closing
            id = await post(house, "WHILEAWAY")  # by another way in: the server has no door now
            await asyncio.sleep(3)  # so that it waits as long as it will between two tries
        finally:
            await closing
            await house.open()
        await expect(page.locator("#lamp")).to_have_text("live", timeout=3_000)
        await page.locator(f'a[href="/admin/signals/{id}"]').wait_for()
        assert await page.evaluate("window.sameDocument"), "it came by a reload"


async def test_events_lead_to_few_reads_the_first_at_once_and_one_after_the_last(
    browser: Browser, house: House
) -> None:
    async with window(browser, house, WIDE) as visitor:
        await visitor.enter()
        page = visitor.page
        await quiet(visitor)
        await page.evaluate(COUNT)
        ids = [await post(house, "MANY", n=number) for number in range(30)]
        await page.locator(f'a[href="/admin/signals/{ids[-1]}"]').wait_for()
        times = await reads(page)
        assert 1 <= len(times) <= 8
        assert all(after - before >= 990 for before, after in pairwise(times))
        assert (await told(page)).count("signal.received") == 30
        await check(visitor)


async def test_what_concerns_no_part_is_not_read_for(browser: Browser, house: House) -> None:
    async with window(browser, house, WIDE) as visitor:
        await visitor.enter("/positions")
        page = visitor.page
        await quiet(visitor)
        await page.evaluate(COUNT)
        await house.relay.execute("INSERT INTO events (event) VALUES ('token.created')")
        await heard(page, "token.created")
        await asyncio.sleep(0.2)
        assert await reads(page) == []


async def test_a_page_put_away_rests_and_is_read_when_it_is_looked_at(
    browser: Browser, house: House
) -> None:
    async with window(browser, house, WIDE) as visitor:
        await visitor.enter()
        page = visitor.page
        await quiet(visitor)
        await page.evaluate(COUNT)
        hide = """(hidden) => {
          Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
          document.dispatchEvent(new Event("visibilitychange"));
        }"""
        await page.evaluate(hide, True)
        id = await post(house, "HIDDEN")
        await heard(page, "signal.rejected")
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
        await visitor.enter()
        page = visitor.page
        await quiet(visitor)
        await page.locator("h2", has_text="Latest signals").hover()
        await page.mouse.down()
        async with page.expect_response("**/partials/overview"):
            second = await post(house, "PRESSED", n=2)
        assert await page.locator(f'a[href="/admin/signals/{second}"]').count() == 0
        assert await page.locator(f'a[href="/admin/signals/{first}"]').count() == 1
        await page.mouse.up()
        await page.locator(f'a[href="/admin/signals/{second}"]').wait_for(timeout=4_000)


async def test_where_no_socket_can_be_had_the_page_is_read_every_few_seconds(
    browser: Browser, house: House
) -> None:
    async with window(browser, house, WIDE) as visitor:
        page = visitor.page
        await page.route_web_socket("**/ws/live", lambda one: one.close(code=1013))
        await visitor.enter()
        await expect(page.locator("#lamp")).to_have_text("reading every 5 s", timeout=10_000)
        id = await post(house, "WITHOUT")
        await page.locator(f'a[href="/admin/signals/{id}"]').wait_for()
        await check(visitor)


async def test_who_is_signed_out_is_led_to_the_door_and_back(
    browser: Browser, house: House
) -> None:
    """In one window; the page in the other one follows at once."""
    async with window(browser, house, WIDE) as visitor:
        await visitor.enter()
        other = await visitor.page.context.new_page()
        await other.goto(f"{house.url}/admin/positions")
        await live(other)
        await visitor.page.get_by_role("button", name="Sign out").click()
        await other.wait_for_url("**/admin/login?to=%2Fadmin%2Fpositions", timeout=5_000)
        assert visitor.complaints == []
