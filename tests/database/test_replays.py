"""What may be replayed or resent: every refusal, which of them yield, and what is chosen."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from database import replays, selections
from database.replays import FORCED, REPLAYED, RESENT, Refusal
from database.selections import Found, Selection, Subject
from domain.delivery import DeliveryState
from domain.destination import Destination
from domain.signal import SignalId, SignalStatus
from domain.ticker import Ticker
from tests.database.rows import BUY, OK, REFUSED, SELL, Rows, settlement

pytestmark = pytest.mark.usefixtures("main")

LATER = datetime(2100, 1, 1, tzinfo=UTC)
END = "UPDATE deliveries SET finished_at = now(), lease_until = NULL, state = "


async def look(rows: Rows, subject: Subject, *, force: bool = False, **chosen: Any) -> Found:
    async with rows.database.read() as connection:
        return await selections.look(connection, subject, Selection(**chosen), force=force)


async def of_signal(rows: Rows, id: SignalId, *, force: bool = False) -> str | None:
    found = await look(rows, REPLAYED, ids=[id], force=force)
    assert found.matching == 1
    return next(iter(found.refused), None)


async def of_deliveries(rows: Rows, id: SignalId, *, force: bool = False) -> list[str | None]:
    """Of each delivery of a signal, by the names of their destinations."""
    ids = await rows.sql(
        "SELECT deliveries.id FROM deliveries JOIN destinations ON destinations.id = destination_id"
        " WHERE signal_id = :id ORDER BY name",
        id=id,
    )
    found = [await look(rows, RESENT, ids=[one], force=force) for one in ids]
    return [next(iter(one.refused), None) for one in found]


@pytest.fixture
async def main(rows: Rows) -> Destination:
    return await rows.destination("a")


async def dead(rows: Rows, side: Any = BUY, **given: Any) -> SignalId:
    """A signal that every destination refused."""
    id = await rows.alert("AAPL", side, **given)
    await rows.decide()
    await rows.sql(f"{END} 'dead', reason = 'http 404' WHERE signal_id = :id", id=id)
    await rows.sql("UPDATE positions SET state = 'void' WHERE entry_signal_id = :id", id=id)
    return id


# ── Signals ─────────────────────────────────────────────────────────────────────────────────


async def test_a_dead_buy_that_is_young_enough_is_not_refused(rows: Rows) -> None:
    id = await dead(rows)
    assert await of_signal(rows, id) is None
    assert await of_deliveries(rows, id) == [None]


STANDING: list[tuple[str, Refusal]] = [
    ("UPDATE signals SET status = 'invalid', reason = 'no_ticker'", Refusal.NOT_A_SIGNAL),
    ("UPDATE signals SET imported_from = 'a file'", Refusal.IMPORTED),
    ("UPDATE signals SET status = 'received', reason = NULL, judged_at = NULL", Refusal.NOT_FINAL),
    ("UPDATE deliveries SET state = 'queued', finished_at = NULL", Refusal.NOT_FINAL),
    ("UPDATE deliveries SET state = 'held', finished_at = NULL", Refusal.NOT_FINAL),
    ("UPDATE deliveries SET state = 'delivered'", Refusal.ALREADY_DELIVERED),
    ("UPDATE deliveries SET possibly_sent = true", Refusal.MAY_HAVE_ARRIVED),
    ("UPDATE signals SET expires_at = now()", Refusal.STALE),
]


@pytest.mark.parametrize(("change", "refusal"), STANDING)
async def test_a_buy_is_refused_for_what_it_is(rows: Rows, change: str, refusal: Refusal) -> None:
    id = await dead(rows)
    await rows.sql(change)
    assert await of_signal(rows, id) == refusal
    never = refusal in {Refusal.NOT_A_SIGNAL, Refusal.IMPORTED}
    assert await of_signal(rows, id, force=True) == (refusal if never else None)


@pytest.mark.parametrize(
    "change",
    ["UPDATE deliveries SET possibly_sent = true", "UPDATE signals SET expires_at = now()"],
)
async def test_of_a_full_sell_neither_age_nor_doubt_is_held_against_it(
    rows: Rows, main: Destination, change: str
) -> None:
    """The gate lets it go only where something is held."""
    await rows.bought(main)
    id = await dead(rows, SELL)
    await rows.sql(change)
    assert await of_signal(rows, id) is None
    await rows.sql("UPDATE signals SET partial = true WHERE id = :id", id=id)
    partial = "may_have_arrived" if "possibly" in change else None
    assert await of_signal(rows, id) == partial


async def test_what_one_of_two_destinations_has_is_not_bought_there_again(
    rows: Rows, main: Destination
) -> None:
    await rows.destination("b")
    id = await dead(rows)
    await rows.sql("UPDATE deliveries SET state = 'delivered' WHERE destination_id = :a", a=main.id)
    assert await of_signal(rows, id) == Refusal.ALREADY_DELIVERED
    assert await of_deliveries(rows, id) == [Refusal.ALREADY_DELIVERED, None]
    await rows.sql("UPDATE signals SET side = 'sell'")
    await rows.sql("UPDATE deliveries SET side = 'sell'")
    assert await of_signal(rows, id) is None


async def test_a_replay_stands_for_its_original(rows: Rows) -> None:
    id, later = await dead(rows), await dead(rows)
    await rows.sql("UPDATE signals SET replay_of = :id WHERE id = :later", id=id, later=later)
    assert await of_signal(rows, id) == Refusal.ALREADY_REPLAYED
    assert await of_signal(rows, later) is None
    assert await of_deliveries(rows, id) == [Refusal.ALREADY_REPLAYED]


async def test_what_a_newer_signal_overtook_is_refused(rows: Rows, main: Destination) -> None:
    """An old sell would sell what was bought since."""
    await rows.bought(main)
    id = await dead(rows, SELL)
    await rows.bought(main)
    assert await of_signal(rows, id) == Refusal.OVERTAKEN
    assert await of_deliveries(rows, id) == [Refusal.OVERTAKEN]
    assert await of_deliveries(rows, id, force=True) == [None]


# ── Deliveries ──────────────────────────────────────────────────────────────────────────────

ENDED: list[tuple[str, Refusal]] = [
    ("UPDATE signals SET imported_from = 'a file'", Refusal.IMPORTED),
    ("UPDATE deliveries SET state = 'held', finished_at = NULL", Refusal.HELD),
    ("UPDATE deliveries SET state = 'queued', finished_at = NULL", Refusal.NOT_FINAL),
    (
        "UPDATE deliveries SET state = 'sending', lease_until = now(), finished_at = NULL",
        Refusal.NOT_FINAL,
    ),
    ("UPDATE destinations SET state = 'disabled'", Refusal.NO_DESTINATION),
    ("UPDATE deliveries SET state = 'delivered'", Refusal.ALREADY_DELIVERED),
    ("UPDATE deliveries SET possibly_sent = true", Refusal.MAY_HAVE_ARRIVED),
    ("UPDATE signals SET expires_at = now()", Refusal.STALE),
]


@pytest.mark.parametrize(("change", "refusal"), ENDED)
async def test_a_delivery_of_a_buy_is_refused_for_what_it_is(
    rows: Rows, change: str, refusal: Refusal
) -> None:
    id = await dead(rows)
    await rows.sql(change)
    assert await of_deliveries(rows, id) == [refusal]
    assert await of_deliveries(rows, id, force=True) == [None if refusal in FORCED else refusal]


@pytest.mark.parametrize("state", ["dead", "expired", "cancelled", "superseded"])
async def test_every_end_that_sent_nothing_may_be_resent(rows: Rows, state: str) -> None:
    id = await dead(rows)
    await rows.sql("UPDATE deliveries SET state = :state", state=state)
    assert await of_deliveries(rows, id) == [None]


async def test_a_resend_elsewhere_is_no_resend_here(rows: Rows) -> None:
    other = await rows.destination("b")
    id, later = await dead(rows), await dead(rows)
    await rows.sql(
        "UPDATE signals SET replay_of = :id, only_destination_id = :only WHERE id = :later",
        id=id,
        later=later,
        only=other.id,
    )
    assert await of_deliveries(rows, id) == [None, Refusal.ALREADY_REPLAYED]


async def test_a_sell_goes_nowhere_where_nothing_is_held(rows: Rows, main: Destination) -> None:
    """One destination has the buy; the other refused it, so that its exit became moot."""
    other = await rows.destination("b")
    await rows.alert("AAPL", BUY)
    await rows.decide()
    bought, refused = [*await rows.lease(main), *await rows.lease(other)]
    await rows.settle(settlement(bought, OK), settlement(refused, REFUSED))
    id = await dead(rows, SELL)
    await rows.sql("UPDATE positions SET state = 'open'")
    await rows.sql(
        "INSERT INTO deliveries SELECT (jsonb_populate_record(deliveries, jsonb_build_object("
        "'id', gen_random_uuid(), 'destination_id', CAST(:b AS uuid)))).*"
        " FROM deliveries WHERE signal_id = :id",
        b=other.id,
        id=id,
    )
    assert await of_deliveries(rows, id) == [None, Refusal.NO_DESTINATION]
    assert await of_deliveries(rows, id, force=True) == [None, Refusal.NO_DESTINATION]
    await rows.sql("UPDATE positions SET state = 'closed'")
    assert await of_deliveries(rows, id) == [None, None]


async def test_what_was_bought_after_an_exit_is_held_again(rows: Rows, main: Destination) -> None:
    """The first exit arrived at one destination only, so that the position lives on at both."""
    other = await rows.destination("b")
    for side, ends in ((BUY, (OK, OK)), (SELL, (REFUSED, OK)), (BUY, (OK, OK))):
        await rows.alert("AAPL", side)
        await rows.decide()
        leased = [*await rows.lease(main), *await rows.lease(other)]
        await rows.settle(*(settlement(d, end) for d, end in zip(leased, ends, strict=True)))
    id = await dead(rows, SELL)
    await rows.sql("UPDATE positions SET state = 'open'")
    assert await of_deliveries(rows, id) == [None, None]


# ── Chosen ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def crowd(rows: Rows) -> list[UUID]:
    """A dead buy, a rejected sell, a delivered buy at two destinations, of three tickers."""
    first = await dead(rows)
    second = await rows.alert("MSFT", SELL, source="other")
    await rows.decide()
    await rows.destination("b")
    third = await rows.alert("KO", BUY)
    await rows.decide()
    await rows.sql(f"{END} 'delivered' WHERE signal_id = :id", id=third)
    return [first, second, third]


CHOSEN: list[tuple[dict[str, Any], set[int], int]] = [
    ({}, {0, 1, 2}, 3),
    ({"status": SignalStatus.REJECTED}, {1}, 3),
    ({"state": DeliveryState.DEAD}, {0}, 1),
    ({"state": DeliveryState.DELIVERED}, {2}, 2),
    ({"state": DeliveryState.QUEUED}, set(), 0),
    ({"reason": "no_position"}, {1}, 0),
    ({"state": DeliveryState.DEAD, "reason": "http 404"}, {0}, 1),
    ({"state": DeliveryState.DEAD, "reason": "http"}, set(), 0),
    ({"ticker": Ticker("KO")}, {2}, 2),
    ({"side": SELL}, {1}, 0),
    ({"source": "other"}, {1}, 0),
    ({"since": LATER}, set(), 0),
    ({"until": LATER}, {0, 1, 2}, 3),
    ({"destination": uuid4()}, set(), 0),
]


@pytest.mark.parametrize(("chosen", "places", "deliveries"), CHOSEN)
async def test_a_filter_chooses_what_it_says(
    rows: Rows, crowd: list[UUID], chosen: dict[str, Any], places: set[int], deliveries: int
) -> None:
    found = await look(rows, REPLAYED, force=True, **chosen)
    assert [*found.ids] == [crowd[place] for place in sorted(places)]
    assert found.matching == found.would == len(places)
    chosen.pop("status", None)
    assert (await look(rows, RESENT, **chosen)).matching == deliveries


async def test_a_destination_chooses_its_deliveries_and_their_signals(
    rows: Rows, crowd: list[UUID]
) -> None:
    (b,) = await rows.sql("SELECT id FROM destinations WHERE name = 'b'")
    assert (await look(rows, RESENT, destination=b)).matching == 1
    assert (await look(rows, REPLAYED, force=True, destination=b)).ids == [crowd[2]]
    dead_there = await look(rows, REPLAYED, destination=b, state=DeliveryState.DEAD)
    assert dead_there.matching == 0


async def test_a_look_counts_and_shows_the_first(rows: Rows, crowd: list[UUID]) -> None:
    found = await look(rows, REPLAYED)
    assert [*found.ids] == crowd[:2]
    assert (found.matching, found.would) == (3, 2)
    assert found.refused == {"already_delivered": 1}
    assert [(one["ticker"], one["refused"]) for one in found.examples] == [
        ("AAPL", None),
        ("MSFT", None),
        ("KO", "already_delivered"),
    ]
    assert {one["received_at"].tzinfo for one in found.examples} == {UTC}


async def test_who_is_whose_replay(rows: Rows, main: Destination) -> None:
    id, later = await dead(rows), await dead(rows)
    await rows.sql(
        "UPDATE signals SET replay_of = :id, only_destination_id = :only WHERE id = :later",
        id=id,
        later=later,
        only=main.id,
    )
    async with rows.database.read() as connection:
        parent, child = [await replays.family(connection, one) for one in (id, later)]
        assert await replays.family(connection, SignalId(uuid4())) == {}
    assert (parent["replay_of"], child["replay_of"], child["replays"]) == (None, id, [])
    assert parent["replays"] == [{"id": str(later), "state": "dead", "destination": "a"}]
