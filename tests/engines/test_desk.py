"""The desk: a command to sell is one transaction, and what it answers is what was judged."""

import asyncio
from datetime import timedelta

import pytest

from database import gate
from database.pool import Database
from domain.destination import Destination
from domain.gate import SellPolicy
from domain.signal import SignalId
from domain.ticker import Ticker
from engines.clock import utc_now
from engines.relay.desk import Command, RefusedError
from engines.worker import AGAIN
from tests.database.rows import (
    BUY,
    OK,
    SELL,
    UNKNOWN,
    UNSENT,
    WITHHELD,
    Answer,
    Rows,
    decide_on,
    settlement,
)
from tests.engines.conditions import until_rows
from tests.engines.desks import ME, a_desk, a_gatekeeper, listed, sells_of, waits_for_gate

AAPL, MSFT = Ticker("AAPL"), Ticker("MSFT")
APPROVED = ("AAPL", "approved", None)


@pytest.fixture
async def main(rows: Rows) -> Destination:
    await listed(rows, "AAPL", "MSFT", "NVDA")
    return await rows.destination()


async def reasons(rows: Rows) -> list[tuple[str, str, str | None]]:
    found = await rows.sql("SELECT ticker, state, reason FROM deliveries ORDER BY seq")
    return [tuple(row) for row in found]


async def sent(rows: Rows, main: Destination) -> list[tuple[str, str]]:
    return [(one.ticker, str(one.side)) for one in await rows.lease(main)]


# ── One position ────────────────────────────────────────────────────────────────────────────


async def test_a_position_is_sold_at_once_in_the_buyers_spelling(
    rows: Rows, main: Destination
) -> None:
    await rows.alert("AAPL", BUY, symbol="NASDAQ:AAPL")
    await rows.decide()
    (bought,) = await rows.lease(main)
    await rows.settle(settlement(bought, OK))
    placed = await a_desk(rows).sell(AAPL, Command(actor="admin", reason="earnings"))
    assert await sells_of(rows, placed.batch.id) == [APPROVED]
    (exit_,) = await rows.lease(main)
    assert exit_.body == b'{"ticker":"NASDAQ:AAPL","side":"sell","action":"exit"}'
    assert (placed.batch.made_by, placed.batch.reason) == ("admin", "earnings")
    assert placed.batch.snapshot[0]["state"] == "open"
    assert await rows.states("positions") == ["closing"]
    await rows.settle(settlement(exit_, OK))
    assert await rows.states("positions") == ["closed"]


async def test_eight_at_once_sell_once(rows: Rows, main: Destination) -> None:
    await rows.bought(main)
    # Nobody waits for a connection: that is given up after a second.
    database = Database.connect(rows.database.url, pool=8, patience=timedelta(seconds=20))
    desk = a_desk(Rows(database, rows.vault))
    ended = await asyncio.gather(*(desk.sell(AAPL, ME) for _ in range(8)), return_exceptions=True)
    await database.close()
    refused = [one for one in ended if isinstance(one, RefusedError)]
    assert [one.code for one in refused] == ["already_closing"] * 7
    (sell,) = await rows.sql("SELECT id FROM signals WHERE side = 'sell'")
    assert {one.signal for one in refused} == {SignalId(sell)}
    assert len(await rows.sql("SELECT id FROM batches")) == 1
    assert await sent(rows, main) == [("AAPL", "sell")]


async def test_nothing_is_made_where_there_is_nothing_to_sell(
    rows: Rows, main: Destination
) -> None:
    with pytest.raises(RefusedError, match="no_position"):
        await a_desk(rows).sell(AAPL, ME)
    assert await rows.sql("SELECT id FROM signals UNION SELECT id FROM batches") == []
    assert await rows.lease(main) == []


async def test_with_nowhere_to_sell_nothing_is_made(rows: Rows) -> None:
    await listed(rows, "AAPL")
    await rows.sql(
        "INSERT INTO positions (id, ticker, state, opened_at, updated_at)"
        " VALUES (gen_random_uuid(), 'AAPL', 'open', now(), now())"
    )
    with pytest.raises(RefusedError, match="no_destination"):
        await a_desk(rows).sell(AAPL, ME)
    assert await rows.sql("SELECT id FROM signals") == []
    assert await rows.states("positions") == ["open"]


async def test_where_sells_need_no_position_it_goes_out(rows: Rows, main: Destination) -> None:
    await a_desk(rows, SellPolicy.ALWAYS).sell(AAPL, ME)
    assert await sent(rows, main) == [("AAPL", "sell")]


async def test_it_passes_though_others_sells_need_a_place_in_the_list(
    rows: Rows, main: Destination
) -> None:
    await rows.bought(main, "TSLA")
    await a_desk(rows, SellPolicy.TOP_N).sell(Ticker("TSLA"), ME)
    assert await sent(rows, main) == [("TSLA", "sell")]


