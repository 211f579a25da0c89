import asyncio
import random  # noqa: TID251  fixed seeds, so that a failure can be repeated
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from urllib.parse import parse_qs

import httpx
import pytest
from aiolimiter import AsyncLimiter

from demo.finviz import (
    FAULTS,
    MADE_FAULTS,
    Arrival,
    Listing,
    MadeUpFinviz,
    Reply,
    made_up_market,
)
from domain.screen import Screen, looks_unfiltered, parse_screen_url
from domain.universe import FetchOutcome
from engines.universe.finviz import FinvizSource
from engines.universe.finviz_http import SIZE_MAX
from engines.universe.finviz_page import BOTH
from engines.universe.source import UniverseSource
from tests.conftest import FrozenClock
from tests.engines.finviz_pages import page_in

BASE = "http://finviz.test"
TOKEN = "5e3cre7-t0ken/with+signs"  # a made-up one

Sources = Callable[..., FinvizSource]


def a_screen(top_n: int = 15, margin: int = 0) -> Screen:
    url = parse_screen_url("https://finviz.com/screener.ashx?v=111&f=exch_nasd|nyse&o=-change")
    return Screen(url=url, top_n=top_n, margin=margin, refresh=timedelta(minutes=3))


def names(listings: list[Listing]) -> list[str]:
    return [listing.ticker for listing in listings]


@pytest.fixture
def finviz() -> MadeUpFinviz:
    return MadeUpFinviz(made_up_market(7, 55), token=TOKEN)


@pytest.fixture
async def source(finviz: MadeUpFinviz, clock: FrozenClock) -> AsyncGenerator[Sources]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(finviz)) as http:

        def build(
            *, token: str | None = None, spacing: float = 0.001, deadline: float = 15
        ) -> FinvizSource:
            return FinvizSource(
                http=http,
                clock=clock,
                base_url=BASE,
                token=token,
                spacing=AsyncLimiter(1, spacing),
                deadline=timedelta(seconds=deadline),
            )

        yield build


async def test_the_top_n_of_one_page_needs_one_request(
    finviz: MadeUpFinviz, source: Sources
) -> None:
    port: UniverseSource = source()
    answer = await port.fetch(a_screen(top_n=20))
    assert (answer.outcome, answer.total, answer.pages) == (FetchOutcome.OK, 55, 1)
    assert list(answer.tickers) == names(finviz.market)[:20]
    (arrival,) = finviz.arrivals
    assert arrival.path == "/screener.ashx"
    assert parse_qs(arrival.query) == {"v": ["111"], "f": ["exch_nasd|nyse"], "o": ["-change"]}
    assert arrival.headers["user-agent"].startswith("Mozilla/5.0 (compatible; trading-signal")


@pytest.mark.parametrize(
    ("step", "top_n", "pages", "rows"), [(20, 21, 2, 40), (20, 1000, 3, 55), (50, 60, 2, 55)]
)
async def test_as_many_pages_are_read_as_the_top_n_needs(
    finviz: MadeUpFinviz, source: Sources, step: int, top_n: int, pages: int, rows: int
) -> None:
    finviz.step = step
    answer = await source().fetch(a_screen(top_n))
    assert (answer.outcome, answer.pages, len(answer.tickers)) == (FetchOutcome.OK, pages, rows)
    assert list(answer.tickers) == names(finviz.market)[:rows]
    assert "r=" not in finviz.arrivals[0].query
    assert finviz.arrivals[1].query.endswith(f"&r={step + 1}")


async def test_the_margin_is_read_too(finviz: MadeUpFinviz, source: Sources) -> None:
    answer = await source().fetch(a_screen(top_n=20, margin=1))
    assert (answer.pages, len(answer.rows)) == (2, 40)
    answer = await source(token=TOKEN).fetch(a_screen(top_n=20, margin=1))
    assert list(answer.tickers) == names(finviz.market)[:21]


