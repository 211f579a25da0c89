"""The example of docs/live.md follows a real relay, hangs up, and goes on where it was."""

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from domain.feed import LONGEST_FRAME, MOST_EVENTS, Why
from engines.live.hub import MOST_BYTES, MOST_FRAMES, MOST_OF_A_HOLDER
from tests.docs.test_docs import blocks
from tests.pages.conftest import House
from tests.web.stage import UPDATE_TOKEN, cloned, relay

PAGE = Path(__file__).parents[2] / "docs" / "live.md"


async def test_the_example_follows_and_goes_on(template: str) -> None:
    (snippet,) = blocks(PAGE, "python")
    space: dict[str, Any] = {}
    exec(compile(snippet, "live.md", "exec"), space)  # the snippet is what is tested
    follow = cast("Callable[..., Iterator[dict[str, Any]]]", space["follow"])
    async with cloned(template) as url, relay(url) as one:
        house = House(one)
        await house.open()
        try:
            address = house.url.replace("http", "ws")
            first = await heard(follow(address, UPDATE_TOKEN))
            assert first["type"] == "hello"
            id = (await one.post({"ticker": "DOCS", "action": "buy"})).json()["signal_id"]
            await one.settled(id)
            messages = follow(address, UPDATE_TOKEN, first["cursor"])
            assert (await heard(messages))["cursor"] == first["cursor"]
            mine: list[str] = []
            while len(mine) < 2:  # each when all before it on the server is over
                told = await heard(messages)
                mine += [event["event"] for event in told["events"] if event["signal_id"] == id]
            assert mine == ["signal.received", "signal.rejected"]
            await asyncio.to_thread(cast("Any", messages).close)
        finally:
            await house.close()


async def heard(messages: Iterator[dict[str, Any]]) -> dict[str, Any]:
    return await asyncio.wait_for(asyncio.to_thread(next, messages), 60)


def test_its_numbers_are_those_of_the_code() -> None:
    text = PAGE.read_text()
    assert f"more than {MOST_FRAMES} messages or {MOST_BYTES // 1024} KiB" in text
    assert f"more than {MOST_EVENTS} events, or {LONGEST_FRAME // 1024} KiB" in text
    assert f"and {MOST_OF_A_HOLDER} of one session or token" in text
    assert all(f"| `{why}` |" in text for why in Why)


async def test_the_javascript_example_follows(template: str, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node here: the JavaScript example of docs/live.md is not run")
    (snippet,) = blocks(PAGE, "javascript")
    (tmp_path / "follow.js").write_text(snippet)
    script = (
        "const { follow } = require('./follow.js');"
        "const [url, token] = process.argv.slice(1);"
        "follow(url, token, undefined, (message) => console.log(JSON.stringify(message)));"
    )
    async with cloned(template) as url, relay(url) as one:
        house = House(one)
        await house.open()
        process = await asyncio.create_subprocess_exec(
            *(node, "--experimental-websocket", "--no-warnings", "-e", script),
            *(house.url.replace("http", "ws"), UPDATE_TOKEN),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert (await line_of(process))["type"] == "hello"
            id = (await one.post({"ticker": "DOCS", "action": "buy"})).json()["signal_id"]
            mine: list[str] = []
            while not mine:  # what happened before it may be told as late
                events = (await line_of(process))["events"]
                mine += [event["event"] for event in events if event["signal_id"] == id]
            assert mine[0] == "signal.received"
        finally:
            process.kill()
            await process.wait()
            await house.close()


async def line_of(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    return json.loads(await asyncio.wait_for(process.stdout.readline(), 40))