@pytest.mark.usefixtures("main")
async def test_what_came_before_it_is_judged_before_it(rows: Rows) -> None:
    """An undecided buy is bought, by its verdict, and sold; its delivery never left."""
    await rows.alert("AAPL", BUY)
    placed = await a_desk(rows).sell(AAPL, ME)
    assert await sells_of(rows, placed.batch.id) == [APPROVED]
    assert await reasons(rows) == [
        ("AAPL", "superseded", "newer_sell"),
        ("AAPL", "superseded", "entry_unsent"),
    ]
    assert await rows.states("positions") == ["void"]


async def test_a_senders_exit_before_it_is_the_one_that_sells(
    rows: Rows, main: Destination
) -> None:
    await rows.bought(main)
    exit_ = await rows.alert("AAPL", SELL)
    with pytest.raises(RefusedError) as refused:
        await a_desk(rows).sell(AAPL, ME)
    assert (refused.value.code, refused.value.signal) == ("already_closing", exit_)
    assert await rows.sql("SELECT status FROM signals WHERE side = 'sell'") == ["received"]
    await rows.decide()
    assert await sent(rows, main) == [("AAPL", "sell")]


async def test_a_key_stands_for_one_command(rows: Rows, main: Destination) -> None:
    await rows.bought(main)
    await rows.bought(main, "MSFT")
    desk, again = a_desk(rows), Command(actor="a test", key="k-1")
    both = await asyncio.gather(desk.sell(AAPL, again), desk.sell(AAPL, again))
    assert sorted(one.duplicate for one in both) == [False, True]
    assert both[0].batch.id == both[1].batch.id
    assert len(await rows.sql("SELECT id FROM signals WHERE side = 'sell'")) == 1
    with pytest.raises(RefusedError, match="key_reused"):
        await desk.sell(MSFT, again)
    other = await desk.sell_all(again)
    assert not other.duplicate
    assert (await desk.sell_all(again)).duplicate


# ── Everything ──────────────────────────────────────────────────────────────────────────────


async def test_all_of_it_is_sold_and_nothing_bought_any_more(rows: Rows, main: Destination) -> None:
    for ticker in ("AAPL", "MSFT"):
        await rows.bought(main, ticker)
    await rows.alert("AAPL", BUY)  # more of what is held
    await rows.alert("NVDA", BUY)
    await rows.decide()
    placed = await a_desk(rows).sell_all(ME)
    assert await sells_of(rows, placed.batch.id) == [
        ("AAPL", "approved", None),
        ("MSFT", "approved", None),
    ]
    assert [row for row in await reasons(rows) if row[1] == "superseded"] == [
        ("AAPL", "superseded", "sell_all"),
        ("NVDA", "superseded", "sell_all"),
    ]
    assert await sent(rows, main) == [("AAPL", "sell"), ("MSFT", "sell")]
    assert await rows.states("positions") == ["closing", "closing", "void"]
    told = await rows.sql("SELECT actor FROM events WHERE event = 'delivery.superseded'")
    assert told == ["a test", "a test"]
    await rows.alert("AAPL", BUY)
    await a_gatekeeper(rows).step()
    assert await rows.sql("SELECT reason FROM signals ORDER BY seq DESC LIMIT 1") == [
        "buying_paused"
    ]


async def test_said_again_it_sells_nothing_again(rows: Rows, main: Destination) -> None:
    await rows.bought(main)
    desk = a_desk(rows)
    first, second = await desk.sell_all(ME), await desk.sell_all(ME)
    assert len(await sells_of(rows, first.batch.id)) == 1
    assert await sells_of(rows, second.batch.id) == []
    assert [one["state"] for one in second.batch.snapshot] == ["closing"]
    assert await sent(rows, main) == [("AAPL", "sell")]


async def test_with_nothing_held_buying_is_paused_all_the_same(
    rows: Rows, main: Destination
) -> None:
    placed = await a_desk(rows).sell_all(Command(actor="admin", reason="storm"))
    assert await sells_of(rows, placed.batch.id) == []
    (row,) = await rows.sql("SELECT paused_by, paused_reason, paused_until FROM gate")
    assert tuple(row) == ("admin", "storm", None)
    assert await rows.lease(main) == []


async def test_a_pause_that_has_an_end_lasts_until_somebody_resumes(
    rows: Rows, main: Destination
) -> None:
    await rows.bought(main)
    async with rows.database.write() as connection:
        until = utc_now() + timedelta(minutes=1)
        await gate.pause(connection, actor="me", reason="storm", until=until)
    placed = await a_desk(rows).sell_all(ME)
    assert len(await sells_of(rows, placed.batch.id)) == 1
    assert await rows.sql("SELECT paused_until FROM gate") == [None]


