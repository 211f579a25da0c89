"""The notifier on a real PostgreSQL: bundled, at least once, again later, silent on secrets."""

import asyncio
import base64
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

import engine_room
from database import attention, channels
from database.sealed import terms_of
from database.vault import Vault
from domain.attention import Cause, Item, Severity
from domain.channel import Channel, ChannelId, ChannelKind
from domain.delivery import Answer, Outcome
from domain.notice import Request
from engines.clock import utc_now
from engines.metrics import Metrics
from engines.notices.notifier import LEASE, NO_SERVER, Notifier
from house import House, Outside
from tests.database.rows import Rows
from tests.engines.inbox import inbox, mail_server
from tests.web.stage import settings

TOKEN = "123456:a-secret-of-mine-0123456789"
SLACK = {"url": "https://hooks.slack.com/services/a-secret-of-mine"}
STATES = "SELECT state, attempts, error FROM notices ORDER BY id"

OK = Answer(outcome=Outcome.DELIVERED, status=200, excerpt="ok")
DOWN = Answer(outcome=Outcome.NOT_SENT, error="ConnectError")


class Post:
    """Keeps what it is given; answers one after the other, the last for ever."""

    def __init__(self, *answers: Answer) -> None:
        self.requests: list[Request] = []
        self._answers = [*answers] or [OK]

    async def __call__(self, request: Request) -> Answer:
        self.requests.append(request)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    @property
    def texts(self) -> list[str]:
        return [json.loads(request.body)["text"] for request in self.requests]


def a_notifier(rows: Rows, post: Callable[[Request], Any], **given: Any) -> Notifier:
    usual: dict[str, Any] = {"metrics": Metrics(), "clock": utc_now, "vault": rows.vault}
    return Notifier(database=rows.database, post=post, **(usual | given))


async def a_channel(
    rows: Rows, kind: ChannelKind = ChannelKind.SLACK, name: str = "mine", **secrets: str
) -> Channel:
    channel = Channel(id=ChannelId(uuid4()), name=name, kind=kind, secrets=secrets or SLACK)
    async with rows.database.write() as connection:
        await channels.create(connection, rows.vault, channel, actor="a test")
    return channel


async def tell(rows: Rows, *keys: str, severity: Severity = Severity.WARNING) -> None:
    items = [
        Item(cause=Cause.BUY_DEAD, key=key, severity=severity, text=f"About {key}.", at=utc_now())
        for key in keys
    ]
    async with rows.database.write() as connection:
        await attention.keep(connection, items)


async def states(rows: Rows) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await rows.sql(STATES)]


async def due_now(rows: Rows) -> None:
    await rows.sql("UPDATE notices SET due_at = now()")


async def test_what_is_due_at_once_is_one_message(rows: Rows) -> None:
    await a_channel(rows)
    await tell(rows, *(f"n{number}" for number in range(16)))
    await tell(rows, "the worst", severity=Severity.URGENT)
    post = Post()
    await a_notifier(rows, post, link="https://relay.example.com/admin").step()
    (text,) = post.texts
    lines = text.splitlines()
    assert lines[0] == "Trading relay: 1 urgent, 16 warnings"
    assert lines[1] == "[urgent] About the worst."
    assert lines[-2:] == ["and 7 more", "https://relay.example.com/admin"]
    assert set(await states(rows)) == {("sent", 1, None)}


async def test_each_channel_gets_its_own(rows: Rows) -> None:
    for name in ("one", "two"):
        await a_channel(rows, name=name)
    await tell(rows, "k")
    post = Post()
    await a_notifier(rows, post).step()
    assert len(post.requests) == 2
    await a_notifier(rows, post).step()
    assert len(post.requests) == 2


