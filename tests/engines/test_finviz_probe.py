import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import pairwise

import httpx
import pytest
from aiolimiter import AsyncLimiter

from demo.finviz import Arrival, MadeUpFinviz, Reply, made_up_market, render_page
from domain.screen import ScreenUrl, parse_screen_url
from domain.universe import FetchOutcome
from engines.clock import utc_now
from engines.universe.finviz_http import Visitor
from engines.universe.finviz_page import read_page
from engines.universe.finviz_probe import LIST, NAMES, Probe, Question, Sample
from tests.engines.filtering import FilteringFinviz

TOKEN = "5e3cre7-t0ken/with+signs"  # a made-up one
URL = parse_screen_url("https://finviz.com/screener.ashx?v=152&f=exch_nasd&c=0,1,65&o=-change")
MARKET = made_up_market(7, 55)


async def asked(
    finviz: MadeUpFinviz,
    *,
    token: str | None = None,
    spacing: float = 0.001,
    url: ScreenUrl = URL,
) -> dict[str, Sample]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(finviz)) as http:
        visitor = Visitor(
            http=http,
            spacing=AsyncLimiter(1, spacing),
            user_agent="a test",
            deadline=timedelta(seconds=5),
            clock=utc_now,
            answered=lambda: None,
        )
        probe = Probe(
            visitor=visitor,
            pages="http://finviz.test",
            exports="http://elite.finviz.test",
            token=token,
        )
        return {sample.question.name: sample async for sample in probe.samples(url)}


def kinds(samples: Mapping[str, Sample]) -> list[str]:
    return [str(sample.page.kind) for sample in samples.values()]


def other(samples: Mapping[str, Sample]) -> list[str]:
    return [name for name, sample in samples.items() if not sample.as_expected]


async def test_each_kind_is_asked_for_once_and_read_as_the_relay_reads() -> None:
    finviz = FilteringFinviz(MARKET, token=TOKEN)
    samples = await asked(finviz, token=TOKEN)
    assert tuple(samples) == NAMES
    assert kinds(samples) == ["ok", "ok", "past_end", "empty", "ok", "ok"]
    assert other(samples) == []
    queries = [(arrival.path, arrival.query) for arrival in finviz.arrivals]
    screen = "f=exch_nasd&c=0,1,65&o=-change"
    assert queries == [
        ("/screener.ashx", f"v=152&{screen}"),
        ("/screener.ashx", f"v=152&{screen}&r=21"),
        ("/screener.ashx", f"v=152&{screen}&r=1056"),
        ("/screener.ashx", "v=111&f=cap_mega,sh_price_u1"),
        ("/screener.ashx", "v=411&f=exch_nasd&o=-change"),
        ("/export.ashx", f"v=152&{screen}&auth=5e3cre7-t0ken%2Fwith%2Bsigns"),
    ]
    hosts = [arrival.headers["host"] for arrival in finviz.arrivals]
    assert hosts == ["finviz.test"] * 5 + ["elite.finviz.test"]


async def test_the_step_of_the_page_is_kept_to_and_a_single_page_has_no_second() -> None:
    samples = await asked(FilteringFinviz(MARKET, step=50))
    assert samples["second_page"].page.start == 51
    samples = await asked(FilteringFinviz(MARKET[:20]))
    assert list(samples) == ["results", "past_end", "empty", "ticker_view"]
    assert other(samples) == []


async def test_a_screen_that_matches_nothing_is_as_good_as_any() -> None:
    samples = await asked(FilteringFinviz([]))
    assert kinds(samples) == ["empty"] * 4
    assert other(samples) == []


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("throttled", FetchOutcome.THROTTLED),
        ("throttled_429", FetchOutcome.THROTTLED),
        ("blocked", FetchOutcome.BLOCKED),
        ("unauthorized", FetchOutcome.BLOCKED),
        ("failing", FetchOutcome.UNREACHABLE),
    ],
)
@pytest.mark.parametrize("at", [1, 3, 6])
async def test_whoever_is_turned_away_asks_no_more(fault: str, kind: FetchOutcome, at: int) -> None:
    finviz = FilteringFinviz(MARKET, token=TOKEN)

    def turn_away(_: Arrival) -> None:
        if len(finviz.arrivals) == at:
            finviz.answer_with(fault)

    finviz.before = turn_away
    samples = await asked(finviz, token=TOKEN)
    assert len(finviz.arrivals) == at
    assert other(samples) == [NAMES[at - 1]]
    assert samples[NAMES[at - 1]].page.kind is kind


@pytest.mark.parametrize("fault", ["login", "wrong_page", "nothing", "cut_off", "half_the_rows"])
async def test_what_is_no_refusal_is_no_reason_to_stop(fault: str) -> None:
    finviz = FilteringFinviz(MARKET)
    finviz.answer_with(fault)
    samples = await asked(finviz)
    assert tuple(samples) == NAMES[:5]
    assert other(samples)[:2] == ["results", "second_page"]
    assert all(sample.reply for sample in samples.values())


async def test_no_answer_is_an_answer_too() -> None:
    finviz = MadeUpFinviz(MARKET)
    finviz.answer_with(Reply(302, b"", {"location": "https://elsewhere.test/?auth=x"}))
    samples = await asked(finviz)
    assert other(samples) == list(NAMES[:5])
    assert samples["results"].reply is None
    assert "another host" in samples["results"].page.why


async def test_a_filter_that_is_ignored_is_noticed() -> None:
    assert other(await asked(MadeUpFinviz(MARKET))) == ["empty"]


def test_a_page_that_is_not_whole_is_noticed() -> None:
    whole, half = render_page(MARKET), render_page(MARKET, step=10)
    selector = re.compile(r"<select.*?</select>", re.DOTALL)
    page = read_page(selector.sub(selector.findall(whole)[0], half))
    assert (page.kind, page.complete) == (FetchOutcome.OK, False)
    question = Question(name="results", url=URL, expected=LIST)
    assert not Sample(question=question, page=page).as_expected
    assert Sample(question=question, page=read_page(whole)).as_expected


class Forgetful(FilteringFinviz):
    """Always answers with the first page."""

    def reply(self, path: str, asked: Mapping[str, str]) -> Reply:
        return super().reply(path, {**asked, "r": "1"})


async def test_a_first_row_that_is_ignored_is_noticed() -> None:
    assert other(await asked(Forgetful(MARKET))) == ["second_page", "past_end"]


def exported(lines: Sequence[str]) -> Reply:
    return Reply(200, "".join(f"{line}\r\n" for line in lines).encode(), {})


@pytest.mark.parametrize("echo", [TOKEN, "5e3cre7-t0ken%2Fwith%2Bsigns"])
async def test_no_words_hold_a_part_of_the_token(echo: str) -> None:
    finviz = FilteringFinviz(MARKET, token=TOKEN)

    def answer(arrival: Arrival) -> None:
        if arrival.path.startswith("/export"):
            finviz.answer_with(exported(["Ticker", echo]))

    finviz.before = answer
    samples = await asked(finviz, token=TOKEN)
    assert other(samples) == ["export"]
    assert "is no ticker" in samples["export"].page.why
    told = f"{samples['export']!r} {samples['export'].question.url}".lower()
    assert TOKEN[:7] not in told
    assert "auth" not in told


async def test_requests_are_spaced() -> None:
    finviz = FilteringFinviz(MARKET)
    await asked(finviz, spacing=0.25)
    times = [arrival.at for arrival in finviz.arrivals]
    assert len(times) == 5
    assert all(after - before > 0.1 for before, after in pairwise(times))
