"""The past as it is read again: nothing is missing, and nothing flips that was not asked for."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from database import lanes, past, universes, verdicts
from database.past import Period, TooMuchError
from database.screens import Kept
from database.universes import NoScreenError
from domain.asked import Asked, Usual
from domain.delivery import DeliveryState, Ended
from domain.gate import GatePolicy, judge_in_order
from domain.past import Past
from domain.position import PositionState
from domain.signal import Side, SignalStatus
from domain.whatif import Comparison, compare
from tests.database.rows import ALL, BUY, LEASE, OK, SELL, UNSENT, Rows, a_screen, settlement

LIST = [f"T{n}" for n in range(1, 7)]
HOUR = timedelta(hours=1)
USUAL = Usual(list_max_age=HOUR)


async def judge(rows: Rows, *, waiting: bool = False) -> None:
    """Decide what waits for its verdict, by the list in force."""
    async with rows.database.write() as connection:
        current = await universes.current(connection)
        screen, universe = current.screen, current.universe
        members = universe.members(screen.top_n, screen.margin) if universe else []
        claimed = (
            await verdicts.claim_waiting(connection, members, limit=99)
            if waiting
            else await verdicts.claim(connection, limit=99)
        )
        if claimed is None:
            return
        judged = judge_in_order(
            claimed.signals,
            universe=universe,
            positions=claimed.positions,
            policy=GatePolicy(
                top_n=screen.top_n, margin=screen.margin, wait=screen.wait, list_max_age=HOUR
            ),
            now=claimed.now,
        )
        await verdicts.record(connection, judged)


async def comes(rows: Rows, ticker: str, side: Side = BUY) -> None:
    await rows.alert(ticker, side)
    await judge(rows)


@pytest.fixture
async def kept(rows: Rows) -> Kept:
    await rows.destination()
    await rows.screen()
    return await rows.change_screen(a_screen(top_n=3, margin=1, wait=30))


async def period(rows: Rows, hours: float = 1) -> Period:
    (now,) = await rows.sql("SELECT clock_timestamp()")
    return Period(now - timedelta(hours=hours), now)


async def recalled(rows: Rows) -> Past:
    return await past.read(rows.database, await period(rows))


async def under(rows: Rows, **asked: Any) -> Comparison:
    found = compare(await recalled(rows), Asked(**asked), USUAL)
    assert found.unexplained == 0
    return found


async def flips(rows: Rows, **asked: Any) -> list[tuple[str, str, str]]:
    """Nothing flips unasked; what does when asked."""
    assert (await under(rows)).flips == []
    found = (await under(rows, **asked)).flips
    return [(f.recorded.signal.ticker, f.recorded.verdict.status, f.would.status) for f in found]


async def test_a_day_as_it_was_comes_out_as_it_was(rows: Rows, kept: Kept) -> None:
    await comes(rows, "T1")  # there is no list yet
    await rows.adopt(kept, *LIST)
    for ticker in ("T1", "T3", "T4", "T9"):  # T4 and T9 wait
        await comes(rows, ticker)
    await comes(rows, "T1", SELL)
    await comes(rows, "T2", SELL)
    await rows.adopt(kept, "T4", "T1", "T2", "T3", "T5", "T6")  # T4 comes in, T3 is kept at 4
    await judge(rows, waiting=True)
    await comes(rows, "T3")
    await comes(rows, "T9", SELL)  # ends its wait
    found = await under(rows)
    assert found.recorded == found.would == {"approved": 5, "rejected": 3, "expired": 1}
    assert await flips(rows, wait=timedelta(0)) == [("T4", "approved", "rejected")]
    assert await flips(rows, margin=0) == [("T3", "approved", "expired")]
    assert await flips(rows, top_n=2, margin=0) == [
        ("T3", "approved", "expired"),
        ("T3", "approved", "expired"),
    ]


async def test_positions_follow_what_became_of_their_deliveries(rows: Rows, kept: Kept) -> None:
    await rows.adopt(kept, *LIST)
    (destination,) = await rows.sql("SELECT id FROM destinations")
    for ticker in ("T1", "T2"):
        await comes(rows, ticker)
    one, two = await lease(rows, destination)
    await rows.settle(settlement(one, OK))
    await rows.settle(settlement(two, UNSENT, Ended(DeliveryState.DEAD, "a test")))
    assert await rows.states("positions") == ["open", "void"]
    for ticker in ("T1", "T2"):
        await comes(rows, ticker, SELL)
    (exit_,) = await lease(rows, destination)
    await rows.settle(settlement(exit_, UNSENT, Ended(DeliveryState.DEAD, "a test")))
    await comes(rows, "T1", SELL)
    assert (await under(rows)).recorded == {"approved": 4, "rejected": 1}
    assert await flips(rows) == []
    moves = [(move.ticker, move.was, move.state) for move in (await recalled(rows)).moves]
    opening, open_, closing = PositionState.OPENING, PositionState.OPEN, PositionState.CLOSING
    assert moves == [
        ("T1", None, opening),
        ("T2", None, opening),
        ("T1", opening, open_),
        ("T2", opening, PositionState.VOID),
        ("T1", None, closing),
        ("T1", closing, open_),
        ("T1", None, closing),
    ]


async def lease(rows: Rows, destination: Any) -> list[Any]:
    async with rows.database.write() as connection:
        assert await lanes.hold(connection, destination)
        return await lanes.lease(connection, rows.vault, destination, ALL, LEASE)


LOOKED = """
    INSERT INTO fetches (screen_id, at, outcome, detail, pages, duration_ms, version, next_at)
    SELECT screen_id, {}, 'ok', '', 1, 1, version, fetched_at FROM universes
