"""Signals with their events out of one relay and into another: equal, in flat memory, told."""

import logging
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from database.vault import Vault
from tests.conftest import KEY
from tests.web.stage import Relay, cloned, relay
from tests.web.transfer import ALL_EVENTS, ALL_SIGNALS, exported, imported, lines, seed

log = logging.getLogger(__name__)

MOST_MEMORY = 96 * 1024 * 1024
SECRET = '{"ticker": "T1", "password": "a secret", "note": "x"}'


@asynccontextmanager
async def another(template: str) -> AsyncGenerator[Relay]:
    async with cloned(template) as url, relay(url, wait=False) as one:
        yield one


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("format", ["jsonl", "csv"])
async def test_what_is_exported_and_imported_is_equal(
    template: str, tmp_path: Path, format: str, request: pytest.FixtureRequest
) -> None:
    count = 100_000 if request.config.getoption("--long") else 2_000
    first, second, told = (tmp_path / name for name in ("first", "second", "told"))
    sealed = Vault.from_key(KEY).seal(SECRET.encode())
    async with another(template) as here, another(template) as there:
        await seed(here, count, sealed)
        began = time.monotonic()
        out = await exported(here, first, format)
        between = time.monotonic()
        into = await imported(there, first, told)
        took = (between - began, time.monotonic() - between)
        assert out.headers["x-total-count"] == str(count)
        for query in (ALL_SIGNALS, ALL_EVENTS):
            assert await here.rows(query) == await there.rows(query)
        assert await there.rows(
            "SELECT count(*) FROM events WHERE signal_id IS NOT NULL AND xid IS NOT NULL"
        ) == [(0,)]
        await exported(there, second, format)
        final = lines(told)[-1]
        again = await imported(there, second, told)
        assert lines(told)[-1]["skipped"] == count
    assert {name: final[name] for name in ("read", "imported", "skipped", "refused", "state")} == {
        "read": count,
        "imported": count,
        "skipped": 0,
        "refused": 0,
        "state": "done",
    }
    growth = max(out.peak - out.start, into.peak - into.start, again.peak - again.start)
    assert b"a secret" not in first.read_bytes()
    if format == "csv":
        assert first.read_bytes() == second.read_bytes()
    else:
        assert [one | {"here": None} for one in lines(first)] == [
            one | {"here": None} for one in lines(second)
        ]
    log.info(
        "%d as %s: %d bytes, out %.1f s, in %.1f s, %d MiB more memory",
        *(count, format, first.stat().st_size, *took, growth >> 20),
    )
    assert growth < MOST_MEMORY
    assert into.pieces > count // 2_000
