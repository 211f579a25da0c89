"""Mail: the server that takes it (SMTP_URL), and a notice as a message, its headers safe."""

import ipaddress
from dataclasses import dataclass, field
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from enum import StrEnum
from urllib.parse import unquote, urlsplit


class Secured(StrEnum):
    """How a connection is made secure; NONE is for this very machine alone."""

    TLS = "tls"
    STARTTLS = "starttls"
    NONE = "none"


PORTS = {"smtp": 587, "smtps": 465}


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServer:
    """Where mail is handed in, and as whom."""

    host: str
    port: int
    secured: Secured
    user: str | None = None
    password: str | None = field(default=None, repr=False)


def parse_mail_server(url: str) -> MailServer:
    """Read SMTP_URL. Raises ValueError, which repeats nothing of it."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        raise ValueError("is not an address") from None
    if parts.scheme not in PORTS or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError("should be smtp://user:password@host:587 or smtps://…:465")
    if (parts.username is None) != (parts.password is None):
        raise ValueError("names a user without a password, or a password without a user")
    return MailServer(
        host=parts.hostname,
        port=port or PORTS[parts.scheme],
        secured=_secured(parts.scheme, parts.hostname),
        user=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
    )


def _secured(scheme: str, host: str) -> Secured:
    if scheme == "smtps":
        return Secured.TLS
    return Secured.NONE if _is_loopback(host) else Secured.STARTTLS


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers:
    """Who writes to whom about what, and when."""

    to: str
    sender: str
    subject: str
    id: str
    at: datetime


def message(headers: Headers, text: str) -> bytes:
    """A message as it goes over the wire (RFC 5322). No text gets a header of its own."""
    made = EmailMessage(policy=SMTP)
    made["From"], made["To"] = headers.sender, headers.to
    made["Subject"] = " ".join(headers.subject.split())[:200]
    made["Date"] = headers.at
    made["Message-ID"] = f"<{headers.id}@{headers.sender.rpartition('@')[2]}>"
    made["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody is to answer by machine
    made.set_content(text)
    return made.as_bytes()
