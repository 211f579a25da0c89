"""The made-up world: the same seed and moment are the same market, alerts and answers."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import httpx
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from demo.alerts import STRATEGIES, Alert, alerts_of
from demo.clock import (
    CLOSES,
    DAY,
    OPENS,
    DemoClock,
    after,
    in_words,
    is_open,
    seconds_until,
)
from demo.destination import MESSAGES, MadeUpDestination, Parcel, refused, said
from demo.market import MarketDay, is_down, outage, trouble_of_finviz, weather
from demo.past import Past
from demo.scenario import most_within, out_of_order, unmarked_repeats
from domain.exported import read_json

NOW = datetime(2030, 1, 2, 15, 4, 5, tzinfo=UTC)
SEEDS = st.integers(0, 50)
MOMENTS = st.floats(OPENS, 14 * DAY)
SPEEDS = st.floats(1, 600)
FEW = hypothesis_settings(max_examples=10)


def key(market: MarketDay, at: float) -> list[object]:
    return [(one.ticker, one.price, one.change, one.volume) for one in market.at(at)]


@FEW
@given(SEEDS, st.lists(MOMENTS, min_size=2, max_size=4))
def test_a_market_is_a_function_of_seed_and_time(seed: int, moments: list[float]) -> None:
    """Whoever asks later, or asked something else before, gets the same."""
    one, other = MarketDay.of(seed), MarketDay.of(seed)
    first = {at: key(one, at) for at in moments}
    assert {at: key(other, at) for at in reversed(moments)} == first


@hypothesis_settings(max_examples=5)
@given(SEEDS, st.integers(0, 6))
def test_alerts_are_a_function_of_seed_and_day(seed: int, day: int) -> None:
    first = alerts_of(seed, day)
    alerts_of.cache_clear()
    assert alerts_of(seed, day) == first
    assert list(first) == sorted(first, key=lambda alert: alert.at)
    assert all(day * DAY + OPENS <= alert.at < day * DAY + CLOSES for alert in first)
    assert bool(first) is (day < 5)


@FEW
@given(SEEDS, st.text("ABC", min_size=1, max_size=3), st.integers(1, 9), st.integers(1, 4))
def test_answers_are_a_function_of_seed_and_order(
    seed: int, ticker: str, number: int, attempt: int
) -> None:
    order = ("gateway.example", ticker, "buy", number)
    assert said(seed, order, attempt) == said(seed, order, attempt)


@FEW
@given(SEEDS, MOMENTS)
def test_trouble_is_a_function_of_seed_and_time(seed: int, at: float) -> None:
    day = int(at // DAY)
    found = trouble_of_finviz(seed, at)
    weather.cache_clear()
    assert trouble_of_finviz(seed, at) == found
    assert is_down(seed, at) is (outage(seed, day).begins <= at < outage(seed, day).ends)
    assert is_down(seed, outage(seed, day).begins)


def test_another_seed_is_another_day() -> None:
    assert MarketDay.of(1).tickers(600) != MarketDay.of(2).tickers(600)
    assert alerts_of(1, 0) != alerts_of(2, 0)
    assert weather(1, 0) != weather(2, 0)
    assert len({outage(seed, 0).begins for seed in range(20)}) == 2


def churn(begins: float) -> int:
    """Tickers that come into the top 15 within half an hour, over some markets and days."""
    found = 0
    for seed in range(5):
        market = MarketDay.of(seed)
        for day in range(2):
            tops = [
                set(market.tickers(day * DAY + begins + step, 0, 15)) for step in range(0, 31, 3)
            ]
            found += sum(len(later - before) for before, later in pairwise(tops))
    return found


def test_the_open_is_wild_noon_is_quiet_and_the_close_moves_again() -> None:
    at_open, at_noon, at_close = churn(OPENS), churn(720), churn(CLOSES - 31)
    assert at_open > 2 * at_noon
    assert at_close > at_noon > 0


@FEW
@given(SEEDS, st.floats(0, DAY - CLOSES), st.integers(0, 11))
def test_a_closed_exchange_stands_still(seed: int, later: float, day: int) -> None:
    market = MarketDay.of(seed)
    assert not is_open(day * DAY + CLOSES + later)
    if day % 7 < 5:
        assert key(market, day * DAY + CLOSES) == key(market, day * DAY + CLOSES + later)


def test_volumes_grow_during_a_session_and_a_weekend_changes_nothing() -> None:
    market = MarketDay.of(7)
    volumes = [
        sum(one.volume for one in market.at(OPENS + into)) for into in (0.0, 30.0, 200.0, 390.0)
    ]
    assert volumes == sorted(volumes)
    assert volumes[0] == 0 < volumes[1]
    friday = 4 * DAY + CLOSES
    assert key(market, friday) == key(market, 6 * DAY + 700) != key(market, 7 * DAY + OPENS + 1)


@FEW
@given(MOMENTS, st.floats(0, 5000), SPEEDS)
def test_the_clock_can_be_waited_for(at: float, seconds: float, speed: float) -> None:
    then = after(at, seconds, speed)
    assert then >= at
    assert seconds_until(at, then, speed) == pytest.approx(seconds, abs=0.01)


def test_speed_one_is_real_time_and_nights_pass_quickly_at_any_other() -> None:
    assert after(OPENS, 3600, 1) == pytest.approx(OPENS + 60)
    assert seconds_until(CLOSES, DAY + OPENS, 1) == pytest.approx(17.5 * 3600)
    assert seconds_until(CLOSES, DAY + OPENS, 30) < 120
    ticks = iter((100.0, 100.0, 160.0))
    clock = DemoClock(30, ticks=lambda: next(ticks))
    assert (clock.said(), clock.said(), in_words(DAY * 7)) == (
        "Mon 09:30",
        "Mon 09:30",
        "Mon 00:00",
    )
    assert clock.now() == OPENS + 30


def test_a_day_has_everything_that_senders_do() -> None:
    day = alerts_of(7, 1)
    kinds = {"", "half", "flickers", "stranger", "malformed", "late", "in words", "repeated"}
    assert {alert.kind for alert in day} == kinds
    assert {alert.source for alert in day} == {*STRATEGIES, "webhook"}
    texts = [alert.text for alert in day]
    assert all(texts.count(one.text) == 2 for one in day if one.kind == "repeated")


def test_a_late_alert_is_late_by_real_time() -> None:
    alert = Alert(at=1, source="a", text='{"timenow": "@sent@"}', late=timedelta(minutes=5))
    assert json.loads(alert.body(NOW))["timenow"] == "2030-01-02T14:59:05+00:00"


def test_the_past_can_be_imported_and_has_every_verdict() -> None:
    found = [read_json(line.encode()) for line in Past(7, MarketDay.of(7)).lines(NOW)]
    assert {str(one.columns["status"]) for one in found} == {
        *("approved", "rejected", "expired", "invalid")
    }
    assert len({one.id for one in found}) == len(found) > 100
    times = [one.columns["received_at"] for one in found]
    assert times == sorted(times)
    assert NOW - timedelta(hours=31) < times[0] < times[-1] < NOW - timedelta(hours=24)


# ── The destination ─────────────────────────────────────────────────────────────────────────


async def post(destination: MadeUpDestination, body: str, id: str = "1") -> httpx.Response:
    transport = httpx.ASGITransport(destination)
    async with httpx.AsyncClient(transport=transport, base_url="https://made.example") as client:
        return await client.post("/hook", content=body, headers={"webhook-id": id})


def quiet(limits: tuple[tuple[int, float], ...] = ((60, 60.0),)) -> MadeUpDestination:
    return MadeUpDestination(1, limits, troubled=False, thinking=False)


BUY = '{"ticker": "AAPL", "action": "buy"}'


async def test_more_than_it_allows_is_answered_429_with_the_time_to_come_back() -> None:
    destination = quiet(((2, 60.0), (500, 3600.0)))
    taken = [await post(destination, BUY, str(number)) for number in range(3)]
    assert [answer.status_code for answer in taken] == [200, 200, 429]
    told = {"success": False, "messageCode": "too-many-requests", "message": "Too Many Requests"}
    assert taken[2].json() == told
    assert 50 < int(taken[2].headers["retry-after"]) <= 60
    assert [parcel.taken for parcel in destination.parcels] == [True, True, False]


async def test_what_it_takes_it_gives_ids() -> None:
    told = (await post(quiet(), BUY)).json()
    assert told["success"] is True
    assert told["payload"] == json.loads(BUY)
    assert told["id"]
    assert told["logId"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{", "malformed-json"),
        ("[]", "invalid-payload"),
        ('{"ticker": "AAPL"}', "invalid-payload"),
        ('{"ticker": "AAPL", "action": "short"}', "invalid-action"),
        (BUY, ""),
    ],
)
async def test_what_can_be_no_order_is_refused_by_its_code(body: str, code: str) -> None:
    assert refused(body.encode()) == code
    answer = await post(quiet(), body)
    assert answer.status_code == (MESSAGES[code][0] if code else 200)
    assert answer.json().get("messageCode", "") == code


async def test_trouble_says_whether_the_order_may_count() -> None:
    destination = quiet()
    for trouble, status, taken in (("failing", 500, True), ("down", 503, False), ("", 200, True)):
        destination.down = lambda _, trouble=trouble: trouble
        assert (await post(destination, BUY)).status_code == status
        assert destination.parcels[-1].taken is taken


def test_some_orders_of_a_hundred_go_wrong_and_none_takes_no_time() -> None:
    found = [said(7, ("gateway", "AAPL", "buy", number), 1) for number in range(1000)]
    codes = {one.code for one in found}
    assert codes == {"", "unknown-error", "ticker-does-not-exist"}
    assert 40 < sum(one.code != "" for one in found) < 110
    assert len({one.after for one in found}) > 900


# ── What a scenario holds against what it saw ───────────────────────────────────────────────


def parcel(id: str, *, taken: bool = True, marked: bool = False) -> Parcel:
    headers = {"webhook-id": id} | ({"relay-poss-resend": "Y"} if marked else {})
    return Parcel(0, "host", headers, b"{}", 200, taken)


def test_an_order_may_come_again_only_with_the_mark() -> None:
    assert unmarked_repeats([parcel("a"), parcel("b"), parcel("a")]) == 1
    assert unmarked_repeats([parcel("a"), parcel("a", marked=True)]) == 0
    assert unmarked_repeats([parcel("a", taken=False), parcel("a")]) == 0


def test_orders_of_a_ticker_come_as_their_alerts_came() -> None:
    signals = [{"id": id, "ticker": ticker} for id, ticker in (("a", "X"), ("b", "X"), ("c", "Y"))]
    assert out_of_order([parcel("c"), parcel("a"), parcel("b")], signals) == []
    assert out_of_order([parcel("b"), parcel("a")], signals) == ["X"]
    again = [parcel("a"), parcel("b"), parcel("a", marked=True)]
    assert out_of_order(again, signals) == []


def test_the_busiest_stretch_is_found() -> None:
    assert most_within([], 60) == 0
    assert most_within([0, 1, 2, 60, 61.5], 60) == 4 - 1
    assert most_within([0, 1, 2, 59.9], 60) == 4
