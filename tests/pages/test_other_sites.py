"""H9, H10: pages of other sites, in the browser of a signed-in operator, do and learn nothing."""

from typing import Any

import pytest
from playwright.async_api import Browser

from tests.pages.conftest import House, Visitor, window
from tests.pages.elsewhere import another_site
from tests.pages.test_pages import WIDE
from tests.web.stage import until

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.browser,
    pytest.mark.timeout(240),
]

PATHS = {
    "/sell/all": {"confirm": "SELL ALL", "reason": "x"},
    "/sell/individual": {"ticker": "AAPL"},
    "/api/buying/pause": {"reason": "x"},
    "/finviz/config": {"top_n": "3"},
    "/api/tokens": {"name": "thief", "scopes": "admin"},
    "/admin/sell": {"ticker": "AAPL", "tickers": "AAPL"},
    "/admin/buying/pause": {"reason": "x"},
    "/admin/settings/tokens": {"name": "thief", "scopes": "admin"},
    "/admin/settings/sessions/end-all": {"x": "y"},
    "/admin/logout": {"x": "y"},
}
READS = ["/admin", "/admin/signals", "/api/signals", "/api/tokens", "/status", "/health"]
KEPT = """
    SELECT (SELECT count(*) FROM events WHERE event <> 'access.refused' AND actor IS NOT NULL),
           (SELECT count(*) FROM signals), (SELECT count(*) FROM sessions),
           (SELECT count(*) FROM tokens), (SELECT max(version) FROM screens),
           (SELECT max(version) FROM gate_versions)
"""


async def quiet(house: House) -> list[Any]:
    """What there is, once a first list and a session are."""
    return [tuple(row) for row in await house.relay.rows(KEPT)]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_page_of_another_origin_has_no_effect_and_reads_nothing(
    browser: Browser, house: House, host: str
) -> None:
    """Another port is the same site: there the browser adds the cookie to everything."""
    async with another_site() as site, window(browser, house, WIDE) as visitor:
        await visitor.enter("/settings/sessions")
        site.attack(house.url, PATHS, READS)
        before = await quiet(house)
        page = visitor.page
        await page.goto(f"http://{host}:{site.port}/attack")
        await page.wait_for_function("window.done", timeout=120_000)
        assert await page.evaluate("window.readable") == []
        assert await page.evaluate("window.opened") == []
        assert await quiet(house) == before
        await page.goto(f"{house.url}/admin")
        assert page.url == f"{house.url}/admin", "the operator is signed in still"


async def test_the_attacks_reach_a_site_that_lets_them(browser: Browser, house: House) -> None:
    """Against their own origin they work: what is tested above is the relay, not their spelling."""
    async with another_site() as site, window(browser, house, WIDE) as visitor:
        paths = {"/sell/all": {"confirm": "x"}}
        site.attack(f"http://127.0.0.1:{site.port}", paths, ["/health"], patience=30)
        site.pages["/sell/all"] = ("done", {})
        await visitor.page.goto(f"http://127.0.0.1:{site.port}/attack")
        await visitor.page.wait_for_function("window.done", timeout=120_000)
        readable: list[str] = await visitor.page.evaluate("window.readable")
        assert {one.partition(" ")[0] for one in readable} >= {"fetch", "xhr", "form"}
        assert len(site.origins) >= 8


async def opened_from(visitor: Visitor, opener: str) -> tuple[object, object]:
    """What a page that opens ours has of it, and ours of its opener."""
    page = visitor.page
    await page.goto(opener)
    async with page.context.expect_page() as opening:
        await page.evaluate("(to) => { window.other = window.open(to); }", visitor.house.url)
    ours = await opening.value
    await ours.wait_for_url("**/admin**")

    async def is_cut_off() -> bool:
        return await page.evaluate("window.other.closed")

    await until(is_cut_off, "the opener to lose what it opened")
    return await ours.evaluate("window.opener"), await page.evaluate("window.other.length")


async def test_a_window_that_another_site_opened_is_none_of_its(
    browser: Browser, house: House
) -> None:
    """Cross-Origin-Opener-Policy: neither has a hold of the other."""
    async with another_site() as site, window(browser, house, WIDE) as visitor:
        await visitor.enter("/settings/sessions")
        opener, frames = await opened_from(visitor, f"http://127.0.0.1:{site.port}/")
        assert opener is None
        assert frames == 0


FORM = "<form method=post action=/take><button>go</button></form>"


@pytest.mark.parametrize(("policy", "ours"), [("no-referrer", False), ("same-origin", True)])
async def test_why_our_policy_of_referrers_is_not_the_strictest(
    browser: Browser, house: House, policy: str, *, ours: bool
) -> None:
    """H24: under `no-referrer` our own forms would come with `Origin: null`, as foreign ones."""
    async with another_site() as site, window(browser, house, WIDE) as visitor:
        site.pages["/form"] = (FORM, {"referrer-policy": policy})
        await visitor.page.goto(f"http://127.0.0.1:{site.port}/form")
        await visitor.page.get_by_role("button").click()
        await visitor.page.wait_for_url("**/take")
        assert site.origins == [f"http://127.0.0.1:{site.port}" if ours else "null"]