"""
COLUMNS = {
    "universes": ("fetched_at", "fresh_since"),
    "signals": ("received_at", "judged_at"),
    "positions": ("opened_at",),
    "screen_versions": ("made_at",),
}


async def test_what_began_before_the_period_is_known_in_it(rows: Rows, kept: Kept) -> None:
    """A list and its last confirmation, a position, the terms of the screen."""
    await rows.adopt(kept, *LIST)
    await comes(rows, "T1")
    for table, columns in COLUMNS.items():
        back = ", ".join(f"{column} = {column} - interval '3 hours'" for column in columns)
        await rows.sql(f"UPDATE {table} SET {back}")
    for minutes in (175, 100):
        await rows.sql(LOOKED.format(f"clock_timestamp() - interval '{minutes} minutes'"))
    await comes(rows, "T1", SELL)
    found = await past.read(rows.database, await period(rows, 0.5))
    assert [one.signal.side for one in found.signals] == [SELL]
    assert [(one.top_n, one.margin, one.wait) for one in found.terms] == [
        (3, 1, timedelta(seconds=30))
    ]
    ((fetched, version),) = found.lists.moments()
    ((confirmed, seen),) = found.looks
    listed = found.lists.get(version)
    assert listed
    assert (seen, listed.tickers.split()) == (version, LIST)
    assert confirmed - fetched > timedelta(minutes=79)
    assert compare(found, Asked(), USUAL).unexplained == 0
    assert compare(found, Asked(), USUAL).would == {SignalStatus.APPROVED: 1}


async def test_signals_without_a_verdict_are_counted_and_left_out(rows: Rows, kept: Kept) -> None:
    await rows.adopt(kept, *LIST)
    await comes(rows, "T9")  # waits
    await rows.alert("T1")
    await rows.alert("T1", invalid="no_ticker")
    found = await recalled(rows)
    assert (found.signals, found.undecided) == ([], 2)


async def test_a_period_longer_than_a_chunk_is_read_whole(
    rows: Rows, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past, "CHUNK", 2)
    for number in range(5):
        await rows.adopt(kept, *LIST[: 6 - number])
        await comes(rows, f"T{number + 1}")
    for second in (1, 2, 3):
        await rows.sql(LOOKED.format(f"fetched_at + interval '{second} s'"))
    found = await recalled(rows)
    assert [one.signal.ticker for one in found.signals] == LIST[:3]  # two wait
    listed = [found.lists.get(version) for _, version in found.lists.moments()]
    assert [len(one.tickers.split()) for one in listed if one] == [6, 5, 4, 3, 2]
    assert len(found.looks) == 15
    assert len({move.position for move in found.moves}) == 3


@pytest.mark.parametrize(
    ("bound", "words"),
    [
        ("MOST_SIGNALS", "at most 1 signals, and"),
        ("MOST_VERSIONS", "at most 1 versions of the list"),
        ("MOST_LOOKS", "at most 1 looks at Finviz"),
    ],
)
async def test_too_much_is_refused_by_the_name_of_the_bound(
    rows: Rows, kept: Kept, monkeypatch: pytest.MonkeyPatch, bound: str, words: str
) -> None:
    for number in (0, 1):
        await rows.adopt(kept, *LIST[number:])
        await comes(rows, "T2")
    await rows.sql(LOOKED.format("fetched_at + interval '1 s'"))
    monkeypatch.setattr(past, bound, 1)
    with pytest.raises(TooMuchError, match=words):
        await recalled(rows)


def test_a_period_has_31_days_at_most(clock: Any) -> None:
    end: datetime = clock()
    Period(end - timedelta(days=31), end)
    with pytest.raises(TooMuchError, match="31 days"):
        Period(end - timedelta(days=31, microseconds=1), end)


async def test_without_a_screen_there_is_no_past(rows: Rows) -> None:
    with pytest.raises(NoScreenError):
        await recalled(rows)
