"""A page stays open while the relay is killed under it, started again, and goes on."""

import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from launcher.testing import BROWSERS
from tests.end_to_end.stage import ADMIN_TOKEN, World, alert, until, world

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(180)]

LISTEN = """() => {
  window.told = [];
  window.sameDocument = true;
  document.addEventListener("relay:events", (event) => { window.told.push(...event.detail); });
}"""


def posted(stage: World, number: int) -> list[str]:
    """Three alerts, and their ids."""
    answers = [stage.relay.post(alert(t, "buy", number)) for t in stage.tickers[:3]]
    return [answer.json()["signal_id"] for answer in answers]


def settled(stage: World, signals: list[str]) -> set[int]:
    """The ids of all events of these signals, once they are delivered."""
    found: list[dict[str, Any]] = []

    def all_there() -> bool:
        found[:] = [stage.relay.read(f"/api/signals/{one}") for one in signals]
        return all(one["status"] == "delivered" for one in found)

    until(all_there, what="the deliveries")
    return {event["id"] for one in found for event in one["events"]}


def heard(page: Page) -> set[int]:
    return set(page.evaluate("window.told.map((one) => one.id)"))


def test_a_page_goes_on_when_the_relay_was_killed_under_it(tmp_path: Path) -> None:
    """Reconnecting is said within 2 s, it is live within 3 s of the relay; nothing is missed."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("no Chromium: apt install chromium")
    with world(tmp_path / "relay") as stage, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chromium.new_page()
        page.goto(f"{stage.relay.url}/admin")
        page.get_by_label("Admin token").fill(ADMIN_TOKEN)
        page.get_by_role("button", name="Sign in").click()
        lamp = page.locator("#lamp")
        expect(lamp).to_have_text("live")
        page.evaluate(LISTEN)
        before = settled(stage, posted(stage, 1))
        until(lambda: before <= heard(page), 10, "the events before")

        stage.relay.kill()
        expect(lamp).to_have_text("reconnecting …", timeout=2_000)
        stage.relay.start()
        back = time.monotonic()
        after = posted(stage, 2)  # before the page is connected again, most likely
        expect(lamp).to_have_text("live", timeout=3_000)
        assert time.monotonic() - back < 3 + 1, "posting took some of it"
        events = settled(stage, after)
        until(lambda: events <= heard(page), 10, "the events after")
        page.locator(f'a[href="/admin/signals/{after[-1]}"]').first.wait_for(timeout=5_000)
        assert page.evaluate("window.sameDocument"), "it was not loaded again"
        chromium.close()
