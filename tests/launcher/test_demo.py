"""The demo's options, its ribbon, and how its runs end."""

import argparse
import json
import logging
import os
from pathlib import Path

import httpx
import pytest
from starlette.responses import HTMLResponse, JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from demo import defaults
from demo.ribbon import WORDS, Ribbon
from demo.scenario import Check, Report
from demo.scenarios import SCENARIOS
from launcher import demo
from launcher.command_line import parser_for
from launcher.demo_options import Wishes, wishes_of

PAGE = '<html><head><title>Signals</title></head><main id="main" tabindex="-1">é</main></html>'


def asked(*arguments: str) -> argparse.Namespace:
    return parser_for(arguments).parse_args(arguments)


def test_every_scenario_can_be_asked_for() -> None:
    assert set(SCENARIOS) == set(defaults.SCENARIOS)
    for name in defaults.SCENARIOS:
        wishes = wishes_of(asked("--demo", "--scenario", name, "--exit", "--json", "--seed", "3"))
        assert wishes == Wishes(scenario=name, ends=True, as_json=True, seed=3)
    assert wishes_of(asked("--demo", "--speed", "60", "--fresh")) == Wishes(speed=60, fresh=True)
    assert wishes_of(asked()) == Wishes()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--speed", "5"], "--speed: goes with --demo"),
        (["--fresh"], "--fresh: goes with --demo"),
        (["--demo", "--speed", "0"], "--speed: should be from 1 to 600"),
        (["--demo", "--speed", "nan"], "--speed: should be from 1 to 600"),
        (["--demo", "--exit"], "--exit: goes with --scenario"),
        (["--demo", "--scenario", "sell-all", "--json"], "--json: goes with --exit"),
    ],
)
def test_what_does_not_go_together_is_refused_in_a_line(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refusal:
        wishes_of(asked(*arguments))
    assert refusal.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith(line)
    assert told.count("\n") == 1


def test_the_terminal_is_for_the_story() -> None:
    for level, expected in ((logging.WARNING, True), (logging.ERROR, False)):
        record = logging.LogRecord("name", level, "path", 1, "words", None, None)
        assert demo.for_the_file(record)
        assert getattr(record, "_file_only", None) is expected


# ── How a run ends ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("seen", "code"), [([True], 0), ([True, False], 1), ([], 1), (None, 1)], ids=str
)
def test_the_exit_code_says_whether_it_ended_as_it_should(
    seen: list[bool] | None, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    wishes = Wishes(scenario="sell-all", ends=True, as_json=True)
    stage = demo.Stage(wishes, SCENARIOS["sell-all"])
    if seen is not None:
        checks = [Check("positions closed", 40, 39, as_expected=one) for one in seen]
        stage.report = Report("sell-all", 7, 300, ["09:31  Forty buys come."], checks)
    assert stage.told() == code
    told = json.loads(capsys.readouterr().out)
    assert (told["scenario"], told["as_expected"]) == ("sell-all", code == 0)


def test_a_day_has_no_wrong_end() -> None:
    assert demo.Stage(Wishes(), None).told() == 0


def test_beginning_anew_forgets_everything_but_what_somebody_uses(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    running = folder / "postgres-18" / "data" / "postmaster.pid"
    running.parent.mkdir(parents=True)
    running.write_text(f"{os.getpid()}\nmore\n")
    with pytest.raises(SystemExit) as refusal:
        demo.clear(folder)
    assert refusal.value.code == 1
    assert running.exists()
    running.unlink()
    demo.clear(folder)
    assert not folder.exists()
    demo.clear(folder)


# ── The ribbon ──────────────────────────────────────────────────────────────────────────────


async def got(app: ASGIApp, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(Ribbon(app))
    async with httpx.AsyncClient(transport=transport, base_url="http://demo") as client:
        return await client.get(path)


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    await HTMLResponse(PAGE)(scope, receive, send)


async def data(scope: Scope, receive: Receive, send: Send) -> None:
    await JSONResponse({"page": PAGE})(scope, receive, send)


async def test_every_page_says_that_it_is_the_demo() -> None:
    answer = await got(page, "/admin/signals")
    assert "<title>Demo: Signals</title>" in answer.text
    assert answer.text.count(WORDS) == 1
    assert answer.text.index(WORDS) > answer.text.index('id="main"')
    assert int(answer.headers["content-length"]) == len(answer.content)


async def test_nothing_else_is_touched() -> None:
    assert (await got(data, "/admin/signals")).json() == {"page": PAGE}
    assert (await got(page, "/health")).text == PAGE
