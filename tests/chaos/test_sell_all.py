"""Everything sold under fire, in short; and what the mode makes of what it saw."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from domain.rate import Window
from launcher.terminal import say
from tests.chaos.records import Arrival, Attempt, Delivery, Evidence, Signal, Terms
from tests.chaos.sell_all import Case, Command, everything_sold, measured, sell_all, soonest

WINDOW = Window(limit=2, seconds=10)
CASE = Case(positions=2, window="2/10s")


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_everything_is_sold_under_fire(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> None:
    """A replica is killed; with --long as in the report, half of what is sent failing, too.

    There the breaker and the pauses between tries decide how long it takes: a minute or two.
    """
    short = Case(positions=8, replicas=2, window="10/3s", killed=True)
    long = [Case(), Case(fails=True, killed=True)]
    for case in long if request.config.getoption("--long") else [short]:
        folder: Path = tmp_path_factory.mktemp("all")  # a socket's path has at most 107 bytes
        result = await sell_all(folder, say, case)
        assert result.broken == []
        assert result.numbers["positions"] == case.positions


@pytest.mark.parametrize(
    ("before", "sells", "least"),
    [
        ([], 0, 0),
        ([], 2, 0),
        ([], 3, 10),
        ([], 5, 20),
        ([95.0], 1, 0),
        ([95.0], 2, 5),
        ([92.0, 95.0], 2, 5),
        ([92.0, 95.0], 3, 12),
        ([80.0, 85.0], 2, 0),
    ],
)
def test_the_least_time_is_what_the_window_allows(
    before: list[float], sells: int, least: float
) -> None:
    assert soonest(before, WINDOW, sells, 100.0) == least


def arrival(id: str, at: float) -> Arrival:
    return Arrival(
        at=at,
        destination="main",
        id=id,
        resend=False,
        digest="",
        processed=True,
        status=200,
        answered_at=at,
    )


def evidence() -> Evidence:
    """Two buys, everything sold at 100, bought again after 200."""
    told = [("a", "AA", "buy", 90.0), ("b", "BB", "buy", 91.0), ("c", "AA", "sell", 101.0)]
    told += [("d", "BB", "sell", 101.05), ("e", "AA", "buy", 201.0)]
    return Evidence(
        terms=Terms(windows={"main": [(2, 10.0)]}),
        signals=[
            Signal(id=id, seq=seq, ticker=ticker, side=side, status="approved")
            for seq, (id, ticker, side, _) in enumerate(told)
        ],
        deliveries=[
            Delivery(
                id=f"d-{id}",
                signal_id=id,
                destination="main",
                seq=seq,
                ticker=ticker,
                side=side,
                state="delivered",
                queued_at=at,
                expires_at=at + 900,
            )
            for seq, (id, ticker, side, at) in enumerate(told)
        ],
        attempts=[Attempt(delivery_id=f"d-{id}", epoch=1, started_at=at) for id, _, _, at in told],
        arrivals=[arrival(id, at) for id, _, _, at in told],
    )


def answer(**changed: Any) -> dict[str, Any]:
    sells = [{"signal_id": "c", "ticker": "AA"}, {"signal_id": "d", "ticker": "BB"}]
    return {"batch_id": "1", "duplicate": False, "signals": sells, "expected_sec": 2.0} | changed


COMMAND = Command(
    asked_at=100.0,
    answered_at=100.5,
    resumed_at=200.0,
    answers=[answer(), answer(duplicate=True)],
    batches=1,
    unsold=0,
)


def later(evidence: Evidence, id: str, at: float) -> Evidence:
    """This signal arrives, and was first tried, only then."""
    arrivals = [replace(a, at=at) if a.id == id else a for a in evidence.arrivals]
    attempts = [
        replace(a, started_at=at) if a.delivery_id == f"d-{id}" else a for a in evidence.attempts
    ]
    return replace(evidence, arrivals=arrivals, attempts=attempts)


def failed(evidence: Evidence) -> Evidence:
    ended = [replace(d, state="dead") if d.id == "d-d" else d for d in evidence.deliveries]
    return replace(
        evidence,
        deliveries=ended,
        arrivals=[replace(a, status=404) if a.id == "d" else a for a in evidence.arrivals],
    )


WRONG: dict[str, Callable[[], tuple[Evidence, Command]]] = {
    "two batches": lambda: (evidence(), replace(COMMAND, batches=2)),
    "another batch": lambda: (
        evidence(),
        replace(COMMAND, answers=[answer(), answer(duplicate=True, batch_id="2")]),
    ),
    "a repeat untold": lambda: (evidence(), replace(COMMAND, answers=[answer(), answer()])),
    "one left out": lambda: (
        evidence(),
        replace(COMMAND, answers=[answer(signals=[{"signal_id": "c", "ticker": "AA"}])]),
    ),
    "an older buy": lambda: (later(evidence(), "a", 150.0), COMMAND),
    "a newer buy": lambda: (later(evidence(), "e", 150.0), COMMAND),
    "a failure unsaid": lambda: (failed(evidence()), COMMAND),
    "an arrival nobody knows of": lambda: (
        replace(evidence(), arrivals=[a for a in evidence().arrivals if a.id != "d"]),
        COMMAND,
    ),
}


def test_all_is_well() -> None:
    assert everything_sold(evidence(), COMMAND).ok
    assert everything_sold(failed(evidence()), replace(COMMAND, unsold=1)).ok
    numbers, faults = measured(evidence(), CASE, COMMAND)
    assert (numbers["last_sell_sec"], numbers["least_sec"], faults) == (1.05, 1.0, [])


@pytest.mark.parametrize("what", WRONG)
def test_each_thing_that_is_wrong_is_found(what: str) -> None:
    assert not everything_sold(*WRONG[what]()).ok


def test_an_older_buy_that_had_been_tried_may_come_again() -> None:
    arrivals = [replace(a, at=150.0) if a.id == "a" else a for a in evidence().arrivals]
    assert everything_sold(replace(evidence(), arrivals=arrivals), COMMAND).ok


def test_a_last_sell_that_is_late_is_a_fault() -> None:
    slow = [replace(a, answered_at=120.0) if a.id == "d" else a for a in evidence().arrivals]
    assert measured(replace(evidence(), arrivals=slow), CASE, COMMAND)[1]
    assert not measured(replace(evidence(), arrivals=slow), replace(CASE, fails=True), COMMAND)[1]
