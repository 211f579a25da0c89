import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from database.pool import Database
from domain.destination import Destination
from engines.relay.settler import Settler
from tests.database.rows import OK, Rows, settlement
from tests.engines.conditions import until
from tests.engines.outside import Outside, ended, forwarding, queued
from tests.engines.wire import wired


@pytest.fixture
def outside() -> Outside:
    return Outside()


@pytest.fixture
async def main(rows: Rows) -> Destination:
    return await rows.destination()


async def test_what_ends_while_others_are_being_settled_is_settled_too(
    rows: Rows, main: Destination
) -> None:
    await queued(rows, "buy A", "buy B")
    one, two = await rows.lease(main)
    settler = Settler(
        database=rows.database, wake=nothing, wake_forwarder=nothing, dice=lambda: 0.0
    )
    settler.put(settlement(one, OK))
    async with rows.database.write() as blocking:
        await blocking.execute(text("SELECT FROM positions FOR UPDATE"))
        settling = asyncio.create_task(settler.step())
        done, _ = await asyncio.wait({settling}, timeout=0.1)
        assert not done
        settler.put(settlement(two, OK))
    await settling
    await settler.flush()
    assert await rows.states("deliveries") == ["delivered"] * 2


def nothing() -> None:
    return


async def test_what_ended_while_the_database_was_gone_is_settled_when_it_is_back(
    rows: Rows, main: Destination, outside: Outside, tmp_path: Path
) -> None:
    outside.open.clear()
    await queued(rows, "buy A", "buy B")
    async with wired(rows.database.url, tmp_path) as (line, url):
        database = Database.connect(url, patience=timedelta(seconds=5))
        async with forwarding(rows, outside, database=database):
            await until(lambda: len(outside.posts) == 2)
            line.down = True
            line.cut()
            outside.open.set()
            await asyncio.sleep(0.1)
            assert await rows.states("deliveries") == ["sending"] * 2
            line.down = False
            await ended(rows, "delivered", 2)
        await database.close()
    assert len(outside.posts) == 2
    assert main


async def test_what_cannot_be_settled_at_the_end_does_not_stop_the_end(
    rows: Rows, main: Destination, outside: Outside, tmp_path: Path
) -> None:
    outside.open.clear()
    await queued(rows, "buy A")
    async with wired(rows.database.url, tmp_path) as (line, url):
        database = Database.connect(url, patience=timedelta(seconds=5))
        async with forwarding(rows, outside, database=database):
            await until(lambda: len(outside.posts) == 1)
            line.down = True
            line.cut()
        await database.close()
    assert await rows.states("deliveries") == ["sending"]
    assert main
