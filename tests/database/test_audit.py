from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from database import audit, statistics
from database.audit import Facts, Filter
from domain.delivery import DeliveryState, Ended
from domain.rate import Window
from domain.signal import SignalId
from tests.database.rows import BUY, OK, SELL, UNKNOWN, UNSENT, Rows, an_entry, settlement


async def page(rows: Rows, **wanted: object) -> list[Facts]:
    async with rows.database.read() as connection:
        return await audit.page(connection, Filter(**wanted))  # pyright: ignore[reportArgumentType]


async def life(rows: Rows, id: SignalId) -> audit.Life | None:
    async with rows.database.read() as connection:
        return await audit.life(connection, id)


async def test_pages_are_newest_first_and_meet_without_gap_or_repeat(rows: Rows) -> None:
    entries = [an_entry(f"T{n}") for n in range(7)]
    await rows.append(*entries)
    seen: list[object] = []
    before = None
    while found := await page(rows, limit=3, before=before):
        seen += [signal["id"] for signal in found]
        before = found[-1]["seq"]
        await rows.alert("NEW")  # what comes meanwhile disturbs nothing
    assert seen == [entry.id for entry in reversed(entries)]


async def test_filters_are_combined(rows: Rows) -> None:
    await rows.destination()
    await rows.append(an_entry("A"), an_entry("A", SELL), an_entry("B"), an_entry("B", SELL))
    await rows.decide()
    await rows.alert("A")

    async def tickers(**wanted: object) -> list[str]:
        return [f"{s['side']} {s['ticker']}" for s in await page(rows, **wanted)]

    assert await tickers(ticker="A") == ["buy A", "sell A", "buy A"]
    assert await tickers(ticker="A", side="sell") == ["sell A"]
    assert await tickers(status="received") == ["buy A"]
    assert await tickers(status="approved", side="buy") == ["buy B", "buy A"]
    assert await tickers(reason="no_position") == []
    assert await tickers(ticker="'; DROP TABLE signals; --") == []


async def test_a_signals_whole_life_is_told_in_order(rows: Rows) -> None:
    main = await rows.destination()
    id = await rows.alert()
    await rows.decide()
    for answer in (UNKNOWN, OK):
        (delivery,) = await rows.lease(main)
        await rows.settle(settlement(delivery, answer))
    told = await life(rows, id)
    assert told
    assert [event["event"] for event in told.events] == [
        "signal.received",
        "signal.approved",
        "delivery.queued",
        "position.opening",
        "delivery.sending",
        "delivery.retrying",
        "delivery.sending",
        "delivery.delivered",
        "position.open",
    ]
    assert [d["destination"] for d in told.deliveries] == ["main"]
    assert [(a["number"], a["outcome"], a["possible_resend"]) for a in told.attempts] == [
        (1, "ambiguous", False),
        (2, "delivered", True),
    ]
    assert told.signal["shown"] == "delivered"
    assert told.signal["body"].startswith(b"{")


async def test_an_unknown_signal_has_no_life(rows: Rows) -> None:
    assert await life(rows, SignalId(uuid4())) is None


@pytest.mark.parametrize(
    ("states", "shown"),
    [
        (("delivered", "queued"), "queued"),
        (("sending", "queued"), "sending"),
        (("delivered", "dead"), "dead"),
        (("held", "dead"), "held"),
        (("expired", "dead"), "dead"),
        (("delivered", "superseded"), "superseded"),
        (("delivered", "delivered"), "delivered"),
        ((), "approved"),
    ],
)
async def test_an_approved_signal_shows_the_least_finished_then_the_worst(
    rows: Rows, states: tuple[str, ...], shown: str
) -> None:
    for place in range(len(states) or 1):
        await rows.destination(f"place {place}")
    id = await rows.alert()
    await rows.decide()
    if not states:
        await rows.sql("DELETE FROM deliveries")
    for place, state in enumerate(states):
        await rows.sql(
            "UPDATE deliveries SET state = CAST(:state AS text),"
            " lease_until = CASE WHEN :state = 'sending' THEN now() END,"
            " finished_at = CASE WHEN :state NOT IN ('queued','sending','held') THEN now() END"
            " FROM destinations WHERE destination_id = destinations.id AND name = :name",
            state=state,
            name=f"place {place}",
        )
    (signal,) = await page(rows)
    assert (signal["id"], signal["shown"]) == (id, shown)


async def test_the_backlog_is_what_waits_and_for_how_long(rows: Rows) -> None:
    async def backlog() -> statistics.Backlog:
        async with rows.database.read() as connection:
            return await statistics.backlog(connection)

    empty = await backlog()
    assert (empty.undecided, empty.unfinished) == (0, 0)
    assert empty.undecided_for is empty.unfinished_for is None
    main = await rows.destination()
    await rows.bought(main, "DONE")
    await rows.alert("A")
    await rows.decide()
    await rows.append(an_entry("B"), an_entry("C"))
    found = await backlog()
    assert (found.undecided, found.unfinished) == (2, 1)
    assert found.undecided_for
    assert found.unfinished_for
    assert timedelta(0) < found.undecided_for < found.unfinished_for


async def test_the_last_day_is_counted_by_status_and_reason(rows: Rows) -> None:
    async def recent() -> dict[tuple[str, str | None], int]:
        async with rows.database.read() as connection:
            return {(c.status, c.reason): c.signals for c in await statistics.recent(connection)}

    assert await recent() == {}
    await rows.destination()
    await rows.append(an_entry("OLD"), an_entry("A"), an_entry("B", SELL), an_entry("C", SELL))
    await rows.decide()
    await rows.alert("D")
    await rows.sql(
        "UPDATE signals SET received_at = received_at - interval '25 h' WHERE ticker = 'OLD'"
    )
    assert await recent() == {
        ("approved", None): 1,
        ("rejected", "no_position"): 2,
        ("received", None): 1,
    }


async def test_every_destination_stands_with_what_it_used(rows: Rows) -> None:
    windows = (Window(limit=5, seconds=10), Window(limit=50, seconds=3600))
    main = await rows.destination("main", windows=windows)
    await rows.destination("idle")
    for ticker in "ABC":
        await rows.alert(ticker)
    await rows.decide()
    await rows.sql("DELETE FROM deliveries WHERE destination_id <> :id", id=main.id)
    one, _, three = await rows.lease(main)
    left = replace(OK, written=timedelta(0))
    await rows.settle(
        settlement(one, left), settlement(three, UNSENT, Ended(DeliveryState.EXPIRED, "late"))
    )
    await rows.sql(
        "UPDATE attempts SET started_at = started_at - interval '20 s',"
        " written_at = written_at - interval '20 s' WHERE delivery_id = :id",
        id=one.id,
    )
    async with rows.database.read() as connection:
        idle, busy = await statistics.standings(connection)
        assert await statistics.positions(connection) == {"open": 1, "opening": 1}
    assert (idle.name, idle.waiting, idle.oldest, list(idle.used)) == ("idle", 0, None, [])
    assert (busy.waiting, busy.windows, list(busy.used)) == (1, windows, [1, 2])
    assert busy.oldest
    assert busy.url_shown == "https://destination.example/•••"


async def test_counting_positions_leaves_out_what_is_over(rows: Rows) -> None:
    main = await rows.destination()
    await rows.bought(main)
    await rows.alert("AAPL", SELL)
    await rows.alert("NEW", BUY)
    await rows.decide()
    async with rows.database.read() as connection:
        assert await statistics.positions(connection) == {"closing": 1, "opening": 1}
