"""The store in memory and the statements in `database/` do the same, step by step."""

import random  # noqa: TID251  chance is drawn from a seed, so that a failure can be repeated

import pytest

from database import rebuilding
from engines.clock import utc_now
from engines.relay.leasing import Leasing
from tests.database.rows import Rows
from tests.simulation.both import BREAKER, Both
from tests.simulation.store import Rules, Store

SEQUENCES, STEPS = 10, 100

AS_IT_IS = Rules()
"""What the statements do not do yet, and the simulation shows they should."""


@pytest.mark.parametrize("seed", range(SEQUENCES))
async def test_both_do_the_same(rows: Rows, seed: int) -> None:
    both = Both(
        rows=rows,
        chance=random.Random(seed),
        store=Store(utc_now(), AS_IT_IS),
        leasing=Leasing(vault=rows.vault, sell_share=0.1, breaker=BREAKER),
    )
    await both.begin()
    for _ in range(STEPS):
        await both.step()
        await both.compare()
    async with rows.database.read() as connection:
        found = await rebuilding.compare(connection)
    assert not found.differences, "\n".join([*found.differences, "after", *both.story])
    assert found.events > STEPS / 4