async def test_it_is_tried_again_later_each_time_and_given_up_at_last(
    rows: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    await a_channel(rows)
    await tell(rows, "k")
    metrics, post = Metrics(), Post(DOWN)
    notifier = a_notifier(rows, post, metrics=metrics)
    with caplog.at_level(logging.WARNING):
        for wait in (5, 30, 120, 600, 0):
            (before,) = await rows.sql("SELECT clock_timestamp()")
            await notifier.step()
            (row,) = await rows.sql("SELECT due_at, clock_timestamp() AS now FROM notices")
            if wait:
                assert before <= row.due_at - timedelta(seconds=wait) <= row.now
            await notifier.step()  # nothing is due before its time
            await due_now(rows)
    assert len(post.requests) == 5
    assert await states(rows) == [("failed", 5, "ConnectError")]
    await notifier.step()
    assert len(post.requests) == 5
    value = metrics.registry.get_sample_value
    labels = {"kind": "slack", "outcome": "failed"}
    assert value("relay_notices_total", labels) == 1
    assert value("relay_notices_total", labels | {"outcome": "again"}) == 4
    told = [record for record in caplog.records if record.message == "notice.unsent"]
    assert len(told) == 5


async def test_a_killed_replicas_notice_is_sent_by_another(rows: Rows) -> None:
    await a_channel(rows)
    await tell(rows, "k")

    async def killed(_request: Request) -> Answer:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await a_notifier(rows, killed).step()
    post = Post()
    await a_notifier(rows, post).step()
    assert not post.requests  # it may be under way
    (left,) = await rows.sql("SELECT due_at - now() FROM notices")
    assert timedelta(0) < left <= LEASE
    await due_now(rows)
    await a_notifier(rows, post).step()
    assert len(post.requests) == 1
    assert await states(rows) == [("sent", 2, None)]


async def test_whoever_lost_his_lease_records_nothing(rows: Rows) -> None:
    await a_channel(rows)
    await tell(rows, "k")
    fast = Post()

    async def slow(_request: Request) -> Answer:
        await due_now(rows)
        await a_notifier(rows, fast).step()
        return DOWN

    await a_notifier(rows, slow).step()
    assert len(fast.requests) == 1
    assert await states(rows) == [("sent", 2, None)]


async def test_replicas_share_what_is_due(rows: Rows) -> None:
    await a_channel(rows)
    await tell(rows, *(f"n{number}" for number in range(8)))
    post = Post()
    await asyncio.gather(*(a_notifier(rows, post).step() for _ in range(4)))
    assert len(post.requests) == 1


async def test_a_channel_that_fails_holds_up_no_other(rows: Rows) -> None:
    await a_channel(rows, name="bad", url="https://hooks.slack.com/services/bad")
    await a_channel(rows, name="good", url="https://hooks.slack.com/services/good")
    await tell(rows, "k")

    async def post(request: Request) -> Answer:
        if request.url.endswith("bad"):
            raise RuntimeError(request.url)  # not even foreseen
        return OK

    await a_notifier(rows, post).step()
    found = await rows.sql(
        "SELECT name, state FROM notices JOIN channels ON channels.id = channel_id ORDER BY name"
    )
    assert [tuple(row) for row in found] == [("bad", "queued"), ("good", "sent")]
    assert ("queued", 1, "RuntimeError") in await states(rows)


async def test_a_channel_that_does_not_open_holds_up_no_other(
    rows: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    other = Vault.from_key(base64.b64encode(b"o" * 32).decode())
    await a_channel(replace(rows, vault=other), name="old")
    await a_channel(rows, name="new")
    await tell(rows, "k", severity=Severity.URGENT)
    metrics, post = Metrics(), Post()
    notifier = a_notifier(rows, post, metrics=metrics)
    await notifier.step()
    found = await rows.sql(
        "SELECT name, state, error FROM notices JOIN channels ON channels.id = channel_id"
        " ORDER BY name"
    )
    assert [tuple(row) for row in found] == [
        ("new", "sent", None),
        ("old", "failed", "wrong_key"),
    ]
    assert len(post.requests) == 1
    labels = {"kind": "slack", "outcome": "failed"}
    assert metrics.registry.get_sample_value("relay_notices_total", labels) == 1
    (said,) = [record.__dict__ for record in caplog.records if record.message == "notice.unsent"]
    assert (said["channel"], said["error"], said["failed"]) == ("old", "wrong_key", 1)
    await due_now(rows)
    await notifier.step()
    assert len(post.requests) == 1  # it ended: nobody tries again


async def test_without_a_mail_server_mail_cannot_be_sent(rows: Rows) -> None:
    await a_channel(rows, ChannelKind.EMAIL, to="me@example.com")
    await tell(rows, "k")
    await a_notifier(rows, Post()).step()
    assert await states(rows) == [("queued", 1, NO_SERVER)]


# ── As main builds it ───────────────────────────────────────────────────────────────────────


def built(rows: Rows, outside: Outside | None = None, **changes: object) -> Notifier:
    pools = dict.fromkeys(("intake", "engines", "pages", "desk", "live"), rows.database)
    given = settings(private_destinations="127.0.0.0/8", **changes)
    house = House(settings=given, vault=rows.vault, metrics=Metrics(), **pools)
    return engine_room.notifier(house, outside or Outside())


async def everything(rows: Rows) -> str:
    """All that is kept in rows, without what is sealed."""
    tables: Sequence[str] = ("attention", "notices", "channels", "events")
    found = [await rows.sql(f"SELECT CAST(t AS text) FROM {table} AS t") for table in tables]
    return json.dumps(found)


async def test_a_webhook_gets_it_over_the_wire(
    rows: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    async with inbox(status=500, answer=b"a-secret-path was wrong") as there:
        key = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
        await a_channel(rows, ChannelKind.WEBHOOK, url=there.url, key=key)
        await tell(rows, "k")
        notifier = built(rows, public_url="https://relay.example.com")
        with caplog.at_level(logging.DEBUG, "engines"):
            await notifier.step()
            there.status = 204
            there.answer = b""
            await due_now(rows)
            await notifier.step()
    first, second = (json.loads(body) for body in there.bodies)
    assert first["id"] == second["id"]
    assert first["link"] == "https://relay.example.com/admin"
    assert b"webhook-signature: v1," in there.heads[0]
    assert await states(rows) == [("sent", 2, None)]
    kept = await everything(rows) + caplog.text + "".join(str(r.__dict__) for r in caplog.records)
    assert "a-secret-path" not in kept
    assert key not in kept


async def test_a_bot_that_repeats_its_token_does_not_reach_anybody(rows: Rows) -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(404, text=f"no bot {TOKEN}")

    channel = await a_channel(rows, ChannelKind.TELEGRAM, token=TOKEN, chat_id="4242")
    outside = Outside(notices=httpx.MockTransport(answer))
    told = await built(rows, outside).try_out(channel)
    assert (told.error, told.answer) == ("http 404", "no bot •••")
    [request] = asked
    assert str(request.url) == f"https://api.telegram.org/bot{TOKEN}/sendMessage"
    assert b"This is a test" in request.content


async def test_a_mail_goes_all_the_way(rows: Rows) -> None:
    async with mail_server() as there:
        await a_channel(rows, ChannelKind.EMAIL, to="me@example.com")
        await tell(rows, "k")
        url = f"smtp://relay%40example.org:a-secret-of-mine@127.0.0.1:{there.port}"
        await built(rows, smtp_url=url).step()
    (mail,) = there.mails
    assert b"Subject: Trading relay: 1 warning: About k." in mail
    assert await states(rows) == [("sent", 1, None)]
    assert "a-secret-of-mine" not in await everything(rows)


async def test_an_address_of_this_machine_is_refused_when_it_is_dialled(rows: Rows) -> None:
    """What is allowed by the settings of the day counts, not what was when it was entered."""
    async with inbox() as there:
        channel = await a_channel(rows, url=there.url)
        pools = dict.fromkeys(("intake", "engines", "pages", "desk", "live"), rows.database)
        house = House(settings=settings(), vault=rows.vault, metrics=Metrics(), **pools)
        told = await engine_room.notifier(house, Outside()).try_out(channel)
    assert told.error == "no address to send to"
    assert not there.bodies


async def test_what_is_sealed_stays_so(rows: Rows, vault: Vault) -> None:
    await a_channel(rows)
    kept = await everything(rows)
    (sealed,) = await rows.sql("SELECT sealed FROM channels")
    (id,) = await rows.sql("SELECT id FROM channels")
    assert "a-secret-of-mine" not in kept
    assert b"a-secret-of-mine" not in sealed
    assert b"a-secret-of-mine" in vault.open(sealed, terms_of(id))
