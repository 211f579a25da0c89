"""Destinations and attention in a browser: an address that waits, a test, a word on an item."""

import re

import pytest
from playwright.async_api import Browser, expect

from tests.pages.conftest import House, Looks, window
from tests.pages.test_pages import BOTH, check, shoot

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.browser,
    pytest.mark.timeout(240),
]

"""Wide and light, narrow and dark."""

RAISED = """
    INSERT INTO attention (cause, key, severity, text, count, first_at, last_at, ticker)
    SELECT cause, 'of a browser ' || number, severity, 'What happened to N' || number, 2, now(),
           now(), 'N' || number
    FROM (VALUES ('sell_undelivered', 'urgent'), ('buy_dead', 'warning')) AS of (cause, severity)
    CROSS JOIN generate_series(1, 2) AS number
"""


@pytest.mark.parametrize("looks", BOTH, ids=lambda looks: f"{looks.scheme} {looks.name}")
async def test_a_destination_is_tested_and_its_address_waits(
    browser: Browser, house: House, looks: Looks, request: pytest.FixtureRequest
) -> None:
    folder: str | None = request.config.getoption("--shots", default=None)
    await house.relay.execute("UPDATE destinations SET tested_at = NULL")
    async with window(browser, house, looks) as visitor:
        await visitor.enter("/destinations")
        page = visitor.page
        await check(visitor)
        await shoot(visitor, looks, "destinations", folder)
        await page.get_by_role("link", name="main", exact=True).click()
        await page.get_by_text("Send a test…").click()
        await page.get_by_role("button", name="Send a test to main").click()
        await expect(page.get_by_text("Test sent. It was taken with 200")).to_be_visible()
        await page.get_by_text("Change its address or headers…").click()
        await page.get_by_label("New address").fill("https://new.example/a-secret")
        await check(visitor)
        await page.get_by_role("button", name="Enter the new address or headers").click()
        waits = page.get_by_role("button", name="Cancel the new address")
        await expect(waits).to_be_visible()
        await expect(page.get_by_text("https://new.example/•••")).to_be_visible()
        await page.get_by_text("Change its settings…").click()
        await check(visitor)
        await shoot(visitor, looks, "destination", folder)
        await waits.click()
        await expect(page.get_by_text("The new address was cancelled")).to_be_visible()
        await expect(waits).to_have_count(0)
        await check(visitor)


@pytest.mark.parametrize("looks", BOTH, ids=lambda looks: f"{looks.scheme} {looks.name}")
async def test_what_wants_a_look_is_resolved_in_one_click(
    browser: Browser, house: House, looks: Looks, request: pytest.FixtureRequest
) -> None:
    folder: str | None = request.config.getoption("--shots", default=None)
    await house.relay.execute("DELETE FROM attention")
    async with window(browser, house, looks) as visitor:
        await visitor.enter("/attention")
        page = visitor.page
        await expect(page.get_by_text("Nothing wants a look.")).to_be_visible()
        await check(visitor)
        await house.relay.execute(RAISED)
        await page.reload()
        first = page.get_by_role("listitem").filter(has_text="What happened to N2").first
        await first.get_by_label("Why it is resolved").fill("sold at the broker")
        await page.get_by_text("Resolve all 2…").first.click()
        async with page.expect_response(lambda one: one.url.endswith("/partials/attention")):
            await house.relay.execute("UPDATE attention SET count = 3")
            await house.relay.execute("INSERT INTO events (event) VALUES ('attention.raised')")
        await expect(page.get_by_text("3 times").first).to_be_visible()
        await expect(page.get_by_role("button", name="Resolve all 2").first).to_be_visible()
        await check(visitor)
        await shoot(visitor, looks, "attention", folder)
        await first.get_by_role("button", name="Resolve").click()
        await expect(page.get_by_text(re.compile("sold at the broker"))).to_be_visible()
        await page.get_by_text("Say something of many deliveries…").click()
        await page.get_by_role("button", name="Show how many").click()
        await expect(page.get_by_text("0 match, 0 would be done.")).to_be_visible()
        await check(visitor)
