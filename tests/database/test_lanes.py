import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from database import lanes
from database.pool import Database
from domain.breaker import Breaker
from domain.delivery import LAST_CHANCE, Answer, Delivery, Retry
from domain.destination import Destination
from domain.rate import Room, Used, Window, room
from domain.signal import SignalId
from engines.clock import utc_now
from tests.database.left import Watch
from tests.database.rows import (
    ALL,
    BUY,
    DRY,
    LEASE,
    OK,
    SELL,
    UNSENT,
    WITHHELD,
    Rows,
    an_entry,
    settlement,
)

GONE = timedelta(seconds=-1)
"""A lease that has run out when it is made."""


@pytest.fixture
async def main(rows: Rows) -> Destination:
    return await rows.destination()


async def queued(rows: Rows, *alerts: str) -> list[SignalId]:
    """Approve alerts given as `buy AAPL`, whatever positions there are."""
    entries = [
        an_entry(ticker, SELL if side == "sell" else BUY)
        for side, _, ticker in (alert.partition(" ") for alert in alerts)
    ]
    await rows.append(*entries)
    await rows.sql(
        "UPDATE signals SET status = 'approved', judged_at = clock_timestamp()"
        " WHERE status = 'received'"
    )
    await rows.sql(
        "INSERT INTO deliveries (signal_id, destination_id, destination_version, seq, ticker, side,"
        " queued_at, due_at, expires_at)"
        " SELECT signals.id, destinations.id, 1, signals.seq, ticker, side, received_at,"
        " received_at, expires_at FROM signals, destinations"
        " WHERE signals.id = ANY(:ids)",
        ids=[entry.id for entry in entries],
    )
    return [entry.id for entry in entries]


def told(deliveries: Sequence[Delivery]) -> list[str]:
    return [f"{delivery.side} {delivery.ticker}" for delivery in deliveries]


async def test_only_the_head_of_a_lane_leaves_and_sells_leave_first(
    rows: Rows, main: Destination
) -> None:
    await queued(rows, "buy A", "sell A", "buy B", "sell C", "buy C", "sell D")
    assert told(await rows.lease(main)) == ["sell C", "sell D", "buy A", "buy B"]
    assert await rows.lease(main) == []


async def test_the_next_of_a_lane_leaves_when_the_one_before_has_ended(
    rows: Rows, main: Destination
) -> None:
    ids = await queued(rows, "buy A", "sell A", "buy A")
    sent: list[SignalId] = []
    for _ in ids:
        (delivery,) = await rows.lease(main)
        sent.append(delivery.signal_id)
        await rows.settle(settlement(delivery, OK))
    assert sent == ids


async def test_a_waiting_retry_blocks_its_lane_and_no_other(rows: Rows, main: Destination) -> None:
    await queued(rows, "buy A", "buy A", "buy B")
    (head,) = await rows.lease(main, Room(total=1, buys=1))
    since = Watch()
    later = Retry(utc_now() + timedelta(seconds=20))
    await rows.settle(settlement(head, UNSENT, later))
    assert told(await rows.lease(main)) == ["buy B"]
    async with rows.database.read() as connection:
        due = await lanes.next_due(connection, main.id)  # pyright: ignore[reportArgumentType]
    assert due
    assert since.left(due, 20)
    await rows.sql("UPDATE deliveries SET due_at = clock_timestamp() WHERE state = 'queued'")
    (again,) = await rows.lease(main)
    assert (again.id, again.attempt, again.epoch) == (head.id, 2, head.epoch + 1)
    assert not again.possible_resend


async def test_who_becomes_due_between_the_two_questions_is_asked_for_again(
    rows: Rows, main: Destination
) -> None:
    """Else nobody would look for it until somebody else woke the forwarder."""
    await queued(rows, "buy A")
    (head,) = await rows.lease(main)
    await rows.settle(settlement(head, UNSENT, Retry(utc_now() + timedelta(seconds=20))))
    async with rows.database.write() as connection:
        assert await lanes.lease(connection, rows.vault, main.id, ALL, LEASE) == []
        await rows.sql("UPDATE deliveries SET due_at = clock_timestamp() - interval '1 ms'")
        due = await lanes.next_due(connection, main.id)
    assert due is not None
    assert due < timedelta(0)


async def test_a_lane_is_of_one_destination(rows: Rows, main: Destination) -> None:
    other = await rows.destination("other")
    await queued(rows, "buy A", "sell A")
    assert told(await rows.lease(main)) == told(await rows.lease(other)) == ["buy A"]


