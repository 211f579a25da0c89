import asyncio
import base64
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from standardwebhooks import Webhook

from database import lanes
from database.pool import Database
from database.vault import BODY, Vault
from domain.delivery import Answer, Outcome
from domain.destination import Destination, SigningKeys
from domain.rate import Window
from tests.conftest import KEY
from tests.database.rows import OK, UNKNOWN, UNSENT, Rows, an_entry
from tests.engines.conditions import set_forward, until, until_rows
from tests.engines.outside import GRACE, PATIENT, Outside, Post, ended, forwarding, queued
from tests.stalls import stalls

NEWER = b"n" * 32


@pytest.fixture
def outside() -> Outside:
    return Outside()


def verified(post: Post, key: bytes) -> Any:
    """The body, when a receiver who knows this key would take it."""
    return Webhook(base64.b64encode(key).decode()).verify(post.body, post.headers)


@pytest.fixture
async def main(rows: Rows) -> Destination:
    return await rows.destination()


async def test_a_delivery_is_signed_and_names_itself(
    rows: Rows, main: Destination, outside: Outside
) -> None:
    (id,) = await queued(rows, "buy AAPL")
    async with forwarding(rows, outside) as relay:
        await ended(rows, "delivered")
    (post,) = outside.posts
    body = verified(post, main.keys.current)
    assert body["ticker"] == "AAPL"
    assert body["signal_id"] == str(id)
    assert post.headers["webhook-id"] == post.headers["idempotency-key"] == str(id)
    assert post.headers["content-type"] == "application/json"
    assert post.headers["relay-hop"] == "1"
    assert "relay-poss-resend" not in post.headers
    assert await rows.states("positions") == ["open"]
    counted = relay.forwarder.metrics.registry.get_sample_value
    assert counted("relay_attempts_total", {"outcome": "delivered"}) == 1
    assert counted("relay_deliveries_ended_total", {"state": "delivered"}) == 1
    assert counted("relay_leave_seconds_count") == 1


async def test_what_may_have_arrived_is_sent_again_marked_with_the_same_bytes(
    rows: Rows, main: Destination, outside: Outside
) -> None:
    outside.answers(UNKNOWN, OK)
    await queued(rows, "buy AAPL")
    async with forwarding(rows, outside):
        await ended(rows, "delivered")
    first, again = outside.posts
    assert first.body == again.body
    assert first.headers["webhook-id"] == again.headers["webhook-id"]
    assert "relay-poss-resend" not in first.headers
    assert again.headers["relay-poss-resend"] == "Y"
    assert main


async def test_what_surely_did_not_arrive_is_not_marked(
    rows: Rows, main: Destination, outside: Outside
) -> None:
    outside.answers(UNSENT, Answer(outcome=Outcome.NOT_PROCESSED, status=503), OK)
    await queued(rows, "buy AAPL")
    async with forwarding(rows, outside):
        await ended(rows, "delivered")
    assert ["relay-poss-resend" in post.headers for post in outside.posts] == [False] * 3
    assert main


async def test_a_client_that_fails_in_a_new_way_loses_nothing(
    rows: Rows, main: Destination, outside: Outside
) -> None:
    outside.answers(ValueError("nobody thought of this"), OK)
    await queued(rows, "buy AAPL")
    async with forwarding(rows, outside):
        await ended(rows, "delivered")
    assert await rows.sql("SELECT error FROM attempts ORDER BY number") == ["ValueError", None]
    assert outside.posts[1].headers["relay-poss-resend"] == "Y"
    assert main


async def test_a_refusal_ends_it_at_once(rows: Rows, main: Destination, outside: Outside) -> None:
    outside.answers(Answer(outcome=Outcome.PERMANENT, status=404))
    await queued(rows, "buy AAPL")
    async with forwarding(rows, outside):
        await ended(rows, "dead")
    assert len(outside.posts) == 1
    assert await rows.states("positions") == ["void"]
    assert main


async def test_a_lane_keeps_its_order_and_lanes_do_not_wait_for_one_another(
    rows: Rows, main: Destination, outside: Outside
) -> None:
    tickers = [f"T{n}" for n in range(5)]
    await queued(rows, *(f"{s} {t}" for _ in range(4) for s in ("buy", "trim") for t in tickers))

    def answer(post: Post) -> Answer:
        return UNKNOWN if "relay-poss-resend" not in post.headers and post.side == "buy" else OK

    outside.answer = answer
    async with forwarding(rows, outside, breaker=PATIENT):
        await ended(rows, "delivered", 40)
    seqs = {str(row.id): row.seq for row in await rows.sql("SELECT id, seq FROM signals")}
    for ticker in tickers:
        order = [seqs[p.headers["webhook-id"]] for p in outside.posts if p.ticker == ticker]
        assert order == sorted(order)
    assert len(outside.posts) == 60
    assert main


