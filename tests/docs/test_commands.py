"""What pages show beside commands to the relay: the example of testing.md, and our own table."""

import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any, cast

from tests.docs.blocks import ROOT, blocks_of

PAGE = ROOT / "docs" / "testing.md"


async def test_the_example_of_the_testing_page_passes(template: str) -> None:
    (snippet,) = [one.code for one in blocks_of(PAGE) if one.language == "python"]
    space: dict[str, Any] = {}
    exec(compile(snippet, PAGE.name, "exec"), space)
    example = cast("Callable[[str], Awaitable[None]]", space["test_a_buy_in_the_list_arrives"])
    await example(template)


def test_the_table_is_printed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.docs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "commands and snippets: " in done.stdout
