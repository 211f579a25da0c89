"""The modes of `python -m tests.chaos`, in short forms; and what they make of what they saw."""

import random  # noqa: TID251  chance is drawn from a seed
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from demo.finviz import Arrival as Asked
from engines.clock import utc_now
from engines.failpoints import Point
from launcher.terminal import say
from tests.chaos.failures import Armed, Strike
from tests.chaos.lookout import Blows, counted, lookout
from tests.chaos.outage import outage
from tests.chaos.overload import overload
from tests.chaos.points import in_turn, recovery, strike_points
from tests.chaos.records import Arrival, Blow, Evidence, Signal, Terms
from tests.chaos.test_checker import good
from tests.chaos.utilisation import Case, measured, utilisation

slow = pytest.mark.slow
patient = pytest.mark.timeout(900)


def drawn() -> list[Point]:
    """One of all, another every day."""
    return [random.Random(utc_now().toordinal()).choice(list(Point))]


@slow
@patient
async def test_a_kill_at_a_failpoint(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """With --long at every one, and with one replica too."""
    is_long = request.config.getoption("--long")
    points = in_turn() if is_long else drawn()
    for count in (1, 2) if is_long else (1,):
        result = await strike_points(points, tmp_path / str(count), say, replicas=count)
        assert result.broken == []
        assert result.numbers["struck"] == len(points)


@slow
@patient
async def test_an_outage_of_the_database(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """With --long only: `tests/end_to_end/test_outage.py` has a short one in every run."""
    if not request.config.getoption("--long"):
        pytest.skip("takes long: --long")
    result = await outage(tmp_path, say, seconds=20)
    assert result.broken == []
    assert result.numbers["answers_while_down"] > 100
    assert result.numbers["waiting_through_it"] > 0


@slow
@patient
async def test_ten_times_too_much(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """With --long only: it takes all there is of the machine, and times its answers."""
    if not request.config.getoption("--long"):
        pytest.skip("needs a machine of its own: --long")
    result = await overload(tmp_path, say, seconds=8, queue=2_000)
    assert result.broken == []
    assert result.numbers["sells"] > 0


@slow
@patient
async def test_windows_are_used(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """With --long only: how much of a window is used is a matter of time."""
    if not request.config.getoption("--long"):
        pytest.skip("needs a machine of its own: --long")
    case = Case(replicas=2, sells=False, window="30/10s", buys=70)
    result = await utilisation(tmp_path, say, case)
    assert result.broken == []


@slow
@patient
async def test_finviz_is_asked_as_by_one(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """With --long only: `tests/engines/test_keepers.py` has many keepers in every run."""
    if not request.config.getoption("--long"):
        pytest.skip("takes long: --long")
    result = await lookout(tmp_path, say, replicas=2, seconds=60, refresh=5)
    assert result.broken == []
    assert result.numbers["looks"] > 5


# ── What they make of what they saw ─────────────────────────────────────────────────────────


def test_points_of_the_keeper_stand_apart() -> None:
    points = in_turn()
    assert sorted(points) == sorted(Point)
    places = [n for n, point in enumerate(points) if point.startswith("keeper.")]
    assert all(later - earlier > 3 for earlier, later in pairwise(places))


def test_a_recovery_is_timed_by_what_was_acknowledged_before() -> None:
    """The third buy comes at 20, arrives at 20.2 and is settled at 20.3."""
    kill = Blow(kind="kill", target="replica-1", began=20.03, ended=22.0, note="send.before_write")
    struck = replace(good(), blows=[kill])
    found = recovery(struck, kill)
    assert (found.point, found.waiting) == ("send.before_write", 1)
    assert (found.first, found.all) == (pytest.approx(0.15), pytest.approx(0.25))
    before = recovery(struck, replace(kill, began=19.9))
    assert (before.waiting, before.first) == (0, None)


def sent(times: Sequence[float], *, limit: int) -> Evidence:
    """Buys that left at these moments under a window of ten seconds."""
    ids = [f"signal-{n}" for n in range(len(times))]
    return Evidence(
        terms=Terms(windows={"main": [(limit, 10.0)]}),
        signals=[
            Signal(id=id, seq=n, ticker=id, side="buy", status="approved")
            for n, id in enumerate(ids)
        ],
        arrivals=[
            Arrival(
                at=at,
                destination="main",
                id=id,
                resend=False,
                digest="",
                processed=True,
                status=200,
            )
            for id, at in zip(ids, times, strict=True)
        ],
    )


@pytest.mark.parametrize(("period", "used"), [(10.25, 10 / 10.25), (12.0, 10 / 12)])
def test_utilisation_is_what_left_of_what_might_have(period: float, used: float) -> None:
    """Nine of ten at once, again and again: the tenth is for sells."""
    times = [n // 9 * period + n % 9 * 0.01 for n in range(40)]
    numbers, faults = measured(sent(times, limit=10), sells=False)
    assert numbers["usable"] == 9
    assert numbers["used"] == pytest.approx(used, abs=0.001)
    assert bool(faults) is (used < 0.9)


def test_too_few_to_fill_a_window_measure_nothing() -> None:
    _, faults = measured(sent([0.0, 1.0, 2.0], limit=10), sells=False)
    assert faults == ["no window was full of waiting"]


def test_an_armed_point_is_struck_once_by_one(tmp_path: Path) -> None:
    struck: list[Strike] = []
    file = tmp_path / "armed"
    first, second = Armed(file, struck.append), Armed(file, struck.append)
    first(Point.KEEPER_TAKEN)
    file.write_text("keeper.taken:kill")
    for armed in (first, second, first):
        armed(Point.KEEPER_FETCHED)
        armed(Point.KEEPER_TAKEN)
    assert struck == [Strike(point=Point.KEEPER_TAKEN, action="kill")]
    assert not file.exists()


def test_looks_too_soon_or_too_many_are_found() -> None:
    def asked(at: float, query: str = "v=111") -> Asked:
        return Asked(at, "/screener", query, {})

    good = [asked(0), asked(1, "v=111&r=16"), asked(9.5), asked(10.5, "v=111&r=16"), asked(20)]
    assert counted(good, 20, 10, Blows())[1] == []
    assert counted([*good, asked(22)], 22, 10, Blows())[1] != []
    assert counted([*good, asked(20.5, "r=16"), asked(21, "r=1&r=31")], 22, 10, Blows())[1] != []
    assert counted([asked(0), asked(200)], 200, 10, Blows())[1] != []
