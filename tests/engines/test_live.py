"""The hub, the announcer, the listener and the usher: who is told what, by whom, and when not."""

import asyncio
import json
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from database.pool import Database
from domain.feed import Cursor, Frame, Holder, frame
from engines.live import announcer as announcing
from engines.live.announcer import Announcer
from engines.live.hub import MOST_FRAMES, MOST_OF_A_HOLDER, Client, Closing, FullError, Hub
from engines.live.listener import Listener
from engines.live.usher import Usher
from engines.metrics import Metrics
from tests.database.rows import BUY, Rows
from tests.engines.conditions import until

ME, YOU = Holder(b"me", by_session=True), Holder(b"you", by_session=False)
START = Cursor(5, 5)


def a_hub(most: int = 10) -> Hub:
    return Hub(most=most, metrics=Metrics(), wake=lambda: None)


def following(hub: Hub, holder: Holder = ME, writes: list[bytes] | None = None) -> Client:
    """A client that was greeted; with ``writes`` its frames are written there at once."""

    def write(wire: bytes) -> bool:
        if writes is not None:
            writes.append(wire)
        return writes is not None

    client = hub.join(holder, None, write)
    hub.tell(START, None)
    hub.greet(client)
    return client


def numbered(number: int) -> Frame:
    return frame({"type": "events", "number": number})


async def said(client: Client) -> dict[str, Any]:
    taken = await client.take()
    assert isinstance(taken, Frame)
    return json.loads(taken.text)


# ── The hub ─────────────────────────────────────────────────────────────────────────────────


async def test_all_who_follow_are_told_the_same_in_order() -> None:
    hub = a_hub()
    clients = [following(hub), following(hub, YOU)]
    for number in range(3):
        hub.tell(Cursor(6 + number, 6 + number), numbered(number))
    for client in clients:
        assert [(await said(client))["number"] for _ in range(3)] == [0, 1, 2]


async def test_who_is_slow_loses_everything_and_hears_so_at_the_latest_cursor() -> None:
    hub = a_hub()
    slow, quick = following(hub), following(hub, YOU)
    for number in range(MOST_FRAMES + 5):
        hub.tell(Cursor(100 + number, 100 + number), numbered(number))
        assert (await said(quick))["number"] == number
    last = 100 + MOST_FRAMES + 4
    assert await said(slow) == {"type": "reread", "cursor": f"{last}:{last}:", "why": "slow"}
    hub.tell(Cursor(999, 999), numbered(7))
    assert (await said(slow))["number"] == 7


async def test_much_is_too_much_by_its_bytes_as_well() -> None:
    hub = a_hub()
    slow = following(hub)
    for _ in range(3):
        hub.tell(START, frame({"type": "events", "x": "x" * 100_000}))
    assert (await said(slow))["type"] == "reread"


async def test_what_can_be_written_at_once_never_overtakes_what_waits() -> None:
    hub, writes = a_hub(), list[bytes]()
    client = following(hub, writes=writes)
    hub.tell(START, numbered(1))
    assert writes == [], "nobody takes yet: it may still be saying something"
    assert (await said(client))["number"] == 1
    hub.tell(START, numbered(2))
    assert (writes, (await said(client))["number"]) == ([], 2), "what was taken is being said"
    taking = asyncio.create_task(client.take())
    await asyncio.sleep(0)
    hub.tell(START, numbered(3))
    assert (writes, client.told) == ([numbered(3).wire], 1)
    taking.cancel()


async def test_a_closing_is_the_last_and_comes_before_what_waits() -> None:
    hub = a_hub()
    mine, yours = following(hub), following(hub, YOU)
    hub.tell(START, numbered(1))
    hub.show_out({ME}, "over")
    hub.tell(START, numbered(2))
    assert await mine.take() == Closing(4401, "over")
    assert (await said(yours))["number"] == 1


async def test_so_many_of_all_and_so_many_of_one() -> None:
    hub = a_hub(most=MOST_OF_A_HOLDER + 1)
    mine = [hub.join(ME, None) for _ in range(MOST_OF_A_HOLDER)]
    with pytest.raises(FullError, match="one session or token"):
        hub.join(ME, None)
    hub.join(YOU, None)
    with pytest.raises(FullError, match="already"):
        hub.join(YOU, None)
    hub.leave(mine[0])
    hub.join(YOU, None)
    assert len(hub) == MOST_OF_A_HOLDER + 1


async def test_who_left_before_the_greeting_is_not_greeted() -> None:
    hub = a_hub()
    client = hub.join(ME, None)
    hub.leave(client)
    hub.greet(client, numbered(1))
    assert (len(hub), hub.holders, hub.arriving()) == (0, set(), ())


# ── The announcer ───────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Bells:
    """Who was woken."""

    rung: list[str] = field(default_factory=list[str])

    def rings(self, name: str) -> Any:
        return lambda: self.rung.append(name)