@pytest.mark.parametrize("token", [None, TOKEN])
async def test_rows_come_with_price_and_volume(
    finviz: MadeUpFinviz, source: Sources, token: str | None
) -> None:
    answer = await source(token=token).fetch(a_screen())
    for rank, (row, listing) in enumerate(zip(answer.rows, finviz.market, strict=False), start=1):
        shown = (row.rank, row.ticker, row.price, row.volume)
        assert shown == (rank, listing.ticker, listing.price, listing.volume)
    assert answer.witness == ("the export's rows" if token else BOTH)
    assert (answer.premium, answer.certain) == (bool(token), False)


async def test_a_filter_unknown_to_finviz_brings_the_whole_market(
    finviz: MadeUpFinviz, source: Sources
) -> None:
    finviz.filters, finviz.everything = {"exch_nasd"}, made_up_market(1, 10_188)
    answer = await source().fetch(a_screen())
    assert (answer.outcome, answer.total) == (FetchOutcome.OK, 10_188)
    assert looks_unfiltered(a_screen(), 10_188)


async def test_requests_are_spaced(finviz: MadeUpFinviz, source: Sources) -> None:
    await source(spacing=0.25).fetch(a_screen(top_n=55))
    times = [arrival.at for arrival in finviz.arrivals]
    assert len(times) == 3
    assert all(after - before >= 0.1 for before, after in pairwise(times))


async def test_nothing_matches(finviz: MadeUpFinviz, source: Sources) -> None:
    finviz.market = []
    answer = await source().fetch(a_screen())
    assert (answer.outcome, answer.total, answer.tickers) == (FetchOutcome.EMPTY, 0, ())


@pytest.mark.parametrize(
    ("fault", "outcome", "wish"),
    [
        ("throttled", "throttled", None),
        ("throttled_429", "throttled", 60),
        ("blocked", "blocked", None),
        ("maintenance", "blocked", 120),
        ("login", "login", None),
        ("wrong_page", "wrong_page", None),
        ("nothing", "broken", None),
        ("failing", "unreachable", None),
        ("cut_off", "broken", None),
        ("half_the_rows", "broken", None),
        ("past_end", "past_end", None),
    ],
)
async def test_every_fault_has_its_name_and_brings_no_list(
    finviz: MadeUpFinviz, source: Sources, fault: str, outcome: str, wish: float | None
) -> None:
    finviz.answer_with(fault)
    answer = await source().fetch(a_screen())
    assert (answer.outcome, answer.tickers, answer.pages) == (outcome, (), 1)
    assert answer.retry_after == (None if wish is None else timedelta(seconds=wish))
    assert answer.detail
    finviz.answer_with(None)
    assert (await source().fetch(a_screen())).outcome is FetchOutcome.OK


@pytest.mark.parametrize("page", [2, 3])
@pytest.mark.parametrize("fault", [*FAULTS, *sorted(MADE_FAULTS)])
async def test_one_bad_page_fails_the_whole_answer(
    finviz: MadeUpFinviz, source: Sources, fault: str, page: int
) -> None:
    def fail(arrival: Arrival) -> None:
        finviz.answer_with(fault if arrival.query.endswith(f"r={20 * page - 19}") else None)

    finviz.before = fail
    answer = await source().fetch(a_screen(top_n=55))
    assert not answer.outcome.is_list
    assert (answer.rows, answer.pages % page) == ((), 0)


def moved(listings: Sequence[Listing], seed: int) -> list[Listing]:
    """The market a moment later: changes moved a little, and with them the ranks."""
    chance = random.Random(seed)
    later = [
        replace(one, change=one.change + Decimal(chance.randrange(-60, 61)) / 100)
        for one in listings
    ]
    return sorted(later, key=lambda one: one.change, reverse=True)