async def test_a_lease_that_ran_out_is_taken_again_and_marked(
    rows: Rows, main: Destination
) -> None:
    await queued(rows, "buy A", "buy A")
    (first,) = await rows.lease(main, lasting=GONE)
    assert not first.possible_resend
    (again,) = await rows.lease(main)
    assert (again.id, again.epoch, again.attempt) == (first.id, first.epoch + 1, 2)
    assert again.possible_resend
    assert await rows.lease(main) == []
    attempts = await rows.sql("SELECT * FROM attempts ORDER BY epoch")
    assert [(a.number, a.possible_resend, a.side) for a in attempts] == [
        (1, False, "buy"),
        (2, True, "buy"),
    ]


async def test_what_is_leased_carries_what_was_received(rows: Rows, main: Destination) -> None:
    sealed = rows.vault.seal(b'{"secret":1}')
    plain, hidden = an_entry("A", body=b'{"a": 1}'), an_entry("B", body=sealed, body_sealed=True)
    await rows.append(plain, hidden)
    await rows.decide()
    one, two = await rows.lease(main)
    assert (one.body, two.body) == (b'{"a": 1}', b'{"secret":1}')
    assert one.signal_id == plain.id
    assert one.received_at < one.leased_at < one.expires_at
    assert await rows.events(plain.id) == [
        "signal.received",
        "signal.approved",
        "delivery.queued",
        "position.opening",
        "delivery.sending",
    ]


async def test_the_dead_are_not_sent(rows: Rows, main: Destination) -> None:
    await queued(rows, "sell A", "buy B")
    await rows.sql("UPDATE deliveries SET expires_at = clock_timestamp() WHERE ticker = 'A'")
    assert told(await rows.lease(main)) == ["buy B"]


async def test_room_is_never_exceeded_and_buys_leave_some_to_sells(
    rows: Rows, main: Destination
) -> None:
    await queued(rows, *(f"buy B{n}" for n in range(9)), *(f"sell S{n}" for n in range(3)))
    assert told(await rows.lease(main, Room(total=2, buys=2))) == ["sell S0", "sell S1"]
    assert told(await rows.lease(main, Room(total=4, buys=2))) == ["sell S2", "buy B0", "buy B1"]
    assert await rows.lease(main, Room(total=5, buys=0)) == []
    assert told(await rows.lease(main, Room(total=1, buys=1))) == ["buy B2"]


async def usage_of(rows: Rows, destination: Destination, *seconds: int) -> lanes.Usage:
    windows = [Window(limit=9, seconds=span) for span in seconds]
    async with rows.database.write() as connection:
        return await lanes.usage(connection, destination.id, windows)


def frees(usage: lanes.Usage, since: Watch, *seconds: float) -> bool:
    """Whether so many seconds are left, as of when the watch was set going."""
    return all(map(since.left, usage.frees_in, seconds))


async def test_windows_count_what_may_yet_leave_from_the_last_moment_it_may(
    rows: Rows, main: Destination
) -> None:
    await queued(rows, "buy A", "buy B", "sell C")
    since = Watch()
    await rows.lease(main)
    await rows.sql("UPDATE attempts SET started_at = started_at - interval '20 s' WHERE side='buy'")
    usage = await usage_of(rows, main, 10, 20, 60)
    assert usage.used == [Used(buys=0, total=1), Used(buys=2, total=3), Used(buys=2, total=3)]
    # Counted a quarter of a second wider than promised, for what is under way for longer.
    assert frees(usage, since, 17.75, 7.75, 47.75), usage


async def test_windows_count_what_left_from_when_it_left(rows: Rows, main: Destination) -> None:
    await queued(rows, "buy A", "sell C")
    since = Watch()
    sell, buy = await rows.lease(main)
    left = replace(OK, written=timedelta(seconds=2))
    await rows.settle(settlement(buy, left), settlement(sell, left))
    await rows.sql(
        "UPDATE attempts SET started_at = started_at - interval '20 s',"
        " written_at = written_at - interval '20 s' WHERE side = 'buy'"
    )
    usage = await usage_of(rows, main, 17, 60)
    assert usage.used == [Used(buys=0, total=1), Used(buys=1, total=2)]
    assert frees(usage, since, 19.25, 42.25), usage