async def test_never_more_than_its_workers_at_once(
    rows: Rows, main: Destination, outside: Outside
) -> None:
    await queued(rows, *(f"buy T{n}" for n in range(12)))
    outside.open.clear()
    async with forwarding(rows, outside) as relay:
        await until(lambda: len(outside.posts) == 5)
        for _ in range(5):
            relay.wake()
            await asyncio.sleep(0.01)
        assert len(outside.posts) == 5
        outside.open.set()
        await ended(rows, "delivered", 12)
    assert main


async def test_what_is_answered_and_not_recorded_counts_as_on_the_wire(
    rows: Rows, outside: Outside
) -> None:
    """Who is killed repeats what was leased and not recorded: no more than may be at once."""
    main = await rows.destination(windows=(Window(limit=100, seconds=3600),))
    await queued(rows, *(f"buy T{n}" for n in range(12)))
    outside.open.clear()
    async with forwarding(rows, outside) as relay:
        await until(lambda: len(outside.posts) == 5)
        async with rows.database.write() as blocking:
            await blocking.execute(text("SELECT FROM positions FOR UPDATE"))
            outside.open.set()
            await until(lambda: relay.settler.unrecorded(main.id) == 5)
            for _ in range(5):
                relay.wake()
                await asyncio.sleep(0.01)
            assert len(outside.posts) == 5
        await ended(rows, "delivered", 12)
        await until(lambda: relay.settler.unrecorded(main.id) == 0)


async def test_a_wish_to_wait_is_kept_by_all_of_the_destination(
    rows: Rows, main: Destination, outside: Outside
) -> None:
    wish = timedelta(seconds=0.4)
    outside.answers(Answer(outcome=Outcome.NOT_PROCESSED, status=429, retry_after=wish), OK)
    await rows.bought(main, "H")
    await queued(rows, "buy A")
    async with forwarding(rows, outside) as relay:
        await ended(rows, "queued")
        await until_rows(lambda: held(rows))
        await queued(rows, "sell H", "buy B")
        relay.wake()
        await ended(rows, "delivered", 4)
    first, *others = outside.posts
    assert len(others) == 3
    assert all(post.at - first.at >= 0.4 for post in others)


async def held(rows: Rows) -> bool:
    return bool(await rows.sql("SELECT 1 FROM destinations WHERE hold_until IS NOT NULL"))


async def test_a_sell_at_its_end_is_tried_once_more_though_told_to_wait(
    rows: Rows, main: Destination, outside: Outside
) -> None:
    """Told to wait for a day: a sell that is not tried at all is lost for certain."""
    day = timedelta(days=1)
    refused = Answer(outcome=Outcome.NOT_PROCESSED, status=429, retry_after=day)
    outside.answers(OK, refused)
    await rows.bought(main, "A")
    await queued(rows, "buy X")
    async with forwarding(rows, outside) as relay:
        await until(lambda: outside.told == ["buy X"])
        await queued(rows, "sell A")
        relay.wake()
        await until_rows(lambda: held(rows))
        await queued(rows, "buy B")
        relay.wake()
        await ended(rows, "queued", 2)
        await rows.sql(
            "UPDATE deliveries SET due_at = clock_timestamp(),"
            " expires_at = clock_timestamp() + interval '5 s' WHERE state = 'queued'"
        )
        relay.wake()
        await ended(rows, "dead")
    assert outside.told == ["buy X", "sell A", "sell A"]
    assert "open" in await rows.states("positions")


