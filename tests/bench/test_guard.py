import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench import guard
from bench.guard import SlowedError, SlowerWarning, compared, in_turns, worries
from bench.workloads import Work, of_hot_path


@pytest.mark.filterwarnings("default::bench.guard.SlowerWarning")
def test_the_hot_path_costs_what_it_did() -> None:
    """CPU time against bench/baseline.json: 15 % more is a warning, 30 % more a failure."""
    before = guard.baseline()
    if not before:
        pytest.skip(f"no baseline for Python {guard.python()}: python -m bench guard --update")
    with ExitStack() as stack:
        found = compared(of_hot_path(stack), before)
    if told := worries(found):
        warnings.warn(told, SlowerWarning, stacklevel=1)


def test_a_slowed_function_fails() -> None:
    with ExitStack() as stack:
        works = of_hot_path(stack)
        before = in_turns({"judging": works["judging"]})

        def slowed() -> None:
            for _ in range(4):  # what was measured before may have been twice as slow just then
                works["judging"]()

        with pytest.raises(SlowedError, match=r"^judging costs \d\.\d\d times its baseline$"):
            compared({"judging": slowed}, before)


def test_what_did_not_slow_down_is_not_named() -> None:
    def measure(works: Mapping[str, Work]) -> dict[str, float]:
        return {name: 2.0 if name == "slow" else 1.0 for name in works}

    with pytest.raises(SlowedError, match=r"^slow costs 2\.00 times its baseline$"):
        compared({"slow": int, "steady": int}, {"slow": 1.0, "steady": 1.0}, measure)


def measuring(*costs: float) -> tuple[list[float], "guard.Measure"]:
    left = list(costs)

    def measure(works: Mapping[str, Work]) -> dict[str, float]:
        return dict.fromkeys(works, left.pop(0))

    return left, measure


def test_a_slip_of_the_machine_is_measured_again_and_passes() -> None:
    left, measure = measuring(2.0, 1.4, 1.2, 9.0)
    found = compared({"work": int}, {"work": 1.0}, measure)
    assert found == {"work": 1.2}
    assert left == [9.0]
    assert worries(found) == "work costs 1.20 times its baseline"


def test_what_stays_slow_fails() -> None:
    _, measure = measuring(*[1.31] * guard.TRIES)
    with pytest.raises(SlowedError):
        compared({"work": int}, {"work": 1.0}, measure)


def test_what_costs_a_little_more_is_no_worry() -> None:
    assert worries({"work": 1.15, "faster": 0.5}) == ""


def test_work_without_a_baseline_is_told() -> None:
    with pytest.raises(KeyError, match="guard --update"):
        compared({"new": int}, {"old": 1.0})


def test_another_python_has_a_baseline_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    path.write_text('{"2.7": {"work": 1.0}}')
    assert guard.baseline(path) == {}
