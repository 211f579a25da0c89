"""A browser, and the relay served to it on a real socket, between the made-up world."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio
import uvicorn
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from launcher.sockets import WEBSOCKETS
from tests.ports import free_port
from tests.web.stage import ADMIN_TOKEN, Relay, cloned, relay, until

CHROMIUM = Path("/usr/bin/chromium")
PATIENCE_MS = 40_000
"""Of whatever waits for a page: how quick something has to be is said where that is meant."""

expect.set_options(timeout=PATIENCE_MS)
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP relay.example 127.0.0.1",
)
# What htmx writes when a newer letter of a search calls the request of an older one off, as
# hx-sync="replace" asks for. A request that fails or runs out of time has a line of its own.
CALLED_OFF = ("htmx:afterRequest, ", "htmx:sendAbort, ")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--shots", metavar="DIR", help="write screenshots of the pages here")


class Server(uvicorn.Server):
    """Lives in a test's own loop: signals are pytest's business."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@dataclass(frozen=True, slots=True)
class Looks:
    """How wide a window is, and whether its owner prefers dark."""

    name: str
    scheme: str
    width: int
    height: int


@dataclass(slots=True)
class House:
    """A relay behind an address; ``close`` and ``open`` are a server that went and came."""

    relay: Relay
    port: int = field(default_factory=free_port)
    _server: Server | None = None
    _serving: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def open(self) -> None:
        config = uvicorn.Config(
            self.relay.app,
            port=self.port,
            lifespan="off",
            **WEBSOCKETS,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        self._server = server = Server(config)
        self._serving = asyncio.create_task(server.serve())

        async def started() -> bool:
            return server.started

        await until(started, "a listening server")

    async def post(self, alert: Mapping[str, object]) -> str:
        """As a sender does, who comes again when the relay is not ready at this moment."""
        answers: list[httpx.Response] = []

        async def is_taken() -> bool:
            answers.append(await self.relay.post(alert))
            return answers[-1].status_code != 503

        await until(is_taken, "an answer to an alert")
        fine = {202, 422} if len(answers) == 1 else {200, 202, 422}  # 200: it was taken after all
        assert answers[-1].status_code in fine, answers[-1].text
        return answers[-1].json()["signal_id"]

    async def close(self) -> None:
        assert self._server is not None
        assert self._serving is not None
        self._server.should_exit = True
        await self._serving


@dataclass(slots=True)
class Visitor:
    """A page of a browser, and everything it complained about."""

    page: Page
    house: House
    complaints: list[str] = field(default_factory=list[str])

    def watch(self) -> None:
        page, host = self.page, urlsplit(self.house.url).netloc
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on(
            "console",
            lambda one: (
                self.complaints.append(f"console {one.type}: {one.text}")
                if one.type in {"error", "warning"} and not one.text.startswith(CALLED_OFF)
                else None
            ),
        )
        page.on(
            "request",
            lambda one: (
                self.complaints.append(f"elsewhere: {one.url}")
                if urlsplit(one.url).netloc != host
                else None
            ),
        )

    async def put_on(self, looks: Looks) -> None:
        await self.page.set_viewport_size({"width": looks.width, "height": looks.height})
        await self.page.emulate_media(
            color_scheme="dark" if looks.scheme == "dark" else "light", reduced_motion="reduce"
        )

    async def enter(self, path: str = "") -> None:
        """Be signed in, and at this page of the admin's."""
        answer = await self.page.context.request.post(
            f"{self.house.url}/admin/login", form={"token": ADMIN_TOKEN}, max_redirects=0
        )
        assert answer.status == 303, answer.status
        await self.page.goto(f"{self.house.url}/admin{path}")

    async def sign_in(self) -> None:
        """Sign in as people do."""
        await self.page.goto(f"{self.house.url}/admin")
        await self.page.get_by_label("Admin token").fill(ADMIN_TOKEN)
        await self.page.get_by_role("button", name="Sign in").click()
        await self.page.get_by_role("heading", name="Latest signals").wait_for()

    async def leaves_nothing(self) -> bool:
        """Take away what a window may have left for the next: whether that is all."""
        context = self.page.context
        if self.complaints or context.pages != [self.page]:
            return False
        storage = await context.new_cdp_session(self.page)
        everything = {"origin": self.house.url, "storageTypes": "all"}
        await storage.send("Storage.clearDataForOrigin", everything)  # pyright: ignore[reportUnknownMemberType]
        await context.clear_cookies()
        await context.clear_permissions()
        return await self._closed()

    async def _closed(self) -> bool:
        """Now and then Chromium never says that a page is closed; its context always closes."""
        try:
            async with asyncio.timeout(5):
                await self.page.close()
        except TimeoutError:
            return False
        return True


ROOMS: defaultdict[bool, list[BrowserContext]] = defaultdict(list)
"""Left as if nobody had been there; with and without scripts."""


@asynccontextmanager
async def window(
    browser: Browser, house: House, looks: Looks, *, java_script: bool = True
) -> AsyncGenerator[Visitor]:
    """A window of somebody who never was here; but our files need not be read and compiled anew."""
    rooms = ROOMS[java_script]
    context = rooms.pop() if rooms else await browser.new_context(java_script_enabled=java_script)
    context.set_default_timeout(PATIENCE_MS)
    visitor = Visitor(await context.new_page(), house)
    await visitor.put_on(looks)
    visitor.watch()
    try:
        yield visitor
        if await visitor.leaves_nothing():
            rooms.append(context)
    finally:
        if context not in rooms:
            await context.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncGenerator[Browser]:
    if not CHROMIUM.exists():  # noqa: ASYNC240  once, before anything runs
        pytest.skip(f"no Chromium at {CHROMIUM}: apt install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=list(ARGUMENTS), timeout=90_000
        )
        yield browser
        ROOMS.clear()
        await browser.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(template: str) -> AsyncGenerator[House]:
    async with cloned(template) as url, relay(url, top_n=12) as one:
        house = House(one)
        await house.open()
        yield house
        await house.close()
