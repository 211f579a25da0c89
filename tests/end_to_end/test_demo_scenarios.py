"""Each scenario of the demo against a real relay, at a high speed: its end state, line by line."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from config import Settings
from demo.desk import DAY_DESK, NIGHT_DESK
from demo.hands import Hands
from demo.play import Play
from demo.scenario import Report, Scenario, perform
from demo.scenarios import SCENARIOS
from demo.world import World, made_up_world
from launcher.demo import SETTINGS, outside
from main import build
from tests.end_to_end.stage import ROOT, free_port
from tests.web.stage import ADMIN_TOKEN, WEBHOOK_TOKEN, alive, cloned, settings

SPEED = 300

EVERYWHERE = {
    "answers 429 of the destination",
    "orders that came twice without the mark",
    "tickers whose orders came out of order",
}
CHECKED = {
    "bar-close": {
        *("alerts answered", "repeats folded", "signals undecided"),
        *("buys of listed tickers delivered", "buys of others rejected"),
        *("alerts that are no signal", "orders that the destination took"),
    },
    "finviz-blocked": {
        *("positions opened before", "buys rejected while the list was stale"),
        *("positions closed meanwhile", "sells delivered", "buys delivered, before and after"),
        "notices that the list is stale",
    },
    "destination-down": {
        *("buys expired", "buys that left after the outage", "sells delivered"),
        *("positions closed", "notices that it fails", "orders sent again with the mark"),
    },
}
"""What each has to have looked at: a check that goes missing is no success."""


async def performed(template: str, scenario: Scenario, world: World) -> Report:
    scenario.prepare(world)
    limited = {"dest_webhook_rate_limiting_enabled": True}
    terms = settings(**{**SETTINGS, **scenario.settings(SPEED), **limited})
    async with cloned(template) as url, running(terms, url, world) as hands:
        return await perform(scenario, world, WEBHOOK_TOKEN, hands, lambda _: None)


@asynccontextmanager
async def running(terms: Settings, url: str, world: World) -> AsyncGenerator[Hands]:
    """The relay in that world; yield an administrator's hands."""
    built = build(terms, url, outside=outside(world), check_durability=False)
    async with (
        alive(built) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://demo") as client,
    ):
        yield Hands(client, ADMIN_TOKEN)


def shown(report: Report) -> str:
    return "\n".join([*report.story, *(check.line() for check in report.checks)])


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", sorted(CHECKED))
async def test_a_scenario_ends_as_it_should(template: str, name: str) -> None:
    report = await performed(template, SCENARIOS[name], made_up_world(3, SPEED))
    assert report.as_expected, shown(report)
    assert {check.what for check in report.checks} >= CHECKED[name] | EVERYWHERE
    assert len(report.story) >= 3


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_world_that_is_not_as_told_ends_otherwise(template: str) -> None:
    """The end is looked at, not taken for granted: this destination allows less than we think."""
    stingy = replace(SCENARIOS["bar-close"], prepare=allow_less)
    report = await performed(template, stingy, made_up_world(3, SPEED))
    wrong = {check.what for check in report.checks if not check.as_expected}
    assert "answers 429 of the destination" in wrong, shown(report)
    assert not report.as_expected


def allow_less(world: World) -> None:
    SCENARIOS["bar-close"].prepare(world)
    world.destination.limits = ((40, 6.0),)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_scenario_ends_its_program_with_its_outcome(tmp_path: Path) -> None:
    """`run.py --demo --scenario … --exit --json`, as a user starts it."""
    command = ["--demo", "--scenario", "sell-all", "--speed", str(SPEED), "--exit", "--json"]
    told = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *command],
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=200,
        check=False,
    )
    report = json.loads(told.stdout)
    assert (told.returncode, report["as_expected"]) == (0, True), report
    assert {one["what"] for one in report["checks"]} >= EVERYWHERE | {
        *("positions that were open", "exits of the command", "exits delivered"),
        *("positions closed", "buying is paused", "buys rejected", "buys that came after an exit"),
    }
    story = told.stderr.decode()
    assert all(line in story for line in report["story"])
    assert not (tmp_path / "data" / "postgres-18").exists(), "its data is apart from the real"


def environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}  # noqa: TID251  handed on
    return {**kept, "RELAY_ENVIRONMENT": "system", "PORT": str(free_port())}


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_day_is_alive_on_every_page_and_begins_again_where_it_was(template: str) -> None:
    terms = settings(**{**SETTINGS, "dest_webhook_rate_limiting_enabled": True})
    async with cloned(template) as url:
        told: list[str] = []
        world = made_up_world(3, SPEED)
        async with running(terms, url, world) as hands:
            await played(Play(world, WEBHOOK_TOKEN, told.append), hands, is_alive)
        assert any("Dana sells" in line for line in told)
        play = Play(made_up_world(3, SPEED), WEBHOOK_TOKEN, told.append)

        async def goes_on(hands: Hands) -> bool:
            """By new tokens, because nobody can read those of before."""
            every = await hands.items("/api/tokens?revoked=true")
            ended = [one["revoked_at"] is not None for one in every if one["name"] == DAY_DESK]
            return ended == [False, True] and play.answers[202] > 0

        async with running(terms, url, play.world) as hands:
            await played(play, hands, goes_on)
            assert len(await hands.items("/api/batches")) >= 2, "what was done before is there"


async def played(play: Play, hands: Hands, seen: Callable[[Hands], Awaitable[bool]]) -> None:
    """Play until it was seen; a play that breaks off is a mistake."""
    playing = asyncio.ensure_future(play.run(hands))
    try:
        async with asyncio.timeout(150):
            while not playing.done() and not await seen(hands):  # noqa: ASYNC110  over HTTP
                await asyncio.sleep(0.3)
        assert not playing.done(), playing.exception()
    finally:
        playing.cancel()
        await asyncio.wait({playing})


async def is_alive(hands: Hands) -> bool:
    """Whether every page has something to show by now; what comes last is asked for first."""
    for path, least in (
        ("/api/batches", 2),
        ("/api/positions?state=closed", 1),
        ("/api/signals?status=invalid", 1),
        ("/api/signals?status=rejected", 1),
        ("/api/signals?status=delivered", 1),
        ("/api/attention?state=all", 1),
        ("/api/universes", 4),
        ("/api/channels", 1),
        ("/api/destinations", 3),
        ("/api/screens", 3),
        ("/api/rules/versions", 2),
        (f"/api/activity?who={quote(DAY_DESK)}", 1),
        (f"/api/activity?who={quote(NIGHT_DESK)}", 1),
    ):
        if len(await hands.items(path)) < least:
            return False
    return True
