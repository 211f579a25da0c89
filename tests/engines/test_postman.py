"""Mail handed in, in a real conversation over a socket."""

import email
import socket
from dataclasses import replace
from email import policy
from pathlib import Path

import pytest

from domain.mail import MailServer, Secured, parse_mail_server
from domain.notice import Mail
from engines.notices.postman import Postman
from tests.engines.inbox import certificate, mail_server

PASSWORD = "a-secret-of-mine"
MAIL = Mail(
    to="me@example.com",
    sender="relay@example.org",
    content=b"Subject: hello\r\n\r\nfirst\r\n.second\r\n",
)


def a_server(port: int, secured: Secured = Secured.NONE) -> MailServer:
    server = parse_mail_server(f"smtp://relay%40example.org:{PASSWORD}@127.0.0.1:{port}")
    assert server.secured is Secured.NONE
    return replace(server, secured=secured)


async def test_a_mail_is_handed_in() -> None:
    async with mail_server() as there:
        assert await Postman(server=a_server(there.port)).post(MAIL) is None
    (content,) = there.mails
    read = email.message_from_bytes(content, policy=policy.SMTP)
    assert read["subject"] == "hello"
    assert b"\r\n..second\r\n" in content  # RFC 5321, 4.5.2: no line of ours ends the message
    verbs = [line.split()[0].upper() for line in there.said]
    assert verbs == ["EHLO", "AUTH", "MAIL", "RCPT", "DATA", "QUIT"]
    assert "<me@example.com>" in there.said[3]


async def test_a_password_travels_sealed(tmp_path: Path) -> None:
    server_side, trust = certificate(tmp_path)
    async with mail_server(server_side) as there:
        postman = Postman(server=a_server(there.port, Secured.STARTTLS), trust=trust)
        assert await postman.post(MAIL) is None
    assert there.secured
    verbs = [line.split()[0].upper() for line in there.said]
    assert verbs.index("STARTTLS") < verbs.index("AUTH")
    assert len(there.mails) == 1


async def test_nothing_is_said_to_a_server_that_cannot_be_spoken_to_safely() -> None:
    async with mail_server() as there:
        postman = Postman(server=a_server(there.port, Secured.STARTTLS))
        assert await postman.post(MAIL) == "SMTPNotSupportedError"
    assert not any(line.startswith(("AUTH", "MAIL", "auth", "mail")) for line in there.said)


async def test_a_certificate_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    server_side, _ = certificate(tmp_path)
    async with mail_server(server_side) as there:
        postman = Postman(server=a_server(there.port, Secured.STARTTLS))
        assert await postman.post(MAIL) == "SSLCertVerificationError"
    assert not there.mails


@pytest.mark.parametrize(
    ("verb", "error"),
    [
        ("AUTH", "SMTPAuthenticationError 535"),
        ("MAIL", "SMTPSenderRefused 535"),
        ("RCPT", "SMTPRecipientsRefused"),
        ("DATA", "SMTPDataError 535"),
    ],
)
async def test_a_refusal_is_told_without_what_the_server_said(verb: str, error: str) -> None:
    async with mail_server(refuses=verb) as there:
        told = await Postman(server=a_server(there.port)).post(MAIL)
    assert told == error


async def test_a_server_that_is_not_there() -> None:
    with socket.socket() as taken:  # nobody else can have it meanwhile, and nobody listens
        taken.bind(("127.0.0.1", 0))
        postman = Postman(server=a_server(taken.getsockname()[1]))
        assert await postman.post(MAIL) == "ConnectionRefusedError"