async def test_what_is_undecided_is_judged_with_it(rows: Rows, main: Destination) -> None:
    """A buy is turned away: buying is paused by then. A sender's exit sells in its place."""
    await rows.bought(main)
    buy, exit_ = await rows.alert("AAPL", BUY), await rows.alert("AAPL", SELL)
    placed = await a_desk(rows).sell_all(ME)
    assert await sells_of(rows, placed.batch.id) == [("AAPL", "rejected", "already_closing")]
    assert await rows.sql("SELECT reason FROM signals WHERE id = :id", id=buy) == ["buying_paused"]
    assert await rows.sql("SELECT exit_signal_id FROM positions") == [exit_]
    assert await sent(rows, main) == [("AAPL", "sell")]


async def test_a_buy_that_waits_for_its_ticker_is_turned_away(
    rows: Rows, main: Destination
) -> None:
    await rows.alert("TSLA", BUY)
    await rows.sql(
        "UPDATE signals SET waits_since = now(), waits_until = now() + interval '1 minute'"
    )
    await a_desk(rows).sell_all(ME)
    assert await rows.sql("SELECT status || ' ' || reason FROM signals") == [
        "rejected buying_paused"
    ]
    assert await rows.lease(main) == []


@pytest.mark.parametrize("answer", [UNSENT, WITHHELD], ids=lambda one: str(one.outcome))
@pytest.mark.parametrize("sold", [True, False], ids=["sold", "its sell was cancelled"])
async def test_a_buy_on_the_wire_that_comes_back_unsent_is_not_sent_again(
    rows: Rows, main: Destination, answer: Answer, *, sold: bool
) -> None:
    """Also where no exit stands behind it any more."""
    await rows.alert("AAPL", BUY)
    await rows.decide()
    (entry,) = await rows.lease(main)
    await a_desk(rows).sell_all(ME)
    assert await rows.states("deliveries") == ["sending", "queued"]
    if not sold:
        await rows.sql(
            "UPDATE deliveries SET state = 'cancelled', finished_at = now() WHERE side = 'sell'"
        )
    await rows.settle(settlement(entry, answer))
    buy = (await reasons(rows))[0]
    assert buy == ("AAPL", "superseded", "newer_sell" if sold else "sell_all")
    assert await rows.lease(main) == []


async def test_a_buy_that_may_have_arrived_goes_first(rows: Rows, main: Destination) -> None:
    await rows.alert("AAPL", BUY)
    await rows.decide()
    (entry,) = await rows.lease(main)
    await rows.settle(settlement(entry, UNKNOWN))
    await a_desk(rows).sell_all(ME)
    (again,) = await rows.lease(main)
    assert (again.side, again.possible_resend) == (BUY, True)
    await rows.settle(settlement(again, OK))
    assert await sent(rows, main) == [("AAPL", "sell")]


async def test_a_buy_after_a_resume_is_not_one_of_before(rows: Rows, main: Destination) -> None:
    await a_desk(rows).sell_all(ME)
    await rows.alert("AAPL", BUY)
    await rows.decide()
    (entry,) = await rows.lease(main)
    await rows.settle(settlement(entry, UNSENT))
    assert await sent(rows, main) == [("AAPL", "buy")]


async def test_it_waits_for_what_is_being_judged(rows: Rows, main: Destination) -> None:
    await rows.alert("AAPL", BUY)
    async with rows.database.write() as connection:
        await decide_on(connection, 1, SellPolicy.WITH_POSITION)
        selling = asyncio.ensure_future(a_desk(rows).sell_all(ME))
        await until_rows(lambda: waits_for_gate(rows))
    await selling
    assert await reasons(rows) == [("AAPL", "superseded", "sell_all")]
    assert await rows.lease(main) == []


async def test_while_others_judge_no_older_buy_passes(rows: Rows, main: Destination) -> None:
    """Buys pour in and are judged all the while: after the answer none is approved."""
    stop = asyncio.Event()

    async def judging() -> None:
        keeper = a_gatekeeper(rows)
        while not stop.is_set():
            await keeper.step()
            await asyncio.sleep(0)

    async def pouring() -> None:
        while not stop.is_set():
            await rows.alert("AAPL", BUY)
            await rows.alert("NVDA", BUY)

    async def after_enough(count: int) -> None:
        async def came() -> bool:
            return (await rows.sql("SELECT count(*) FROM signals"))[0] >= count

        await until_rows(came)

    others = [asyncio.ensure_future(one) for one in (judging(), judging(), pouring())]
    await after_enough(20)
    placed = await a_desk(rows).sell_all(ME)
    (before,) = await rows.sql("SELECT max(seq) FROM signals")
    await after_enough(before + 20)
    stop.set()
    await asyncio.gather(*others)
    while await a_gatekeeper(rows).step() == AGAIN:
        pass
    (made,) = await rows.sql("SELECT made_at FROM batches WHERE id = :id", id=placed.batch.id)
    later = await rows.sql(
        "SELECT DISTINCT status, reason FROM signals WHERE side = 'buy' AND judged_at > :at",
        at=made,
    )
    assert [tuple(row) for row in later] == [("rejected", "buying_paused")]
    assert {side for _, side in await sent(rows, main)} <= {"sell"}
