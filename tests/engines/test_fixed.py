from datetime import UTC, datetime, timedelta, timezone

from domain.screen import Screen, ScreenKind, parse_screen_url, parse_tickers
from domain.universe import FetchOutcome
from engines.universe.fixed import FixedList, SourceByKind
from engines.universe.source import Answer, UniverseSource

END = datetime(2026, 11, 22, 15, 0, tzinfo=timezone(timedelta(hours=-5)))


def a_fixed_screen(text: str) -> Screen:
    tickers = parse_tickers(text)
    return Screen(
        kind=ScreenKind.FIXED,
        tickers=tickers,
        valid_until=END,
        top_n=len(tickers),
        refresh=timedelta(minutes=1),
    )


async def test_what_was_typed_is_the_list() -> None:
    source: UniverseSource = FixedList()
    answer = await source.fetch(a_fixed_screen("brk.b, AAPL\nNASDAQ:MSFT AAPL"))
    assert (answer.outcome, answer.total, answer.pages) == (FetchOutcome.OK, 3, 0)
    assert [(row.rank, row.ticker) for row in answer.rows] == [
        (1, "BRK-B"),
        (2, "AAPL"),
        (3, "MSFT"),
    ]
    assert (answer.certain, answer.premium) == (True, None)
    assert answer.witness == "typed by the operator"
    assert answer.detail == "3 tickers, until 2026-11-22 20:00 UTC"


async def test_one_ticker_is_not_many() -> None:
    answer = await FixedList().fetch(a_fixed_screen("AAPL"))
    assert answer.detail == f"1 ticker, until {END.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


async def test_each_kind_of_screen_has_its_source() -> None:
    class Elsewhere:
        async def fetch(self, screen: Screen) -> Answer:
            return Answer(outcome=FetchOutcome.EMPTY, detail=screen.url)

    source: UniverseSource = SourceByKind(finviz=Elsewhere(), fixed=FixedList())
    url = parse_screen_url("https://finviz.com/screener.ashx?v=111&o=-change")
    asked = Screen(url=url, top_n=1, refresh=timedelta(minutes=3))
    assert (await source.fetch(asked)).detail == url
    assert (await source.fetch(a_fixed_screen("AAPL"))).tickers == ("AAPL",)
