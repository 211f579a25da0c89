"""One polite request to Finviz: spaced, bounded in time and size, never led to another host."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import httpx
from aiolimiter import AsyncLimiter

from domain.universe import FetchOutcome

REDIRECTS_MAX = 3
REDIRECTING = frozenset({301, 302, 303, 307, 308})
SIZE_MAX = 5_000_000
WORDS: dict[type[httpx.HTTPError], str] = {
    httpx.ConnectTimeout: "no connection in time",
    httpx.ConnectError: "no connection: name not found, refused, or no trusted certificate",
    httpx.ReadTimeout: "connected, but no answer in time",
    httpx.ReadError: "the connection broke while reading",
    httpx.WriteError: "the connection broke while asking",
    httpx.RemoteProtocolError: "the answer broke off or was no HTTP",
    httpx.ProxyError: "the proxy failed",
}


class FetchError(Exception):
    """A look that brought no list: its outcome, and words for people without any secret."""

    def __init__(
        self, outcome: FetchOutcome, detail: str, *, retry_after: timedelta | None = None
    ) -> None:
        super().__init__(detail)
        self.outcome = outcome
        self.detail = detail
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, whatever its status. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class _Hushed(httpx.URL):
    """An address that is told without its export token: httpx logs and raises what it asks for."""

    def __str__(self) -> str:
        return hushed(super().__str__())

    def __repr__(self) -> str:
        return f"URL({str(self)!r})"


def hushed(text: str) -> str:
    return re.sub(r"(?i)\bauth=[^&\s\"'#]*", "auth=…", text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Asks with the injected client, but without its cookies and without its redirects.

    ``spacing`` is waited for before every request, redirects included; ``deadline`` bounds one
    request from its start to the last byte, not the wait before it.
    """

    http: httpx.AsyncClient
    spacing: AsyncLimiter
    user_agent: str
    deadline: timedelta
    answered: Callable[[], None]

    async def get(self, url: str) -> Reply:
        """Raise FetchError when there is no answer, or none worth reading."""
        for _ in range(REDIRECTS_MAX + 1):
            await self.spacing.acquire()
            reply = await self._ask(url)
            self.answered()
            if reply.status not in REDIRECTING:
                return reply
            url = _followed(url, reply.headers.get("location", ""))
        raise FetchError(FetchOutcome.WRONG_PAGE, f"more than {REDIRECTS_MAX} redirects")

    async def _ask(self, url: str) -> Reply:
        try:
            async with asyncio.timeout(self.deadline.total_seconds()):
                return await self._stream(url)
        except TimeoutError:
            detail = f"no whole answer within {self.deadline.total_seconds():g} s"
        except httpx.HTTPError as error:
            detail = f"{WORDS.get(type(error), 'the request failed')} ({type(error).__name__})"
        except httpx.InvalidURL:
            detail = "the address is not valid (InvalidURL)"
        raise FetchError(FetchOutcome.UNREACHABLE, detail)

    async def _stream(self, url: str) -> Reply:
        request = self.http.build_request("GET", url, headers=self._headers())
        request.headers.pop("cookie", None)
        request.url = _Hushed(request.url)
        response = await self.http.send(request, stream=True, follow_redirects=False)
        try:
            body = await _read(response)
        finally:
            await response.aclose()
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Reply(response.status_code, headers, body)

    def _headers(self) -> dict[str, str]:
        return {
            "User-Agent": self.user_agent,
            "Accept": "text/html,application/xhtml+xml,text/csv;q=0.9,*/*;q=0.5",
            "Accept-Language": "en-US,en;q=0.8",
        }


async def _read(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > SIZE_MAX:
            raise FetchError(FetchOutcome.BROKEN, f"the answer is larger than {SIZE_MAX} bytes")
    return bytes(body)


def _followed(url: str, location: str) -> str:
    here = httpx.URL(url)
    try:
        there = here.join(location)
    except httpx.InvalidURL:
        raise FetchError(FetchOutcome.WRONG_PAGE, "a redirect to no valid address") from None
    if (there.scheme, there.host, there.port) != (here.scheme, here.host, here.port):
        told = f"a redirect to another host: {there.scheme}://{there.host[:100]}"
        raise FetchError(FetchOutcome.WRONG_PAGE, told)
    return str(there)
