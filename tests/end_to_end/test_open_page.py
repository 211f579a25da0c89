"""A page stays open while the relay is killed under it, started again, and goes on."""

import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from launcher.testing import BROWSERS
from tests.end_to_end.stage import ADMIN_TOKEN, World, alert, until, world
from tests.stalls import stalls

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(500)]

PATIENT = 40_000
"""Milliseconds until a browser gives up; where it has to be quick, that is measured."""
LISTEN = """() => {
  window.told = [];
  window.sameDocument = true;
  document.addEventListener("relay:events", (event) => { window.told.push(...event.detail); });
}"""


def posted(stage: World, number: int) -> list[str]:
    """Three alerts, and their ids."""
    return [stage.relay.accepted(alert(t, "buy", number)) for t in stage.tickers[:3]]


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
    with (
        world(tmp_path / "relay") as stage,
        sync_playwright() as playwright,
        stalls() as stood_still,
    ):
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chromium.new_page()
        page.goto(f"{stage.relay.url}/admin")
        page.get_by_label("Admin token").fill(ADMIN_TOKEN)
        page.get_by_role("button", name="Sign in").click()
        lamp = page.locator("#lamp")
        expect(lamp).to_have_text("live", timeout=PATIENT)
        page.evaluate(LISTEN)
        before = settled(stage, posted(stage, 1))
        until(lambda: before <= heard(page), 40, "the events before")

        stage.relay.kill()
        gone = time.monotonic()
        expect(lamp).to_have_text("reconnecting …", timeout=PATIENT)
        assert stood_still.at_work(gone) < 2
        stage.relay.start()
        back = time.monotonic()
        after = posted(stage, 2)  # before the page is connected again, most likely
        posting = time.monotonic() - back
        expect(lamp).to_have_text("live", timeout=PATIENT)
        assert stood_still.at_work(back) < 3 + 1 + posting
        events = settled(stage, after)
        until(lambda: events <= heard(page), 40, "the events after")
        page.locator(f'a[href="/admin/signals/{after[-1]}"]').first.wait_for(timeout=PATIENT)
        assert page.evaluate("window.sameDocument"), "it was not loaded again"
        chromium.close()
