"""An exit that failed at one place, when a later exit has sold everything there since."""

from domain.delivery import Answer
from domain.destination import Destination, Mode
from tests.database.rows import BUY, OK, REFUSED, SELL, Rows, settlement
from tests.database.test_positions import enter


async def goes(rows: Rows, place: Destination, answer: Answer = OK) -> None:
    (delivery,) = await rows.lease(place)
    await rows.settle(settlement(delivery, answer))


async def judged(rows: Rows, side: str) -> None:
    await rows.alert("AAPL", BUY if side == "buy" else SELL)
    await rows.decide()


async def test_what_the_later_exit_sold_is_held_no_more(rows: Rows) -> None:
    one, two = [await rows.destination(name) for name in ("one", "two")]
    await judged(rows, "buy")
    await goes(rows, one)
    await goes(rows, two)
    await judged(rows, "sell")
    await goes(rows, one, REFUSED)
    await judged(rows, "buy")
    await goes(rows, one)
    await judged(rows, "sell")
    await goes(rows, two)
    await goes(rows, one)
    held = await rows.sql(
        "SELECT signal_id FROM deliveries AS buy WHERE side = 'buy' AND state = 'delivered'"
        " AND NOT EXISTS (SELECT FROM deliveries AS sell WHERE sell.side = 'sell'"
        " AND sell.state = 'delivered' AND sell.destination_id = buy.destination_id"
        " AND sell.seq > buy.seq)"
    )
    assert held == []
    assert await rows.states("positions") == ["closed", "closed"]


# ── What a later position's exit sold, an earlier position does not hold there any more ──────


async def bought_at(rows: Rows, *places: Destination) -> None:
    await judged(rows, "buy")
    for place in places:
        await goes(rows, place)


async def sold_by_another(rows: Rows, place: Destination, version: int | None = None) -> None:
    """A full exit of some other position of the ticker arrived at this place just now."""
    exit_ = await rows.alert("AAPL", SELL)
    await rows.sql(
        "WITH exit AS (UPDATE signals SET status = 'approved', judged_at = now() WHERE id = :id"
        " RETURNING id, seq, expires_at)"
        " INSERT INTO deliveries (signal_id, destination_id, destination_version, position_id, seq,"
        " ticker, side, state, queued_at, due_at, expires_at, finished_at)"
        " SELECT id, :place, :version, gen_random_uuid(), seq, 'AAPL', 'sell', 'delivered', now(),"
        " now(), expires_at, now() FROM exit",
        id=exit_,
        place=place.id,
        version=version or place.version,
    )


async def leaves_for(rows: Rows) -> list[str]:
    """Where an exit of the open position goes."""
    exit_ = await rows.alert("AAPL", SELL)
    await rows.decide()
    return list(
        await rows.sql(
            "SELECT name FROM deliveries JOIN destinations ON destinations.id = destination_id"
            " WHERE signal_id = :id ORDER BY name",
            id=exit_,
        )
    )


async def test_an_exit_goes_only_where_no_later_exit_has_been(rows: Rows) -> None:
    one, two = [await rows.destination(name) for name in ("one", "two")]
    await bought_at(rows, one, two)
    await sold_by_another(rows, one)
    assert await leaves_for(rows) == ["two"]


async def test_an_exit_in_a_dry_run_sold_nothing_of_what_was_bought_live(rows: Rows) -> None:
    live, two = [await rows.destination(name) for name in ("one", "two")]
    await bought_at(rows, live, two)
    dry = await rows.change(live, mode=Mode.DRY_RUN)
    await sold_by_another(rows, dry)
    assert await leaves_for(rows) == ["one", "two"]


async def test_what_was_entered_by_hand_is_sold_whatever_was_sold_before(rows: Rows) -> None:
    """Nobody knows when it was bought: after that exit as well as before it."""
    one = await rows.destination("one")
    await sold_by_another(rows, one)
    await rows.destination("two")
    await enter(rows)
    assert await leaves_for(rows) == ["one", "two"]
