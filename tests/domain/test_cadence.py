"""The rhythm of sources: near the limit, silent, out of step."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from domain.attention import Cause, Item, Over
from domain.cadence import Burst, Rhythm, Step, heard, in_words, near_limit, out_of_step, silent
from domain.signal import Side

NOW = datetime(2030, 1, 2, 15, tzinfo=UTC)
BUY, SELL = Side.BUY, Side.SELL


def a_burst(count: int, ticker: str = "AAPL") -> Burst:
    return Burst(source="tv", ticker=ticker, count=count)


def test_twelve_of_fifteen_are_near() -> None:
    found = near_limit([a_burst(12), a_burst(11, "MSFT")], [], NOW)
    (item,) = found
    assert isinstance(item, Item)
    assert (item.cause, item.key) == (Cause.NEAR_LIMIT, "tv:AAPL")
    assert "12 alerts of AAPL within 3 minutes" in item.text


def test_whoever_is_calm_again_is_settled() -> None:
    over, item = near_limit([a_burst(13)], ["tv:MSFT", "tv:AAPL"], NOW)
    assert isinstance(over, Over)
    assert (over.cause, over.key) == (Cause.NEAR_LIMIT, "tv:MSFT")
    assert isinstance(item, Item)


def test_silence_and_its_end_have_one_key() -> None:
    rhythm = Rhythm(source="tv", every=timedelta(hours=2), in_hours=True, last_at=NOW)
    item, over = silent(rhythm, NOW), heard("tv")
    assert (item.cause, item.key) == (over.cause, over.key)
    assert "more than 2 h of market hours" in item.text


def steps(side: Side, before: Side | None) -> tuple[Cause | None, Cause]:
    step = Step(source="tv", ticker="AAPL", side=side, before=before, at=NOW, signal_id=UUID(int=1))
    over, *items = out_of_step(step)
    assert isinstance(over, Over)
    assert all(isinstance(item, Item) and item.key == over.key for item in items)
    return (items[0].cause if items else None), over.cause


@pytest.mark.parametrize(
    ("side", "before", "expected"),
    [
        (BUY, None, None),
        (BUY, SELL, None),
        (BUY, BUY, Cause.BUY_AFTER_BUY),
        (SELL, BUY, None),
        (SELL, SELL, Cause.SELL_WITHOUT_BUY),
        (SELL, None, Cause.SELL_WITHOUT_BUY),
    ],
)
def test_buys_and_sells_take_turns(side: Side, before: Side | None, expected: Cause | None) -> None:
    settled = Cause.SELL_WITHOUT_BUY if side is BUY else Cause.BUY_AFTER_BUY
    assert steps(side, before) == (expected, settled)


@pytest.mark.parametrize(
    ("minutes", "words"), [(1, "1 min"), (45, "45 min"), (90, "1.5 h"), (2880, "2 d")]
)
def test_spans_are_told_in_words(minutes: float, words: str) -> None:
    assert in_words(timedelta(minutes=minutes)) == words
