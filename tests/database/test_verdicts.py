import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text

from database import verdicts
from database.pool import Database
from domain.gate import GatePolicy, Judged, Reason, SellPolicy, Verdict, judge_in_order
from domain.signal import SignalStatus
from tests.database.rows import BUY, SELL, Rows, an_entry, decide_on

HOUR = timedelta(hours=1)


def rejecting(claimed: verdicts.Claimed) -> Judged:
    policy = GatePolicy(top_n=1, list_max_age=timedelta(seconds=180))
    return judge_in_order(
        claimed.signals,
        universe=None,
        positions=claimed.positions,
        policy=policy,
        now=claimed.now,
    )


async def test_nothing_waits_nothing_is_claimed(rows: Rows) -> None:
    assert await rows.decide() is None


async def test_a_claim_brings_whole_tickers_in_order_with_their_positions(rows: Rows) -> None:
    main = await rows.destination()
    bought = await rows.bought(main, "AAPL")
    ids = [await rows.alert(t, s) for t, s in [("AAPL", SELL), ("MSFT", BUY), ("AAPL", BUY)]]
    async with rows.database.write() as connection:
        claimed = await verdicts.claim(connection, limit=128)
        assert claimed
        assert [s.id for s in claimed.signals] == ids
        assert [p.id for p in claimed.positions] == [bought]
        assert all(s.received_at <= claimed.now for s in claimed.signals)


async def test_a_sell_is_not_claimable_while_its_buy_is_claimed_or_undecided(rows: Rows) -> None:
    await rows.destination()
    await rows.append(an_entry("AAPL", BUY), an_entry("AAPL", SELL), an_entry("MSFT", BUY))
    async with rows.database.write() as first, rows.database.write() as second:
        mine = await verdicts.claim(first, limit=1)
        assert mine
        assert [(s.ticker, s.side) for s in mine.signals] == [("AAPL", BUY)]  # one at a time
        theirs = await verdicts.claim(second, limit=128)
        assert theirs
        assert [s.ticker for s in theirs.signals] == ["MSFT"]
        await verdicts.record(first, rejecting(mine))
        # Decided but not committed: the sell still waits for it.
        still = await verdicts.claim(second, limit=128)
        assert still
        assert still.signals == theirs.signals
        await first.commit()
        later = await verdicts.claim(second, limit=128)
        assert later
        assert [(s.ticker, s.side) for s in later.signals] == [("AAPL", SELL), ("MSFT", BUY)]


async def test_tickers_that_others_hold_are_passed_by(rows: Rows) -> None:
    """Also with all that came behind them; their own turn comes when their holder is through."""
    await rows.append(*(an_entry(f"T{n % 3}") for n in range(12)), an_entry("LAST"))
    async with rows.database.write() as first, rows.database.write() as second:
        mine = await verdicts.claim(first, limit=3)
        assert mine
        assert [s.ticker for s in mine.signals] == ["T0", "T1", "T2"]
        theirs = await verdicts.claim(second, limit=3)
        assert theirs
        assert [s.ticker for s in theirs.signals] == ["LAST"]


async def test_the_earliest_of_a_flood_are_claimed_with_what_stands_behind_them(rows: Rows) -> None:
    """However many there are, no more than some of the earliest are looked at."""
    await rows.destination()
    await rows.append(*(an_entry(f"T{n % 40}") for n in range(200)))
    judged: list[tuple[str, int]] = []
    while claimed := await rows.decide(limit=7):
        judged += [(signal.ticker, signal.seq) for signal, _ in claimed.verdicts]
    assert len(judged) == 200
    for ticker in {name for name, _ in judged}:
        numbers = [seq for name, seq in judged if name == ticker]
        assert numbers == sorted(numbers)