@pytest.mark.parametrize("seed", range(30))
async def test_a_list_that_changes_between_pages_is_whole_or_none(
    finviz: MadeUpFinviz, source: Sources, seed: int
) -> None:
    chance, market = random.Random(seed), list(finviz.market)

    def change(_: Arrival) -> None:
        if chance.random() < 0.6:
            left = chance.randrange(50, 56) if chance.random() < 0.3 else 55
            listed = [market[place] for place in sorted(chance.sample(range(55), left))]
            finviz.market = moved(listed, chance.randrange(9))

    finviz.before = change
    answer = await source().fetch(a_screen(top_n=50))
    assert answer.outcome in {FetchOutcome.OK, FetchOutcome.BROKEN}
    whole = range(1, len(answer.rows) + 1)
    assert [row.rank for row in answer.rows] == list(whole)
    assert len(set(answer.tickers)) == len(answer.tickers)
    assert (len(whole) >= 50) == (answer.outcome is FetchOutcome.OK)


def moving(finviz: MadeUpFinviz, *at: int) -> Callable[[Arrival], None]:
    """The last of page 1 comes to the front while the pages are read."""

    def move(_: Arrival) -> None:
        if len(finviz.arrivals) in at:
            finviz.market = [finviz.market[-1], *finviz.market[:-1]]

    return move


async def test_a_list_that_moved_between_two_pages_is_read_again(
    finviz: MadeUpFinviz, source: Sources
) -> None:
    finviz.before = moving(finviz, 2)
    answer = await source().fetch(a_screen(top_n=55))
    assert (answer.outcome, answer.pages) == (FetchOutcome.OK, 5)
    assert list(answer.tickers) == names(finviz.market)


async def test_a_list_that_moves_again_and_again_is_no_list(
    finviz: MadeUpFinviz, source: Sources
) -> None:
    finviz.before = moving(finviz, *range(2, 10))
    answer = await source().fetch(a_screen(top_n=55))
    assert (answer.outcome, answer.tickers, answer.pages) == (FetchOutcome.BROKEN, (), 4)
    assert "moved while it was read, twice" in answer.detail


@pytest.mark.parametrize(("left", "outcome"), [(30, "broken"), (18, "broken"), (52, "ok")])
async def test_the_total_may_change_a_little_between_two_pages(
    finviz: MadeUpFinviz, source: Sources, left: int, outcome: str
) -> None:
    whole = list(finviz.market)

    def shrink(arrival: Arrival) -> None:
        finviz.market = whole[:left] if "r=" in arrival.query else whole

    finviz.before = shrink
    answer = await source().fetch(a_screen(top_n=55))
    assert answer.outcome == outcome
    assert len(answer.tickers) == (left if outcome == "ok" else 0)


async def test_a_page_that_is_not_proven_whole_is_no_list(
    finviz: MadeUpFinviz, source: Sources
) -> None:
    page = page_in("C", told=False, selector=False)
    finviz.answer_with(Reply(200, page.encode()))
    answer = await source().fetch(a_screen(top_n=3))
    assert (answer.outcome, answer.tickers) == (FetchOutcome.BROKEN, ())
    assert answer.detail == "not a whole page: 4 rows where 11 were due"


async def test_a_page_that_ignores_where_it_should_begin_is_broken(
    finviz: MadeUpFinviz, source: Sources
) -> None:
    finviz.answer_with(finviz.reply("/screener", {}))
    answer = await source().fetch(a_screen(top_n=55))
    assert answer.outcome is FetchOutcome.BROKEN
    assert answer.detail == "page with row 21 begins at row 1"


async def test_an_export_is_cut_to_the_top_n(finviz: MadeUpFinviz, source: Sources) -> None:
    answer = await source(token=TOKEN).fetch(a_screen(top_n=30))
    assert (answer.outcome, answer.total, answer.pages) == (FetchOutcome.OK, 55, 1)
    assert list(answer.tickers) == names(finviz.market)[:30]
    (arrival,) = finviz.arrivals
    assert arrival.path == "/export.ashx"
    assert parse_qs(arrival.query)["auth"] == [TOKEN]
    assert parse_qs(arrival.query)["o"] == ["-change"]


@pytest.mark.parametrize("fault", ["cut_off", "empty"])
async def test_an_export_that_is_no_export_is_no_list(
    finviz: MadeUpFinviz, source: Sources, fault: str
) -> None:
    finviz.answer_with(fault)
    assert not (await source(token=TOKEN).fetch(a_screen())).outcome.is_list


