"""Who calls, over what, and by which name: settled before anything else looks at a request."""

from collections.abc import Collection, Sequence
from urllib.parse import urlsplit

from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from domain.origin import Network, address_of, caller, is_within
from web.dependencies import LOCAL, name_of
from web.errors import problem
from web.security import SecurityHeaders
from web.webhook import Express, Whole

SCHEMES = ("http", "https")
EVERYWHERE = frozenset({"0.0.0.0", "::", ""})  # noqa: S104  a HOST that is no name
BY_ADDRESS = ("/health", "/metrics", "/webhook/")
"""Asked by proxies, containers and senders under any name. No browser's session counts there."""


class Proxies:
    """Takes the caller's address and scheme from the headers of ``trusted`` proxies alone.

    `Forwarded` and `X-Real-IP` are never read: a proxy that does not know them passes on what a
    stranger wrote there.
    """

    def __init__(self, app: Express, trusted: Sequence[Network]) -> None:
        self._app, self._trusted = app, trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and self._is_trusted(scope):
            scope = {**scope, **self._told(scope)}
        await self._app(scope, receive, send)

    def express(self, scope: Scope, whole: Whole) -> bool:
        """The same for a request that is whole."""
        if self._is_trusted(scope):
            scope = {**scope, **self._told(scope)}
        return self._app.express(scope, whole)

    def _is_trusted(self, scope: Scope) -> bool:
        peer = address_of(scope["client"][0]) if scope.get("client") else None
        return peer is not None and is_within(peer, self._trusted)

    def _told(self, scope: Scope) -> Scope:
        """What the nearest proxy says; of several values of a scheme its own is the last."""
        peer, port = scope["client"]
        hops = [value.decode("latin-1") for value in _all(scope, b"x-forwarded-for")]
        origin = caller(peer, hops, self._trusted)
        told: Scope = {"client": (origin, port if origin == peer else 0)}
        schemes = [value.decode("latin-1") for value in _all(scope, b"x-forwarded-proto")]
        scheme = ",".join(schemes).rpartition(",")[2].strip().lower()
        if scheme in SCHEMES:
            is_socket = scope["type"] == "websocket"
            told["scheme"] = scheme.replace("http", "ws") if is_socket else scheme
        return told


class Hosts:
    """Answers only to the ``names`` of PUBLIC_URL and HOST, and to this machine's own.

    Another site's page cannot make a browser believe that it is ours (DNS rebinding).
    """

    def __init__(self, app: Express, names: Collection[str]) -> None:
        self._app, self._names = app, frozenset(names) | LOCAL

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._is_ours(scope):
            await self._app(scope, receive, send)
            return
        await SecurityHeaders(_misdirected)(scope, receive, send)

    def express(self, scope: Scope, whole: Whole) -> bool:
        """The same for a request that is whole."""
        return self._is_ours(scope) and self._app.express(scope, whole)

    def _is_ours(self, scope: Scope) -> bool:
        if scope["type"] == "http" and scope["path"].startswith(BY_ADDRESS):
            return True
        hosts = _all(scope, b"host")
        return len(hosts) == 1 and name_of(hosts[0].decode("latin-1")) in self._names


async def _misdirected(scope: Scope, receive: Receive, send: Send) -> None:
    words = "This relay has another address: PUBLIC_URL says which. A proxy passes Host on."
    answer = problem(421, "wrong_host", words)
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(answer)
    else:
        await answer(scope, receive, send)


def names_of(public_url: str | None, host: str) -> frozenset[str]:
    """What we are called where PUBLIC_URL is set; without it anything is right."""
    public = urlsplit(public_url or "").hostname
    return frozenset({public, host.lower()} - EVERYWHERE) if public else frozenset()


def _all(scope: Scope, name: bytes) -> list[bytes]:
    return [value for one, value in scope["headers"] if one == name]
