"""The overview in a browser: charts drawn, and told in numbers; the pause; the first steps."""

from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.pages.conftest import House, Looks, window
from tests.pages.test_pages import BOTH, PHONE, WIDE, check, fill, post, shoot
from tests.web.operating import create
from tests.web.stage import cloned, relay, until

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.browser,
    pytest.mark.timeout(240),
]

INK = """(canvas) => {
  const copy = new OffscreenCanvas(canvas.width, canvas.height);
  const pen = copy.getContext("2d", { willReadFrequently: true });
  pen.drawImage(canvas, 0, 0);
  const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
  const seen = {};
  for (let place = 0; place < data.length; place += 4) {
    if (data[place + 3] !== 255) continue;
    const color = data.slice(place, place + 3).join(",");
    seen[color] = (seen[color] ?? 0) + 1;
  }
  return seen;
}"""
"""How many pixels of each colour a picture has."""

TOKEN = """(name) => {
  const probe = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name);
  probe.fillRect(0, 0, 1, 1);
  return probe.getImageData(0, 0, 1, 1).data.slice(0, 3).join(",");
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def busy(house: House) -> House:
    await house.relay.execute("DELETE FROM dedupe_keys")
    await fill(house)
    await create(house.relay, name="limited", windows="60/60s,500/3600s")
    return house


async def drawn(page: Page, name: str) -> dict[str, int]:
    """The colours of a chart, once it is drawn."""
    canvas = page.locator(f'figure[data-chart^="/api/charts/{name}"] canvas')
    await canvas.wait_for()
    return await canvas.evaluate(INK)


@pytest.mark.parametrize("looks", BOTH, ids=lambda looks: f"{looks.scheme} {looks.name}")
async def test_the_charts_are_drawn_in_the_colours_of_the_page(
    browser: Browser, busy: House, looks: Looks, request: pytest.FixtureRequest
) -> None:
    folder: str | None = request.config.getoption("--shots", default=None)
    async with window(browser, busy, looks) as visitor:
        await visitor.enter()
        page = visitor.page
        for name in ("signals", "latency", "budget", "list"):
            await drawn(page, name)
        signals = await drawn(page, "signals")
        for tone in ("--good", "--soft", "--warn"):
            assert signals.get(await page.evaluate(TOKEN, tone), 0) > 3, tone
        await check(visitor)
        await shoot(visitor, looks, "overview-charts", folder)


async def test_other_colours_are_painted_at_once(browser: Browser, busy: House) -> None:
    async with window(browser, busy, WIDE) as visitor:
        await visitor.enter()
        page = visitor.page
        await drawn(page, "signals")
        await page.emulate_media(color_scheme="dark")
        dark = await page.evaluate(TOKEN, "--good")

        async def is_dark() -> bool:
            return (await drawn(page, "signals")).get(dark, 0) > 3

        await until(is_dark, "a picture in the other colours")
        await check(visitor)


async def test_the_numbers_are_there_as_a_table_and_by_keyboard(
    browser: Browser, busy: House
) -> None:
    async with window(browser, busy, WIDE) as visitor:
        await visitor.enter()
        page = visitor.page
        figure = page.locator('figure[data-chart^="/api/charts/signals"]')
        await figure.locator("canvas").wait_for()
        plot = figure.locator(".plot")
        await plot.focus()
        await page.keyboard.press("End")
        await expect(figure.locator(".tip")).to_contain_text("delivered: ")
        said = await figure.locator(".tip").inner_text()
        await page.keyboard.press("ArrowLeft")
        await expect(figure.locator(".tip")).not_to_have_text(said)
        await page.keyboard.press("Escape")
        await expect(figure.locator(".tip")).to_be_hidden()
        await figure.get_by_text("As a table").click()
        table = figure.get_by_role("table")
        await expect(table.get_by_role("columnheader")).to_have_text(
            ["Time", "delivered", "on the way", "rejected", "expired or invalid", "not delivered"]
        )
        assert await table.locator("tbody tr").count() == 60
        await check(visitor)


async def test_a_chart_follows_what_happens_and_keeps_its_picture(
    browser: Browser, busy: House
) -> None:
    async with window(browser, busy, WIDE) as visitor:
        await visitor.enter()
        page = visitor.page
        canvas = page.locator('figure[data-chart^="/api/charts/signals"] canvas')
        await canvas.evaluate("(one) => { one.mine = true; }")
        key = page.locator(
            'figure[data-chart^="/api/charts/signals"] .keys li', has_text="rejected"
        )
        before = int(await key.locator("b").inner_text())
        await busy.relay.settled(await post(busy, "FOLLOWED"))
        tell = """document.dispatchEvent(new CustomEvent("relay:events", {
            detail: [{ event: "signal.rejected" }] }))"""
        await page.evaluate(tell)
        sooner = 25_000  # than it is read when nothing happens
        await expect(key.locator("b")).to_have_text(str(before + 1), timeout=sooner)
        assert await canvas.evaluate("(one) => one.mine === true"), "it was built anew"
        assert await page.locator("figure canvas").count() == 4
        await check(visitor)


async def test_buying_is_paused_and_resumed_on_the_page(browser: Browser, busy: House) -> None:
    async with window(browser, busy, WIDE) as visitor:
        await visitor.enter()
        page = visitor.page
        await page.get_by_role("button", name="Pause buying…").click()
        dialog = page.get_by_role("dialog", name="Pause buying")
        await dialog.get_by_label("Reason").fill("the minutes of the Fed")
        await check(visitor)
        await dialog.get_by_role("button", name="Pause buying").click()
        await expect(page.get_by_text("the minutes of the Fed.")).to_be_visible()
        assert page.url == f"{busy.url}/admin"
        assert await page.get_by_role("button", name="Pause buying…").count() == 0
        await page.get_by_role("button", name="Resume buying").click()
        await expect(page.get_by_role("button", name="Pause buying…")).to_be_visible()
        assert page.url == f"{busy.url}/admin"
        await check(visitor)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def new(template: str) -> AsyncGenerator[House]:
    async with cloned(template) as url, relay(url, dest_webhook_url=None) as one:
        house = House(one)
        await house.open()
        yield house
        await house.close()


async def test_first_steps_tick_themselves_and_give_way_to_the_overview(
    browser: Browser, new: House, request: pytest.FixtureRequest
) -> None:
    folder: str | None = request.config.getoption("--shots", default=None)
    async with window(browser, new, PHONE) as visitor:
        await visitor.enter()
        page = visitor.page
        steps = page.locator("#now .first-steps")
        await expect(steps.get_by_role("heading", level=2)).to_have_text("1 of 3 first steps done")
        await expect(page.locator("section.charts")).to_be_hidden()
        await check(visitor)
        await shoot(visitor, PHONE, "first-steps", folder)
        await page.set_viewport_size({"width": WIDE.width, "height": WIDE.height})
        await create(new.relay)
        await expect(steps.get_by_role("heading", level=2)).to_have_text("2 of 3 first steps done")
        await check(visitor)
        await shoot(visitor, WIDE, "first-steps", folder)
        await new.relay.settled(await post(new, "FIRST"))
        await expect(steps).to_have_count(0)
        await expect(page.locator("section.charts")).to_be_visible()
        await page.locator("figure canvas").first.wait_for()
        await check(visitor)