@pytest.mark.parametrize("location", ["/screener?v=111", f"{BASE}/screener.ashx?v=111&o=x"])
async def test_a_redirect_on_the_same_host_is_followed(
    finviz: MadeUpFinviz, source: Sources, location: str
) -> None:
    def once(_: Arrival) -> None:
        first = len(finviz.arrivals) == 1
        finviz.answer_with(Reply(301, b"", {"location": location}) if first else None)

    finviz.before = once
    answer = await source().fetch(a_screen())
    assert (answer.outcome, answer.pages) == (FetchOutcome.OK, 2)
    assert finviz.arrivals[1].path == location.removeprefix(BASE).partition("?")[0]


@pytest.mark.parametrize(
    ("location", "requests"),
    [
        ("https://finviz.test/screener", 1),
        ("http://finviz.test:81/screener", 1),
        ("http://elsewhere.test/screener", 1),
        ("//elsewhere.test/screener", 1),
        ("/screener?again", 4),
    ],
)
async def test_a_redirect_elsewhere_or_without_end_is_not_followed(
    finviz: MadeUpFinviz, source: Sources, location: str, requests: int
) -> None:
    finviz.answer_with(Reply(302, b"", {"location": location}))
    answer = await source().fetch(a_screen())
    assert answer.outcome is FetchOutcome.WRONG_PAGE
    assert "redirect" in answer.detail
    assert len(finviz.arrivals) == requests


async def test_cookies_are_not_sent_back(finviz: MadeUpFinviz, source: Sources) -> None:
    page = finviz.reply("/screener", {})
    finviz.answer_with(Reply(200, page.body, {"set-cookie": "session=1; Path=/"}))
    looking = source()
    await looking.fetch(a_screen())
    await looking.fetch(a_screen())
    assert [arrival.headers.get("cookie") for arrival in finviz.arrivals] == [None, None]


async def test_an_answer_without_end_is_broken_off(finviz: MadeUpFinviz, source: Sources) -> None:
    finviz.answer_with(Reply(200, b" " * (SIZE_MAX + 1)))
    answer = await source().fetch(a_screen())
    assert (answer.outcome, answer.detail) == ("broken", "the answer is larger than 5000000 bytes")


async def test_silence_is_waited_for_no_longer_than_the_deadline(clock: FrozenClock) -> None:
    async def silent(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with httpx.AsyncClient(transport=httpx.MockTransport(silent)) as http:
        source = FinvizSource(http=http, clock=clock, deadline=timedelta(seconds=0.02))
        answer = await source.fetch(a_screen())
    assert (answer.outcome, answer.pages) == (FetchOutcome.UNREACHABLE, 0)
    assert answer.detail == "no whole answer within 0.02 s"


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError,
        httpx.ConnectTimeout,
        httpx.ReadTimeout,
        httpx.ReadError,
        httpx.RemoteProtocolError,
        httpx.PoolTimeout,
    ],
)
async def test_a_failed_connection_is_unreachable_in_words(
    clock: FrozenClock, error: type[httpx.TransportError]
) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise error(f"while asking {request.url}")

    async with httpx.AsyncClient(transport=httpx.MockTransport(fail)) as http:
        answer = await FinvizSource(http=http, clock=clock, token=TOKEN).fetch(a_screen())
    assert (answer.outcome, answer.pages) == (FetchOutcome.UNREACHABLE, 0)
    assert error.__name__ in answer.detail
    assert TOKEN not in answer.detail


async def test_the_real_hosts_are_asked_unless_told_otherwise(clock: FrozenClock) -> None:
    asked: list[str] = []

    def note(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(503, stream=httpx.ByteStream(b""))

    async with httpx.AsyncClient(transport=httpx.MockTransport(note)) as http:
        await FinvizSource(http=http, clock=clock).fetch(a_screen())
        await FinvizSource(http=http, clock=clock, token=TOKEN).fetch(a_screen())
    assert asked == ["finviz.com", "elite.finviz.com"]
