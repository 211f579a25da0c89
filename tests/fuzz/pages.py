"""What is fuzzed of Finviz: reading a page, and an export. No input makes either raise or hang."""

import random  # noqa: TID251  libFuzzer hands in the seed
import time
from collections.abc import Iterator
from pathlib import Path

from demo.finviz import EMPTY_PAGE, FAULTS, made_up_market, render_export, render_page
from domain.ticker import normalise
from engines.universe.finviz_export import read_export
from engines.universe.finviz_page import Page, read_page
from tests.engines.finviz_pages import LAYOUTS, page_in
from tests.engines.test_finviz_mutations import MUTATIONS
from tests.fuzz.hostile_pages import UNITS

TIMES = 10
"""So much more than the largest page may an input cost."""
EXPORT = b"No."


class Pages:
    """Reads the input as a page, or as an export if it begins like one."""

    def most_seconds(self, seeds: list[bytes]) -> float:
        """Ten times what the costliest page takes; the first time loads what is needed."""
        return TIMES * max(_cpu(read_page, page) for page in sorted(seeds, key=len)[-5:])

    def read(self, data: bytes) -> str:
        page = read_export(data) if data.startswith((EXPORT, b"Ticker")) else read_page(data)
        check(page)
        return f"{page.kind} {'complete' if page.complete else ''}".strip()

    def mutated(self, data: bytes, most: int, seed: int) -> bytes:  # noqa: ARG002  cut by who asks
        """What has gone wrong with pages before, or a hostile piece in any place."""
        chance = random.Random(seed)
        page = data.decode(errors="replace")
        if len(page) < 10 or chance.random() < 0.4:
            place, unit = chance.randrange(len(page) + 1), chance.choice(UNITS)
            return f"{page[:place]}{unit * chance.choice((1, 1, 40))}{page[place:]}".encode()
        return chance.choice(MUTATIONS)(page, chance).encode()


def _cpu(read: object, page: bytes) -> float:
    assert callable(read)
    took: list[float] = []
    for _ in range(3):
        began = time.thread_time()
        read(page)
        took.append(time.thread_time() - began)
    return min(took)


def check(page: Page) -> None:
    """A list is whole, in order and of tickers; words for people are short and printable."""
    assert [row.rank for row in page.rows] == list(
        range(page.start or 1, (page.start or 1) + len(page.rows))
    )
    assert len(set(page.tickers)) == len(page.tickers)
    assert all(normalise(ticker) == ticker for ticker in page.tickers)
    assert all(row.price is None or row.price >= 0 for row in page.rows)
    assert all(row.volume is None or row.volume >= 0 for row in page.rows)
    assert not page.complete or page.total is not None
    assert len(page.why) < 300
    assert page.why.isprintable(), page.why


def seeds(folder: Path | None = None) -> list[bytes]:
    """Made-up pages of every layout; and those of a folder, which stay where they are."""
    return [page.encode() for page in _made_up()] + [
        path.read_bytes()
        for path in sorted(folder.iterdir() if folder else ())
        if path.suffix in {".html", ".txt", ".csv"}
    ]


def _made_up() -> Iterator[str]:
    for layout in LAYOUTS:
        yield page_in(layout)
        yield page_in(layout, start=9, told=False)
    market = made_up_market(3, 120)
    yield from (render_page(market, step=step, logos=step == 20) for step in (20, 100))
    yield render_export(market)
    yield EMPTY_PAGE
    yield from (reply.body.decode() for reply in FAULTS.values())


WORDS = tuple(unit.encode() for unit in UNITS if len(unit) < 60)
TARGET = Pages()
