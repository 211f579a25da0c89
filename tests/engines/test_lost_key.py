"""A destination of which the keys here open nothing keeps nobody else from being sent to."""

import base64
import logging
from dataclasses import replace

import pytest

from database import destinations, resolutions
from database.vault import Vault
from domain.destination import Destination, SigningKeys
from engines.relay.forwarder import UNOPENED
from tests.database.rows import BUY, SELL, Rows, an_entry
from tests.engines.conditions import until, until_rows
from tests.engines.outside import Outside, forwarding, queued

OTHER = Vault.from_key(base64.b64encode(bytes(range(32))).decode())
OLD, ANEW, NEW = (f"https://{name}.example/hook" for name in ("old", "anew", "new"))


@pytest.fixture
def lost(rows: Rows) -> Rows:
    """The same database, as whoever had the other key saw it."""
    return replace(rows, vault=OTHER)


@pytest.fixture
def outside() -> Outside:
    return Outside()


async def renewed(rows: Rows, one: Destination) -> None:
    """Its address entered anew, with the key that there is now."""
    async with rows.database.write() as connection:
        found = await destinations.hold_bare(connection, one.id, SigningKeys(b"n" * 32))
        assert found
        wanted = replace(found[0], url=ANEW)
        assert await destinations.renew(connection, rows.vault, wanted, actor="a test")


async def waiting(rows: Rows, one: Destination) -> list[tuple[str, str, str]]:
    found = await rows.sql(
        "SELECT ticker, side, state FROM deliveries WHERE destination_id = :id ORDER BY seq",
        id=one.id,
    )
    return [tuple(row) for row in found]


def sent(outside: Outside, url: str) -> list[str]:
    return [f"{post.side} {post.ticker}" for post in outside.posts if post.url == url]


async def test_the_others_are_sent_to_and_it_is_said_once(
    rows: Rows, lost: Rows, outside: Outside, caplog: pytest.LogCaptureFixture
) -> None:
    old = await lost.destination("a first one", url=OLD)
    with caplog.at_level(logging.ERROR):
        async with forwarding(rows, outside) as running:
            await until(lambda: "destination.does_not_open" in caplog.messages)
            await rows.destination("new", url=NEW)
            await queued(rows, "buy AAPL", "trim AAPL")
            running.wake()
            await until(lambda: len(outside.posts) == 2)
    assert sent(outside, NEW) == ["buy AAPL", "sell AAPL"]
    assert not sent(outside, OLD)
    assert await waiting(rows, old) == [("AAPL", "buy", "queued"), ("AAPL", "sell", "queued")]
    assert caplog.messages == ["destination.does_not_open"]
    assert caplog.records[0].__dict__["destination"] == "a first one"


async def test_with_its_address_entered_anew_it_is_sent_to_and_what_waited_keeps_its_place(
    rows: Rows, lost: Rows, outside: Outside, caplog: pytest.LogCaptureFixture
) -> None:
    old = await lost.destination("main", url=OLD)
    await queued(rows, "buy AAPL")
    async with forwarding(rows, outside) as running:
        await renewed(rows, old)
        await queued(rows, "buy MSFT", "trim AAPL")
        running.wake()
        await until(lambda: sent(outside, ANEW) == ["buy MSFT"])
        await until(lambda: "delivery.does_not_open" in caplog.messages)
        left = [one for one in await waiting(rows, old) if one[0] == "AAPL"]
        assert left == [("AAPL", "buy", "queued"), ("AAPL", "sell", "queued")]
        async with rows.database.write() as connection:
            assert await resolutions.retarget(connection, old.id, actor="a test") == 1
        await until(lambda: len(outside.posts) == 3, 60 + UNOPENED.total_seconds())
    assert sent(outside, ANEW) == ["buy MSFT", "buy AAPL", "sell AAPL"]
    assert await rows.sql("SELECT max(attempts) FROM deliveries") == [1]
    assert "worker.failed" not in caplog.messages


async def test_a_body_that_does_not_open_keeps_only_its_own_lane(
    rows: Rows, outside: Outside, caplog: pytest.LogCaptureFixture
) -> None:
    main = await rows.destination("main", url=NEW)
    body = OTHER.seal(b'{"ticker":"AAPL","side":"sell","password":"a-secret"}')
    await rows.append(
        an_entry("AAPL", BUY),
        an_entry("AAPL", SELL, partial=True, body=body, body_sealed=True),
        an_entry("MSFT", BUY),
    )
    await rows.decide()
    async with forwarding(rows, outside):
        await until(lambda: {"buy AAPL", "buy MSFT"} == set(outside.told))
        await until(lambda: "delivery.does_not_open" in caplog.messages)

        async def is_recorded() -> bool:
            return [state for *_, state in await waiting(rows, main)].count("delivered") == 2

        await until_rows(is_recorded)
    assert ("AAPL", "sell", "queued") in await waiting(rows, main)
    assert caplog.messages.count("delivery.does_not_open") == 1
    assert "worker.failed" not in caplog.messages