@pytest.mark.parametrize("answer", [UNSENT, WITHHELD, DRY], ids=lambda one: str(one.outcome))
async def test_windows_do_not_count_what_never_left(
    rows: Rows, main: Destination, answer: Answer
) -> None:
    await queued(rows, "buy A")
    (buy,) = await rows.lease(main)
    assert (await usage_of(rows, main, 60)).used == [Used(buys=1, total=1)]
    await rows.settle(settlement(buy, answer))
    assert (await usage_of(rows, main, 60)).used == [Used(buys=0, total=0)]


async def test_an_empty_window_is_empty(rows: Rows, main: Destination) -> None:
    other = await rows.destination("other")
    await queued(rows, "buy A")
    await rows.lease(other)
    async with rows.database.write() as connection:
        usage = await lanes.usage(connection, main.id, [Window(limit=9, seconds=60)])
    assert (usage.used, usage.frees_in) == ([Used(buys=0, total=0)], [timedelta(0)])


async def test_a_destination_is_held_by_one_at_a_time(rows: Rows, main: Destination) -> None:
    async with rows.database.write() as mine:
        mine_is = await lanes.hold(mine, main.id)
        assert mine_is
        assert (mine_is.version, mine_is.pause) == (1, timedelta(0))
        assert mine_is.breaker == Breaker()
        async with rows.database.write() as theirs:
            waiting = asyncio.create_task(lanes.hold(theirs, main.id))
            done, _ = await asyncio.wait({waiting}, timeout=0.1)
            assert not done
            await mine.commit()
            assert await waiting


@pytest.mark.parametrize("state", ["paused", "disabled"])
async def test_a_destination_that_is_not_enabled_is_not_held(
    rows: Rows, main: Destination, state: str
) -> None:
    await rows.sql("UPDATE destinations SET state = :state", state=state)
    async with rows.database.write() as connection:
        assert await lanes.hold(connection, main.id) is None


async def test_a_wish_to_wait_holds_the_destination_and_is_never_shortened(
    rows: Rows, main: Destination
) -> None:
    async def pause(wish: float) -> timedelta:
        async with rows.database.write() as connection:
            await lanes.hold_back(connection, main.id, timedelta(seconds=wish))
            held = await lanes.hold(connection, main.id)
        assert held
        return held.pause

    since = Watch()
    assert since.left(await pause(60), 60)
    assert since.left(await pause(5), 60)
    again = Watch()
    assert again.left(await pause(10**9), 3_600)


async def test_a_sell_at_its_end_can_be_told_from_the_others(rows: Rows, main: Destination) -> None:
    await queued(rows, "sell A", "sell B")
    await rows.sql(
        "UPDATE deliveries SET expires_at = clock_timestamp() + :left WHERE ticker = 'B'",
        left=LAST_CHANCE - timedelta(milliseconds=1),
    )
    async with rows.database.write() as connection:
        last = await lanes.lease(connection, rows.vault, main.id, ALL, LEASE, LAST_CHANCE)
    assert told(last) == ["sell B"]


async def test_a_window_holds_over_any_number_of_replicas(rows: Rows, main: Destination) -> None:
    await queued(rows, *(f"buy B{n}" for n in range(40)), *(f"sell S{n}" for n in range(40)))
    window = Window(limit=20, seconds=60)

    async def lease_all(database: Database) -> list[str]:
        leased: list[str] = []
        for _ in range(10):
            async with database.write() as connection:
                await lanes.hold(connection, main.id)
                usage = await lanes.usage(connection, main.id, [window])
                free = room([window], usage.used, share=0.1, most=3)
                if free.total:
                    got = await lanes.lease(connection, rows.vault, main.id, free, LEASE)
                    leased += told(got)
        return leased

    replicas = [
        Database.connect(rows.database.url, pool=1, patience=timedelta(seconds=20))
        for _ in range(4)
    ]
    shares = await asyncio.gather(*(lease_all(replica) for replica in replicas))
    for replica in replicas:
        await replica.close()
    sent = [one for share in shares for one in share]
    assert len(sent) == len(set(sent)) == 20
    assert all(one.startswith("sell") for one in sent)


async def test_a_request_whose_sender_died_is_not_in_flight_until_its_lease_ends(
    rows: Rows,
) -> None:
    """A breaker's one probe must not be waited for longer than a request can take."""

    async def in_flight() -> int:
        async with rows.database.read() as connection:
            return await lanes.in_flight(connection, main.id, timedelta(seconds=7))

    main = await rows.destination()
    await rows.alert("AAPL")
    await rows.decide()
    await rows.lease(main, lasting=timedelta(seconds=15))
    assert await in_flight() == 1
    await rows.sql("UPDATE deliveries SET lease_until = now() + interval '6 seconds'")
    assert await in_flight() == 0
