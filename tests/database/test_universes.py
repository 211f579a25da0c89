import asyncio
from datetime import timedelta

import pytest

from database import adopting, screens, universes, watches
from database.adopting import Fetch
from database.screens import Kept, ScreenId
from database.universes import NoScreenError
from domain.screen import parse_screen_url
from domain.universe import FetchOutcome
from tests.database.rows import Rows, a_screen, new_id

OTHER = parse_screen_url("https://finviz.com/screener.ashx?v=111&f=cap_large&o=-volume")


@pytest.fixture
async def kept(rows: Rows) -> Kept:
    return await rows.screen()


async def current(rows: Rows) -> universes.Current:
    async with rows.database.read() as connection:
        return await universes.current(connection)


async def mark(rows: Rows) -> universes.Mark:
    async with rows.database.read() as connection:
        return await universes.mark(connection)


async def moved(rows: Rows, url: str = OTHER) -> Kept:
    return await rows.change_screen(a_screen(url=url))


async def test_before_the_first_start_there_is_no_screen(rows: Rows) -> None:
    for look in (current, mark):
        with pytest.raises(NoScreenError):
            await look(rows)
    async with rows.database.read() as connection:
        assert await screens.active(connection) is None
        assert await universes.last_fetch(connection) is None


async def test_before_the_first_list_there_is_none(rows: Rows, kept: Kept) -> None:
    found = await current(rows)
    assert (found.screen, found.universe) == (kept.screen, None)
    assert found.key == (await mark(rows)).key


async def test_an_adopted_list_is_in_force_with_its_ranks(rows: Rows, kept: Kept) -> None:
    version = await rows.adopt(kept, "B", "A", "C", total=77)
    found = await current(rows)
    assert found.universe
    assert (found.universe.version, found.universe.total) == (version, 77)
    assert [found.universe.rank(t) for t in found.universe.tickers] == [1, 2, 3]
    assert found.universe.tickers == ("B", "A", "C")
    assert found.key == (await mark(rows)).key
    assert "universe.adopted" in await rows.events()


async def test_the_same_list_again_is_a_touch(rows: Rows, kept: Kept) -> None:
    version = await rows.adopt(kept, "A", "B", total=5)
    before, key = (await current(rows)).universe, (await mark(rows)).key
    assert await rows.adopt(kept, "A", "B", total=6) == version
    after = (await current(rows)).universe
    assert before
    assert after
    assert (after.version, after.fetched_at, after.total) == (version, before.fetched_at, 6)
    assert after.confirmed_at > before.confirmed_at
    seen = await mark(rows)
    assert (seen.key, seen.confirmed_at) == (key, after.confirmed_at)
    assert (await rows.events()).count("universe.adopted") == 1


@pytest.mark.parametrize("tickers", [("B", "A"), ("A",), ("A", "B", "C"), ()])
async def test_another_list_or_order_is_another_version(
    rows: Rows, kept: Kept, tickers: tuple[str, ...]
) -> None:
    first = await rows.adopt(kept, "A", "B")
    second = await rows.adopt(kept, *tickers)
    assert first
    assert second
    assert second > first
    assert await rows.sql("SELECT version FROM universes ORDER BY 1") == [first, second]
    found = await current(rows)
    assert found.universe
    assert found.universe.tickers == tickers


async def test_a_screen_that_moved_on_adopts_nothing_of_its_old_address(
    rows: Rows, kept: Kept
) -> None:
    await rows.adopt(kept, "A")
    new = await moved(rows)
    assert await rows.adopt(kept, "B") is None
    assert (await current(rows)).universe is None
    assert await rows.adopt(new, "C")
    found = await current(rows)
    assert found.universe
    assert found.universe.tickers == ("C",)


async def test_back_at_its_old_address_the_old_list_is_in_force_with_its_old_age(
    rows: Rows, kept: Kept
) -> None:
    await rows.adopt(kept, "A")
    before = (await current(rows)).universe
    await moved(rows)
    await moved(rows, kept.screen.url)
    assert (await current(rows)).universe == before


