"""Alerts in a flood come before verdicts, and verdicts still come."""

import asyncio
import time
from dataclasses import dataclass
from datetime import timedelta

import pytest

from database.pool import UnavailableError
from engines.metrics import Metrics
from engines.relay.gatekeeper import Gatekeeper
from engines.relay.intake import PRESSED, Intake
from engines.relay.precedence import GLANCE, LONGEST, PAUSE, PAUSE_IN_FLOOD, Precedence
from tests.database.rows import an_entry
from tests.engines.accepting import accept
from tests.engines.conditions import set_forward, until


@dataclass(slots=True)
class Flood:
    now: bool = True

    def __call__(self) -> bool:
        return self.now


@pytest.fixture
def flood() -> Flood:
    return Flood()


@pytest.fixture
def precedence(flood: Flood) -> Precedence:
    return Precedence(flood, PAUSE)


async def test_the_first_batch_of_a_flood_is_judged(precedence: Precedence) -> None:
    assert precedence.pause() is None


async def paused(precedence: Precedence, seconds: float, size: int = 1) -> float:
    with precedence.turn():
        await asyncio.sleep(seconds)
        precedence.judged(size, full=False)
    pause = precedence.pause()
    assert pause
    return pause.total_seconds()


async def test_a_batch_is_followed_by_a_pause_as_long_as_it(
    flood: Flood, precedence: Precedence
) -> None:
    flood.now = False
    assert await paused(precedence, 0.05) <= PAUSE * LONGEST


async def test_a_full_batch_is_followed_by_the_next(flood: Flood, precedence: Precedence) -> None:
    with precedence.turn():
        await asyncio.sleep(0.02)
        precedence.judged(1, full=True)
    assert precedence.pause()
    flood.now = False
    assert precedence.pause() is None
    assert await paused(precedence, 0.02)


async def test_the_more_came_together_the_longer_the_next_are_gathered(
    flood: Flood, precedence: Precedence
) -> None:
    flood.now = False
    assert await paused(precedence, 0.05, size=3) > 2 * 0.05
    assert await paused(precedence, 0.05, size=100) <= PAUSE_IN_FLOOD * LONGEST


async def test_in_a_flood_by_one_four_times_as_long(flood: Flood, precedence: Precedence) -> None:
    pause = await paused(precedence, 0.05)
    assert (PAUSE_IN_FLOOD - 1) * 0.05 < pause <= PAUSE_IN_FLOOD * LONGEST
    flood.now = False
    await until(lambda: precedence.pause() is None)


async def test_in_a_flood_one_batch_is_judged_at_a_time(
    flood: Flood, precedence: Precedence
) -> None:
    with precedence.turn():
        assert precedence.pause()
        flood.now = False
        assert precedence.pause() is None, "who was woken for the rest begins"
    await paused(precedence, 0.02)
    flood.now = True
    await until(lambda: precedence.pause() is None)


async def test_the_pause_ends(precedence: Precedence) -> None:
    clock = asyncio.get_running_loop().time
    await paused(precedence, 0.02)
    ended = clock()
    await until(lambda: precedence.pause() is None)
    assert clock() - ended >= (PAUSE_IN_FLOOD - 1) * 0.02


async def test_a_batch_that_waited_long_does_not_make_all_wait(precedence: Precedence) -> None:
    assert await paused(precedence, LONGEST + 0.2) <= PAUSE_IN_FLOOD * LONGEST


async def test_a_batch_that_failed_counts_as_well(precedence: Precedence) -> None:
    async def fail() -> None:
        with precedence.turn():
            await asyncio.sleep(0.1)
            raise ValueError("lost")

    with pytest.raises(ValueError, match="lost"):
        await fail()
    assert precedence.pause()


async def test_a_gatekeeper_asks_before_it_opens_a_transaction(
    flood: Flood, precedence: Precedence
) -> None:
    keeper = Gatekeeper(
        database=None,  # pyright: ignore[reportArgumentType]  not asked for while it gives way
        metrics=None,  # pyright: ignore[reportArgumentType]
        judge=None,  # pyright: ignore[reportArgumentType]
        wake_forwarder=lambda: None,
        wake_another=lambda: None,
        precedence=precedence,
    )
    with precedence.turn():
        await asyncio.sleep(0.2)
    assert await keeper.step() == GLANCE, "the flood may be over before the pause is"
    flood.now = False
    await until(lambda: precedence.pause() is None)
    with pytest.raises(AttributeError):
        await keeper.step()


async def test_an_intake_is_pressed_by_many_at_once() -> None:
    intake = Intake(
        database=None,  # pyright: ignore[reportArgumentType]  nothing is committed here
        metrics=Metrics(),
        wake=lambda: None,
        wake_gatekeeper=lambda: None,
    )
    callers = [asyncio.create_task(accept(intake, an_entry())) for _ in range(PRESSED)]
    assert not intake.is_pressed
    await asyncio.sleep(0)
    assert intake.is_pressed
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)


async def test_who_waits_too_long_is_told_by_one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = set_forward(monkeypatch)
    intake = Intake(
        database=None,  # pyright: ignore[reportArgumentType]  it is never asked
        metrics=Metrics(),
        wake=lambda: None,
        wake_gatekeeper=lambda: None,
        budget=timedelta(seconds=40),
    )
    first = asyncio.create_task(accept(intake, an_entry()))
    await asyncio.sleep(0)
    forward(20)
    second = asyncio.create_task(accept(intake, an_entry()))
    await asyncio.sleep(0)
    forward(20)
    with pytest.raises(UnavailableError):
        await first
    assert not second.done()
    forward(20)
    with pytest.raises(UnavailableError):
        await second


async def test_who_repeats_an_alert_that_was_refused_is_answered_too() -> None:
    """The commit before it hangs: nobody takes the first one out, and its time is over."""
    intake = Intake(
        database=None,  # pyright: ignore[reportArgumentType]  it is never asked
        metrics=Metrics(),
        wake=lambda: None,
        wake_gatekeeper=lambda: None,
        budget=timedelta(seconds=0.05),
    )
    entry = an_entry()
    for _ in range(3):
        with pytest.raises(UnavailableError):
            await asyncio.wait_for(accept(intake, entry), 10)


async def test_who_is_found_too_late_is_told_by_whoever_finds_it() -> None:
    """The step comes before the alarm when the loop was held up."""
    intake = Intake(
        database=None,  # pyright: ignore[reportArgumentType]  nothing is left to commit
        metrics=Metrics(),
        wake=lambda: None,
        wake_gatekeeper=lambda: None,
        budget=timedelta(seconds=0.05),
    )
    caller = asyncio.create_task(accept(intake, an_entry()))
    await asyncio.sleep(0)
    time.sleep(0.1)  # noqa: ASYNC251  the loop is held up
    await intake.step()
    with pytest.raises(UnavailableError):
        await asyncio.wait_for(caller, 10)
