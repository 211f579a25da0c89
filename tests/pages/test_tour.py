"""Every page in every look: quiet, readable, nothing sticking out, nothing grave for axe-core."""

import re

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.pages.axe import flaws
from tests.pages.conftest import House, Looks, Visitor, window
from tests.pages.test_pages import BOTH, LOOKS, check, fill, shoot
from tests.web import doors_original
from tests.web.stage import ADMIN_TOKEN, until
from tests.web.test_doors import DOORS

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.browser,
    pytest.mark.timeout(300),
]

PLAIN = {
    *("", "/first-steps", "/signals", "/signals/export", "/signals/replay", "/list", "/list/looks"),
    *("/list/history", "/list/whatif", "/list/screens", "/list/screens/new"),
    *("/positions", "/positions/past", "/destinations", "/attention", "/activity", "/doctor"),
    *("/settings", "/settings/sources", "/settings/tokens", "/settings/channels"),
    *("/settings/files", "/settings/sessions", "/settings/environment"),
}
OF_ONE = {
    *("/signals/{id}", "/positions/{id}", "/destinations/{id}", "/list/screens/{id}"),
    *("/batches/{id}", "/settings/sources/{name}", "/settings/channels/{id}"),
}
REJECTED = "/api/signals?status=rejected&limit=1"
ELSEWHERE = {"/login", "/attention/bulk", "/settings/jobs/{id}"}
"""Visited by the tests of signing in, of attention, and of imports."""


async def test_the_tour_leaves_no_page_out() -> None:
    pages = {
        path.removeprefix("/admin")
        for method, path in DOORS.keys() - doors_original.DOORS.keys()
        if method == "GET" and re.match(r"/admin(/(?!partials)|$)", path)
    }
    assert pages == PLAIN | OF_ONE | ELSEWHERE


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pages(house: House) -> list[str]:
    """Every page, and one of each kind of thing."""
    await fill(house)
    relay = house.relay

    async def is_there() -> bool:
        open_ones = await relay.read("/api/positions?state=open&limit=1")
        return bool(open_ones["items"] and (await relay.read(REJECTED))["items"])

    await until(is_there, "a position and a rejected signal")
    (signal,) = (await relay.read(REJECTED))["items"]
    (position,) = (await relay.read("/api/positions?state=open&limit=1"))["items"]
    (destination,) = (await relay.read("/api/destinations"))["items"]
    (screen,) = (await relay.read("/api/screens"))["items"]
    batch = await order(house, "/sell/individual", ticker=position["ticker"])
    channel = await order(
        house, "/api/channels", name="me", kind="webhook", url="https://me.example/hook"
    )
    return [
        *sorted(PLAIN),
        "/attention?severity=warning",
        "/signals?q=aapl+buy&status=rejected",
        f"/list?ticker={position['ticker']}",
        f"/signals/{signal['id']}",
        f"/positions/{position['id']}",
        f"/destinations/{destination['id']}",
        f"/list/screens/{screen['id']}",
        f"/batches/{batch['batch_id']}",
        "/settings/sources/webhook",
        f"/settings/channels/{channel['id']}",
    ]


async def order(house: House, path: str, **given: str) -> dict[str, str]:
    answer = await house.relay.http.post(
        path, json=given, headers={"authorization": f"Bearer {ADMIN_TOKEN}"}
    )
    assert answer.status_code in {201, 202}, answer.text
    return answer.json()


@pytest.mark.parametrize("looks", LOOKS, ids=lambda looks: f"{looks.scheme} {looks.name}")
async def test_every_page_in_every_look(
    browser: Browser,
    house: House,
    looks: Looks,
    pages: list[str],
    request: pytest.FixtureRequest,
) -> None:
    if looks not in BOTH and not request.config.getoption("--long"):
        pytest.skip("takes long: --long")
    folder: str | None = request.config.getoption("--shots", default=None)
    async with window(browser, house, looks) as visitor:
        await visitor.enter("/settings/sessions")
        wrong: dict[str, object] = {}
        for path in pages:
            await visit(visitor, path)
            await shoot(visitor, looks, re.sub(r"\W+", "-", path).strip("-") or "overview", folder)
            try:
                await check(visitor)
            except AssertionError as error:
                wrong[path] = f"{error} {visitor.complaints}"
                visitor.complaints.clear()
            if found := await flaws(visitor.page):
                wrong[f"axe {path}"] = found
        assert wrong == {}


async def visit(visitor: Visitor, path: str) -> None:
    answer = await visitor.page.goto(f"{visitor.house.url}/admin{path}")
    assert answer is not None
    assert answer.status == 200, path
