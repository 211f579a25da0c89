"""Failpoints in words, and the strikes they make."""

import random  # noqa: TID251  chance is drawn from a seed

import pytest

from engines.failpoints import Point
from tests.chaos.failures import Failures, Strike, parse


def test_every_kind_of_strike_is_read() -> None:
    words = "intake.after_commit:kill:0.01, send.before_write:stop#3,keeper.taken:stall=2.5:1#1"
    assert parse(words) == [
        Strike(point=Point.INTAKE_AFTER_COMMIT, action="kill", probability=0.01),
        Strike(point=Point.SEND_BEFORE_WRITE, action="stop", count=3),
        Strike(point=Point.KEEPER_TAKEN, action="stall", seconds=2.5, count=1),
    ]
    assert parse("") == []


@pytest.mark.parametrize("words", ["intake.after_commit", "nowhere:kill", "keeper.taken:sing"])
def test_what_names_no_strike_is_refused(words: str) -> None:
    with pytest.raises(ValueError, match=r"is no strike|is not a valid Point"):
        parse(words)


def test_strikes_at_the_reach_that_was_named_and_nowhere_else() -> None:
    struck: list[Strike] = []
    failures = Failures(parse("keeper.taken:raise#2"), lambda: 0.0, struck.append)
    for point in (Point.KEEPER_TAKEN, Point.KEEPER_FETCHED, Point.KEEPER_TAKEN, Point.KEEPER_TAKEN):
        failures(point)
    assert struck == [Strike(point=Point.KEEPER_TAKEN, action="raise", count=2)]


def test_chance_is_repeated_by_its_seed() -> None:
    def struck(seed: int) -> int:
        found: list[Strike] = []
        failures = Failures(
            parse("keeper.taken:raise:0.3"), random.Random(seed).random, found.append
        )
        for _ in range(1000):
            failures(Point.KEEPER_TAKEN)
        return len(found)

    assert struck(7) == struck(7)
    assert 200 < struck(7) < 400
