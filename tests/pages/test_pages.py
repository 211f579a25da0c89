"""The admin pages in a real browser: alive, quiet, readable, usable by keyboard and on a phone."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.pages.conftest import House, Looks, Visitor, window
from tests.pages.measures import FOCUSED, TOO_FAINT, TOO_WIDE
from tests.pages.noting import charted, noting, quiet, signing_out
from tests.web.calm import alerts_at_rest
from tests.web.stage import until

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.browser,
    pytest.mark.timeout(240),
]

WIDE = Looks("wide", "light", 1440, 900)
PHONE = Looks("phone", "light", 390, 844)
LOOKS = [
    WIDE,
    PHONE,
    Looks("wide", "dark", 1440, 900),
    Looks("phone", "dark", 390, 844),
]
BOTH = (LOOKS[0], LOOKS[3])
"""Both themes, both widths."""


async def check(visitor: Visitor) -> None:
    """Nothing complained, nothing sticks out, everything can be read."""
    await visitor.page.wait_for_load_state()  # before it has its styles, a page has other colours
    assert visitor.complaints == []
    assert await visitor.page.evaluate(TOO_WIDE) <= 0
    assert await visitor.page.evaluate(TOO_FAINT) == []


async def shoot(visitor: Visitor, looks: Looks, name: str, folder: str | None) -> None:
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  a moment, on request
        path = Path(folder) / f"{name}-{looks.scheme}-{looks.name}.png"
        await visitor.page.screenshot(path=path, full_page=True)


async def post(house: House, ticker: str, action: str = "buy", **more: object) -> str:
    return await house.post({"ticker": f"NASDAQ:{ticker}", "action": action} | more)


async def fill(house: House) -> None:
    """Signals of every fate, so that there is something to look at; each has met its fate."""
    tickers = [listing.ticker for listing in house.relay.finviz.market]
    for number, ticker in enumerate(tickers[:4]):
        await post(house, ticker, price=f"{187.12 + number}", look=house.port)
    await post(house, tickers[0], "sell", sentiment="flat", price="190.01")
    await post(house, tickers[20], price="12.5")
    await post(house, "GHOST", price="1.05")
    await post(house, "NOBODY", "sell")
    await post(house, "AAPL", "up")
    await post(house, tickers[1], sent="2020-01-02T00:00:00Z")
    await alerts_at_rest(house.relay)


@pytest.mark.parametrize("looks", LOOKS, ids=lambda looks: f"{looks.scheme} {looks.name}")
async def test_a_visit_from_signing_in_to_signing_out(
    browser: Browser, house: House, looks: Looks, request: pytest.FixtureRequest
) -> None:
    folder: str | None = request.config.getoption("--shots", default=None)
    await house.relay.execute("DELETE FROM dedupe_keys")
    await fill(house)
    ticker = house.relay.finviz.market[8].ticker
    async with window(browser, house, looks) as visitor:
        page = visitor.page
        await noting(page)
        await page.goto(f"{house.url}/admin")
        await check(visitor)
        await shoot(visitor, looks, "login", folder)
        await visitor.sign_in()
        await page.evaluate("window.sameDocument = true")
        id = await post(house, ticker, price="99.5", looks=f"{looks.scheme} {looks.name}")
        row = page.locator(f'a[href="/admin/signals/{id}"]')
        await row.wait_for()
        assert await page.evaluate("window.sameDocument"), "it came by a reload"
        await page.locator("tr", has=row).get_by_text("delivered").wait_for()
        assert await page.locator("#lamp").inner_text() == "live"
        await check(visitor)
        await shoot(visitor, looks, "overview", folder)
        await row.click()
        await page.get_by_role("heading", name="Body as received").wait_for()
        assert await page.locator("#body").inner_text() == (
            f'{{"ticker": "NASDAQ:{ticker}", "action": "buy", "price": "99.5", '
            f'"looks": "{looks.scheme} {looks.name}"}}'
        )
        await check(visitor)
        await shoot(visitor, looks, "signal", folder)
        async with signing_out(page, house):
            await page.get_by_role("button", name="Sign out").click()
        await page.goto(f"{house.url}/admin")
        assert page.url == f"{house.url}/admin/login"
        await check(visitor)


async def test_a_wrong_token_is_told_in_place(browser: Browser, house: House) -> None:
    async with window(browser, house, PHONE) as visitor:
        page = visitor.page
        await page.goto(f"{house.url}/admin/login")
        await expect(page.get_by_label("Admin token")).to_be_focused()
        await page.keyboard.type("not the token")
        await page.keyboard.press("Enter")
        await page.get_by_role("alert").wait_for()
        assert await page.get_by_role("alert").inner_text() == "That did not work."
        await page.wait_for_load_state()
        assert await page.evaluate(TOO_FAINT) == []


async def test_where_it_is_unsafe_no_token_is_asked_for(browser: Browser, house: House) -> None:
    async with window(browser, house, PHONE) as visitor:
        page = visitor.page
        await page.goto(f"http://relay.example:{house.port}/admin")
        assert "needs https" in await page.get_by_role("alert").inner_text()
        assert await page.locator("input, button").count() == 0
        assert await page.evaluate(TOO_WIDE) <= 0
        assert await page.evaluate(TOO_FAINT) == []


@pytest.mark.parametrize("looks", [WIDE, PHONE], ids=lambda looks: looks.name)
async def test_the_keyboard_reaches_everything_and_shows_where_it_is(
    browser: Browser, house: House, looks: Looks
) -> None:
    id = await post(house, "KEYS", looks=looks.name)
    async with window(browser, house, looks) as visitor:
        page = visitor.page
        await noting(page)
        await visitor.enter()
        await charted(page)  # a chart that has nothing to draw takes its place away
        await quiet(page, house)
        reached: list[str] = []
        for _ in range(200):
            await page.keyboard.press("Tab")
            found: dict[str, Any] = await page.evaluate(FOCUSED)
            if found["name"].startswith("BODY"):
                break
            assert found["outlined"], found
            assert found["seen"], found
            reached.append(found["name"])
        assert reached[0] == "A #main"
        assert any("Sign out" in name for name in reached)
        assert f"A /admin/signals/{id}" in reached
        assert any(name.startswith("DIV") for name in reached), "what scrolls can be scrolled"


async def test_the_page_stays_alive_under_the_keyboard(browser: Browser, house: House) -> None:
    """New rows come in while a link has the focus, and it keeps it."""
    first = await post(house, "FOCUS", n=1)
    async with window(browser, house, WIDE) as visitor:
        await visitor.enter()
        page = visitor.page
        await page.locator(f'a[href="/admin/signals/{first}"]').focus()
        second = await post(house, "FOCUS", n=2)
        await page.locator(f'a[href="/admin/signals/{second}"]').wait_for()
        focused: dict[str, Any] = await page.evaluate(FOCUSED)
        assert focused["name"] == f"A /admin/signals/{first}"
        await check(visitor)


async def test_a_click_that_takes_its_time_arrives(browser: Browser, house: House) -> None:
    """The row under a pressed button is not swapped away."""
    id = await post(house, "CLICK")
    async with window(browser, house, WIDE) as visitor:
        page = visitor.page
        await noting(page)
        await visitor.enter()
        await charted(page)
        await quiet(page, house)
        await page.locator(f'a[href="/admin/signals/{id}"]').hover()
        await page.mouse.down()
        async with page.expect_response("**/partials/work"):
            await post(house, "ANOTHER")
        await page.mouse.up()
        await page.wait_for_url(f"**/admin/signals/{id}")


async def test_without_scripts_everything_is_there_and_nothing_claims_to_be_live(
    browser: Browser, house: House
) -> None:
    id = await post(house, "PLAIN")
    await house.relay.settled(id)
    async with window(browser, house, PHONE, java_script=False) as visitor:
        await visitor.sign_in()
        assert await visitor.page.locator("#lamp").inner_text() == ""
        await visitor.page.locator(f'a[href="/admin/signals/{id}"]').click()
        await visitor.page.get_by_role("heading", name="Its life").wait_for()


async def test_the_lamp_says_when_the_server_is_gone_and_back(
    browser: Browser, house: House
) -> None:
    await house.relay.settled(await post(house, "LAMP"))
    async with window(browser, house, WIDE) as visitor:
        await visitor.enter()
        lamp = visitor.page.locator("#lamp")
        await lamp.get_by_text("live", exact=True).wait_for()
        closing = asyncio.create_task(house.close())
        try:
            await lamp.get_by_text("reconnecting").wait_for()
            assert await visitor.page.evaluate(TOO_FAINT) == []
            assert await visitor.page.locator("tbody tr").count() > 0, "what was known stays"
        finally:
            await closing
            await house.open()
        await lamp.get_by_text("live", exact=True).wait_for()


async def test_a_session_that_ended_leads_to_the_door(browser: Browser, house: House) -> None:
    async with window(browser, house, WIDE) as visitor:
        await visitor.enter()
        await house.relay.execute("DELETE FROM sessions")
        await visitor.page.wait_for_url("**/admin/login")


PAYLOADS = [
    "<img src=x onerror=pwn()>",
    "<script>pwn()</script>",
    '"><svg onload=pwn()>',
    "</pre><script src=/webhook/in></script>",
    "'-pwn()-'",
    "<iframe srcdoc='<script>parent.pwn()</script>'>",
    "{{ 7*7 }}{% raw %}",
    "<a href=javascript:pwn() autofocus onfocus=pwn()>x</a>",
]


async def test_nothing_an_outsider_wrote_runs(browser: Browser, house: House) -> None:
    """A price, a field, a name, an exchange, a ticker, and what the destination answers."""
    written = [(payload, await write(house, payload)) for payload in PAYLOADS]
    async with window(browser, house, WIDE) as visitor:
        page = visitor.page
        await page.add_init_script("window.pwned = 0; window.pwn = () => { window.pwned += 1; };")
        await visitor.enter()
        await check_inert(visitor, "/admin")
        for payload, (id, invalid) in written:
            await check_inert(visitor, f"/admin/signals/{invalid}")
            await check_inert(visitor, f"/admin/signals/{id}")
            text = await page.locator("main").inner_text()
            assert text.count(payload) >= 3, "it is shown as the text it is"
        await check(visitor)


async def write(house: House, payload: str) -> tuple[str, str]:
    """A delivered and an invalid signal with a payload wherever one can be put."""
    listed = house.relay.finviz.market[9].ticker
    house.relay.destination.answer = payload.encode()
    try:
        more = {"price": payload, payload: payload, "id": payload, "exchange": payload}
        id = await post(house, listed, **more)
        assert (await house.relay.settled(id))["status"] == "delivered"
    finally:
        house.relay.destination.answer = b"{}"
    return id, await post(house, payload)


async def check_inert(visitor: Visitor, path: str) -> None:
    page = visitor.page
    await page.goto(f"{visitor.house.url}{path}")
    assert await page.evaluate("window.pwned") == 0
    assert await page.locator("main :is(img, svg, script, iframe, [onfocus])").count() == 0
    assert visitor.complaints == []


async def test_a_token_in_a_body_is_masked_on_its_page(browser: Browser, house: House) -> None:
    id = await post(house, "MASKED", token="password-of-the-destination")
    async with window(browser, house, WIDE) as visitor:
        await visitor.enter(f"/signals/{id}")
        text = await visitor.page.locator("main").inner_text()
        assert "password-of-the-destination" not in text
        assert "•••" in text


async def test_the_list_moves_on_the_page(browser: Browser, house: House) -> None:
    async with window(browser, house, PHONE) as visitor:
        await visitor.enter()
        page = visitor.page
        first = house.relay.finviz.market[0].ticker
        assert first in await page.locator(".ranks li").first.inner_text()

        async def is_up() -> bool:
            return await page.locator(".ranks li.counts").count() == 12

        await until(is_up, "the twelve that count")
        await check(visitor)
