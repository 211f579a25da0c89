"""The breaker at work: what opens it, what it lets leave meanwhile, and what closes it."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from database import lanes
from domain.breaker import BreakerPolicy
from domain.delivery import Answer, DeliveryState, Ended, Guarantee, Outcome
from domain.destination import Destination
from engines.relay.leasing import LEASE
from engines.relay.settler import Settler
from tests.database.rows import OK, REFUSED, UNKNOWN, UNSENT, WITHHELD, Rows, settlement
from tests.engines.conditions import until, until_rows
from tests.engines.outside import Outside, Running, ended, forwarding, queued

LONG = timedelta(minutes=5)
CLOSED_FOR_LONG = BreakerPolicy(first=LONG, longest=LONG, sells_try_after=LONG)
BRIEF = timedelta(seconds=0.15)
QUICK = BreakerPolicy(in_a_row=1, first=BRIEF, longest=LONG, sells_try_after=LONG)
FATAL = replace(REFUSED, fatal=True)
NO_TLS = replace(UNSENT, error="TLS refused", fatal=True)
BUSY = Answer(outcome=Outcome.NOT_PROCESSED, status=503)
WAIT = replace(BUSY, retry_after=timedelta(milliseconds=10))


@pytest.fixture
def outside() -> Outside:
    return Outside()


@pytest.fixture
async def main(rows: Rows) -> Destination:
    return await rows.destination()


async def is_(rows: Rows, state: str) -> bool:
    return await rows.sql("SELECT breaker FROM destinations") == [state]


async def turned(rows: Rows) -> list[str]:
    """How the breaker turned, in order."""
    told = [event for event in await rows.events() if event.startswith("destination.breaker_")]
    return [event.removeprefix("destination.breaker_") for event in told]


async def pressed(relay: Running) -> None:
    """Give the forwarder every chance to send what it should not."""
    for _ in range(5):
        relay.wake()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("answer", [UNSENT, UNKNOWN, BUSY], ids=lambda one: str(one.outcome))
async def test_five_failures_in_a_row_open_it_and_who_waits_is_not_attempted(
    rows: Rows, main: Destination, outside: Outside, answer: Answer
) -> None:
    outside.answers(answer)
    await queued(rows, *(f"buy T{n}" for n in range(8)))
    async with forwarding(rows, outside, breaker=CLOSED_FOR_LONG) as relay:
        await until_rows(lambda: is_(rows, "open"))
        await ended(rows, "queued", 8)
        sent = len(outside.posts)
        await pressed(relay)
    assert len(outside.posts) == sent
    assert await rows.sql("SELECT sum(attempts) FROM deliveries") == [sent]
    assert await turned(rows) == ["open"]
    (kept,) = await rows.sql("SELECT * FROM destinations")
    assert (kept.breaker_trips, kept.breaker_failures >= 5) == (1, True)
    assert kept.breaker_until > kept.breaker_since
    assert kept.breaker_cause in {"ConnectError", "http 500", "http 503"}
    assert main


async def test_four_failures_and_a_success_do_not_open_it(
    rows: Rows, main: Destination, outside: Outside
) -> None:
    outside.answers(UNSENT, UNSENT, UNSENT, UNSENT, OK, UNSENT, UNSENT, UNSENT, UNSENT, OK)
    patient = replace(CLOSED_FOR_LONG, at_least=1_000)
    await queued(rows, "buy A", "trim A")
    async with forwarding(rows, outside, breaker=patient):
        await ended(rows, "delivered", 2)
    assert await turned(rows) == []
    assert await rows.sql("SELECT breaker_failures FROM destinations") == [0]
    assert main


@pytest.mark.parametrize(
    ("answers", "turns"),
    [
        ([OK, UNSENT] * 5, ["open"]),
        ([UNSENT, OK] * 4 + [OK, UNSENT], ["open"]),
        ([OK, UNSENT] * 4 + [UNSENT], []),
        ([OK, OK, UNSENT] * 6, []),
        ([OK] * 6 + [UNSENT] * 4, []),
        ([OK, WAIT, WITHHELD, UNSENT] * 4, []),
    ],
    ids=["half of ten", "half at the end", "of nine", "a third", "the last four", "few that tell"],
)
async def test_half_of_ten_that_fail_open_it(
    rows: Rows, main: Destination, answers: list[Answer], turns: list[str]
) -> None:
    settler = Settler(
        database=rows.database,
        wake=nothing,
        wake_forwarder=nothing,
        dice=lambda: 0.5,
        breaker=replace(CLOSED_FOR_LONG, in_a_row=1_000),
    )
    for number, answer in enumerate(answers):
        await queued(rows, f"buy T{number}")
        (delivery,) = await rows.lease(main)
        settler.put(settlement(delivery, answer, Ended(DeliveryState.EXPIRED, "late")))
        await settler.step()
    assert await turned(rows) == turns


def nothing() -> None:
    return


@pytest.mark.parametrize("answer", [FATAL, NO_TLS], ids=["404", "TLS"])
async def test_what_no_other_request_would_survive_opens_it_at_once(
    rows: Rows, main: Destination, outside: Outside, answer: Answer
) -> None:
    outside.answers(answer)
    await queued(rows, "buy A")
    async with forwarding(rows, outside, breaker=CLOSED_FOR_LONG) as relay:
        await until_rows(lambda: is_(rows, "open"))
        await queued(rows, "buy B")
        await pressed(relay)
    assert outside.told == ["buy A"]
    assert main


async def test_a_destination_that_refuses_bodies_or_asks_to_wait_is_well(
    rows: Rows, main: Destination, outside: Outside
) -> None:
    refused = Answer(outcome=Outcome.PERMANENT, status=422)
    outside.answers(refused, refused, WAIT, WAIT, WAIT, OK)
    await queued(rows, "buy A", "buy B", "buy C")
    fragile = BreakerPolicy(in_a_row=1, at_least=1, first=LONG, longest=LONG)
    async with forwarding(rows, outside, breaker=fragile):
        await ended(rows, "delivered")
    assert await turned(rows) == []
    assert main


async def test_two_successes_close_it_and_a_failed_probe_keeps_it_open_for_longer(
    rows: Rows, main: Destination, outside: Outside
) -> None:
    outside.answers(UNSENT, UNSENT, OK, UNSENT, OK, OK, OK)
    await queued(rows, "buy A", "buy B")
    async with forwarding(rows, outside, breaker=QUICK) as relay:
        await ended(rows, "delivered", 2)
        await queued(rows, "buy C")
        relay.wake()
        await ended(rows, "delivered", 3)
        await until_rows(lambda: is_(rows, "closed"))
    # Both failed at first; one arrived as a probe, the other failed once more as the next.
    assert await turned(rows) == ["open", "half_open", "open", "half_open", "closed"]
    trips = await rows.sql(
        "SELECT CAST(detail->>'trips' AS int) FROM events"
        " WHERE event = 'destination.breaker_open' ORDER BY id"
    )
    assert trips == [1, 2]
    (kept,) = await rows.sql("SELECT * FROM destinations")
    assert (kept.breaker_trips, kept.breaker_failures, kept.breaker_until) == (0, 0, None)
    assert main


async def test_a_waiting_sell_tries_an_open_one_now_and_then_and_no_buy_does(
    rows: Rows, main: Destination, outside: Outside
) -> None:
    pace = timedelta(seconds=0.3)
    policy = BreakerPolicy(in_a_row=1, first=LONG, longest=LONG, sells_try_after=pace)
    await rows.bought(main, "H")
    outside.answers(UNSENT)
    await queued(rows, "buy A")
    async with forwarding(rows, outside, breaker=policy) as relay:
        await until_rows(lambda: is_(rows, "open"))
        await queued(rows, "sell H", "buy B")

        async def woken() -> bool:
            await rows.sql("UPDATE deliveries SET due_at = queued_at WHERE state = 'queued'")
            relay.wake()
            return len(outside.posts) >= 4

        await until_rows(woken)
    assert outside.told[:4] == ["buy A", "sell H", "sell H", "sell H"]
    times = [post.at for post in outside.posts]
    assert all(later - earlier >= 0.3 for earlier, later in pairwise(times))


async def test_one_probe_leaves_however_many_forwarders_there_are(
    rows: Rows, main: Destination, outside: Outside
) -> None:
    outside.answers(UNSENT)
    await queued(rows, "buy A")
    async with forwarding(rows, outside, breaker=replace(CLOSED_FOR_LONG, in_a_row=1)):
        await until_rows(lambda: is_(rows, "open"))
    outside.posts.clear()
    outside.answers(OK)
    outside.open.clear()
    await rows.sql("UPDATE destinations SET breaker_until = now()")
    await queued(rows, *(f"buy T{n}" for n in range(6)))
    async with AsyncExitStack() as stack:
        relays = [
            await stack.enter_async_context(forwarding(rows, outside, breaker=QUICK))
            for _ in range(3)
        ]
        await until(lambda: bool(outside.posts))
        for relay in relays:
            await pressed(relay)
        assert len(outside.posts) == 1
        assert await is_(rows, "open")
        outside.open.set()
        await ended(rows, "delivered", 7)
    assert await turned(rows) == ["open", "half_open", "closed"]
    assert main


async def test_news_of_what_left_before_it_opened_is_old(
    rows: Rows, main: Destination, outside: Outside
) -> None:
    """Five at once fail together: it opens once, for the shortest time."""
    outside.answers(UNSENT)
    outside.open.clear()
    policy = replace(CLOSED_FOR_LONG, in_a_row=2)
    await queued(rows, *(f"buy T{n}" for n in range(5)))
    async with forwarding(rows, outside, breaker=policy):
        await until(lambda: len(outside.posts) == 5)
        outside.open.set()
        await ended(rows, "queued", 5)
    assert await rows.sql("SELECT breaker_trips FROM destinations") == [1]
    assert await turned(rows) == ["open"]
    assert main


async def test_what_an_older_version_answers_does_not_count(
    rows: Rows, main: Destination, outside: Outside
) -> None:
    outside.answer = lambda post: FATAL if post.url == main.url else OK
    await queued(rows, "buy A", "buy B")
    await rows.change(main, url="https://destination.example/new")
    await queued(rows, "buy C")
    async with forwarding(rows, outside, breaker=QUICK):
        await ended(rows, "dead", 2)
        await ended(rows, "delivered")
    assert await turned(rows) == []


async def test_sells_for_the_old_address_do_not_keep_it_open_towards_the_new_one(
    rows: Rows, main: Destination, outside: Outside
) -> None:
    """They would take its probes, and what they are answered does not count."""
    outside.answer = lambda post: UNKNOWN if post.url == main.url else OK
    names = ("A", "B", "C", "D", "Z")
    for name in names:
        await rows.bought(main, name)
    await queued(rows, *(f"sell {name}" for name in names[:-1]))
    async with forwarding(rows, outside, breaker=replace(CLOSED_FOR_LONG, in_a_row=1)) as relay:
        await until_rows(lambda: is_(rows, "open"))
        await rows.change(main, url="https://destination.example/new")
        await queued(rows, "sell Z", "buy Y")
        relay.wake()
        await ended(rows, "delivered", 7)
    assert await turned(rows) == ["open", "closed"]
    assert set(await rows.sql("SELECT state FROM deliveries WHERE destination_version = 1")) == {
        *("delivered", "queued")
    }


async def test_a_destination_that_is_gone_is_disabled_and_sent_nothing_more(
    rows: Rows, main: Destination, outside: Outside
) -> None:
    outside.answers(replace(FATAL, status=410, gone=True))
    await queued(rows, "buy A")
    async with forwarding(rows, outside) as relay:
        await ended(rows, "dead")
        assert await rows.sql("SELECT state FROM destinations") == ["disabled"]
        await rows.sql(
            "UPDATE destinations SET breaker = 'closed', breaker_until = NULL, state = 'paused'"
        )
        await queued(rows, "buy B")
        await rows.sql("UPDATE destinations SET state = 'disabled'")
        await pressed(relay)
    assert outside.told == ["buy A"]
    assert (await rows.events()).count("destination.disabled") == 1
    assert main


async def test_an_older_version_that_is_gone_disables_nothing(
    rows: Rows, main: Destination, outside: Outside
) -> None:
    outside.answer = lambda post: (
        replace(FATAL, status=410, gone=True) if post.url == main.url else OK
    )
    await queued(rows, "buy A")
    await rows.change(main, url="https://destination.example/new")
    await queued(rows, "buy B")
    async with forwarding(rows, outside):
        await ended(rows, "delivered")
        await ended(rows, "dead")
    assert await rows.sql("SELECT state FROM destinations") == ["enabled"]


async def test_a_lost_probe_keeps_others_waiting_for_as_long_as_a_request_may_take(
    rows: Rows, outside: Outside
) -> None:
    main = await rows.destination(guarantee=Guarantee.AT_MOST_ONCE)
    outside.answers(UNSENT)
    await queued(rows, "buy A", "buy B")
    await rows.sql(
        "UPDATE destinations SET breaker = 'half_open', breaker_since = now() - interval '1 h'"
    )
    (lost, _) = await rows.lease(main)
    await rows.sql("UPDATE deliveries SET lease_until = now() WHERE id <> :id", id=lost.id)
    await rows.sql("UPDATE deliveries SET state = 'queued', lease_until = NULL WHERE ticker = 'B'")
    outside.answers(OK)
    async with forwarding(rows, outside, breaker=QUICK) as relay:
        await pressed(relay)
        assert outside.posts == []
        left = LEASE - lanes.START_WITHIN - main.timeout - timedelta(seconds=0.5)
        await rows.sql(
            "UPDATE deliveries SET lease_until = now() + CAST(:left AS interval)"
            " WHERE state = 'sending'",
            left=left,
        )
        relay.wake()
        await ended(rows, "delivered")
    assert outside.told == ["buy B"]