async def test_what_was_leased_too_long_ago_is_withheld(
    rows: Rows, main: Destination, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leasing took longer than its grace: sent now, it could overflow a window."""
    forward, pauses = set_forward(monkeypatch), [lanes.START_WITHIN.total_seconds() + 0.1]

    class SlowVault(Vault):
        def open(self, sealed: bytes, place: str = BODY) -> bytes:
            plain = super().open(sealed, place)
            if b'"ticker"' in plain and pauses:
                forward(pauses.pop())
            return plain

    sealed = rows.vault.seal(b'{"ticker":"A","side":"buy"}')
    await rows.append(an_entry("A", body=sealed, body_sealed=True))
    await rows.decide()
    async with forwarding(rows, outside, vault=SlowVault.from_key(KEY)):
        await ended(rows, "delivered")
    outcomes = await rows.sql("SELECT outcome FROM attempts ORDER BY epoch")
    assert outcomes == ["withheld", "delivered"]
    assert len(outside.posts) == 1
    assert "relay-poss-resend" not in outside.posts[0].headers
    assert await rows.sql("SELECT attempts FROM deliveries") == [1]
    assert main


async def test_no_sliding_window_at_the_destination_overflows(rows: Rows, outside: Outside) -> None:
    await rows.destination(windows=(Window(limit=4, seconds=1),))
    await queued(rows, *(f"buy T{n}" for n in range(7)))
    async with forwarding(rows, outside):
        await ended(rows, "delivered", 7)
    times = [post.at for post in outside.posts]
    assert all(later - earlier >= 1 for earlier, later in zip(times, times[3:], strict=False))


async def test_the_reserve_of_a_full_window_is_for_sells(rows: Rows, outside: Outside) -> None:
    main = await rows.destination(windows=(Window(limit=3, seconds=60),))
    await rows.bought(main, "HELD")
    await rows.sql("UPDATE attempts SET started_at = started_at - interval '1 day'")
    await queued(rows, *(f"buy T{n}" for n in range(4)))
    async with forwarding(rows, outside) as relay:
        await ended(rows, "delivered", 3)
        relay.wake()
        await queued(rows, "sell HELD")
        relay.wake()
        await ended(rows, "delivered", 4)
    assert outside.told[-1] == "sell HELD"
    assert len(outside.posts) == 3


async def test_after_a_change_nothing_goes_to_the_old_address(
    rows: Rows, main: Destination, outside: Outside
) -> None:
    outside.open.clear()
    await queued(rows, "buy A")
    async with forwarding(rows, outside) as relay:
        await until(lambda: len(outside.posts) == 1)
        await rows.change(main, url="https://other.example/")
        await queued(rows, "buy B", "buy C")
        relay.wake()
        await until(lambda: len(outside.posts) == 3)
        assert outside.closed == []
        outside.open.set()
        await ended(rows, "delivered", 3)
        await until(lambda: outside.closed == [main.url])
    assert [post.url for post in outside.posts] == [main.url] + ["https://other.example/"] * 2


@pytest.mark.parametrize("state", ["paused", "disabled"])
async def test_a_destination_that_is_stopped_is_sent_nothing(
    rows: Rows, main: Destination, outside: Outside, state: str
) -> None:
    async with forwarding(rows, outside) as relay:
        await queued(rows, "buy A")
        relay.wake()
        await ended(rows, "delivered")
        await rows.sql("UPDATE destinations SET state = 'paused'")
        await queued(rows, "buy B")
        await rows.sql("UPDATE destinations SET state = :state", state=state)
        relay.wake()
        await until(lambda: outside.closed == [main.url])
        assert outside.told == ["buy A"]
        await rows.sql("UPDATE destinations SET state = 'enabled'")
        relay.wake()
        await ended(rows, "delivered", 2)


async def test_draining_lets_what_is_on_the_wire_end_and_be_settled(
    rows: Rows, main: Destination, outside: Outside
) -> None:
    outside.open.clear()
    await queued(rows, "buy A")
    async with forwarding(rows, outside) as relay:
        await until(lambda: len(outside.posts) == 1)
        # Also what left by a client that was replaced meanwhile.
        await rows.change(main, url="https://other.example/")
        await relay.forwarder.step()
        draining = asyncio.create_task(relay.forwarder.drain(GRACE))
        done, _ = await asyncio.wait({draining}, timeout=0.1)
        assert not done
        assert main.url not in outside.closed
        outside.open.set()
        await draining
        assert main.url in outside.closed
    assert await rows.states("deliveries") == ["delivered"]


async def test_a_change_between_looking_and_leasing_is_noticed(
    rows: Rows, outside: Outside
) -> None:
    """It is not sent with the terms of a version that is not in force any more."""
    first = await rows.destination()
    await queued(rows, "buy A")
    changed: list[Destination] = []

    def change() -> None:
        database = Database.connect(rows.database.url, patience=timedelta(seconds=20))
        other = Rows(database, rows.vault)
        changed.append(asyncio.run(moved(other, first)))

    class ChangingVault(Vault):
        def open(self, sealed: bytes, place: str = BODY) -> bytes:
            plain = super().open(sealed, place)
            if plain == first.url.encode() and not changed:
                with ThreadPoolExecutor() as elsewhere:
                    elsewhere.submit(change).result()
            return plain

    async with forwarding(rows, outside, vault=ChangingVault.from_key(KEY)) as relay:
        await ended(rows, "delivered")
        await queued(rows, "buy B")
        relay.wake()
        await ended(rows, "delivered", 2)
    assert [post.url for post in outside.posts] == [first.url, "https://other.example/"]
    for post in outside.posts:
        verified(post, NEWER)


async def moved(rows: Rows, first: Destination) -> Destination:
    changed = await rows.change(first, url="https://other.example/", keys=SigningKeys(NEWER))
    await rows.database.close()
    return changed


async def test_draining_does_not_wait_for_ever(
    rows: Rows, main: Destination, outside: Outside
) -> None:
    outside.open.clear()
    await queued(rows, "buy A")
    async with forwarding(rows, outside) as relay:
        await until(lambda: len(outside.posts) == 1)
        with stalls() as stalled:
            began = time.monotonic()
            await relay.forwarder.drain(timedelta(seconds=0.05))
            assert stalled.at_work(began) < 1
    assert main


async def test_the_work_of_a_killed_process_is_taken_up_and_marked(
    rows: Rows, main: Destination, outside: Outside
) -> None:
    await queued(rows, "buy A")
    (killed,) = await rows.lease(main, lasting=timedelta(milliseconds=100))
    await queued(rows, "sell A")
    async with forwarding(rows, outside) as relay:
        await rows.sql("SELECT pg_sleep(0.11)")
        relay.wake()
        await ended(rows, "delivered", 2)
    assert outside.told == ["buy A", "sell A"]
    assert ["relay-poss-resend" in post.headers for post in outside.posts] == [True, False]
    assert killed.epoch == 1
