"""The list in the running product: whatever Finviz answers, buys and sells do what they should."""

from collections.abc import Generator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from demo.finviz import Arrival, made_up_market
from domain.universe import FetchOutcome
from tests.end_to_end.stage import CALLER, UPDATE_TOKEN, World, alert, until, world

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

MAX_AGE = 5
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
    answer = CALLER.post(
        f"{stage.relay.url}/finviz/config", json={"url": URL, "token": UPDATE_TOKEN}
    )
    assert answer.status_code == 200, answer.text
    until(lambda: listed(stage)["last_fetch"]["at"] > before, 20, "a look")
    return listed(stage)


def posted(stage: World, ticker: str, action: str) -> str:
    """The address of an alert that was accepted."""
    answer = stage.relay.post(alert(ticker, action, next(numbers)))
    return f"/api/signals/{answer.json()['signal_id']}"


def verdict(stage: World, path: str) -> dict[str, Any]:
    until(lambda: stage.relay.read(path)["verdict"]["status"] != "received", 10, "a verdict")
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
    until(lambda: delivered(stage) == len(bought), 20, "the buys to arrive")
    ages: list[float] = []
    reasons: set[str | None] = set()
    for (fault, outcome), ticker in zip(OUTCOMES.items(), bought, strict=True):
        stage.finviz.answer_with(fault)
        shown = look(stage)
        assert shown["last_fetch"]["outcome"] == outcome, fault
        assert names(stage) == kept, fault
        assert shown["trust"] == ("fresh" if shown["age_sec"] <= MAX_AGE else "stale")
        ages.append(shown["age_sec"])
        reasons.add(a_buy_is_judged_by_the_age(stage, kept[TOP_N - 1]))
        before = delivered(stage)
        assert decided(stage, ticker, "sell")["verdict"]["status"] == "approved"
        until(lambda n=before: delivered(stage) > n, 10, f"a sell while Finviz is {outcome}")
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
    assert look(stage)["last_fetch"]["outcome"] == "suspect"
    assert approved(stage, [old[0], old[20]]) == [old[0], old[20]]
    until(lambda: len(names(stage)) == 8, 20, "the shorter list")
    assert approved(stage, [old[0], old[20]]) == [old[0]]


def unrelated(stage: World, old: Sequence[str]) -> list[str]:
    """The same, and nothing of it is bought before it is believed."""
    stage.finviz.market = made_up_market(9, 60)
    new = top(stage)
    assert look(stage)["last_fetch"]["outcome"] == "suspect"
    assert approved(stage, [old[0], new[0]]) == [old[0]]
    until(lambda: names(stage)[:TOP_N] == new, 20, "the other list")
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
