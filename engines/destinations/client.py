"""The only way out to destinations: addresses vetted when dialled, time and size bounded."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterable, Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, cast
from urllib.parse import urlsplit

import httpcore
import httpx

from domain.address import Network, is_forbidden, must_be_private, port_of
from domain.delivery import FATAL_STATUSES, Answer, Outcome, classify
from domain.retry_after import retry_after
from engines.failpoints import Point, Reach, passes

ANSWER_CAP = 65_536
EXCERPT = 2_048
NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)


class ForbiddenAddressError(httpcore.ConnectError):
    """The host's address is one that a destination may not have; nothing was sent."""


class TooLateError(Exception):
    """Connecting took so long that the request may not leave any more; nothing was sent."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many requests at once, how long a whole one may take, how long its connecting."""

    connections: int = 5
    deadline: timedelta = timedelta(seconds=5)
    connecting: timedelta = timedelta(seconds=2)


class DestinationClient:
    """One client per destination: own connections, kept alive; no redirects, proxies, cookies."""

    def __init__(
        self,
        url: str,
        *,
        private: Collection[Network] = (),
        limits: Limits | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        reach: Reach = passes,
    ) -> None:
        self._url = url
        self._reach = reach
        limits = limits or Limits()
        self._deadline = limits.deadline.total_seconds()
        self._client = httpx.AsyncClient(
            transport=transport or _transport(url, private, limits.connections),
            timeout=httpx.Timeout(self._deadline, connect=limits.connecting.total_seconds()),
            follow_redirects=False,
            trust_env=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            headers={"accept-encoding": "identity", "user-agent": "trading-signal-processor"},
        )

    async def post(
        self, body: bytes, headers: dict[str, str], leaves: Callable[[], bool]
    ) -> Answer:
        """Send once; return what that tells us. Never raises for what a destination does.

        ``leaves`` is asked when the connection stands, right before the first byte.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(self._deadline):
                answer = await self._exchange(body, headers, leaves)
        except TooLateError:
            return Answer(outcome=Outcome.WITHHELD)
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            answer = _failure(error)
        return replace(answer, duration=timedelta(seconds=loop.time() - began))

    async def _exchange(
        self, body: bytes, headers: dict[str, str], leaves: Callable[[], bool]
    ) -> Answer:
        async def traced(event: str, _info: Mapping[str, object]) -> None:
            if event == "http11.send_request_headers.started":
                if not leaves():
                    raise TooLateError
                self._reach(Point.SEND_BEFORE_WRITE)
            elif event == "http11.send_request_body.complete":
                self._reach(Point.SEND_AFTER_WRITE)

        async with self._client.stream(
            "POST", self._url, content=body, headers=headers, extensions={"trace": traced}
        ) as response:
            excerpt = await _start_of(response.aiter_raw())
            return Answer(
                outcome=classify(response.status_code),
                status=response.status_code,
                fatal=response.status_code in FATAL_STATUSES,
                gone=response.status_code == 410,
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
        return Answer(outcome=Outcome.PERMANENT, error="forbidden address", fatal=True)
    connecting = isinstance(error, httpx.ConnectError)
    if connecting and any(isinstance(cause, ssl.SSLError) for cause in _causes(error)):
        return Answer(outcome=Outcome.NOT_SENT, error="TLS refused", fatal=True)
    outcome = Outcome.NOT_SENT if isinstance(error, NOT_SENT) else Outcome.AMBIGUOUS
    return Answer(outcome=outcome, error=_named(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _named(error: Exception) -> str:
    """The kind of failure in words, without the address."""
    kind = type(error).__name__
    return "total deadline passed" if kind == "TimeoutError" else kind
