"""H19, H21, H23: the fuzzers, for a moment each; `python -m tests.fuzz` runs them at length."""

import importlib.util
from pathlib import Path

import pytest

from tests.fuzz import alerts, pages
from tests.fuzz.requests import Plan, is_clean, run
from tests.fuzz.running import Run, fuzz
from tests.fuzz.sockets import Plan as Connections
from tests.fuzz.sockets import thrown

atheris = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="atheris is not installed: it has wheels for Linux alone",
)
ALERTS, PAGES, REQUESTS, CONNECTIONS = 3_000, 150, 400, 200


def quiet(_line: str) -> None:
    """Nobody reads along."""


@atheris
def test_no_alert_breaks_its_parser(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    runs = ALERTS * (100 if request.config.getoption("--long") else 1)
    given = Run(
        name="alerts",
        seeds=alerts.seeds(),
        words=alerts.WORDS,
        runs=runs,
        largest=4_096,
        failed=tmp_path,
    )
    figures = fuzz(given)
    assert not figures["failure"], figures
    assert figures["executions"] >= runs
    assert len(figures["outcomes"]) > 8, "far into the parser"


@atheris
def test_no_page_breaks_its_reader(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    runs = PAGES * (100 if request.config.getoption("--long") else 1)
    given = Run(name="pages", seeds=pages.seeds(), words=pages.WORDS, runs=runs, failed=tmp_path)
    figures = fuzz(given)
    assert not figures["failure"], figures
    assert figures["executions"] >= runs
    assert {"ok complete", "broken"} <= figures["outcomes"].keys()


@atheris
def test_a_failing_input_is_told_and_kept(tmp_path: Path) -> None:
    """A fuzzer that finds nothing proves nothing unless it can find something."""
    figures = fuzz(Run(name="planted", seeds=[b"a"], words=[b"bomb"], runs=50_000, failed=tmp_path))
    assert "planted" in figures["failure"]
    [kept] = figures["kept"]
    assert b"bomb" in (tmp_path / kept).read_bytes()


async def test_no_request_is_a_server_error_or_shows_a_secret(
    template: str, request: pytest.FixtureRequest
) -> None:
    many = request.config.getoption("--long")
    plan = Plan(REQUESTS * 20, 1, 3) if many else Plan(REQUESTS, 1, 1, 0.1)
    figures = await run(plan, template, quiet)
    assert is_clean(figures), figures
    assert figures["operations"] > 100
    assert {"2xx", "4xx"} <= figures["by_class"].keys()


async def test_no_bytes_stop_the_server(template: str, request: pytest.FixtureRequest) -> None:
    many = request.config.getoption("--long")
    figures = await thrown(Connections(CONNECTIONS * (20 if many else 1)), quiet, template)
    assert not figures["faults"], figures
    assert {"200", "400"} <= figures["answers"].keys()
