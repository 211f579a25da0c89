import json
from pathlib import Path

import pytest

from bench import report
from bench.figures import TIMES, Figure

MACHINE = {
    "machine": "x86_64, 2 cores",
    "system": "6.1",
    "python": "3.11.7",
    "postgres": "18.1",
    "packages": {"uvloop": "0.23.0"},
    "load before": 0.1,
}
RATIO = Figure(what="ratio", value=0.31, unit=TIMES, low=0.30, high=0.32, least=0.30)
SLOW = Figure(what="p99", value=7.0, unit="ms", most=5, noisy=True)


def test_results_are_kept_side_by_side_and_the_table_has_ratios_first(tmp_path: Path) -> None:
    path = tmp_path / "new" / "latest.json"
    report.keep(path, "latency", [SLOW], MACHINE, seconds=3, quick=False)
    report.keep(path, "accept", [RATIO], MACHINE, seconds=3, quick=True)
    report.keep(path, "latency", [SLOW], MACHINE, seconds=4, quick=False)
    rows = [line for line in report.table(json.loads(path.read_text())).splitlines() if "|" in line]
    assert rows[2:] == [
        f"| accept | ratio | 0.310 {TIMES} | 0.300 to 0.320 | ≥ 0.300 ✓ |",
        "| latency | p99 | 7.00 ms *noisy* |  | ≤ 5.00 **missed** |",
    ]


def test_a_table_says_what_it_was_measured_on(tmp_path: Path) -> None:
    report.keep(tmp_path / "a.json", "accept", [RATIO], MACHINE, quick=True)
    told = report.table(json.loads((tmp_path / "a.json").read_text()))
    for word in ("2 cores", "CPython 3.11.7", "PostgreSQL 18.1", "quick rounds", "load 0.1"):
        assert word in told


def test_the_table_takes_the_place_of_the_one_before() -> None:
    page = f"above\n{report.BEGIN}\nold\n{report.END}\nbelow"
    assert report.put(page, "new") == f"above\n{report.BEGIN}\nnew\n{report.END}\nbelow"
    with pytest.raises(ValueError, match="not both there"):
        report.put("no marks", "new")


def test_the_readme_has_a_place_for_it() -> None:
    assert report.put(report.README.read_text(), "new").count("\nnew\n") == 1
