"""Entered by hand is held everywhere, until its exit arrived: there it is not sold again."""

import pytest

from database import rebuilding
from domain.destination import Destination
from tests.database.rows import BUY, OK, REFUSED, SELL, UNSENT, Answer, Rows
from tests.database.test_entangled_exits import goes, judged, leaves_for
from tests.database.test_positions import enter
from tests.database.test_resent_exits import resent


async def late(rows: Rows, side: str) -> None:
    """Time is over for all that waits of this side."""
    await rows.sql(
        "UPDATE deliveries SET expires_at = now() WHERE side = :side AND state = 'queued'",
        side=side,
    )
    await rows.expire()


async def sold_at_one_of_two(rows: Rows) -> list[Destination]:
    """Held from before at both; its exit arrived at one, and the other does not answer."""
    places = [await rows.destination(name) for name in ("one", "two")]
    await enter(rows)
    await judged(rows, SELL)
    await goes(rows, places[0])
    await goes(rows, places[1], UNSENT)
    return places


async def test_it_stands_for_a_newer_one_because_no_delivery_tells_where_it_is_held(
    rows: Rows,
) -> None:
    places = await sold_at_one_of_two(rows)
    newer = await rows.alert("AAPL", BUY)
    await rows.decide()
    await goes(rows, places[0])
    # At the other place the buy waits behind the exit. Both are given up in the end.
    await late(rows, BUY)
    await late(rows, SELL)
    (by_hand,) = await rows.sql("SELECT id FROM positions WHERE entry_signal_id IS NULL")
    (told,) = await rows.sql("SELECT * FROM events WHERE event = 'position.closed'")
    assert (told.position_id, told.detail["successor"]) == (newer, str(by_hand))
    assert await leaves_for(rows) == ["one", "two"]
    for place in places:
        await goes(rows, place)
    assert await rows.states("positions") == ["closed", "closed"]
    assert await untold(rows) == []


async def untold(rows: Rows) -> list[str]:
    """Where the trail and the tables do not say the same."""
    async with rows.database.read() as connection:
        return list((await rebuilding.compare(connection)).differences)


# ── Sold everywhere, though not by one exit ─────────────────────────────────────────────────


async def refused(rows: Rows, *answers: Answer) -> list[Destination]:
    """Held from before at so many places, which said this to its exit."""
    places = [await rows.destination(f"place {number}") for number in range(len(answers))]
    await enter(rows)
    await judged(rows, SELL)
    for place, answer in zip(places, answers, strict=True):
        await goes(rows, place, answer)
    assert await rows.states("positions") == ["open"]
    return places


@pytest.mark.parametrize("first", [(REFUSED,), (OK, REFUSED), (REFUSED, REFUSED)], ids=len)
async def test_it_is_closed_when_what_failed_was_resent_everywhere(
    rows: Rows, first: tuple[Answer, ...]
) -> None:
    places = await refused(rows, *first)
    failed = [place for place, one in zip(places, first, strict=True) if one is REFUSED]
    for place in failed[:-1]:
        await resent(rows, place)
        assert await rows.states("positions") == ["open"]
    await resent(rows, failed[-1])
    assert await rows.states("positions") == ["closed"]
    assert await leaves_for(rows) == []
    assert await rows.sql("SELECT reason FROM signals ORDER BY seq DESC LIMIT 1") == ["no_position"]
    assert await untold(rows) == []


async def test_it_is_open_while_something_bought_since_is_left(rows: Rows) -> None:
    one, two = await refused(rows, OK, REFUSED)
    await judged(rows, BUY)
    await goes(rows, one)
    await goes(rows, two, REFUSED)
    await resent(rows, two)
    assert await rows.states("positions") == ["open"]
    assert await leaves_for(rows) == ["place 0"]


async def test_it_is_open_while_a_place_that_its_exit_failed_at_is_out_of_use(rows: Rows) -> None:
    one, two = await refused(rows, REFUSED, REFUSED)
    await put(rows, two, "disabled")
    await resent(rows, one)
    assert await rows.states("positions") == ["open"]


async def test_it_is_open_while_a_place_came_into_use_since(rows: Rows) -> None:
    (one,) = await refused(rows, REFUSED)
    await rows.destination("newer")
    await resent(rows, one)
    assert await rows.states("positions") == ["open"]
    assert await leaves_for(rows) == ["newer"]


async def test_what_is_sold_in_part_is_not_sold(rows: Rows) -> None:
    (one,) = await refused(rows, REFUSED)
    await rows.alert("AAPL", SELL, partial=True)
    await rows.decide()
    await goes(rows, one)
    assert await rows.states("positions") == ["open"]


# ── Where the next exit goes ────────────────────────────────────────────────────────────────


async def test_the_next_exit_goes_where_none_arrived_though_that_is_out_of_use(rows: Rows) -> None:
    """Sent where it was sold already it would open a short."""
    _, two = await refused(rows, OK, REFUSED)
    await put(rows, two, "disabled")
    assert await leaves_for(rows) == ["place 1"]


async def test_the_next_exit_is_not_sent_again_where_one_arrived_when_all_in_use_have_it(
    rows: Rows,
) -> None:
    """The other was never asked to sell, and is out of use again: there it waits, and is told."""
    (one,) = await refused(rows, REFUSED)
    newer = await rows.destination("newer")
    await resent(rows, one)
    assert await rows.states("positions") == ["open"]
    await put(rows, newer, "disabled")
    assert await leaves_for(rows) == ["newer"]


async def test_an_exit_from_before_it_was_entered_sold_nothing_of_it(rows: Rows) -> None:
    """Another position's exit was under way then; that one was merged into it when this failed."""
    one, two = [await rows.destination(name) for name in ("one", "two")]
    await judged(rows, BUY)
    await goes(rows, one)
    await goes(rows, two)
    await judged(rows, SELL)
    await goes(rows, one)
    await enter(rows)
    await goes(rows, two, REFUSED)
    assert await rows.states("positions") == ["closed", "open"]
    await resent(rows, two)
    assert await rows.states("positions") == ["closed", "open"]
    assert await leaves_for(rows) == ["one"]


async def put(rows: Rows, place: Destination, state: str) -> None:
    await rows.sql(
        "UPDATE destinations SET state = :state WHERE id = :id", state=state, id=place.id
    )
