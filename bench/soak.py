"""A page that stays open under load: whether it is still quick to touch, and whether it grows."""

import asyncio
import itertools
import shutil
import time
from typing import Any

import httpx

from bench.live import ADMIN, TICKERS
from bench.stage import TOKEN, Server, alerts, relay

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
RATE = 50
"""Alerts a second; each is two events at least."""
EVERY = 1.0
"""Seconds between two touches of the page."""

LISTEN = """() => {
  window.delays = [];
  window.heard = 0;
  document.addEventListener("keydown", (event) => {
    window.delays.push(performance.now() - event.timeStamp);
  }, true);
  document.addEventListener("relay:events", (event) => { window.heard += event.detail.length; });
}"""
"""How long a key waited until the page heard of it, and how many events it was told of."""


def run(seconds: float = 600.0, path: str = "/admin") -> None:
    """Print the delay of input, and the size of the page at the beginning and the end."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print("  skipped: no Chromium here (apt install chromium)")
        return
    with relay(ADMIN_TOKEN=ADMIN) as server:
        asyncio.run(_soak(server, browser, path, seconds))


async def _soak(server: Server, browser: str, path: str, seconds: float) -> None:
    from playwright.async_api import async_playwright  # noqa: PLC0415  of development alone

    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(
            executable_path=browser, args=["--no-sandbox", "--disable-gpu"]
        )
        page = await chromium.new_page(viewport={"width": 1440, "height": 900})
        await page.goto(f"http://127.0.0.1:{server.port}/admin/login")
        await page.get_by_label("Admin token").fill(ADMIN)
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/admin")
        await page.goto(f"http://127.0.0.1:{server.port}{path}")
        await page.evaluate(LISTEN)
        devtools = await page.context.new_cdp_session(page)
        posting = asyncio.create_task(_post(server.port, seconds))
        sizes = [await _size(devtools)]
        used, began = server.cpu_seconds(), time.perf_counter()
        while not posting.done():
            await page.keyboard.press("Shift")
            await asyncio.sleep(EVERY)
            if time.perf_counter() - began > len(sizes) * max(seconds / 10, 5):
                sizes.append(await _size(devtools))
        await posting
        sizes.append(await _size(devtools))
        delays = sorted(await page.evaluate("window.delays"))
        heard: int = await page.evaluate("window.heard")
        spent = time.perf_counter() - began
        await chromium.close()
    _tell(delays, sizes)
    cpu = (server.cpu_seconds() - used) / spent
    print(f"  {heard / spent:.0f} events/s told to the page; server {cpu:.0%} of a core")


async def _post(port: int, seconds: float) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        began = time.perf_counter()
        async with asyncio.TaskGroup() as posting:
            for number, body in enumerate(itertools.islice(alerts(TICKERS), int(RATE * seconds))):
                await asyncio.sleep(max(0.0, began + number / RATE - time.perf_counter()))
                posting.create_task(client.post(f"/webhook/in/{TOKEN}", content=body))


async def _size(devtools: Any) -> tuple[float, int]:
    """MB of the page's heap after a collection, and how many nodes its document has."""
    await devtools.send("HeapProfiler.collectGarbage")
    usage = await devtools.send("Runtime.getHeapUsage")
    counters = await devtools.send("Memory.getDOMCounters")
    return usage["usedSize"] / 1e6, counters["nodes"]


def _tell(delays: list[float], sizes: list[tuple[float, int]]) -> None:
    shares = {"p50": 0.5, "p99": 0.99, "max": 1 - 1e-9}
    told = [f"{name} {delays[int(len(delays) * share)]:.1f}" for name, share in shares.items()]
    print(f"  input delay of {len(delays)} keys: {', '.join(told)} ms")
    print("  heap MB: " + ", ".join(f"{heap:.1f}" for heap, _ in sizes))
    print("  nodes: " + ", ".join(str(nodes) for _, nodes in sizes))
