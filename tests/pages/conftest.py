"""A browser, and the relay served to it on a real socket, between the made-up world."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
import uvicorn
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from tests.end_to_end.stage import free_port
from tests.web.stage import ADMIN_TOKEN, Relay, cloned, relay, until

CHROMIUM = Path("/usr/bin/chromium")
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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--shots", metavar="DIR", help="write screenshots of the pages here")


class Server(uvicorn.Server):
    """Lives in a test's own loop: signals are pytest's business."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


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
            ws="none",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        self._server = server = Server(config)
        self._serving = asyncio.create_task(server.serve())

        async def started() -> bool:
            return server.started

        await until(started, "a listening server")

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
                if one.type in {"error", "warning"}
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

    async def sign_in(self) -> None:
        await self.page.goto(f"{self.house.url}/admin")
        await self.page.get_by_label("Admin token").fill(ADMIN_TOKEN)
        await self.page.get_by_role("button", name="Sign in").click()
        await self.page.get_by_role("heading", name="Latest signals").wait_for()


@dataclass(frozen=True, slots=True)
class Looks:
    """How wide a window is, and whether its owner prefers dark."""

    name: str
    scheme: str
    width: int
    height: int


@asynccontextmanager
async def window(
    browser: Browser, house: House, looks: Looks, *, java_script: bool = True
) -> AsyncGenerator[Visitor]:
    context: BrowserContext = await browser.new_context(
        viewport={"width": looks.width, "height": looks.height},
        color_scheme="dark" if looks.scheme == "dark" else "light",
        java_script_enabled=java_script,
        reduced_motion="reduce",
    )
    context.set_default_timeout(10_000)
    visitor = Visitor(await context.new_page(), house)
    visitor.watch()
    try:
        yield visitor
    finally:
        await context.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncGenerator[Browser]:
    if not CHROMIUM.exists():  # noqa: ASYNC240  once, before anything runs
        pytest.skip(f"no Chromium at {CHROMIUM}: apt install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(template: str) -> AsyncGenerator[House]:
    async with cloned(template) as url, relay(url, top_n=12) as one:
        house = House(one)
        await house.open()
        yield house
        await house.close()
