"""H27, end to end: what a relay did is bound, exported, proven, and stays so when pruned."""

import pytest
from sqlalchemy import text

from database import forgetting
from database.forgetting import Place
from domain.chain import Broken, Examination
from domain.chain_file import Reading
from engine_room import kept
from engines.chain.notary import Notary
from engines.worker import AGAIN
from tests.database.test_chain import examined
from tests.web.calm import list_at_rest
from tests.web.stage import UPDATE_TOKEN, WEBHOOK_TOKEN, Relay, settings, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRAIL = "/api/activity/trail"
KEEP = kept(settings())
ALONE = text("SELECT pg_advisory_xact_lock(hashtext('trading-signal-processor.chain'))")


async def bound(relay: Relay) -> None:
    """Everything that was told until now is in a link."""
    (last,) = (await relay.rows("SELECT max(id) FROM events"))[0]
    notary = Notary(database=relay.database)

    async def is_bound() -> bool:
        while await notary.step() == AGAIN:
            pass
        return (await relay.rows("SELECT coalesce(max(last_id), 0) FROM links"))[0][0] >= last

    await until(is_bound, "a link of everything")


async def exported(relay: Relay) -> tuple[Broken | None, Examination]:
    answer = await relay.get(TRAIL, UPDATE_TOKEN)
    assert answer.status_code == 200
    assert answer.headers["content-disposition"].startswith('attachment; filename="trail-')
    examination = Examination()
    lines = iter(answer.content.splitlines(keepends=True))
    return Reading(examination).whole(lines), examination


async def behind_our_back(relay: Relay, statement: str) -> None:
    """Not in the midst of a link: what the relay's own notary makes of that proves nothing."""
    async with relay.database.write() as connection:
        await connection.execute(ALONE)
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        await connection.execute(text(statement))


async def test_a_life_is_bound_exported_pruned_and_proven(shared: Relay, listed: str) -> None:
    await list_at_rest(shared)  # nothing is told any more but what is done here
    for body in ({"ticker": listed, "action": "buy"}, {"ticker": "NONE", "action": "buy"}, "?"):
        answer = await shared.post(body)
        if answer.status_code == 202:
            await shared.settled(answer.json()["signal_id"])
    await bound(shared)
    broken, found = await exported(shared)
    assert broken is None
    count = (await shared.rows("SELECT count(*) FROM events"))[0][0]
    assert found.events + found.waiting == count
    assert found.events >= 8
    assert (await examined(shared.database)).broken is None

    await behind_our_back(shared, "UPDATE events SET at = at - interval '500 days'")
    broken, _ = await exported(shared)
    assert broken
    first = (await shared.rows("SELECT min(id) FROM events"))[0][0]
    assert broken.event == first
    await behind_our_back(shared, "UPDATE events SET at = at + interval '500 days'")
    assert (await exported(shared))[0] is None


async def test_what_retention_takes_is_accounted_for(shared: Relay, listed: str) -> None:
    """All of it is old from the beginning, as far as the chain knows."""
    await list_at_rest(shared)
    await shared.settled(
        (await shared.post({"ticker": listed, "action": "buy"})).json()["signal_id"]
    )
    await behind_our_back(shared, "UPDATE events SET at = at - interval '500 days'")
    await behind_our_back(shared, "DELETE FROM links")
    await bound(shared)
    for table, column in (
        ("signals", "received_at"),
        ("deliveries", "finished_at"),
        ("positions", "updated_at"),
    ):
        aged = f"UPDATE {table} SET {column} = {column} - interval '500 days'"
        await behind_our_back(shared, aged)
    await behind_our_back(shared, "UPDATE positions SET state = 'closed'")
    await behind_our_back(shared, "DELETE FROM dedupe_keys")
    async with shared.database.write() as connection:
        signals = await forgetting.signals(connection, KEEP, Place(), 500)
        events = await forgetting.events(connection, KEEP, 0, 500)
    gone = signals.deleted["events"] + events.deleted["events"]
    assert signals.deleted["events"] >= 5
    broken, found = await exported(shared)
    assert (broken, found.forgotten) == (None, gone)
    assert (await examined(shared.database)).forgotten == gone


async def test_the_floor_is_what_the_settings_say(shared: Relay) -> None:
    assert await shared.rows("SELECT keep FROM retention") == [(KEEP,)]


async def test_nobody_without_the_scope_has_it(shared: Relay) -> None:
    assert (await shared.get(TRAIL, WEBHOOK_TOKEN)).status_code == 401


async def test_the_notary_works_in_the_relay_in_its_own_role(shared: Relay) -> None:
    workers = {one["name"]: one for one in (await shared.read("/status"))["workers"]}
    assert workers["notary"]["failures_in_row"] == 0
