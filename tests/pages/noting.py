"""What a live page reads again and is told of, noted by itself while it happens."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

from playwright.async_api import Page, expect

from tests.pages.conftest import House
from tests.web.calm import alerts_at_rest
from tests.web.stage import until

NOTE = """
  window.noted = { reads: [], told: [], done: 0, flying: 0, begun: 0 };
  let decided = 0;
  // Ages stay true by a read every 15 s: here only what happens leads to one.
  const again = window.setInterval;
  window.setInterval = (what, ms, ...more) => ms === 15000 ? 0 : again(what, ms, ...more);
  window.addEventListener("reread", () => { decided = performance.now(); }, true);
  const isLive = (event) => event.detail.elt.hasAttribute("data-live");
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (!isLive(event)) return;
    noted.reads.push([event.detail.elt.id, decided]);
    noted.flying += 1;
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    if (!isLive(event)) return;
    noted.flying -= 1;
    noted.done += 1;
  });
  document.addEventListener("relay:events", (event) => { noted.told.push(...event.detail); });
"""
"""For a page before it is opened. A read counts from when the page decided on it."""

AT_REST = """async () => {
  const before = noted.reads.length;
  await new Promise((done) => { setTimeout(done, 1001); });
  return noted.flying === 0 && noted.reads.length === before
    && noted.done >= document.querySelectorAll("[data-live]").length;
}"""
"""A read that is due comes within a second, and so before this says yes."""


STANDS = """() => ({
  ...noted, parts: document.querySelectorAll("[data-live]").length,
  lamp: document.getElementById("lamp").textContent, hidden: document.hidden
})"""
"""What a page that does not come to rest has to say for itself."""


async def noting(page: Page) -> None:
    await page.add_init_script(NOTE)


async def live(page: Page) -> None:
    await expect(page.locator("#lamp")).to_have_text("live")


async def told(page: Page, event: str) -> list[str | None]:
    """Of which signals the page was told this."""
    given = "event => noted.told.filter((one) => one.event === event).map((one) => one.signal_id)"
    return await page.evaluate(given, event)


async def heard(page: Page, event: str, *signals: str) -> None:
    """Until it was told this, of each of these."""

    async def is_heard() -> bool:
        found = await told(page, event)
        return set(signals) <= set(found) if signals else bool(found)

    await until(is_heard, f"news of {event}")


async def reads(page: Page) -> list[float]:
    """When the first live part of the page was read again, in milliseconds."""
    part = await page.locator("main [data-live]").first.get_attribute("id")
    found: list[tuple[str, float]] = await page.evaluate("noted.reads")
    return [at for id, at in found if id == part]


async def seconds(page: Page) -> float:
    """Since it was quiet."""
    return await page.evaluate("(performance.now() - noted.begun) / 1000")


CHARTED = """() => [...document.querySelectorAll("figure.chart")]
  .every((one) => one.querySelector("canvas, .plot[hidden]"))"""


async def charted(page: Page) -> None:
    """Until every chart is drawn, or says why it is not: nothing moves any more."""

    async def are_charted() -> bool:
        return await page.evaluate(CHARTED)

    await until(are_charted, "every chart")


async def quiet(page: Page, house: House) -> None:
    """Until it has heard of everything that was before, and read it; from then on all is noted."""
    await live(page)
    await alerts_at_rest(house.relay)
    try:
        await until(partial(_is_quiet, page, house), "a quiet page")
    except AssertionError as error:
        error.add_note(str(await page.evaluate(STANDS)))
        raise
    await page.evaluate("noted.reads = []; noted.told = []; noted.begun = performance.now();")


async def _is_quiet(page: Page, house: House) -> bool:
    """One that fell behind is told to read, not what happened: so it is told something again."""
    (last,) = await house.relay.rows("INSERT INTO events (event) VALUES ('quiet.now') RETURNING id")
    told_of = "id => noted.told.some((one) => String(one.id) === id)"

    async def is_told() -> bool:
        return await page.evaluate(told_of, str(last.id))

    try:
        await until(is_told, "news of now", seconds=10)
    except AssertionError:
        return False
    return await page.evaluate(AT_REST)


@asynccontextmanager
async def signing_out(page: Page, house: House) -> AsyncGenerator[None]:
    """A page whose session ends is left by its form; one that reads on meanwhile is refused."""
    await quiet(page, house)
    await page.route("**/admin/partials/**", lambda _route: None)
    yield
    await page.wait_for_url("**/admin/login**")
    await page.get_by_label("Admin token").wait_for()
    await page.unroute("**/admin/partials/**")
