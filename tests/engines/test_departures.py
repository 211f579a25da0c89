"""What leaves: by which version of a destination, signed by which keys, and not too late."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from database import lanes
from domain.delivery import Answer, Guarantee, Outcome
from domain.destination import Destination, Mode, SigningKeys
from domain.mapping import BodyMapping, Preset
from domain.rate import Window
from engines.clock import utc_now
from engines.relay.forwarder import Departure
from tests.database.rows import OK, UNKNOWN, UNSENT, Rows
from tests.engines.conditions import set_forward, until, until_rows
from tests.engines.outside import PATIENT, Outside, Post, ended, forwarding, queued

OTHER = "https://other.example/"
OLD, NEW = b"o" * 32, b"n" * 32


@pytest.fixture
def outside() -> Outside:
    return Outside()


@pytest.fixture
async def main(rows: Rows) -> Destination:
    return await rows.destination()


def is_signed_by(post: Post, key: bytes) -> bool:
    try:
        Webhook(base64.b64encode(key).decode()).verify(post.body, post.headers)
    except WebhookVerificationError:
        return False
    return True


def slow_by(seconds: float) -> Callable[[str], Awaitable[None]]:
    async def connecting(_: str) -> None:
        await asyncio.sleep(seconds)

    return connecting


async def test_queued_work_goes_where_it_was_approved_for(
    rows: Rows, main: Destination, outside: Outside
) -> None:
    main = await rows.change(main, headers={"x-account": "one"})
    await queued(rows, "buy A")
    await rows.change(
        main, url=OTHER, headers={"x-account": "two"}, mapping=BodyMapping(add={"new": True})
    )
    await queued(rows, "buy B")
    async with forwarding(rows, outside):
        await ended(rows, "delivered", 2)
    a, b = sorted(outside.posts, key=lambda post: post.ticker)
    assert (a.url, a.headers["x-account"], b"new" in a.body) == (main.url, "one", False)
    assert (b.url, b.headers["x-account"]) == (OTHER, "two")


async def test_a_retry_after_a_change_goes_to_the_first_address_with_the_same_bytes(
    rows: Rows, main: Destination, outside: Outside
) -> None:
    outside.open.clear()
    outside.answers(UNKNOWN, OK)
    await queued(rows, "buy A")
    async with forwarding(rows, outside):
        await until(lambda: len(outside.posts) == 1)
        await rows.change(main, url=OTHER, mapping=BodyMapping(Preset.TRADERSPOST))
        outside.open.set()
        await ended(rows, "delivered")
        first, again = outside.posts
        assert (again.url, again.body) == (first.url, first.body) == (main.url, first.body)
        await until(lambda: outside.closed == [main.url] * len(outside.closed) != [])


async def test_keys_and_windows_are_those_in_force_for_older_work_too(
    rows: Rows, outside: Outside
) -> None:
    main = await rows.destination(keys=SigningKeys(OLD))
    await queued(rows, "buy A", "buy B", "buy C")
    await rows.change(
        main, url=OTHER, keys=SigningKeys(NEW), windows=(Window(limit=2, seconds=3600),)
    )
    async with forwarding(rows, outside) as relay:
        await ended(rows, "delivered", 1)
        for _ in range(3):
            relay.wake()
            await asyncio.sleep(0.02)
    # One of two slots is for sells.
    (post,) = outside.posts
    assert post.url == main.url
    assert is_signed_by(post, NEW)
    assert not is_signed_by(post, OLD)


async def test_two_keys_sign_until_the_overlap_ends(rows: Rows, outside: Outside) -> None:
    until_then = utc_now() + timedelta(minutes=10)
    await rows.destination(keys=SigningKeys(NEW, OLD, until_then))
    await queued(rows, "buy A")
    async with forwarding(rows, outside):
        await ended(rows, "delivered")
    await queued(rows, "buy B")
    async with forwarding(rows, outside, clock=lambda: until_then):
        await ended(rows, "delivered", 2)
    during, after = outside.posts
    assert is_signed_by(during, NEW)
    assert is_signed_by(during, OLD)
    assert len(during.headers["webhook-signature"].split()) == 2
    assert len(after.headers["webhook-signature"].split()) == 1


async def test_what_took_too_long_to_connect_is_withheld_not_late(
    rows: Rows, main: Destination, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "LATEST_WRITE", timedelta(seconds=0.2))
    outside.connecting = slow_by(0.3)
    await queued(rows, "buy A")
    async with forwarding(rows, outside):

        async def withheld() -> bool:
            outcomes = await rows.sql("SELECT outcome FROM attempts ORDER BY epoch")
            return outcomes[:2] == ["withheld"] * 2

        await until_rows(withheld)
        assert outside.posts == []
        assert await rows.sql("SELECT attempts <= 1 AND NOT possibly_sent FROM deliveries") == [
            True
        ]
        outside.connecting = slow_by(0)
        await ended(rows, "delivered")
    assert "relay-poss-resend" not in outside.posts[0].headers
    (written,) = await rows.sql("SELECT written_at FROM attempts WHERE outcome <> 'withheld'")
    assert written
    assert main


async def test_what_dies_while_it_connects_does_not_leave(
    rows: Rows, main: Destination, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = set_forward(monkeypatch)

    async def connecting(_: str) -> None:
        forward(6)  # less than what any may take until it is written

    outside.connecting = connecting
    await queued(rows, "buy A")
    await rows.sql("UPDATE deliveries SET expires_at = clock_timestamp() + interval '5.5 s'")
    async with forwarding(rows, outside):
        await ended(rows, "expired")
    assert outside.posts == []
    assert await rows.states("positions") == ["void"]
    assert main


async def test_no_window_overflows_when_connecting_takes_longer_than_the_window(
    rows: Rows, outside: Outside
) -> None:
    """Counted from their leases, the slow ones would have left the window before they leave."""
    await rows.destination(windows=(Window(limit=3, seconds=1),), concurrency=20)
    delays = iter([1.2, 0.9, 0.0] * 5)

    async def connecting(_: str) -> None:
        await asyncio.sleep(next(delays))

    outside.connecting = connecting
    await queued(rows, *(f"buy T{n}" for n in range(5)))
    async with forwarding(rows, outside):
        await ended(rows, "delivered", 5)
    times = sorted(post.at for post in outside.posts)
    assert all(later - earlier >= 1 for earlier, later in zip(times, times[3:], strict=False))


async def test_when_it_left_is_told_on_the_database_clock(
    rows: Rows, main: Destination, outside: Outside
) -> None:
    loop, begun = asyncio.get_running_loop(), list[float]()

    async def connecting(_: str) -> None:
        begun.append(loop.time())
        await asyncio.sleep(0.3)

    outside.connecting = connecting
    await queued(rows, "buy A")
    before = loop.time()
    async with forwarding(rows, outside):
        await ended(rows, "delivered")
    (took,) = await rows.sql(
        "SELECT written_at - started_at FROM attempts WHERE outcome = 'delivered'"
    )
    (post,) = outside.posts
    assert 0.29 < post.at - begun[-1] < took.total_seconds() + 0.01
    assert took.total_seconds() < post.at - before
    assert main


async def test_a_dry_run_does_everything_but_leave(rows: Rows, outside: Outside) -> None:
    windows = (Window(limit=2, seconds=3600),)
    await rows.destination(mode=Mode.DRY_RUN, windows=windows)
    await queued(rows, "buy A", "buy B", "buy C")
    async with forwarding(rows, outside) as relay:
        await ended(rows, "delivered", 3)
        assert await rows.states("positions") == ["open"] * 3
        await queued(rows, "sell A")
        relay.wake()
        await ended(rows, "delivered", 4)
    assert outside.posts == []
    assert await rows.sql("SELECT DISTINCT reason FROM deliveries") == ["dry_run"]
    assert await rows.sql("SELECT DISTINCT outcome FROM attempts") == ["dry_run"]
    assert (await rows.states("positions")).count("closed") == 1


async def test_at_most_once_an_unknown_outcome_is_held_and_nothing_is_sent_again(
    rows: Rows, outside: Outside
) -> None:
    main = await rows.destination(guarantee=Guarantee.AT_MOST_ONCE)
    await rows.bought(main, "H")
    outside.answer = lambda post: UNKNOWN if post.ticker == "A" else OK
    await queued(rows, "buy A")
    async with forwarding(rows, outside) as relay:
        await ended(rows, "held")
        # A held buy keeps later buys of its lane waiting, not its exit, and no other lane.
        await queued(rows, "buy A", "sell H")
        relay.wake()
        await ended(rows, "delivered", 2)
        await queued(rows, "sell A")
        relay.wake()
        await until(lambda: len(outside.posts) >= 3)
        for _ in range(3):
            relay.wake()
            await asyncio.sleep(0.02)
    assert outside.told == ["buy A", "sell H", "sell A"]
    assert all("relay-poss-resend" not in post.headers for post in outside.posts)


async def test_at_most_once_a_lost_lease_is_not_taken_again(rows: Rows, outside: Outside) -> None:
    main = await rows.destination(guarantee=Guarantee.AT_MOST_ONCE)
    await queued(rows, "buy A", "buy B")
    (lost, _) = await rows.lease(main, lasting=timedelta(seconds=-1))
    await rows.sql("UPDATE deliveries SET lease_until = 'infinity' WHERE ticker = 'B'")
    async with forwarding(rows, outside) as relay:
        for _ in range(3):
            relay.wake()
            await asyncio.sleep(0.02)
        assert await rows.expire() == 1
        await ended(rows, "held")
    assert outside.posts == []
    assert await rows.sql("SELECT id FROM deliveries WHERE state = 'held'") == [lost.id]


@pytest.mark.parametrize("answer", [UNSENT, Answer(outcome=Outcome.NOT_PROCESSED, status=503)])
async def test_at_most_once_what_surely_was_not_taken_is_sent_again(
    rows: Rows, outside: Outside, answer: Answer
) -> None:
    await rows.destination(guarantee=Guarantee.AT_MOST_ONCE)
    outside.answers(answer, OK)
    await queued(rows, "buy A")
    async with forwarding(rows, outside, breaker=PATIENT):
        await ended(rows, "delivered")
    assert len(outside.posts) == 2


async def test_a_departure_ends_with_the_life_of_its_signal() -> None:
    loop = asyncio.get_running_loop()
    short = Departure(loop.time() - 1, timedelta(seconds=0.9))
    assert not short.may_begin()
    assert not short()
    assert Departure(loop.time() - 1, timedelta(seconds=30)).may_begin()
    slow = Departure(loop.time() - 3, timedelta(seconds=30))
    assert not slow.may_begin()
    assert slow()
    assert slow.at
    assert slow.at >= timedelta(seconds=3)
    assert not Departure(loop.time() - 8, timedelta(seconds=30))()