async def test_a_verdict_rolled_back_leaves_everything_undecided(rows: Rows) -> None:
    await rows.destination()
    await rows.append(an_entry("AAPL", BUY), an_entry("AAPL", SELL))
    async with rows.database.write() as connection:
        assert await decide_on(connection, 128, SellPolicy.WITH_POSITION)
        await connection.rollback()
    assert await rows.sql("SELECT status FROM signals") == ["received"] * 2
    assert await rows.states("positions") == []
    judged = await rows.decide()
    assert judged
    assert [v.status for _, v in judged.verdicts] == [SignalStatus.APPROVED] * 2


async def test_claims_are_disjoint(rows: Rows) -> None:
    await rows.append(*(an_entry(f"T{n % 10}") for n in range(40)))
    async with rows.database.write() as one, rows.database.write() as two:
        first, second = await verdicts.claim(one, limit=4), await verdicts.claim(two, limit=99)
        assert first
        assert second
        assert {s.ticker for s in first.signals} == {"T0", "T1", "T2", "T3"}
        assert {s.ticker for s in second.signals} == {f"T{n}" for n in range(4, 10)}
        assert len(second.signals) == 24


async def test_what_is_recorded_is_recorded_whole(rows: Rows) -> None:
    one, two = await rows.destination("one"), await rows.destination("two")
    id = await rows.alert()
    judged = await rows.decide()
    assert judged
    (signal,) = await rows.sql("SELECT * FROM signals")
    assert (signal.status, signal.reason, signal.rank, signal.cutoff) == ("approved", None, 1, 1000)
    assert (signal.universe_version, signal.list_age_ms) == (1, 0)
    queued = await rows.sql("SELECT * FROM deliveries ORDER BY destination_id")
    assert [d.destination_id for d in queued] == sorted([one.id, two.id])
    assert {(d.signal_id, d.seq, d.state, d.side) for d in queued} == {
        (id, signal.seq, "queued", "buy")
    }
    assert {d.expires_at for d in queued} == {signal.expires_at}
    assert await rows.events(id) == [
        "signal.received",
        "signal.approved",
        "delivery.queued",
        "delivery.queued",
        "position.opening",
    ]


async def test_a_list_confirmed_this_very_instant_has_an_age_of_nothing(rows: Rows) -> None:
    await rows.alert("AAPL")
    async with rows.database.write() as connection:
        claimed = await verdicts.claim(connection, limit=1)
        assert claimed
        verdict = Verdict(
            status=SignalStatus.REJECTED, reason=Reason.NOT_IN_LIST, list_age=timedelta(0)
        )
        await verdicts.record(connection, Judged(((claimed.signals[0], verdict),), ()))
    assert await rows.sql("SELECT list_age_ms FROM signals") == [0]


async def test_a_second_record_changes_nothing(rows: Rows) -> None:
    main = await rows.destination()
    await rows.alert()
    judged = await rows.decide()
    assert judged
    (delivery,) = await rows.lease(main)
    await rows.sql("UPDATE positions SET state = 'open'")
    before = await rows.events()
    async with rows.database.write() as connection:
        assert await verdicts.record(connection, judged) == 0
    assert await rows.states("positions") == ["open"]
    assert await rows.sql("SELECT id FROM deliveries") == [delivery.id]
    assert await rows.events() == before


async def test_a_paused_destination_keeps_deliveries_and_a_disabled_one_gets_none(
    rows: Rows,
) -> None:
    paused = await rows.destination("paused")
    await rows.destination("disabled")
    await rows.sql("UPDATE destinations SET state = name")
    await rows.alert()
    await rows.decide()
    assert await rows.sql("SELECT destination_id FROM deliveries") == [paused.id]


async def test_buy_sell_and_buy_of_one_batch_leave_one_live_position(rows: Rows) -> None:
    await rows.destination()
    day = [an_entry("AAPL", side) for side in (BUY, SELL, SELL, BUY, SELL, BUY)]
    await rows.append(*day)
    judged = await rows.decide()
    assert judged
    assert [v.reason for _, v in judged.verdicts] == [
        None,
        None,
        "already_closing",
        None,
        None,
        None,
    ]
    # What was sold before it left is not bought first; the last buy is on its way.
    assert sorted(await rows.states("positions")) == ["opening", "void", "void"]
    assert await rows.states("deliveries") == ["superseded"] * 4 + ["queued"]