async def test_every_change_moves_the_key(rows: Rows, kept: Kept) -> None:
    keys = {(await mark(rows)).key}
    await rows.adopt(kept, "A")
    keys.add((await mark(rows)).key)
    await rows.change_screen(a_screen(top_n=3))
    keys.add((await mark(rows)).key)
    assert len(keys) == 3
    assert (await current(rows)).screen.top_n == 3


async def test_screen_and_list_are_read_as_of_one_moment(rows: Rows, kept: Kept) -> None:
    """A judge reads while the screen changes: its key, top N and list belong together."""
    await rows.adopt(kept, "OLD")
    changing = True
    wrong: list[universes.Current] = []

    async def read() -> None:
        while changing:
            async with rows.database.write() as connection:
                found = await universes.current(connection)
            if found.key[1] != found.screen.top_n:
                wrong.append(found)

    await rows.sql("UPDATE screens SET top_n = version")
    readers = [asyncio.create_task(read()) for _ in range(2)]
    for version in range(2, 120):
        await rows.change_screen(a_screen(top_n=version))
    changing = False
    await asyncio.gather(*readers)
    assert not wrong


async def test_the_first_screen_is_made_once(rows: Rows, kept: Kept) -> None:
    async def create(top_n: int) -> None:
        async with rows.database.write() as connection:
            another = Kept(id=ScreenId(new_id()), name="another", version=1, screen=a_screen(top_n))
            await screens.create_first(connection, another, actor="a test")

    await asyncio.gather(create(3), create(4))
    assert await rows.sql("SELECT top_n FROM screens") == [kept.screen.top_n]
    assert (await rows.events()).count("screen.created") == 1


async def test_two_first_starts_at_once_make_one_screen(rows: Rows) -> None:
    await asyncio.gather(*(rows.screen(n) for n in (3, 4)))
    assert await rows.sql("SELECT count(*) FROM screens") == [1]
    assert (await rows.events()).count("screen.created") == 1


async def test_a_change_is_versioned_and_told_with_what_was(rows: Rows, kept: Kept) -> None:
    new = await moved(rows)
    assert (new.id, new.version, new.screen.url) == (kept.id, kept.version + 1, OTHER)
    async with rows.database.read() as connection:
        assert await screens.active(connection) == new
    (detail,) = await rows.sql("SELECT detail FROM events WHERE event = 'screen.changed'")
    assert (detail["url"], detail["was"]["url"]) == (OTHER, kept.screen.url)


async def logged(rows: Rows, kept: Kept, outcome: FetchOutcome, detail: str = "why") -> None:
    fetch = Fetch(
        outcome=outcome,
        detail=detail,
        pages=1,
        duration=timedelta(seconds=1.5),
        total=None,
        tickers=0,
        version=None,
        wait=timedelta(seconds=30),
    )
    async with rows.database.write() as connection:
        if turn := await watches.take(connection, kept, timedelta(0)):
            learnt = watches.Learnt(outcome=outcome, wait=timedelta(seconds=30))
            assert await watches.end(connection, turn, learnt)
        await adopting.log(connection, kept, fetch)


async def test_every_look_is_kept_and_only_a_change_is_told(rows: Rows, kept: Kept) -> None:
    for outcome in ("ok", "ok", "blocked", "blocked", "throttled", "ok"):
        await logged(rows, kept, FetchOutcome(outcome), "x" * 900)
    assert await rows.sql("SELECT count(*) FROM fetches") == [6]
    told = [event for event in await rows.events() if event.startswith("list.")]
    assert told == ["list.ok", "list.blocked", "list.throttled", "list.ok"]
    async with rows.database.read() as connection:
        last = await universes.last_fetch(connection)
    assert last
    assert (last.outcome, len(last.detail)) == (FetchOutcome.OK, 500)
    assert timedelta(seconds=25) < last.next_at - last.now <= timedelta(seconds=30)


@pytest.mark.parametrize("outcome", FetchOutcome)
async def test_every_outcome_can_be_kept(rows: Rows, kept: Kept, outcome: FetchOutcome) -> None:
    await logged(rows, kept, outcome)
    assert await rows.sql("SELECT outcome FROM fetches") == [outcome]
