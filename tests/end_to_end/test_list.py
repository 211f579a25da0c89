"""The list in the running product: whatever Finviz answers, buys and sells do what they should."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from demo.finviz import Arrival, made_up_market
from domain.universe import FetchOutcome
from tests.end_to_end.stage import (
    CALLER,
    UPDATE_TOKEN,
    World,
    alert,
    in_the_end,
    until,
    world,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

MAX_AGE = 15
TOP_N = 25
URL = "https://finviz.com/screener.ashx?v=111&s=ta_topgainers&o=-change"
OUTCOMES = {
    "throttled": "throttled",
    "blocked": "blocked",
    "login": "login",
    "wrong_page": "wrong_page",
    "cut_off": "broken",
    "failing": "unreachable",
    "empty": "suspect",
    "past_end": "past_end",
}
FRESH_FOR = 3
"""So many of them are met while the list is fresh, the others when it is not."""
LONGEST_ANSWER = 12
"""Seconds that Finviz may take for an answer: after 15 a look is given up."""
numbers = count(1)


@pytest.fixture
def stage(tmp_path: Path) -> Generator[World]:
    """One page holds the list; it is looked at when we say so."""
    settings = {"LIST_MAX_AGE_SEC": str(MAX_AGE), "BUY_TTL_SEC": "60"}
    with world(tmp_path / "relay", size=60, top_n=TOP_N, settings=settings) as stage:
        yield stage


@pytest.fixture
def moving(tmp_path: Path) -> Generator[World]:
    """Two pages hold the list."""
    with world(tmp_path / "relay", size=60, top_n=TOP_N) as moving:
        moving.finviz.step = 20
        look(moving)
        yield moving


def listed(stage: World) -> dict[str, Any]:
    return stage.relay.read("/api/universe")


def names(stage: World) -> list[str]:
    return [one["ticker"] for one in listed(stage)["tickers"]]


def look(stage: World) -> dict[str, Any]:
    """Have Finviz asked now; return what came of it."""
    before = listed(stage)["last_fetch"]["at"]
    place, asked = f"{stage.relay.url}/finviz/config", {"url": URL, "token": UPDATE_TOKEN}
    answer = in_the_end(lambda: CALLER.post(place, json=asked))
    assert answer.status_code == 200, answer.text
    until(lambda: listed(stage)["last_fetch"]["at"] > before, 60, "a look")
    return listed(stage)


@contextmanager
def one_look(stage: World) -> Generator[dict[str, Any]]:
    """What came of a look. The next one, soon after what is suspect, is answered when we are done
    with what is done between the two.
    """
    first, done = iter([True]), Event()

    def wait(asked: Arrival) -> None:
        if "r=" not in asked.query and not next(first, False):
            done.wait(LONGEST_ANSWER)

    stage.finviz.before, before = wait, stage.finviz.before
    try:
        yield look(stage)
    finally:
        stage.finviz.before = before
        done.set()


def posted(stage: World, ticker: str, action: str) -> str:
    """The address of an alert that was accepted."""
    return f"/api/signals/{stage.relay.accepted(alert(ticker, action, next(numbers)))}"


def verdict(stage: World, path: str) -> dict[str, Any]:
    until(lambda: stage.relay.read(path)["verdict"]["status"] != "received", 40, "a verdict")
    return stage.relay.read(path)


def decided(stage: World, ticker: str, action: str) -> dict[str, Any]:
    return verdict(stage, posted(stage, ticker, action))


def approved(stage: World, tickers: Sequence[str]) -> list[str]:
    """Those of them that a buy is approved for now."""
    paths = {ticker: posted(stage, ticker, "buy") for ticker in tickers}  # all while it is fresh
    found = {ticker: verdict(stage, path)["verdict"]["status"] for ticker, path in paths.items()}
    return [ticker for ticker, status in found.items() if status == "approved"]


def delivered(stage: World) -> int:
    return len(stage.destination.arrivals)


def test_whatever_finviz_refuses_buys_close_on_time_and_sells_go_out(stage: World) -> None:
    assert set(OUTCOMES.values()) == set(FetchOutcome) - {FetchOutcome.OK, FetchOutcome.EMPTY}
    look(stage)
    kept = names(stage)
    bought = kept[: len(OUTCOMES)]
    assert approved(stage, bought) == bought
    until(lambda: delivered(stage) == len(bought), 40, "the buys to arrive")
    look(stage)
    ages: list[float] = []
    reasons: set[str | None] = set()
    for number, ((fault, outcome), ticker) in enumerate(zip(OUTCOMES.items(), bought, strict=True)):
        if number == FRESH_FOR:
            until(lambda: listed(stage)["age_sec"] > MAX_AGE, 2 * MAX_AGE, "a stale list")
        stage.finviz.answer_with(fault)
        shown = look(stage)
        assert shown["last_fetch"]["outcome"] == outcome, fault
        assert names(stage) == kept, fault
        assert shown["trust"] == ("fresh" if shown["age_sec"] <= MAX_AGE else "stale")
        ages.append(shown["age_sec"])
        reasons.add(a_buy_is_judged_by_the_age(stage, kept[TOP_N - 1]))
        before = delivered(stage)
        assert decided(stage, ticker, "sell")["verdict"]["status"] == "approved"
        until(lambda n=before: delivered(stage) > n, 40, f"a sell while Finviz is {outcome}")
    assert ages == sorted(ages)
    assert reasons == {None, "list_stale"}
    approvals = total(stage, "approved")
    stage.finviz.answer_with(None)
    assert look(stage)["trust"] == "fresh"
    assert approved(stage, [kept[0]]) == [kept[0]]
    assert total(stage, "approved") == approvals + 1, "nothing of the outage is approved late"


def a_buy_is_judged_by_the_age(stage: World, ticker: str) -> str | None:
    signal = decided(stage, ticker, "buy")
    reason = None if signal["verdict"]["list_age_ms"] <= MAX_AGE * 1000 else "list_stale"
    assert signal["reason"] == reason
    return reason


def total(stage: World, status: str) -> int:
    recent = stage.relay.read("/status")["last_24h"]
    return sum(one["signals"] for one in recent if one["status"] == status)


def test_surprises_end_as_they_should_and_approvals_prove_it(moving: World) -> None:
    old = names(moving)[:TOP_N]
    shrunk_to_a_third(moving, old)
    new = unrelated(moving, old)
    second_page_fails(moving, new)
    after = moved_once(moving, new)
    moving_all_the_time(moving, after)


def shrunk_to_a_third(stage: World, old: Sequence[str]) -> None:
    """Kept at first, taken when seen twice."""
    stage.finviz.market = stage.finviz.market[:8]
    with one_look(stage) as shown:
        assert shown["last_fetch"]["outcome"] == "suspect"
        assert approved(stage, [old[0], old[20]]) == [old[0], old[20]]
    until(lambda: len(names(stage)) == 8, 60, "the shorter list")
    assert approved(stage, [old[0], old[20]]) == [old[0]]


def unrelated(stage: World, old: Sequence[str]) -> list[str]:
    """The same, and nothing of it is bought before it is believed."""
    stage.finviz.market = made_up_market(9, 60)
    new = top(stage)
    with one_look(stage) as shown:
        assert shown["last_fetch"]["outcome"] == "suspect"
        assert approved(stage, [old[0], new[0]]) == [old[0]]
    until(lambda: names(stage)[:TOP_N] == new, 60, "the other list")
    assert approved(stage, [old[0], new[0], new[24]]) == [new[0], new[24]]
    return new


def second_page_fails(stage: World, new: Sequence[str]) -> None:
    """Nothing of the first is taken."""
    stage.finviz.market = [*stage.finviz.market[30:], *stage.finviz.market[:30]]
    stage.finviz.before = lambda asked: stage.finviz.answer_with(
        "throttled" if "r=21" in asked.query else None
    )
    assert look(stage)["last_fetch"]["outcome"] == "throttled"
    assert names(stage)[:TOP_N] == new
    assert approved(stage, [stage.finviz.market[0].ticker, new[0]]) == [new[0]]
    stage.finviz.answer_with(None)


def moved_once(stage: World, new: Sequence[str]) -> list[str]:
    """Between its pages: it is read again from the beginning, and then it is whole."""
    stage.finviz.market = made_up_market(9, 60)
    turned = iter([True])

    def move(asked: Arrival) -> None:
        if "r=21" in asked.query and next(turned, False):
            turn(stage)

    stage.finviz.before = move
    assert look(stage)["last_fetch"]["outcome"] == "ok"
    after = top(stage)
    assert names(stage)[:TOP_N] == after
    assert approved(stage, [new[24], after[0]]) == [after[0]]
    return after


def moving_all_the_time(stage: World, after: Sequence[str]) -> None:
    """No list comes of it, the last one stays."""
    stage.finviz.before = lambda asked: turn(stage) if "r=21" in asked.query else None
    assert look(stage)["last_fetch"]["outcome"] == "broken"
    assert names(stage)[:TOP_N] == after


def top(stage: World) -> list[str]:
    return [listing.ticker for listing in stage.finviz.market[:TOP_N]]


def turn(stage: World) -> None:
    """The last becomes the best: whatever stood last on a page stands first on the next."""
    stage.finviz.market = [stage.finviz.market[-1], *stage.finviz.market[:-1]]
