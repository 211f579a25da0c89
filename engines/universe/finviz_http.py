"""One polite request to Finviz: spaced, bounded in time and size, never led to another host."""

import asyncio
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import httpx
from aiolimiter import AsyncLimiter

from domain.retry_after import retry_after
from domain.universe import FetchOutcome
from engines.clock import Clock
from engines.outbound import ANYWHERE, ForbiddenAddressError, vetted_transport

REDIRECTS_MAX = 3
REDIRECTING = frozenset({301, 302, 303, 307, 308})
SIZE_MAX = 5_000_000
CONNECTIONS = 4
FINVIZ = "https://finviz.com"
TELLING = 6
"""So many first letters of a secret are not told either."""

WORDS: dict[type[httpx.HTTPError], str] = {
    httpx.ConnectTimeout: "no connection in time",
    httpx.ConnectError: "no connection: name not found, refused, or no trusted certificate",
    httpx.ReadTimeout: "connected, but no answer in time",
    httpx.ReadError: "the connection broke while reading",
    httpx.WriteError: "the connection broke while asking",
    httpx.RemoteProtocolError: "the answer broke off or was no HTTP",
    httpx.ProxyError: "the proxy failed",
}


def asking(
    base_url: str | None, transport: httpx.AsyncBaseTransport | None = None
) -> httpx.AsyncClient:
    """The client that Finviz is asked with: its addresses are vetted whenever it dials.

    ``base_url`` is the operator's word, by the environment alone, and may lead to his own networks.
    """
    private = ANYWHERE if base_url else ()
    vetted = transport or vetted_transport(base_url or FINVIZ, private, CONNECTIONS)
    return httpx.AsyncClient(transport=vetted, follow_redirects=False, trust_env=False)


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
    """An answer, whatever its status. Header names are in lower case; cookies are apart."""

    status: int
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    cookies: dict[str, str] = field(repr=False, default_factory=dict[str, str])
    retry_after: timedelta | None = None


class _Hushed(httpx.URL):
    """An address that is told without what is secret: httpx logs and raises what it asks for."""

    def __str__(self) -> str:
        return hushed(super().__str__())

    def __repr__(self) -> str:
        return f"URL({str(self)!r})"


def hushed(text: str, *secrets: str) -> str:
    """Take out what addresses carry, these secrets, and beginnings of them as they are quoted."""
    text = re.sub(r"(?i)\b(auth|email|password)=[^&\s\"'#]*", r"\1=…", text)
    for secret in filter(None, secrets):
        lengths = range(len(secret), min(len(secret), TELLING) - 1, -1)
        beginnings = "|".join(re.escape(secret[:length]) for length in lengths)
        text = re.sub(beginnings, "…", text, flags=re.IGNORECASE)
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Asks with the injected client, but without its cookies and without its redirects.

    ``spacing`` is waited for before every request, redirects included; ``deadline`` bounds one
    request from its start to the last byte, not the wait before it. ``cookie`` is sent with every
    request: all of them, redirects included, go to one origin.
    """

    http: httpx.AsyncClient
    spacing: AsyncLimiter
    user_agent: str
    deadline: timedelta
    clock: Clock
    answered: Callable[[], None]
    cookie: str = field(default="", repr=False)

    async def get(self, url: str) -> Reply:
        """Raise FetchError when there is no answer, or none worth reading."""
        for _ in range(REDIRECTS_MAX + 1):
            reply = await self._ask("GET", url)
            if reply.status not in REDIRECTING:
                return reply
            url = _followed(url, reply.headers.get("location", ""))
        raise FetchError(FetchOutcome.WRONG_PAGE, f"more than {REDIRECTS_MAX} redirects")

    async def post(self, url: str, form: Mapping[str, str]) -> Reply:
        """Raise FetchError when there is no answer. A redirect is an answer."""
        return await self._ask("POST", url, form)

    async def _ask(self, method: str, url: str, form: Mapping[str, str] | None = None) -> Reply:
        await self.spacing.acquire()
        try:
            async with asyncio.timeout(self.deadline.total_seconds()):
                request = self.http.build_request(method, url, headers=self._headers(), data=form)
                reply = await self._stream(request)
        except TimeoutError:
            detail = f"no whole answer within {self.deadline.total_seconds():g} s"
        except httpx.HTTPError as error:
            detail = _words(error)
        except (httpx.InvalidURL, UnicodeError):
            detail = "the address asked for, or one answered with, is not valid (InvalidURL)"
        else:
            self.answered()
            return reply
        raise FetchError(FetchOutcome.UNREACHABLE, detail)

    async def _stream(self, request: httpx.Request) -> Reply:
        request.headers.pop("cookie", None)
        if self.cookie:
            request.headers["cookie"] = self.cookie
        request.url = _Hushed(request.url)
        response = await self.http.send(request, stream=True, follow_redirects=False)
        try:
            body = await _read(response)
        finally:
            await response.aclose()
        headers = {name.lower(): value for name, value in response.headers.items()}
        headers.pop("set-cookie", None)
        wish = retry_after(headers.get("retry-after"), self.clock())
        return Reply(response.status_code, headers, body, _cookies(response), wish)

    def _headers(self) -> dict[str, str]:
        return {
            "User-Agent": self.user_agent,
            "Accept-Encoding": "gzip, deflate",
            "Accept": "text/html,application/xhtml+xml,text/csv;q=0.9,*/*;q=0.5",
            "Accept-Language": "en-US,en;q=0.8",
        }


def _words(error: httpx.HTTPError) -> str:
    if isinstance(error.__cause__, ForbiddenAddressError):
        return "not asked: its name leads to a private or special address"
    return f"{WORDS.get(type(error), 'the request failed')} ({type(error).__name__})"


async def _read(response: httpx.Response) -> bytes:
    """The body, unpacked no further than it may be large: a small answer may be a large bomb."""
    body = bytearray()
    unpack = _unpacker(response.headers.get("content-encoding", ""))
    async for chunk in response.aiter_raw():
        try:
            body += unpack(chunk, SIZE_MAX + 1 - len(body))
        except zlib.error:
            raise FetchError(FetchOutcome.BROKEN, "the answer is packed wrongly") from None
        if len(body) > SIZE_MAX:
            raise FetchError(FetchOutcome.BROKEN, f"the answer is larger than {SIZE_MAX} bytes")
    return bytes(body)


def _unpacker(encoding: str) -> Callable[[bytes, int], bytes]:
    """What unpacks a chunk to at most so many bytes. Raises FetchError."""
    match encoding.strip().lower():
        case "" | "identity":
            return lambda chunk, most: chunk[:most]
        case "gzip" | "x-gzip" | "deflate":
            return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress
        case _:
            raise FetchError(FetchOutcome.BROKEN, "the answer is packed as nobody asked for")


def _cookies(response: httpx.Response) -> dict[str, str]:
    """What was set, by name; whatever the other side wishes of path, domain and age is ours."""
    given = (line.partition(";")[0] for line in response.headers.get_list("set-cookie"))
    pairs = (one.partition("=") for one in given)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _followed(url: str, location: str) -> str:
    here = httpx.URL(url)
    try:
        there = here.join(location)
        same = (there.scheme, there.host, there.port) == (here.scheme, here.host, here.port)
    except (httpx.InvalidURL, UnicodeError):
        raise FetchError(FetchOutcome.WRONG_PAGE, "a redirect to no valid address") from None
    if not same:
        told = f"a redirect to another host: {there.scheme}://{there.host[:100]}"
        raise FetchError(FetchOutcome.WRONG_PAGE, told)
    return str(there)
