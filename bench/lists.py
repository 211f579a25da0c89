"""Reading a list: CPU for a page against plain html.parser, and how long the event loop waits."""

import asyncio
import gc
import itertools
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

import httpx
from aiolimiter import AsyncLimiter
from bs4 import BeautifulSoup
from uvicorn.loops.auto import auto_loop_factory

import main
from bench import machine
from bench.figures import TIMES, Figure, Line, Round, medians, tell
from bench.stage import ROOT
from demo.finviz import MadeUpFinviz, Reply, made_up_market, render_page
from domain.screen import Screen, parse_screen_url
from engines.clock import utc_now
from engines.universe.finviz import FinvizSource
from engines.universe.finviz_page import read_page

CORPUS = ROOT.parent / "shared" / "fixtures" / "finviz"
SCREEN = Screen(
    url=parse_screen_url("https://finviz.com/screener.ashx?v=111&o=-change"),
    top_n=20,
    refresh=timedelta(minutes=3),
)
KINDS = ("Index", "Sector", "Industry", "Country", "Market Cap", "Dividend", "Volume", "Price")


LINES = {
    "ratio": Line("reading a page of Finviz, to plain html.parser", TIMES),
    "parse ms": Line("reading a page of Finviz", "ms CPU"),
    "heap frozen: p99": Line("the event loop waits meanwhile: p99", "ms", most=10),
    "heap frozen: max": Line("the event loop waits meanwhile: maximum", "ms", most=50),
    "heap as loaded: p99": Line("the same with the heap as loaded: p99", "ms"),
    "heap as loaded: max": Line("the same with the heap as loaded: maximum", "ms"),
}


def run(parses: int = 500) -> list[Figure]:
    """Print and return what a page costs and how late a timer is meanwhile."""
    assert main.VERSION, "the heap is that of the product: garbage is looked for in all of it"
    pages = {"made up, 20 rows": padded(20, 135_000), "made up, 50 rows": padded(50, 120_000)}
    before, values = machine.spent(), _cost(pages | _stored())
    with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
        values |= runner.run(_lag(pages["made up, 20 rows"], parses))
    once = Round(values, machine.others(before, machine.spent()))
    found = medians([once], LINES, quiet=once.quiet)
    tell(found)
    return found


def padded(rows: int, size: int) -> bytes:
    """A made-up page behind as much of menus and scripts as real ones have before their rows."""
    page = render_page(made_up_market(5, 104), step=rows)
    numbers, menus = itertools.count(), ""
    while len(menus) < size:
        name = KINDS[next(numbers) % len(KINDS)]
        options = "".join(
            f'<option value="{name[:3].lower()}_{choice}" data-url="screener?v=111&f={choice}">'
            f"{name} {choice}</option>"
            for choice in range(40)
        )
        script = f"window.menus.push({{name: '{name}', choices: {list(range(100))}}});"
        menus += f'<div class="fv"><select class="fv-select">{options}</select></div>\n'
        menus += f"<script>{script}</script>\n"
    return page.replace("<body>", f"<body>\n{menus}", 1).encode()


def _stored() -> dict[str, bytes]:
    """Real pages, where they are at hand: they are not ours to keep in the repository."""
    paths = sorted(CORPUS.glob("20*_v1*.html"))
    return {path.name[:30]: path.read_bytes() for path in paths if path.stat().st_size > 100_000}


# ── CPU for a page ──────────────────────────────────────────────────────────────────────────


def _cost(pages: dict[str, bytes]) -> dict[str, float]:
    ratios: list[float] = []
    costs: list[float] = []
    for name, body in pages.items():
        text = body.decode(errors="replace")
        assert read_page(body).kind in {"ok", "past_end"}
        ours = _cpu(lambda body=body: read_page(body))
        plain = _cpu(lambda text=text: BeautifulSoup(text, "html.parser"))
        ratios.append(ours / plain)
        costs.append(ours)
        print(
            f"  {name} ({len(body) / 1000:.0f} kB): {ours:.1f} ms CPU, "
            f"plain html.parser {plain:.1f} ms, ratio {ours / plain:.2f}"
        )
    return {"parse ms": statistics.median(costs), "ratio": statistics.median(ratios)}


def _cpu(work: Callable[[], object], rounds: int = 15) -> float:
    """Milliseconds of this process's CPU, the median of some rounds."""
    spent: list[float] = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return statistics.median(spent) * 1000


# ── How long the event loop waits ───────────────────────────────────────────────────────────


async def _lag(page: bytes, parses: int) -> dict[str, float]:
    """Looks as the product makes them, one after another, with a heap as loaded and frozen."""
    figures = await _compared("heap as loaded", page, parses)
    gc.collect()
    gc.freeze()
    figures |= await _compared("heap frozen", page, parses)
    gc.unfreeze()
    return figures


async def _compared(name: str, page: bytes, parses: int) -> dict[str, float]:
    finviz = MadeUpFinviz([])
    finviz.answer_with(Reply(200, page))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(finviz)) as http:
        spacing = AsyncLimiter(1, 0.001)
        source = FinvizSource(http=http, clock=utc_now, base_url="http://f.test", spacing=spacing)

        async def looks() -> None:
            for _ in range(parses):
                answer = await source.fetch(SCREEN)
                assert len(answer.rows) == SCREEN.top_n, answer.detail
                finviz.arrivals.clear()

        began = time.perf_counter()
        busy = await _ticked(looks())
        idle = await _ticked(asyncio.sleep(time.perf_counter() - began))
    for word, lags in (("reading", busy), ("idle", idle)):
        told = ", ".join(f"{figure} {value:.1f} ms" for figure, value in lags.items())
        print(f"  lag, {name}, {parses} looks, {word}: {told}")
    return {f"{name}: {figure}": value for figure, value in busy.items()}


async def _ticked(work: Awaitable[None]) -> dict[str, float]:
    """How late a timer of a millisecond was while this was done."""
    lags: list[float] = []
    working = asyncio.ensure_future(work)
    while not working.done():
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        lags.append((time.perf_counter() - began) * 1000 - 1)
    await working
    lags.sort()
    return {"p50": lags[len(lags) // 2], "p99": lags[int(len(lags) * 0.99)], "max": lags[-1]}
