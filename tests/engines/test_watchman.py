"""The watchman on a real PostgreSQL: no gap, no double count, one at a time, once a window."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from database import attention, channels
from database.pool import Connection
from database.vault import Vault
from domain.attention import Cause, Item, Severity
from domain.channel import Channel, ChannelId, ChannelKind
from domain.delivery import DeliveryState, Ended
from engines.clock import utc_now
from engines.metrics import Metrics
from engines.notices.watchman import Watchman
from tests.database.rows import (
    BUY,
    OK,
    REFUSED,
    SELL,
    UNKNOWN,
    Rows,
    an_entry,
    new_id,
    settlement,
)
from tests.engines.conditions import events_are_complete

STALE = "INSERT INTO events (event, detail) VALUES ('trust.stale', '{}')"
ITEMS = "SELECT cause, severity, count, resolved_at IS NULL AS open FROM attention ORDER BY id"


async def always_open(_now: datetime) -> timedelta | None:
    return None


def a_watchman(rows: Rows, until_open: Any = always_open, **given: Any) -> Watchman:
    usual: Mapping[str, Any] = {"metrics": Metrics(), "wake_notifier": lambda: None}
    return Watchman(database=rows.database, until_open=until_open, **{**usual, **given})


async def stepped(rows: Rows, watchman: Watchman | None = None) -> timedelta:
    """A step that sees all events there are: other tests have transactions in this server too."""
    await events_are_complete(rows)
    return await (watchman or a_watchman(rows)).step()


async def looked(rows: Rows, watchman: Watchman | None = None) -> list[tuple[Any, ...]]:
    """What is kept after a step that was due to look around."""
    await rows.sql("UPDATE watchman SET looked_at = NULL")
    await stepped(rows, watchman)
    return [tuple(row) for row in await rows.sql(ITEMS)]


async def a_channel(rows: Rows, vault: Vault, **given: Any) -> Channel:
    usual: Mapping[str, Any] = {"name": "mine", "severity": Severity.WARNING, "window_sec": 3_600}
    channel = Channel(
        id=ChannelId(uuid4()),
        kind=ChannelKind.SLACK,
        secrets={"url": "https://hooks.slack.com/services/secret"},
        **{**usual, **given},
    )
    async with rows.database.write() as connection:
        await channels.create(connection, vault, channel, actor="a test")
    return channel


@asynccontextmanager
async def open_transaction(rows: Rows) -> AsyncGenerator[Connection]:
    async with rows.database.write() as connection:
        yield connection


# ── The thread of events ────────────────────────────────────────────────────────────────────


async def test_an_event_inserted_early_and_committed_late_is_not_left_out(rows: Rows) -> None:
    watchman = a_watchman(rows)
    async with open_transaction(rows) as late:
        await late.execute(text(STALE))
        await rows.sql("INSERT INTO events (event, detail) VALUES ('list.suspect', '{}')")
        await watchman.step()
        assert not await rows.sql(ITEMS)  # nothing behind a transaction that still runs
    await stepped(rows, watchman)
    assert [row.cause for row in await rows.sql(ITEMS)] == ["list_stale", "list_suspect"]


async def test_what_is_disabled_is_no_alarm_because_it_failed(rows: Rows) -> None:
    watchman, id = a_watchman(rows), (await rows.destination()).id
    opened = """INSERT INTO events (event, detail) VALUES (
        'destination.breaker_open', jsonb_build_object('destination_id', CAST(:id AS uuid)))"""
    await rows.sql(opened, id=id)
    await stepped(rows, watchman)
    assert [row.open for row in await rows.sql(ITEMS)] == [True]
    await rows.sql("UPDATE destinations SET state = 'disabled'")
    await rows.sql(opened.replace("breaker_open", "disabled"), id=id)
    await rows.sql(opened, id=id)  # of a request that was under way then
    await stepped(rows, watchman)
    assert [row.open for row in await rows.sql(ITEMS)] == [False]


async def test_the_mark_passes_nothing_that_is_still_to_come(rows: Rows) -> None:
    """Many writers, some slow: whatever they commit is counted exactly once."""
    watchman, places = a_watchman(rows), asyncio.Semaphore(4)  # its own is the fifth

    async def write(number: int) -> None:
        async with places, open_transaction(rows) as connection:
            await connection.execute(text(STALE))
            await asyncio.sleep(0.02 * (number % 4))

    async def watch() -> None:
        while writing:
            await watchman.step()

    writing = True
    watching = asyncio.create_task(watch())
    await asyncio.gather(*(write(number) for number in range(40)))
    writing = False
    await watching
    await stepped(rows, watchman)
    assert [tuple(row) for row in await rows.sql(ITEMS)] == [("list_stale", "warning", 40, True)]


async def test_a_transaction_that_is_killed_counts_nothing_twice(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rows.sql(STALE)
    moves = attention.move

    async def killed(*_given: Any, **_more: Any) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr(attention, "move", killed)
    with pytest.raises(RuntimeError, match="killed"):
        await stepped(rows)
    assert not await rows.sql(ITEMS)
    monkeypatch.setattr(attention, "move", moves)
    for _ in range(3):
        await stepped(rows)
    assert [tuple(row) for row in await rows.sql(ITEMS)] == [("list_stale", "warning", 1, True)]


async def test_several_replicas_count_once(rows: Rows) -> None:
    replicas = [a_watchman(rows) for _ in range(3)]
    for number in range(30):
        await rows.sql(STALE)
        if number % 3 == 0:
            await asyncio.gather(*(one.step() for one in replicas))
    await stepped(rows, replicas[0])
    assert [tuple(row) for row in await rows.sql(ITEMS)] == [("list_stale", "warning", 30, True)]


async def test_a_long_backlog_is_gone_through_in_batches(rows: Rows) -> None:
    await rows.sql(
        "INSERT INTO events (event, detail)"
        " SELECT 'trust.stale', '{}' FROM generate_series(1, 1200)"
    )
    watchman = a_watchman(rows)
    rests = [await stepped(rows, watchman) for _ in range(3)]
    assert [rest == timedelta(0) for rest in rests] == [True, True, False]
    assert (await rows.sql(ITEMS))[0].count == 1_200


async def test_the_index_serves_the_thread(rows: Rows) -> None:
    await rows.sql(
        "INSERT INTO events (event, detail)"
        " SELECT 'signal.received', '{}' FROM generate_series(1, 3000)"
    )
    await rows.sql("ANALYZE events")
    ((xid, id),) = await rows.sql(
        "SELECT CAST(xid AS text), id FROM events ORDER BY id DESC LIMIT 1"
    )
    query = str(attention.READ).replace(":xid", f"'{xid}'").replace(":id", str(id))
    query = query.replace(":limit", "500")
    plan = "\n".join(await rows.sql(f"EXPLAIN {query}"))
    assert "events_by_xid" in plan
    assert "Seq Scan on events" not in plan


# ── Every end of a sell (I13) ───────────────────────────────────────────────────────────────


async def test_every_statement_that_ends_a_sell_undelivered_raises(rows: Rows) -> None:
    main = await rows.destination()
    await rows.bought(main, "DEAD")
    await rows.alert("DEAD", SELL)
    await rows.decide()
    (dead,) = await rows.lease(main)
    await rows.settle(settlement(dead, REFUSED))
    await rows.bought(main, "LATE")
    await rows.alert("LATE", SELL)
    await rows.decide()
    await rows.sql("UPDATE deliveries SET expires_at = now() WHERE finished_at IS NULL")
    await rows.expire()
    await rows.alert("NONE", SELL)
    await rows.decide()
    await looked(rows)
    found = await rows.sql(
        "SELECT cause, severity, item.ticker,"
        " key = deliveries.destination_id || ':' || item.ticker"
        " FROM attention AS item LEFT JOIN deliveries ON deliveries.id = delivery_id"
        " WHERE cause LIKE 'sell%' ORDER BY item.id"
    )
    assert [tuple(row) for row in found] == [
        ("sell_undelivered", "urgent", "DEAD", True),
        ("sell_undelivered", "urgent", "LATE", True),
        ("sell_refused", "warning", "NONE", None),
    ]
    reopened = await rows.sql("SELECT ticker FROM attention WHERE cause = 'position_reopened'")
    assert sorted(reopened) == ["DEAD", "LATE"]


async def test_a_sell_that_arrives_settles_what_went_before(rows: Rows) -> None:
    main = await rows.destination()
    await rows.bought(main)
    for answer in (REFUSED, None):
        await rows.alert("AAPL", SELL)
        await rows.decide()
        (leased,) = await rows.lease(main)
        await rows.settle(settlement(leased, answer) if answer else settlement(leased, OK))
        await looked(rows)
    left = await rows.sql("SELECT cause FROM attention WHERE resolved_at IS NULL")
    assert not left
    (why,) = await rows.sql(
        "SELECT resolved_by || ': ' || resolved_why FROM attention WHERE cause = 'sell_undelivered'"
    )
    assert why == "the relay: a sell arrived"


async def test_a_sell_of_a_buy_that_was_turned_away_is_only_noted(rows: Rows) -> None:
    await rows.destination()
    id = await rows.alert("AAPL", BUY)
    await rows.sql(
        "UPDATE signals SET status = 'rejected', reason = 'not_in_list', judged_at = now()"
        " WHERE id = :id",
        id=id,
    )
    await rows.alert("AAPL", SELL)
    await rows.decide()
    assert await looked(rows) == [("sell_refused", "info", 1, True)]


async def test_a_sell_too_old_to_be_judged_is_urgent(rows: Rows) -> None:
    await rows.alert("AAPL", SELL, lifetime=timedelta(0))
    assert await looked(rows) == [("sell_undelivered", "urgent", 1, True)]


async def test_what_was_imported_alarms_nobody(rows: Rows) -> None:
    await rows.alert("AAPL", SELL, lifetime=timedelta(0))
    await rows.sql("UPDATE signals SET imported_from = 'elsewhere'")
    await rows.sql(STALE)
    assert await looked(rows) == [("list_stale", "warning", 1, True)]


async def test_a_held_one_wants_a_look_until_somebody_says_what_became_of_it(rows: Rows) -> None:
    main = await rows.destination(guarantee="at_most_once")
    await rows.alert("AAPL", BUY)
    await rows.decide()
    (leased,) = await rows.lease(main)
    await rows.settle(settlement(leased, UNKNOWN, Ended(DeliveryState.HELD, "http 500")))
    assert await looked(rows) == [("held", "warning", 1, True)]
    await rows.sql(
        "INSERT INTO events (event, delivery_id, signal_id, actor, detail)"
        " VALUES ('delivery.queued', :id, :signal, 'me', '{}')",
        id=leased.id,
        signal=leased.signal_id,
    )
    assert await looked(rows) == [("held", "warning", 1, False)]


# ── Notices ─────────────────────────────────────────────────────────────────────────────────


async def told(rows: Rows) -> list[tuple[str, str]]:
    found = await rows.sql("SELECT cause, severity FROM notices ORDER BY id")
    return [(row.cause, row.severity) for row in found]


async def test_at_most_once_a_channel_cause_key_and_window(rows: Rows, vault: Vault) -> None:
    rung: list[int] = []
    watchman = a_watchman(rows, wake_notifier=lambda: rung.append(1))
    await a_channel(rows, vault)
    await a_channel(rows, vault, name="urgent only", severity=Severity.URGENT)
    await a_channel(rows, vault, name="off", enabled=False)
    for _ in range(3):
        await rows.sql(STALE)
        await stepped(rows, watchman)
    assert await told(rows) == [("list_stale", "warning")]
    assert rung == [1]
    await rows.sql("UPDATE notices SET made_at = made_at - interval '1 hour'")
    await rows.sql(STALE)
    await stepped(rows, watchman)
    assert len(await told(rows)) == 2


async def test_what_got_worse_is_told_within_the_window(rows: Rows, vault: Vault) -> None:
    await a_channel(rows, vault, severity=Severity.INFO)
    found = [("info", 1), ("urgent", 2), ("info", 2)]
    for severity, expected in found:
        async with rows.database.write() as connection:
            await attention.keep(connection, [an_item(severity)])
        assert len(await told(rows)) == expected
    assert await rows.sql(ITEMS) == [("sell_undelivered", "urgent", 3, True)]


def an_item(severity: str) -> Item:
    return Item(
        cause=Cause.SELL_UNDELIVERED, key="k", severity=Severity(severity), text="x", at=utc_now()
    )


async def test_the_open_ones_are_counted_by_severity(rows: Rows) -> None:
    metrics = Metrics()
    await rows.sql(STALE)
    await stepped(rows, a_watchman(rows, metrics=metrics))
    shown = metrics.render().decode()
    assert 'relay_attention_open{severity="warning"} 1.0' in shown
    assert 'relay_attention_open{severity="urgent"} 0.0' in shown


# ── The looks around ────────────────────────────────────────────────────────────────────────


async def a_source(rows: Rows, name: str = "tv", **given: Any) -> None:
    columns = "".join(f", {column}" for column in given)
    values = "".join(f", :{column}" for column in given)
    await rows.sql(
        f"INSERT INTO sources (name, updated_at{columns})"
        f" VALUES (:name, now() - interval '1 day'{values})",
        name=name,
        **given,
    )


async def test_who_comes_near_the_limit_is_warned_of_until_it_is_calm(rows: Rows) -> None:
    for _ in range(11):
        await rows.alert("AAPL", BUY, source="tv")
    assert not await looked(rows)
    again = an_entry("AAPL", BUY, source="tv")
    await rows.append(again)
    watchman = a_watchman(rows)
    for _ in range(3):
        assert await looked(rows, watchman) == [("near_limit", "warning", 1, True)]
    await rows.sql("UPDATE signals SET received_at = received_at - interval '4 minutes'")
    assert await looked(rows) == [("near_limit", "warning", 1, False)]


async def test_repeats_count_towards_the_limit(rows: Rows) -> None:
    """TradingView counts triggers, not what we made of them."""
    same = an_entry("AAPL", BUY, source="tv")
    for _ in range(12):
        await rows.append(same._replace(id=new_id()))
    assert await looked(rows) == [("near_limit", "warning", 1, True)]


async def test_a_source_fallen_silent_and_heard_again(rows: Rows) -> None:
    await a_source(rows, expected_every_sec=3_600, expected_in_hours=False)
    assert await looked(rows) == [("source_silent", "warning", 1, True)]
    await rows.alert("AAPL", BUY, source="another")
    assert await looked(rows) == [("source_silent", "warning", 1, True)]
    await rows.alert("AAPL", BUY, source="tv")
    assert await looked(rows) == [("source_silent", "warning", 1, False)]
    await rows.sql("UPDATE hearings SET last_at = last_at - interval '2 hours'")
    assert (await looked(rows))[1] == ("source_silent", "warning", 1, True)
    await rows.sql("UPDATE sources SET expected_every_sec = NULL")
    assert not [row for row in await looked(rows) if row[3]]


async def test_only_market_hours_count_for_who_says_so(rows: Rows) -> None:
    """Closed for all but the last half hour: an hour of silence has not passed yet."""
    opened = utc_now() - timedelta(minutes=30)

    async def until_open(now: datetime) -> timedelta | None:
        return opened - now if now < opened else None

    await a_source(rows, expected_every_sec=3_600, expected_in_hours=True)
    assert not await looked(rows, a_watchman(rows, until_open))
    await rows.sql("UPDATE sources SET expected_every_sec = 1500")
    assert await looked(rows, a_watchman(rows, until_open)) == [
        ("source_silent", "warning", 1, True)
    ]


async def test_pairs_are_watched_where_they_are_expected(rows: Rows) -> None:
    await a_source(rows, pairs=True)
    for source, side in (("tv", BUY), ("webhook", BUY), ("webhook", BUY), ("tv", BUY)):
        await rows.alert("AAPL", side, source=source)
    assert await looked(rows) == [("buy_after_buy", "warning", 1, True)]
    await rows.alert("AAPL", SELL, source="tv")
    assert await looked(rows) == [("buy_after_buy", "warning", 1, False)]
    await rows.alert("AAPL", SELL, source="tv")
    await rows.alert("MSFT", SELL, source="tv")
    found = [row for row in await looked(rows) if row[3]]
    assert [row[0] for row in found] == ["sell_without_buy"] * 2
