"""Screens are kept with every version; one is in force, whatever many do at once."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from database import screens
from database.pool import Connection
from database.screens import Kept, NameTakenError, ScreenId
from domain.screen import Screen, ScreenKind
from domain.ticker import Ticker
from tests.database.rows import Rows, a_screen

ACTOR = "an operator"
FIXED = Screen(
    kind=ScreenKind.FIXED,
    tickers=(Ticker("AAPL"), Ticker("BRK-B")),
    valid_until=datetime(2030, 1, 31, tzinfo=UTC),
    top_n=2,
    refresh=timedelta(seconds=180),
)
ELABORATE = replace(
    a_screen(top_n=20, refresh=7.5, margin=5, wait=2.5), whole_market=True, slow_when_closed=False
)


def a_kept(name: str, screen: Screen = ELABORATE, note: str = "why") -> Kept:
    return Kept(id=ScreenId(uuid4()), name=name, note=note, version=1, active=False, screen=screen)


async def created(rows: Rows, name: str = "second", screen: Screen = ELABORATE) -> Kept:
    wanted = a_kept(name, screen)
    async with rows.database.write() as connection:
        await screens.create(connection, wanted, actor=ACTOR)
    return await one(rows, wanted)


async def one(rows: Rows, kept: Kept) -> Kept:
    async with rows.database.read() as connection:
        found = await screens.one(connection, kept.id)
    assert found
    return found


async def done(rows: Rows, word: Callable[[Connection], Awaitable[object]]) -> object:
    async with rows.database.write() as connection:
        return await word(connection)


async def change(rows: Rows, kept: Kept) -> Kept | None:
    async with rows.database.write() as connection:
        return await screens.change(connection, kept, actor=ACTOR)


async def activate(rows: Rows, kept: Kept) -> Kept | None:
    async with rows.database.write() as connection:
        await screens.hold_all(connection)
        return await screens.activate(connection, kept.id, actor=ACTOR)


async def archive(rows: Rows, kept: Kept, *, archived: bool = True) -> bool:
    async with rows.database.write() as connection:
        return await screens.archive(connection, kept.id, archived=archived, actor=ACTOR)


async def names(rows: Rows, *, archived: bool = False) -> list[str]:
    async with rows.database.read() as connection:
        return [kept.name for kept in await screens.listed(connection, archived=archived)]


async def told(rows: Rows) -> list[str]:
    return [event for event in await rows.events() if event.startswith("screen.")]


@pytest.fixture
async def first(rows: Rows) -> Kept:
    return await rows.screen()


@pytest.mark.usefixtures("first")
@pytest.mark.parametrize("screen", [ELABORATE, FIXED])
async def test_a_screen_comes_back_as_it_was_put(rows: Rows, screen: Screen) -> None:
    kept = await created(rows, screen=screen)
    assert (kept.screen, kept.note, kept.version, kept.active) == (screen, "why", 1, False)
    assert await told(rows) == ["screen.created"] * 2


async def test_the_active_one_stands_first_and_the_archived_last(rows: Rows, first: Kept) -> None:
    for name in ("b", "Zz", "A"):
        last = await created(rows, name)
    assert await names(rows) == [first.name, "A", "b", "Zz"]
    assert await archive(rows, last)
    assert await names(rows) == [first.name, "b", "Zz"]
    assert await names(rows, archived=True) == [first.name, "b", "Zz", "A"]


async def test_every_version_is_kept_with_who_made_it(rows: Rows, first: Kept) -> None:
    changed = await change(rows, replace(first, name="better", note="n", screen=ELABORATE))
    assert changed
    assert (changed.name, changed.note, changed.version) == ("better", "n", 2)
    assert (await one(rows, first)).screen == ELABORATE
    second = await created(rows)
    assert await activate(rows, second)
    async with rows.database.read() as connection:
        found = await screens.history(connection, first.id)
    assert [(v.version, v.active, v.made_by) for v in found] == [
        (3, False, ACTOR),
        (2, True, ACTOR),
        (1, True, "a test"),
    ]
    assert [v.screen for v in found] == [ELABORATE, ELABORATE, first.screen]
    assert await told(rows) == [
        *("screen.created", "screen.changed", "screen.created", "screen.activated")
    ]
    (detail,) = await rows.sql("SELECT detail FROM events WHERE event = 'screen.changed'")
    assert (detail["top_n"], detail["was"]["top_n"], detail["was"]["name"]) == (
        *(20, first.screen.top_n),
        first.name,
    )


async def test_one_takes_over_from_the_other(rows: Rows, first: Kept) -> None:
    second = await created(rows)
    taken = await activate(rows, second)
    assert taken
    assert (taken.id, taken.active, taken.version) == (second.id, True, 2)
    assert not (await one(rows, first)).active
    (detail,) = await rows.sql("SELECT detail FROM events WHERE event = 'screen.activated'")
    assert detail["was"] == str(first.id)


async def test_of_two_put_in_force_at_once_the_later_is(rows: Rows, first: Kept) -> None:
    others = [await created(rows, name) for name in ("a", "b", "c")]
    for _ in range(3):
        await asyncio.gather(*(activate(rows, other) for other in others))
        assert await rows.sql("SELECT count(*) FROM screens WHERE active") == [1]
        await activate(rows, first)
    moves = await rows.sql("SELECT detail FROM events WHERE event = 'screen.activated' ORDER BY id")
    in_force = [str(first.id), *(move["screen_id"] for move in moves)]
    assert [move["was"] for move in moves] == in_force[:-1]


async def test_names_are_free_again_when_archived(rows: Rows, first: Kept) -> None:
    second = await created(rows)
    for taken in ("Second", first.name.upper()):
        with pytest.raises(NameTakenError):
            await created(rows, taken)
    with pytest.raises(NameTakenError):
        await change(rows, replace(first, name="SECOND"))
    assert await archive(rows, second)
    assert not await archive(rows, second)
    assert await change(rows, replace(second, note="x")) is None
    again = await created(rows, "Second")
    with pytest.raises(NameTakenError):
        await archive(rows, second, archived=False)
    assert await archive(rows, again)
    assert await archive(rows, second, archived=False)
    assert await names(rows) == [first.name, "second"]
    assert (await told(rows))[2:] == [
        f"screen.{word}" for word in ("archived", "created", "archived", "restored")
    ]


async def test_what_cannot_be_is_not_done(rows: Rows, first: Kept) -> None:
    assert not await archive(rows, first)
    assert await change(rows, a_kept("nowhere")) is None
    put_away = await created(rows)
    await archive(rows, put_away)
    for kept in (put_away, a_kept("nowhere"), first):
        async with rows.database.write() as connection:
            assert await screens.activate(connection, kept.id, actor=ACTOR) is None
            await connection.rollback()
    assert (await one(rows, first)).active


async def test_who_holds_one_keeps_others_from_it(rows: Rows, first: Kept) -> None:
    async with rows.database.write() as connection:
        held = await screens.hold(connection, first.id)
        assert held == await screens.hold_active(connection) == first
        waiting = asyncio.ensure_future(change(rows, replace(first, note="later")))
        await screens.change(connection, replace(first, name="sooner"), actor=ACTOR)
    changed = await waiting
    assert changed
    assert changed.version == 3
    async with rows.database.write() as connection:
        assert await screens.hold(connection, ScreenId(uuid4())) is None
