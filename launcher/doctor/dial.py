"""Reaching an address as far as the TLS handshake, and not a byte further: no request, no order."""

import asyncio
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import httpcore

from domain.address import Network, port_of
from engines.clock import utc_now
from engines.outbound import Dial, ForbiddenAddressError, UnresolvedError
from launcher.doctor.findings import Area, Finding

PATIENCE = 5.0
"""Seconds, each for the name, the connection and the handshake."""

SOON = timedelta(days=14)
FAILED = (httpcore.ConnectError, httpcore.ConnectTimeout)


class UnreachedError(Exception):
    """Nobody could be talked to there: in words, and what to do."""

    def __init__(self, words: str, todo: str) -> None:
        super().__init__(words)
        self.words, self.todo = words, todo


@dataclass(frozen=True, slots=True)
class Reached:
    """How long it took, and when the certificate ends; None: plain http."""

    took: timedelta
    expires: datetime | None


class _Silent(asyncio.Protocol):
    """Says nothing, notes the certificate, hangs up."""

    expires: datetime | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(tls := transport.get_extra_info("ssl_object"), ssl.SSLObject):
            seconds = ssl.cert_time_to_seconds(str((tls.getpeercert() or {})["notAfter"]))
            self.expires = datetime.fromtimestamp(seconds, UTC)
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


async def reach(url: str, private: tuple[Network, ...]) -> Reached:
    """Look the name up, vet what it leads to, connect, shake hands. Raises UnreachedError."""
    parts = urlsplit(url)
    began = utc_now()
    try:
        made = await Dial(url, private, PATIENCE)(
            _Silent, parts.hostname or "", port_of(parts), tls=parts.scheme == "https"
        )
    except FAILED as error:
        raise UnreachedError(*why(error)) from None
    return Reached(utc_now() - began, made.expires)


def why(error: Exception) -> tuple[str, str]:
    """What went wrong, and what to do; neither repeats the address."""
    if isinstance(error, ForbiddenAddressError):
        words = "its name leads to a private or special address"
        return words, "correct the address, or allow the network in PRIVATE_DESTINATIONS"
    if isinstance(error, UnresolvedError):
        return "its name does not resolve", "correct the address, or this machine's DNS"
    if isinstance(error, httpcore.ConnectTimeout):
        return f"nobody answers within {PATIENCE:g} s", "does a firewall keep it away?"
    return _broken_off(error.__cause__)


def _broken_off(cause: BaseException | None) -> tuple[str, str]:
    match cause:
        case ssl.SSLCertVerificationError():
            words = f"its certificate is not to be trusted: {cause.verify_message}"
            return words, "whoever runs it has to mend it; is the name the right one?"
        case ssl.SSLError():
            reason = getattr(cause, "reason", None) or "no reason given"
            return f"TLS fails ({reason})", "is the address, with its port, an https one?"
        case OSError():
            return f"no connection: {cause.strerror}", "is it up, and the port the right one?"
        case _:
            return "no connection", "is it up, and the address the right one?"


def certificate(area: Area, name: str, found: Reached, now: datetime) -> Finding:
    """That it was reached, and how long its certificate lasts."""
    milliseconds = found.took / timedelta(milliseconds=1)
    if found.expires is None:
        return area.ok(name, f"reached in {milliseconds:.0f} ms, without TLS")
    left = found.expires - now
    words = f"reached in {milliseconds:.0f} ms; certificate until {found.expires:%Y-%m-%d}"
    if left < SOON:
        todo = "it should have been renewed by now: ask whoever runs it"
        return area.warning(name, f"{words}, {left.days} days", todo)
    return area.ok(name, words)