def an_announcer(database: Database, hub: Hub, bells: Bells, name: str = "here") -> Announcer:
    return Announcer(
        database=database,
        hub=hub,
        metrics=hub.metrics,
        version="1",
        name=name,
        wake=bells.rings("announcer"),
        wake_usher=bells.rings("usher"),
    )


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between two reads."""
    monkeypatch.setattr(announcing, "LEAST", 0.0)
    monkeypatch.setattr(announcing, "LEAST_UNHEARD", 0.0)


@pytest.mark.usefixtures("at_once")
async def test_while_nobody_is_there_it_asks_nothing(rows: Rows) -> None:
    """Not even where the database is: one that is closed would be found out."""
    nowhere = Database.connect("postgresql+asyncpg://nobody@127.0.0.1:1/nothing")
    assert await an_announcer(nowhere, a_hub(), Bells()).step() is None
    await rows.alert("AAPL", BUY)
    one = an_announcer(rows.database, a_hub(), Bells())
    assert (await one.step(), one.hub.cursor) == (None, None)


@pytest.mark.usefixtures("at_once")
async def test_who_comes_is_greeted_and_told_what_happens_from_then_on(rows: Rows) -> None:
    hub = a_hub()
    one = an_announcer(rows.database, hub, Bells())
    await rows.alert("OLD", BUY)
    client = hub.join(ME, None)
    await one.step()
    assert (await said(client))["type"] == "hello"
    await rows.alert("NEW", BUY)
    await one.step()
    assert [event["ticker"] for event in (await said(client))["events"]] == ["NEW"]


@pytest.mark.usefixtures("at_once")
async def test_who_comes_back_among_others_gets_his_own_past_and_they_nothing_twice(
    rows: Rows,
) -> None:
    hub = a_hub(most=100)
    one = an_announcer(rows.database, hub, Bells())
    first = hub.join(ME, None)
    await one.step()
    cursor = (await said(first))["cursor"]
    await rows.alert("PAST", BUY)
    back = hub.join(YOU, cursor)
    await one.step()
    assert [event["ticker"] for event in (await said(first))["events"]] == ["PAST"]
    assert (await said(back))["cursor"] == cursor
    assert [event["ticker"] for event in (await said(back))["events"]] == ["PAST"]
    await rows.alert("NEXT", BUY)
    await one.step()
    for client in (first, back):
        assert [event["ticker"] for event in (await said(client))["events"]] == ["NEXT"]


@pytest.mark.usefixtures("at_once")
async def test_many_who_come_at_once_are_all_greeted(rows: Rows) -> None:
    """Each with a cursor of his own: some of them in the next step."""
    hub = a_hub(most=100)
    one = an_announcer(rows.database, hub, Bells())
    clients = [hub.join(Holder(b"%d" % n, by_session=True), f"{n}:{n}:") for n in range(1, 71)]
    for _ in range(3):
        await one.step()
    assert hub.arriving() == ()
    assert {(await said(client))["type"] for client in clients} == {"hello"}


@pytest.mark.usefixtures("at_once")
async def test_the_usher_is_woken_by_what_ends_a_session(rows: Rows) -> None:
    hub, bells = a_hub(), Bells()
    one = an_announcer(rows.database, hub, bells)
    hub.join(ME, None)
    await one.step()
    await rows.alert("AAPL", BUY)
    await one.step()
    assert bells.rung == []
    await rows.sql("INSERT INTO events (event) VALUES ('session.ended') RETURNING 1")
    await one.step()
    assert bells.rung == ["usher"]


async def test_two_reads_are_never_close_together(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcing, "LEAST", 60.0)  # longer than any read takes
    hub = a_hub()
    one = an_announcer(rows.database, hub, Bells())
    hub.join(ME, None)
    await one.step()
    rest = await one.step()
    assert rest is not None
    assert 0 < rest.total_seconds() <= announcing.LEAST


# ── The listener and the usher ──────────────────────────────────────────────────────────────


@asynccontextmanager
async def listening(database: Database, hub: Hub, bells: Bells) -> AsyncGenerator[Listener]:
    one = Listener(
        url=database.url,
        hub=hub,
        name="here",
        wake=bells.rings("listener"),
        wake_announcer=bells.rings("announcer"),
    )
    try:
        yield one
    finally:
        await one.close()


@pytest.mark.usefixtures("at_once")
async def test_another_replica_is_heard_and_oneself_is_not(rows: Rows) -> None:
    hub, bells = a_hub(), Bells()
    async with listening(rows.database, hub, bells) as listener:
        assert await listener.step() is None
        hub.join(ME, None)
        await listener.step()
        for name in ("here", "there"):
            other = an_announcer(rows.database, a_hub(), Bells(), name)
            other.written()
            await other.step()
        await until(lambda: bells.rung != [])
        assert bells.rung == ["announcer"], "once: its own ring is none"


async def test_a_broken_ear_is_replaced(rows: Rows) -> None:
    hub, bells = a_hub(), Bells()
    hub.join(ME, None)
    async with listening(rows.database, hub, bells) as listener:
        await listener.step()
        killed = await rows.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'relay live' AND datname = current_database()"
        )
        assert killed == [True]
        await until(lambda: bells.rung == ["listener"])
        await listener.step()
        listeners = await rows.sql(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE application_name = 'relay live' AND datname = current_database()"
        )
        assert listeners == [1]


async def test_the_usher_asks_once_for_all_and_shows_out_who_ended() -> None:
    hub = a_hub()
    mine, yours = following(hub), following(hub, YOU)
    asked: list[Collection[Holder]] = []

    async def ended(holders: Collection[Holder]) -> set[Holder]:
        asked.append(holders)
        return {ME}

    usher = Usher(hub=hub, ended=ended)
    assert await usher.step() is not None
    assert asked == [{ME, YOU}]
    assert isinstance(await mine.take(), Closing)
    hub.tell(START, numbered(1))
    assert (await said(yours))["number"] == 1
    for client in (mine, yours):
        hub.leave(client)
    assert await usher.step() is None
    assert len(asked) == 1


async def test_any_number_of_commits_wake_the_announcer_once_until_it_rang(
    rows: Rows,
) -> None:
    woken: list[int] = []
    announcer = Announcer(
        database=rows.database,
        hub=Hub(most=1, metrics=Metrics(), wake=lambda: None),
        metrics=Metrics(),
        version="1",
        name="one",
        wake=lambda: woken.append(1),
        wake_usher=lambda: None,
    )
    for _ in range(100):
        announcer.written()
    assert len(woken) == 1
    await announcer.step()
    announcer.written()
    assert len(woken) == 2
