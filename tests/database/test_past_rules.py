"""Rules and pauses of the past: read with what they count, and nothing flips that was not asked."""

from datetime import timedelta
from decimal import Decimal

import pytest

from database import gate, past
from database.past import Period
from domain.asked import Asked, Usual
from domain.past import Past
from domain.rules import Rulebook, Rules
from domain.ticker import Ticker
from domain.whatif import compare
from tests.database.rows import SELL, Rows, an_entry
from tests.engines.test_gatekeeper import a_gatekeeper

NAMES = [f"N{n}" for n in range(8)]
HOUR = timedelta(hours=1)
USUAL = Usual(list_max_age=HOUR)


@pytest.fixture(autouse=True)
async def listed(rows: Rows) -> None:
    await rows.destination()
    kept = await rows.screen(top_n=99)
    await rows.adopt(kept, *NAMES)


async def rule(rows: Rows, rulebook: Rulebook) -> None:
    async with rows.database.write() as connection:
        version = (await gate.read(connection)).version
        assert await gate.change_rules(
            connection, rulebook, version=version, actor="a test", reason=None
        )


async def come(rows: Rows, *names: str, source: str = "tv", price: int | None = None) -> None:
    """Judged together."""
    await rows.append(
        *(an_entry(name, source=source, price=price and Decimal(price)) for name in names)
    )
    await a_gatekeeper(rows.database).step()


async def recalled(rows: Rows, seconds: float = 3_600, rules: Rulebook | None = None) -> Past:
    (now,) = await rows.sql("SELECT clock_timestamp()")
    period = Period(now - timedelta(seconds=seconds), now)
    return await past.read(rows.database, period, rules)


def reasons(found: Past) -> list[str | None]:
    return [one.verdict.reason for one in found.signals]


async def test_a_day_with_rules_and_a_pause_comes_out_as_it_was(rows: Rows) -> None:
    await come(rows, "N0")
    await rule(
        rows,
        Rulebook(
            every=Rules(max_positions=3, refused=frozenset({Ticker("N7")})),
            of_source={"tv": Rules(cooldown=HOUR), "bot": Rules(min_price=Decimal(5))},
        ),
    )
    await come(rows, "N2", "N1", "N3", "N7")
    await come(rows, "N0", "N2")
    await come(rows, "N1", source="bot", price=4)
    await come(rows, "N1", source="bot", price=6)
    async with rows.database.write() as connection:
        await gate.pause(connection, actor="a test", reason="a look", until=None)
    await come(rows, "N1", source="bot", price=6)
    await rows.append(an_entry("N2", SELL))
    await a_gatekeeper(rows.database).step()
    async with rows.database.write() as connection:
        await gate.resume(connection, actor="a test", reason=None)
    await come(rows, "N1", source="bot", price=6)
    found = await recalled(rows)
    assert reasons(found) == [
        *(None, None, None, "max_positions", "refused_ticker", "cooldown", "cooldown"),
        *("price_limit", None, "buying_paused", None, None),
    ]
    assert [(one.paused, one.rulebook.every.max_positions) for one in found.orders] == [
        *((False, None), (False, 3), (True, 3), (False, 3)),
    ]
    assert {move.source for move in found.moves} == {"tv"}
    as_it_was = compare(found, Asked(), USUAL)
    assert (as_it_was.flips, as_it_was.unexplained) == ([], 0)
    other = compare(found, Asked(rules=Rulebook(every=Rules(max_positions=9))), USUAL)
    assert [flip.recorded.verdict.reason for flip in other.flips] == [
        *("max_positions", "refused_ticker", "cooldown", "cooldown", "price_limit"),
    ]


async def test_buys_and_positions_of_before_count(rows: Rows) -> None:
    cooling = Rulebook(every=Rules(cooldown=timedelta(minutes=10)))
    await come(rows, "N0")
    await rows.sql(
        "UPDATE signals SET received_at = received_at - interval '5 min',"
        " judged_at = judged_at - interval '5 min'"
    )
    await come(rows, "N0", source="bot")
    assert (await recalled(rows, 60)).bought == []
    found = await recalled(rows, 60, cooling)
    assert [(name, source) for _, name, source in found.bought] == [("N0", "tv")]
    (flip,) = compare(found, Asked(rules=cooling), USUAL).flips
    assert (flip.recorded.signal.source, flip.would.reason) == ("bot", "cooldown")
    await rule(rows, cooling)
    assert len((await recalled(rows, 60)).bought) == 1


async def test_orders_begin_with_those_in_force_when_the_period_does(rows: Rows) -> None:
    for most in (1, 2, 3):
        await rule(rows, Rulebook(every=Rules(max_positions=most)))
    await rows.sql("UPDATE gate_versions SET made_at = made_at - (10 - version) * interval '1 h'")
    found = await recalled(rows, 6.5 * 3_600)
    assert [one.rulebook.every.max_positions for one in found.orders] == [2, 3]
