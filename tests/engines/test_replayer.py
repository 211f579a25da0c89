"""The replayer on a real PostgreSQL: a replay is a new signal, and a new decision."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from database.batches import BatchKind
from database.selections import NotAsExpectedError, Selection
from database.verdicts import NoDestinationError
from domain.delivery import DeliveryState, DestinationId
from domain.destination import Destination
from domain.signal import Side
from tests.database.rows import BUY, OK, REFUSED, SELL, Rows, a_screen, an_entry, settlement
from tests.engines.replaying import ACTOR, command, replay, resend, signal

LISTED = [f"T{number}" for number in range(300)]
SAME = (
    *("source", "ticker", "exchange", "symbol", "side", "closes", "partial", "price", "price_text"),
    *("sender_time", "hop", "content_type", "body", "body_sealed"),
)
DEAD = Selection(state=DeliveryState.DEAD)


@pytest.fixture
async def main(rows: Rows) -> Destination:
    kept = await rows.screen(top_n=300)
    await rows.adopt(kept, "AAPL", *LISTED[1:], total=300)
    return await rows.destination()


async def dead(rows: Rows, main: Destination, side: Side = BUY, **given: Any) -> Any:
    """A signal that its destination refused."""
    id = await rows.alert("AAPL", side, **given)
    await rows.decide()
    (delivery,) = await rows.lease(main)
    await rows.settle(settlement(delivery, REFUSED))
    return await signal(rows, id)


async def pause(rows: Rows) -> None:
    await rows.sql("UPDATE gate SET paused_at = now(), paused_by = 'somebody'")


# ── One ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_replay_is_the_same_message_and_a_new_signal(rows: Rows, main: Destination) -> None:
    body = rows.vault.seal(b'{"ticker":"AAPL","side":"buy","password":"x"}')
    given: dict[str, Any] = {"exchange": "NASDAQ", "closes": False, "hop": 1, "price_text": "1.10"}
    old = await dead(rows, main, **given, body=body, body_sealed=True)
    new = await replay(rows, old.id)
    assert [getattr(new, name) for name in SAME] == [getattr(old, name) for name in SAME]
    assert (new.replay_of, new.only_destination_id, new.status) == (old.id, None, "approved")
    assert new.id != old.id
    assert new.seq > old.seq
    assert new.received_at > old.judged_at
    assert new.life == timedelta(seconds=30)
    assert (await signal(rows, old.id)).status == "approved"
    (delivery,) = await rows.lease(main)
    assert (delivery.signal_id, delivery.replay_of) == (new.id, old.id)
    assert delivery.body == rows.vault.open(body)


async def test_the_trail_says_who_replayed_what_as_what_and_why(
    rows: Rows, main: Destination
) -> None:
    old = await dead(rows, main)
    await rows.sql("UPDATE signals SET expires_at = now() WHERE id = :id", id=old.id)
    new = await replay(rows, old.id, force=True, reason="it was their fault")
    (told,) = await rows.sql("SELECT * FROM events WHERE event = 'signal.replayed'")
    assert (told.signal_id, told.actor) == (old.id, ACTOR)
    assert told.detail == {
        "as": str(new.id),
        "batch_id": str(new.batch_id),
        "reason": "it was their fault",
        "forced": True,
    }
    (batch,) = await rows.sql("SELECT kind, made_by, reason, snapshot FROM batches")
    assert (batch.kind, batch.made_by, batch.reason) == ("replay", ACTOR, "it was their fault")
    assert [one["as"] for one in batch.snapshot] == [str(new.id)]
    assert await rows.events(new.id) == [
        *("signal.received", "signal.approved", "delivery.queued", "position.opening")
    ]


async def test_a_source_with_a_time_to_live_of_its_own_gives_it_to_replays(
    rows: Rows, main: Destination
) -> None:
    await rows.sql("INSERT INTO sources (name, buy_ttl_sec) VALUES ('quick', 7)")
    old = await dead(rows, main, source="quick")
    assert (await replay(rows, old.id)).life == timedelta(seconds=7)


async def test_it_is_judged_by_what_is_in_force_now(rows: Rows, main: Destination) -> None:
    old = await dead(rows, main)
    await pause(rows)
    paused = await replay(rows, old.id)
    assert (paused.status, paused.reason) == ("rejected", "buying_paused")
    await rows.sql("UPDATE gate SET paused_at = NULL, paused_by = NULL")
    (screen,) = await rows.sql("SELECT id FROM screens")
    await rows.sql("UPDATE universes SET tickers = ARRAY['KO'] WHERE screen_id = :id", id=screen)
    unlisted = await replay(rows, paused.id)
    assert (unlisted.status, unlisted.reason) == ("rejected", "not_in_list")
    assert (unlisted.replay_of, paused.replay_of) == (paused.id, old.id)


async def test_what_was_rejected_is_never_approved_but_its_replay_may_be(
    rows: Rows, main: Destination
) -> None:
    await pause(rows)
    id = await rows.alert("T1")
    old = await signal(rows, id)
    assert old.status == "received"
    await rows.sql(
        "UPDATE signals SET status = 'rejected', reason = 'buying_paused', judged_at = now()"
    )
    await rows.sql("UPDATE gate SET paused_at = NULL, paused_by = NULL")
    assert (await replay(rows, id)).status == "approved"
    assert (await signal(rows, id)).status == "rejected"
    assert len(await rows.lease(main)) == 1


@pytest.mark.usefixtures("main")
async def test_what_waits_unjudged_is_judged_before(rows: Rows) -> None:
    """The sell of a buy nobody judged yet finds its position, and the replayed one comes last."""
    old = await rows.alert("T2", SELL)
    await rows.decide()
    buy = await rows.alert("T2", BUY)
    new = await replay(rows, old)
    assert (await signal(rows, buy)).status == new.status == "approved"
    assert (await signal(rows, buy)).seq < new.seq


@pytest.mark.usefixtures("main")
async def test_it_is_decided_at_once_and_lets_others_wait(rows: Rows) -> None:
    """Hold-and-see is for alerts: an operator is owed an answer."""
    await rows.change_screen(a_screen(top_n=300, wait=20))
    old = await rows.alert("GHOST")
    await rows.sql(
        "UPDATE signals SET status = 'rejected', reason = 'not_in_list', judged_at = now()"
    )
    waiting = await rows.alert("GHOST")
    new = await replay(rows, old)
    assert (new.status, new.reason) == ("rejected", "not_in_list")
    other = await signal(rows, waiting)
    assert other.status == "received"
    assert other.waits_until is not None


# ── One destination ─────────────────────────────────────────────────────────────────────────


async def two_of_a_sell(rows: Rows, main: Destination) -> tuple[Destination, Any, Any]:
    """Bought at two destinations; the sell arrived at the first, the second refused it."""
    other = await rows.destination("other")
    await rows.alert("AAPL", BUY)
    await rows.decide()
    for one in (main, other):
        await rows.settle(*(settlement(d, OK) for d in await rows.lease(one)))
    sell = await rows.alert("AAPL", SELL)
    await rows.decide()
    (sold,), (failed,) = [await rows.lease(one) for one in (main, other)]
    await rows.settle(settlement(sold, OK), settlement(failed, REFUSED))
    assert await rows.states("positions") == ["open"]
    return other, sell, failed


async def test_a_dead_sell_resent_closes_where_it_failed_and_only_there(
    rows: Rows, main: Destination
) -> None:
    other, sell, failed = await two_of_a_sell(rows, main)
    new = await resend(rows, failed.id)
    assert (new.status, new.replay_of, new.only_destination_id) == ("approved", sell, other.id)
    assert new.life == timedelta(seconds=600)
    assert await rows.states("positions") == ["closing"]
    assert await rows.lease(main) == []
    (delivery,) = await rows.lease(other)
    assert delivery.signal_id == new.id
    await rows.settle(settlement(delivery, OK))
    assert await rows.states("positions") == ["closed"]


async def test_a_dead_sell_replayed_goes_where_something_is_held(
    rows: Rows, main: Destination
) -> None:
    other, sell, _ = await two_of_a_sell(rows, main)
    new = await replay(rows, sell)
    assert (new.status, new.only_destination_id) == ("approved", None)
    assert await rows.lease(main) == []
    (delivery,) = await rows.lease(other)
    await rows.settle(settlement(delivery, OK))
    assert await rows.states("positions") == ["closed"]


async def test_a_buy_resent_goes_to_its_destination_alone(rows: Rows, main: Destination) -> None:
    other = await rows.destination("other")
    id = await rows.alert("AAPL")
    await rows.decide()
    (bought,), (failed,) = [await rows.lease(one) for one in (main, other)]
    await rows.settle(settlement(bought, OK), settlement(failed, REFUSED))
    new = await resend(rows, failed.id)
    assert (new.replay_of, new.only_destination_id) == (id, other.id)
    assert await rows.lease(main) == []
    (delivery,) = await rows.lease(other)
    assert delivery.signal_id == new.id
    assert await rows.states("positions") == ["open"]


async def test_a_resent_sell_without_a_position_is_rejected_as_any_other(
    rows: Rows, main: Destination
) -> None:
    await rows.bought(main)
    old = await dead(rows, main, SELL)
    await rows.sql("UPDATE positions SET state = 'closed'")
    (delivery,) = await rows.sql("SELECT id FROM deliveries WHERE signal_id = :id", id=old.id)
    new = await resend(rows, delivery)
    assert (new.status, new.reason) == ("rejected", "no_position")


async def test_what_would_go_nowhere_leaves_nothing(rows: Rows, main: Destination) -> None:
    """A position entered by hand was bought wherever there was a destination, and sold there."""
    await rows.bought(main)
    old = await dead(rows, main, SELL)
    other = await rows.destination("other")
    await rows.sql("UPDATE positions SET entry_signal_id = NULL")
    await rows.sql(
        "UPDATE deliveries SET position_id = NULL, destination_id = :other WHERE signal_id = :id",
        other=other.id,
        id=old.id,
    )
    await rows.sql("UPDATE destinations SET state = 'disabled' WHERE id = :id", id=other.id)
    (delivery,) = await rows.sql("SELECT id FROM deliveries WHERE signal_id = :id", id=old.id)
    with pytest.raises(NoDestinationError):
        await resend(rows, delivery)
    assert await rows.sql("SELECT count(*) FROM batches") == [0]
    assert await rows.sql("SELECT count(*) FROM signals") == [2]


# ── Many ────────────────────────────────────────────────────────────────────────────────────


async def dead_letters(rows: Rows) -> list[Any]:
    """300 signals of 100 tickers, buys and the sells of what they bought; all refused."""
    sides = [BUY, SELL, BUY]
    entries = [an_entry(LISTED[n], side) for side in sides for n in range(1, 101)]
    await rows.append(*entries)
    while await rows.decide():
        pass
    await rows.sql(
        "UPDATE deliveries SET state = 'dead', reason = 'http 404', finished_at = now(),"
        " lease_until = NULL"
    )
    await rows.sql("UPDATE positions SET state = 'void'")
    return [entry.id for entry in entries]


@pytest.mark.usefixtures("main")
async def test_three_hundred_dead_letters_keep_their_order(rows: Rows) -> None:
    originals = await dead_letters(rows)
    done = await command(rows, DEAD, BatchKind.REPLAY, expect=300)
    assert len(done.signals) == 300
    made = await rows.sql(
        "SELECT id, replay_of, ticker, side, status FROM signals WHERE batch_id = :id ORDER BY seq",
        id=done.batch,
    )
    assert [row.replay_of for row in made] == originals
    assert {row.status for row in made} == {"approved"}
    lane = await rows.sql(
        "SELECT side, deliveries.state FROM deliveries WHERE ticker = 'T7' AND state <> 'dead'"
        " ORDER BY seq"
    )
    assert [tuple(row) for row in lane] == [
        *(("buy", "superseded"), ("sell", "superseded"), ("buy", "queued"))
    ]


@pytest.mark.usefixtures("main")
async def test_what_is_not_as_it_was_seen_is_not_done(rows: Rows) -> None:
    await dead_letters(rows)
    (one,) = await rows.sql("SELECT id FROM signals ORDER BY seq LIMIT 1")
    await replay(rows, one)
    with pytest.raises(NotAsExpectedError) as refused:
        await command(rows, DEAD, BatchKind.REPLAY, expect=300)
    found = refused.value.found
    assert (found.matching, found.would, found.refused) == (300, 299, {"already_replayed": 1})
    assert await rows.sql("SELECT count(*) FROM batches") == [1]


@pytest.mark.usefixtures("main")
async def test_of_two_commands_at_once_one_does_it(rows: Rows) -> None:
    await dead_letters(rows)
    both = await asyncio.gather(
        *(command(rows, DEAD, BatchKind.REPLAY, expect=300) for _ in range(2)),
        return_exceptions=True,
    )
    assert sorted(type(one).__name__ for one in both) == ["Done", "NotAsExpectedError"]
    assert await rows.sql("SELECT count(*) FROM signals") == [600]


async def test_deliveries_are_resent_in_one_batch(rows: Rows, main: Destination) -> None:
    await dead_letters(rows)
    done = await command(rows, DEAD, BatchKind.RESEND, expect=300)
    only = await rows.sql("SELECT DISTINCT only_destination_id FROM signals WHERE seq > 300")
    assert [DestinationId(one) for one in only] == [main.id]
    assert {one["status"] for one in done.signals} == {"approved"}


@pytest.mark.usefixtures("main")
async def test_a_thousand_are_the_most(rows: Rows) -> None:
    """More match than may be done at once: no number can be expected."""
    await rows.append(*(an_entry("T9") for _ in range(1_001)))
    while await rows.decide():
        pass
    await rows.sql("UPDATE deliveries SET state = 'dead', reason = 'http 404', finished_at = now()")
    with pytest.raises(NotAsExpectedError) as refused:
        await command(rows, DEAD, BatchKind.REPLAY, expect=1_000)
    assert refused.value.found.would == 1_001
    assert len(refused.value.found.ids) == 1_000
