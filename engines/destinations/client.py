"""The only way out to destinations: addresses vetted when dialled, time and size bounded."""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterable, Collection, Iterable
from datetime import UTC, datetime, timedelta
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, cast
from urllib.parse import urlsplit

import httpcore
import httpx

from domain.delivery import Answer, Outcome, classify
from domain.destination import Network, is_forbidden, must_be_private, port_of
from domain.retry_after import retry_after

ANSWER_CAP = 65_536
EXCERPT = 2_048
CONNECT_TIMEOUT = 2.0
NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)


class ForbiddenAddressError(httpcore.ConnectError):
    """The host's address is one that a destination may not have; nothing was sent."""


class VettedBackend(httpcore.AsyncNetworkBackend):
    """Resolves a host once, vets every answer, and dials the vetted literal.

    TLS still verifies the host's name: httpcore takes it from the request, not from the dial.
    """

    def __init__(self, private: Collection[Network], *, only_private: bool) -> None:
        self._private = private
        self._only_private = only_private
        self._dial = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                literal = await self._vetted(host, port)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout("the host name does not resolve in time") from error
        return await self._dial.connect_tcp(literal, port, timeout, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        await self._dial.sleep(seconds)

    async def _vetted(self, host: str, port: int) -> str:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError("the host name does not resolve") from error
        literals = [str(answer[4][0]) for answer in found]
        for literal in literals:
            address = ipaddress.ip_address(literal.partition("%")[0])
            if is_forbidden(address, private=self._private, only_private=self._only_private):
                raise ForbiddenAddressError("the host's address is not allowed")
        return literals[0]


class DestinationClient:
    """One client per destination: own connections, kept alive; no redirects, proxies, cookies."""

    def __init__(
        self,
        url: str,
        *,
        private: Collection[Network] = (),
        connections: int = 5,
        deadline: timedelta = timedelta(seconds=5),
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = url
        self._deadline = deadline.total_seconds()
        self._client = httpx.AsyncClient(
            transport=transport or _transport(url, private, connections),
            timeout=httpx.Timeout(self._deadline, connect=CONNECT_TIMEOUT),
            follow_redirects=False,
            trust_env=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            headers={"accept-encoding": "identity", "user-agent": "trading-signal-processor"},
        )

    async def post(self, body: bytes, headers: dict[str, str]) -> Answer:
        """Send once; return what that tells us. Never raises for what a destination does."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(self._deadline):
                answer = await self._exchange(body, headers)
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            answer = _failure(error)
        took = timedelta(seconds=loop.time() - began)
        return Answer(
            outcome=answer.outcome,
            status=answer.status,
            retry_after=answer.retry_after,
            error=answer.error,
            excerpt=answer.excerpt,
            duration=took,
        )

    async def _exchange(self, body: bytes, headers: dict[str, str]) -> Answer:
        async with self._client.stream(
            "POST", self._url, content=body, headers=headers
        ) as response:
            excerpt = await _start_of(response.aiter_raw())
            return Answer(
                outcome=classify(response.status_code),
                status=response.status_code,
                retry_after=retry_after(response.headers.get("retry-after"), datetime.now(UTC)),  # noqa: TID251  an HTTP date is on the wall clock
                excerpt=excerpt,
            )

    async def close(self) -> None:
        await self._client.aclose()


def _transport(
    url: str, private: Collection[Network], connections: int
) -> httpx.AsyncHTTPTransport:
    parts = urlsplit(url)
    only_private = must_be_private(parts.scheme, port_of(parts))
    transport = httpx.AsyncHTTPTransport(trust_env=False)
    # httpx has no public place for a network backend; its pool is an httpcore pool, which has one.
    transport._pool = httpcore.AsyncConnectionPool(  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        ssl_context=httpx.create_ssl_context(trust_env=False),
        max_connections=connections,
        max_keepalive_connections=connections,
        keepalive_expiry=60,
        network_backend=VettedBackend(private, only_private=only_private),
    )
    return transport


async def _start_of(chunks: AsyncIterable[bytes]) -> str:
    """Read at most ANSWER_CAP bytes and return the start as text."""
    start, size = b"", 0
    async for chunk in chunks:
        size += len(chunk)
        start += chunk[: max(0, EXCERPT - len(start))]
        if size > ANSWER_CAP:
            break
    return start.decode("utf-8", "replace").replace("\0", "")


def _failure(error: Exception) -> Answer:
    if isinstance(error.__cause__, ForbiddenAddressError):
        return Answer(outcome=Outcome.PERMANENT, error="forbidden address")
    outcome = Outcome.NOT_SENT if isinstance(error, NOT_SENT) else Outcome.AMBIGUOUS
    return Answer(outcome=outcome, error=_named(error))


def _named(error: Exception) -> str:
    """The kind of failure in words, without the address."""
    kind = type(error).__name__
    return "total deadline passed" if kind == "TimeoutError" else kind