async def test_an_open_position_closes_and_a_new_one_opens_in_one_batch(rows: Rows) -> None:
    main = await rows.destination()
    await rows.bought(main)
    await rows.append(an_entry("AAPL", SELL), an_entry("AAPL", BUY))
    await rows.decide()
    assert await rows.states("positions") == ["closing", "opening"]


async def test_a_partial_sell_leaves_the_position_open(rows: Rows) -> None:
    main = await rows.destination()
    await rows.bought(main)
    await rows.alert("AAPL", SELL, partial=True)
    await rows.decide()
    assert await rows.states("positions") == ["open"]
    assert await rows.states("deliveries") == ["delivered", "queued"]


async def test_eight_judges_never_judge_a_sell_before_its_buy(rows: Rows) -> None:
    database = Database.connect(rows.database.url, pool=9, patience=timedelta(seconds=30))
    await rows.destination()
    writing = True

    async def judge() -> None:
        while True:
            finished = not writing
            async with database.write() as connection:
                judged = await decide_on(connection, 3, SellPolicy.WITH_POSITION)
            if judged is None and finished:
                return
            await asyncio.sleep(0)

    judges = [asyncio.create_task(judge()) for _ in range(8)]
    for _ in range(15):
        await rows.append(
            *(an_entry(f"T{n}", side, lifetime=HOUR) for side in (BUY, SELL) for n in range(10))
        )
    writing = False
    await asyncio.gather(*judges)
    await database.close()
    assert await rows.sql("SELECT DISTINCT status FROM signals") == ["approved"]
    # A sell judged too early would leave the buy it was to sell.
    assert await rows.sql("SELECT state, count(*) FROM positions GROUP BY state") == [("void", 150)]
    assert await rows.sql("SELECT DISTINCT state FROM deliveries") == ["superseded"]
    orders = await rows.sql(
        "SELECT array_agg(signals.seq ORDER BY events.id) FROM events"
        " JOIN signals ON signals.id = signal_id WHERE event = 'signal.approved' GROUP BY ticker"
    )
    assert len(orders) == 10
    assert all(order == sorted(order) for order in orders)


async def test_what_was_approved_for_nowhere_is_not_recorded(rows: Rows) -> None:
    """The last destination was taken out of use between the judging and the recording."""
    main = await rows.destination()
    await rows.alert("AAPL")
    await rows.sql("UPDATE destinations SET state = 'disabled' WHERE id = :id", id=main.id)
    with pytest.raises(verdicts.NoDestinationError):
        await rows.decide()
    assert await rows.sql("SELECT status FROM signals") == ["received"]


async def test_an_exit_of_ours_waits_even_at_a_destination_out_of_use(rows: Rows) -> None:
    main = await rows.destination()
    await rows.bought(main)
    await rows.sql("UPDATE destinations SET state = 'disabled' WHERE id = :id", id=main.id)
    await rows.alert("AAPL", SELL)
    await rows.decide()
    assert await rows.states("deliveries") == ["delivered", "queued"]


async def test_claiming_does_not_look_again_for_each(rows: Rows) -> None:
    """The planner believes what it counted last: that nothing is undecided."""
    await rows.append(*(an_entry(f"OLD{n}") for n in range(3_000)))
    await rows.sql(
        "UPDATE signals SET status = 'rejected', reason = 'not_in_list', judged_at = now()"
    )
    async with rows.database.autocommit() as connection:
        await connection.execute(text("VACUUM ANALYZE signals"))
    await rows.append(*(an_entry(f"NEW{n}") for n in range(800)))
    plan = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {verdicts.CLAIM.text}"
    async with rows.database.write() as connection:
        told = await connection.execute(text(plan), {"limit": 128, "reach": 2_048})
    top = told.scalar_one()[0]["Plan"]
    assert top["Shared Hit Blocks"] + top["Shared Read Blocks"] < 1_000, "some 330 for 800 signals"
