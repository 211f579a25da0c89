"""The one way out: a host is looked up, every answer vetted, and the vetted literal dialled."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Collection, Iterable
from functools import cached_property
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, TypeAlias, TypeVar, cast
from urllib.parse import urlsplit

import httpcore
import httpx

from domain.address import Network, is_forbidden, must_be_private, port_of
from version import VERSION

AGENT = f"trading-signal-processor/{VERSION}"

ANYWHERE = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
"""Where an address may lead that the environment alone can set; metadata services not even then."""


Place: TypeAlias = tuple[str, int]
P = TypeVar("P", bound=asyncio.Protocol)
Found: TypeAlias = list[str] | OSError | UnicodeError


class ForbiddenAddressError(httpcore.ConnectError):
    """The host's address is one that may not be reached; nothing was sent."""


class UnresolvedError(httpcore.ConnectError):
    """The host's name has no address, or none in time; nothing was sent."""


class Vetting:
    """Resolves a host once for each connection, and refuses it where any answer is forbidden."""

    def __init__(self, private: Collection[Network], *, only_private: bool) -> None:
        self._private = private
        self._only_private = only_private
        self._asking: dict[Place, asyncio.Task[Found]] = {}

    async def __call__(self, host: str, port: int, timeout: float | None) -> str:  # noqa: ASYNC109
        """The literal to dial."""
        try:
            async with asyncio.timeout(timeout):
                return await self._vetted(host, port)
        except TimeoutError as error:
            raise UnresolvedError("the host name does not resolve in time") from error

    async def _vetted(self, host: str, port: int) -> str:
        found = await asyncio.shield(self._looking_up((host, port)))
        if isinstance(found, Exception):
            raise UnresolvedError("the host name does not resolve") from found
        for literal in found:
            address = ipaddress.ip_address(literal.partition("%")[0])
            if is_forbidden(address, private=self._private, only_private=self._only_private):
                raise ForbiddenAddressError("the host's address is not allowed")
        return found[0]

    def _looking_up(self, place: Place) -> asyncio.Task[Found]:
        """One look-up of a name at a time: a silent name server holds one thread, not all."""
        if place not in self._asking:
            loop = asyncio.get_running_loop()
            asking = loop.create_task(_look_up(place))
            self._asking[place] = asking
            asking.add_done_callback(lambda _: self._asking.pop(place))
        return self._asking[place]


class VettedBackend(httpcore.AsyncNetworkBackend):
    """What httpcore dials by.

    TLS still verifies the host's name: httpcore takes it from the request, not from the dial.
    """

    def __init__(self, vetting: Vetting) -> None:
        self._vetting = vetting
        self._dial = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        literal = await self._vetting(host, port, timeout)
        return await self._dial.connect_tcp(literal, port, timeout, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        await self._dial.sleep(seconds)


class Dial:
    """The same dial for a protocol of our own: vetted, and TLS by the name that was asked for."""

    def __init__(self, url: str, private: Collection[Network], connecting: float) -> None:
        self._vetting = _vetting(url, private)
        self._connecting = connecting

    async def __call__(self, protocol: Callable[[], P], host: str, port: int, *, tls: bool) -> P:
        """Raise an error of httpcore when nobody answers; what failed in TLS is its cause."""
        literal = await self._vetting(host, port, self._connecting)
        context, name = (self._authorities, host) if tls else (None, None)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connecting * (2 if tls else 1)):
                _, made = await loop.create_connection(
                    protocol, literal, port, ssl=context, server_hostname=name
                )
        except TimeoutError as error:
            raise httpcore.ConnectTimeout("nobody answered in time") from error
        except (OSError, ValueError) as error:  # of TLS too; a name that TLS knows as none
            raise httpcore.ConnectError("nobody answered") from error
        return made

    @cached_property
    def _authorities(self) -> ssl.SSLContext:
        return authorities()


async def _look_up(place: Place) -> Found:
    """An error is an answer: nobody may be waiting for it any more."""
    host, port = place
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return error
    return [str(answer[4][0]) for answer in found]


def outgoing(transport: httpx.AsyncBaseTransport, timeout: httpx.Timeout) -> httpx.AsyncClient:
    """A client that goes where it is told and nowhere else: no redirects, proxies, cookies."""
    return httpx.AsyncClient(
        transport=transport,
        timeout=timeout,
        follow_redirects=False,
        trust_env=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        headers={"accept-encoding": "identity", "user-agent": AGENT},
        event_hooks={"response": [_forget_location]},
    )


async def _forget_location(response: httpx.Response) -> None:
    """Where a redirect leads is read by httpx even if it is not to go there, and may trip it."""
    response.headers.pop("location", None)


def vetted_transport(
    url: str, private: Collection[Network], connections: int
) -> httpx.AsyncHTTPTransport:
    """What reaches the host of this address, wherever that may be reached. It knows no proxy."""
    context = authorities()
    transport = httpx.AsyncHTTPTransport(verify=context, trust_env=False)
    # httpx has no public place for a network backend; its pool is an httpcore pool, which has one.
    transport._pool = httpcore.AsyncConnectionPool(  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        ssl_context=context,
        max_connections=connections,
        max_keepalive_connections=connections,
        keepalive_expiry=60,
        network_backend=VettedBackend(_vetting(url, private)),
    )
    return transport


def _vetting(url: str, private: Collection[Network]) -> Vetting:
    parts = urlsplit(url)
    return Vetting(private, only_private=must_be_private(parts.scheme, port_of(parts)))


def authorities() -> ssl.SSLContext:
    """Whom TLS trusts: the authorities that come with httpx, not those of the environment."""
    context = httpx.create_ssl_context(trust_env=False)
    context.set_alpn_protocols(["http/1.1"])
    return context
