import asyncio

import pytest
from sqlalchemy import TextClause, text

from bench.control import OneByOne, Turns, without_lock
from database import journal
from database.pool import Database
from engines.metrics import Metrics
from tests.database.rows import an_entry
from tests.engines.accepting import accept

TRANSACTIONS = text("SELECT count(DISTINCT CAST(xmin AS text)) AS found FROM signals")


@pytest.mark.parametrize("statement", [journal.APPEND, journal.APPEND_ONE])
def test_the_control_appends_the_same_without_waiting_for_its_turn(statement: TextClause) -> None:
    before, after = statement.text, without_lock(statement).text
    assert "advisory_xact_lock" in before
    assert "advisory_xact_lock" not in after
    assert after.partition("AS at_once")[2] == before.partition("AS at_once")[2]


def test_it_says_when_the_journal_takes_its_turn_in_another_way() -> None:
    with pytest.raises(ValueError, match="has to be told"):
        without_lock(text("SELECT 1"))


async def test_each_alert_has_a_transaction_of_its_own(database: Database) -> None:
    """By the way that the webhook takes: else the control would be the relay, as it was once."""
    turns = Turns()
    for _ in range(2):
        turns.put_nowait(database.dedicated())
    control = OneByOne(
        database=database.dedicated(),
        own=turns,
        metrics=Metrics(),
        wake=lambda: None,
        wake_gatekeeper=lambda: None,
    )
    entries = [an_entry() for _ in range(10)]
    receipts = await asyncio.gather(*(accept(control, entry) for entry in entries))
    assert [one.id for one in receipts] == [one.id for one in entries]
    async with database.autocommit() as connection:
        assert (await connection.execute(TRANSACTIONS)).scalar_one() == 10
    assert await control.step() is None
