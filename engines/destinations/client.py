"""How a destination is posted to: by the one way out, time and size bounded, nothing followed."""

import asyncio
import ssl
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

import httpcore
import httpx

from domain.address import Network
from domain.delivery import FATAL_STATUSES, Answer, Outcome, classify
from domain.disclosure import FORBIDDEN, UNRESOLVED
from domain.retry_after import retry_after
from engines.destinations.wire import EXCERPT, Reply, TooLateError, Wire
from engines.failpoints import Reach, passes
from engines.outbound import ForbiddenAddressError, UnresolvedError, outgoing

NOT_SENT = (
    httpcore.ConnectError,
    httpcore.ConnectTimeout,
    httpcore.UnsupportedProtocol,
    httpcore.LocalProtocolError,
    httpx.InvalidURL,
    UnicodeError,
)
"""The last two are raised before anything leaves: a name that IDNA does not know as one."""

FAILED = (
    *NOT_SENT,
    httpcore.ProtocolError,
    httpcore.NetworkError,
    httpx.HTTPError,
    TimeoutError,
    OSError,
)


NO_CONNECTION = "no connection in time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many requests at once, how long a whole one may take, how long its connecting."""

    connections: int = 5
    deadline: timedelta = timedelta(seconds=5)
    connecting: timedelta = timedelta(seconds=2)


@dataclass(slots=True)
class Departure:
    """``leaves``, with a note of what it said: whether the request may have left."""

    leaves: Callable[[], bool]
    left: bool = False

    def __call__(self) -> bool:
        self.left = self.leaves()
        return self.left


class Way(Protocol):
    """How a request gets to a destination: over the wire, or within this process."""

    async def post(
        self, body: bytes, headers: dict[str, str], leaves: Callable[[], bool]
    ) -> Reply: ...

    async def close(self) -> None: ...


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
        limits = limits or Limits()
        self._deadline = limits.deadline.total_seconds()
        connecting = limits.connecting.total_seconds()
        self._way: Way = (
            Played(url, transport)
            if transport
            else Wire(url, private, limits.connections, connecting, reach)
        )

    async def post(
        self, body: bytes, headers: dict[str, str], leaves: Callable[[], bool]
    ) -> Answer:
        """Send once; return what that tells us. Never raises for what a destination does.

        ``leaves`` is asked when the connection stands, right before the first byte.
        """
        loop = asyncio.get_running_loop()
        began, departure = loop.time(), Departure(leaves)
        try:
            async with asyncio.timeout(self._deadline):
                reply = await self._way.post(body, headers, departure)
        except TooLateError:
            return Answer(outcome=Outcome.WITHHELD)
        except FAILED as error:
            answer = _failure(error, left=departure.left)
            return replace(answer, duration=timedelta(seconds=loop.time() - began))
        return _answer(reply, timedelta(seconds=loop.time() - began))

    async def close(self) -> None:
        await self._way.close()


class Played:
    """A destination that is played in this process: the demo's, a test's."""

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport) -> None:
        self._url = url
        self._client = outgoing(transport, httpx.Timeout(None))

    async def post(self, body: bytes, headers: dict[str, str], leaves: Callable[[], bool]) -> Reply:
        if not leaves():
            raise TooLateError
        answer = await self._client.post(self._url, content=body, headers=headers)
        told = answer.headers.get("retry-after")
        return Reply(answer.status_code, told, answer.content[:EXCERPT])

    async def close(self) -> None:
        await self._client.aclose()


def _answer(reply: Reply, took: timedelta) -> Answer:
    told, status = reply.retry_after, reply.status
    return Answer(
        outcome=classify(status),
        status=status,
        fatal=status in FATAL_STATUSES,
        gone=status == 410,
        retry_after=retry_after(told, datetime.now(UTC)) if told else None,  # noqa: TID251  an HTTP date is on the wall clock
        excerpt=reply.start.decode("utf-8", "replace").replace("\0", ""),
        duration=took,
    )


def _failure(error: Exception, *, left: bool) -> Answer:
    if isinstance(error, ForbiddenAddressError):
        return Answer(outcome=Outcome.PERMANENT, error=FORBIDDEN, fatal=True)
    if isinstance(error, UnresolvedError):
        return Answer(outcome=Outcome.NOT_SENT, error=UNRESOLVED)
    connecting = isinstance(error, httpcore.ConnectError)
    if connecting and any(isinstance(cause, ssl.SSLError) for cause in _causes(error)):
        return Answer(outcome=Outcome.NOT_SENT, error="TLS refused", fatal=True)
    if isinstance(error, TimeoutError) and not left:  # in the queue, looking up, or dialling
        return Answer(outcome=Outcome.NOT_SENT, error=NO_CONNECTION)
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
