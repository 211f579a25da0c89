"""A deadline that moves with every request rings when it is met, and only then."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from launcher.deadline import Deadline


@dataclass(slots=True)
class Timer:
    at: float
    ring: Any
    is_cancelled: bool = False

    def cancel(self) -> None:
        self.is_cancelled = True


@dataclass(slots=True)
class Loop:
    """A loop whose time passes when it is told to."""

    now: float = 100.0
    timers: list[Timer] = field(default_factory=list[Timer])

    def time(self) -> float:
        return self.now

    def call_at(self, at: float, ring: Any) -> Timer:
        self.timers.append(Timer(at, ring))
        return self.timers[-1]

    def pass_to(self, moment: float) -> None:
        while due := [t for t in self.timers if t.at <= moment and not t.is_cancelled]:
            timer = min(due, key=lambda one: one.at)
            self.timers.remove(timer)
            self.now = max(self.now, timer.at)
            timer.ring()
        self.now = moment


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def met() -> list[str]:
    return []


def a_deadline(loop: Loop) -> Deadline:
    return Deadline(loop)  # pyright: ignore[reportArgumentType]  as much of a loop as it needs


def test_it_is_met_once(loop: Loop, met: list[str]) -> None:
    deadline = a_deadline(loop)
    deadline.set(5, lambda: met.append("met"))
    loop.pass_to(104.9)
    assert (met, deadline.is_set) == ([], True)
    loop.pass_to(200)
    assert (met, deadline.is_set) == (["met"], False)


def test_what_is_cleared_is_not_met(loop: Loop, met: list[str]) -> None:
    deadline = a_deadline(loop)
    deadline.set(5, lambda: met.append("met"))
    deadline.clear()
    loop.pass_to(200)
    assert (met, loop.timers) == ([], [])


def test_a_thousand_requests_need_one_timer_in_five_seconds(loop: Loop, met: list[str]) -> None:
    deadline = a_deadline(loop)
    rung = 0
    for number in range(1, 1_001):
        deadline.set(5, lambda: met.append("met"))
        assert len(loop.timers) == 1
        rung += 1
        deadline.clear()
        deadline.set(5, lambda: met.append("met"))
        loop.pass_to(100 + number / 200)
    assert rung == 1_000
    assert met == []
    loop.pass_to(110.1)
    assert met == ["met"]


def test_an_earlier_deadline_does_not_wait_for_the_later_timer(loop: Loop, met: list[str]) -> None:
    deadline = a_deadline(loop)
    deadline.set(5, lambda: met.append("late"))
    deadline.set(0.05, lambda: met.append("soon"))
    loop.pass_to(100.06)
    assert met == ["soon"]
    loop.pass_to(200)
    assert met == ["soon"]


def test_a_later_one_is_met_later(loop: Loop, met: list[str]) -> None:
    deadline = a_deadline(loop)
    deadline.set(5, lambda: met.append("first"))
    loop.pass_to(103)
    deadline.set(5, lambda: met.append("second"))
    loop.pass_to(107.9)
    assert met == []
    loop.pass_to(108)
    assert met == ["second"]


def test_who_is_closed_leaves_no_timer(loop: Loop, met: list[str]) -> None:
    deadline = a_deadline(loop)
    deadline.set(5, lambda: met.append("met"))
    deadline.close()
    assert all(timer.is_cancelled for timer in loop.timers)
    loop.pass_to(200)
    assert met == []


def test_it_may_be_set_anew_when_it_is_met(loop: Loop, met: list[str]) -> None:
    deadline = a_deadline(loop)

    def again() -> None:
        met.append("met")
        deadline.set(5, lambda: met.append("again"))

    deadline.set(5, again)
    loop.pass_to(110)
    assert met == ["met", "again"]


async def test_on_a_real_loop() -> None:
    done = asyncio.Event()
    deadline = Deadline(asyncio.get_running_loop())
    deadline.set(0.01, done.set)
    await asyncio.wait_for(done.wait(), 10)
    assert not deadline.is_set
