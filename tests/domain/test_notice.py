"""Notices as each kind of channel wants them: the whole request, by example."""

import base64
import email
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from email import policy
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.attention import Severity
from domain.channel import Channel, ChannelId, ChannelKind
from domain.notice import Line, bundle, mail_of, plain, request_of, retry_in

AT = datetime(2030, 1, 2, 15, 4, 5, tzinfo=UTC)
LINK = "https://relay.example.com/admin"
KEY = b"k" * 32
TOKEN = "123456:a-token-of-a-bot-0123456789"
SECRETS: dict[ChannelKind, dict[str, str]] = {
    ChannelKind.WEBHOOK: {
        "url": "https://hook.example/secret",
        "key": f"whsec_{base64.b64encode(KEY).decode()}",
    },
    ChannelKind.EMAIL: {"to": "me@example.com"},
    ChannelKind.TELEGRAM: {"token": TOKEN, "chat_id": "42"},
    ChannelKind.DISCORD: {"url": "https://discord.com/api/webhooks/1/secret"},
    ChannelKind.SLACK: {"url": "https://hooks.slack.com/services/T/B/secret"},
}


def a_channel(kind: ChannelKind) -> Channel:
    return Channel(id=ChannelId(UUID(int=1)), name="mine", kind=kind, secrets=SECRETS[kind])


def a_line(number: int = 1, text: str = "The sell of AAPL got nowhere.", **given: object) -> Line:
    usual: dict[str, object] = {"cause": "sell_undelivered", "severity": Severity.URGENT, "at": AT}
    return Line(id=number, text=text, **(usual | given))  # pyright: ignore[reportArgumentType]


ONE = bundle([a_line(ticker="AAPL", count=3)], at=AT, link=LINK)
MANY = bundle(
    [a_line(n, f"Number {n}", severity=Severity.WARNING) for n in range(1, 17)] + [a_line(17)],
    at=AT,
    link=None,
)


def test_telegram_gets_plain_text() -> None:
    request = request_of(a_channel(ChannelKind.TELEGRAM), ONE)
    assert request.url == f"https://api.telegram.org/bot{TOKEN}/sendMessage"
    body = json.loads(request.body)
    assert body == {
        "chat_id": "42",
        "text": "Trading relay: 1 urgent\n"
        f"[urgent] The sell of AAPL got nowhere. (seen 3 times)\n{LINK}",
        "disable_web_page_preview": True,
    }


def test_discord_mentions_nobody() -> None:
    told = bundle([a_line(text="@everyone look")], at=AT, link=None)
    request = request_of(a_channel(ChannelKind.DISCORD), told)
    body = json.loads(request.body)
    assert body["allowed_mentions"] == {"parse": []}
    assert body["content"].endswith("@everyone look")


def test_slack_takes_nothing_for_markup() -> None:
    told = bundle([a_line(text="<!channel> a & b")], at=AT, link=None)
    body = json.loads(request_of(a_channel(ChannelKind.SLACK), told).body)
    assert body["text"].endswith("&lt;!channel&gt; a &amp; b")


def test_a_webhook_is_signed_and_says_the_worst_first() -> None:
    request = request_of(a_channel(ChannelKind.WEBHOOK), MANY)
    body = json.loads(request.body)
    assert (body["severity"], body["cause"]) == ("urgent", "sell_undelivered")
    assert [item["id"] for item in body["items"]] == [17, *range(1, 10)]
    assert (body["more"], "link" in body) == (7, False)
    headers = request.headers
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + request.body
    code = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{code}"
    assert headers["webhook-id"] == body["id"]
    assert headers["webhook-timestamp"] == str(int(AT.timestamp()))


def test_a_single_item_is_told_by_its_members() -> None:
    body = json.loads(request_of(a_channel(ChannelKind.WEBHOOK), ONE).body)
    assert (body["ticker"], body["count"], body["text"]) == ("AAPL", 3, ONE.lines[0].text)
    assert (body["link"], body["more"], body["id"]) == (LINK, 0, ONE.id)


def test_what_is_sent_again_has_the_same_id_and_else_another() -> None:
    again = bundle(list(reversed(MANY.lines)), at=AT + timedelta(minutes=1), link=LINK)
    assert again.id == MANY.id
    assert ONE.id != MANY.id


def test_ten_lines_and_how_many_more() -> None:
    lines = plain(MANY).splitlines()
    assert lines[0] == "Trading relay: 1 urgent, 16 warnings"
    assert (len(lines), lines[-1]) == (12, "and 7 more")


def test_what_is_over_meanwhile_says_so() -> None:
    assert plain(bundle([a_line(over=True)], at=AT, link=None)).endswith("(over)")


@given(st.lists(st.text(max_size=600), min_size=1, max_size=20))
def test_every_kind_keeps_its_limits_whatever_is_told(texts: list[str]) -> None:
    told = bundle([a_line(n, text) for n, text in enumerate(texts)], at=AT, link=LINK)
    discord = json.loads(request_of(a_channel(ChannelKind.DISCORD), told).body)["content"]
    telegram = json.loads(request_of(a_channel(ChannelKind.TELEGRAM), told).body)["text"]
    assert len(discord) <= 2_000
    assert len(telegram) <= 4_096
    for text in (discord, telegram):
        assert text.endswith(LINK)
        assert len(texts) <= 10 or f"and {len(texts) - 10} more" in text


@given(st.text(max_size=300))
def test_no_text_gets_a_header_of_its_own(text: str) -> None:
    told = bundle([a_line(text=text)], at=AT, link=None)
    mail = mail_of(a_channel(ChannelKind.EMAIL), told, user="relay@example.org")
    read = email.message_from_bytes(mail.content, policy=policy.default)
    assert (read["to"], read["from"]) == ("me@example.com", "relay@example.org")
    assert set(read.keys()) == {
        *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"),
        *("MIME-Version", "Content-Type", "Content-Transfer-Encoding"),
    }


def test_a_mail_says_who_what_and_when() -> None:
    mail = mail_of(a_channel(ChannelKind.EMAIL), ONE, user=None)
    read = email.message_from_bytes(mail.content, policy=policy.default)
    assert (mail.to, mail.sender) == ("me@example.com", "me@example.com")
    assert read["subject"] == "Trading relay: 1 urgent: The sell of AAPL got nowhere."
    assert read["date"].datetime == AT
    assert read["message-id"] == f"<{ONE.id}@example.com>"


def test_nothing_shows_a_secret_by_accident() -> None:
    for kind in ChannelKind:
        channel = a_channel(kind)
        shown = repr(channel) + channel.shown
        if kind is not ChannelKind.EMAIL:
            shown += repr(request_of(channel, ONE))
        assert "secret" not in shown
        assert TOKEN not in shown
        assert "me@example" not in shown


def test_four_tries_more_and_then_no_more() -> None:
    waits = [retry_in(attempts) for attempts in range(1, 6)]
    assert waits == [*(timedelta(seconds=s) for s in (5, 30, 120, 600)), None]
    assert retry_in(1, timedelta(seconds=40)) == timedelta(seconds=40)
    assert retry_in(1, timedelta(days=1)) == timedelta(seconds=600)
    assert retry_in(2, timedelta(seconds=1)) == timedelta(seconds=30)


@pytest.mark.parametrize("kind", [k for k in ChannelKind if k is not ChannelKind.EMAIL])
def test_every_request_is_json(kind: ChannelKind) -> None:
    request = request_of(a_channel(kind), MANY)
    assert request.headers["content-type"] == "application/json; charset=utf-8"
    json.loads(request.body)
