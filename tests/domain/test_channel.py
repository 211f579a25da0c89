"""What a channel may be given, what is shown of it; and the mail server's address."""

import ipaddress
from uuid import UUID

import pytest

from domain.channel import (
    Channel,
    ChannelError,
    ChannelId,
    ChannelKind,
    checked_name,
    checked_terms,
    checked_window,
    masked,
)
from domain.mail import Secured, parse_mail_server

W, E, T, D, S = (
    ChannelKind.WEBHOOK,
    ChannelKind.EMAIL,
    ChannelKind.TELEGRAM,
    ChannelKind.DISCORD,
    ChannelKind.SLACK,
)
BOT = "123456:ABC-def_0123456789012345678901"

GOOD: list[tuple[ChannelKind, dict[str, str | None]]] = [
    (W, {"url": "https://hook.example.com/x"}),
    (E, {"to": "me@example.com"}),
    (E, {"to": "me+relay@example.com", "sender": "relay@example.com"}),
    (T, {"token": f" {BOT} ", "chat_id": "-100123"}),
    (T, {"token": BOT, "chat_id": "@my_channel"}),
    (D, {"url": "https://discord.com/api/webhooks/1/x"}),
    (S, {"url": "https://hooks.slack.com/services/x", "token": None}),
]
BAD: list[tuple[ChannelKind, dict[str, str | None], str]] = [
    (W, {}, "url"),
    (W, {"url": "http://hook.example.com/x"}, "url"),
    (W, {"url": "https://127.0.0.1/x"}, "url"),
    (W, {"url": "https://relay.example.com/x"}, "url"),
    (W, {"url": "https://hook.example.com/x", "token": BOT}, "token"),
    (E, {"to": "me@example.com\r\nBcc: all@example.com"}, "to"),
    (E, {"to": "me@example.com, you@example.com"}, "to"),
    (E, {"to": "me"}, "to"),
    (E, {"to": "me@example.com", "sender": "<me@example.com>"}, "sender"),
    (T, {"token": BOT}, "chat_id"),
    (T, {"token": f"{BOT}/../x", "chat_id": "1"}, "token"),
    (T, {"token": BOT, "chat_id": "my channel"}, "chat_id"),
    (D, {"url": "https://discord.com.example/api/webhooks/1/x"}, "url"),
    (D, {"url": "https://hooks.slack.com/services/x"}, "url"),
    (S, {"url": "https://slack.example.com/x"}, "url"),
]


@pytest.mark.parametrize(("kind", "given"), GOOD)
def test_what_each_kind_is_given(kind: ChannelKind, given: dict[str, str | None]) -> None:
    expected = {name: text.strip() for name, text in given.items() if text}
    assert checked_terms(kind, given) == expected


@pytest.mark.parametrize(("kind", "given", "field"), BAD)
def test_what_cannot_be_is_named_and_not_repeated(
    kind: ChannelKind, given: dict[str, str | None], field: str
) -> None:
    with pytest.raises(ChannelError) as refused:
        checked_terms(kind, given, own_hosts=("relay.example.com",))
    assert refused.value.field == field
    assert not any(text and len(text) > 2 and text in str(refused.value) for text in given.values())


def test_own_networks_may_be_told_by_plain_http() -> None:
    given = {"url": "http://127.0.0.1:9/x"}
    private = (ipaddress.ip_network("127.0.0.0/8"),)
    assert checked_terms(W, given, private=private) == given
    with pytest.raises(ChannelError):
        checked_terms(S, given, private=private)


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 65])
def test_names_are_visible(name: str) -> None:
    with pytest.raises(ChannelError):
        checked_name(name)
    assert checked_name(" My phone ") == "My phone"


@pytest.mark.parametrize("seconds", [59, 86_401, float("nan")])
def test_windows_have_their_bounds(seconds: float) -> None:
    with pytest.raises(ChannelError):
        checked_window(seconds)
    assert checked_window(60) == 60


def test_what_the_other_side_repeats_is_masked() -> None:
    said = masked(f"no bot {BOT} here; chat 42", [BOT, "42"])
    assert said == "no bot ••• here; chat 42"


@pytest.mark.parametrize(
    ("url", "port", "secured"),
    [
        ("smtp://u:p@mail.example.com", 587, Secured.STARTTLS),
        ("smtp://u:p@mail.example.com:2525", 2525, Secured.STARTTLS),
        ("smtps://u:p@mail.example.com", 465, Secured.TLS),
        ("smtp://127.0.0.1:1025", 1025, Secured.NONE),
        ("smtp://localhost", 587, Secured.NONE),
        ("smtp://10.0.0.1", 587, Secured.STARTTLS),
    ],
)
def test_only_this_machine_is_spoken_to_in_the_clear(url: str, port: int, secured: Secured) -> None:
    server = parse_mail_server(url)
    assert (server.port, server.secured) == (port, secured)


def test_a_password_is_read_as_an_address_writes_it() -> None:
    server = parse_mail_server("smtp://me%40example.com:p%40ss%2Fword@mail.example.com")
    assert (server.user, server.password) == ("me@example.com", "p@ss/word")
    assert "p@ss" not in repr(server)


@pytest.mark.parametrize(
    "url",
    [
        *("", "mail.example.com", "http://mail.example.com", "smtp://", "smtp://u:hunter2@h:x"),
        *("smtp://u@mail.example.com", "smtp://u:hunter2@mail.example.com/path"),
    ],
)
def test_what_is_no_mail_server_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_mail_server(url)
    assert "hunter2" not in str(refused.value)


def test_of_an_address_every_part_is_hidden() -> None:
    url = "https://hook.example.com/services/T0/secret-path?key=secret-key"
    channel = Channel(id=ChannelId(UUID(int=1)), name="x", kind=W, secrets={"url": url})
    said = masked("POST /services/T0/secret-path?key=secret-key failed", channel.hidden)
    assert "secret" not in said
    assert channel.shown == "https://hook.example.com/•••"
