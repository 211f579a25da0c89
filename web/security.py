"""The headers that every answer carries, errors and static files included."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]

NOT_USED = (
    *("accelerometer", "autoplay", "camera", "display-capture", "encrypted-media"),
    *("fullscreen", "geolocation", "gyroscope", "hid", "idle-detection", "local-fonts"),
    *("magnetometer", "microphone", "midi", "payment", "picture-in-picture"),
    *("publickey-credentials-get", "screen-wake-lock", "serial", "storage-access", "usb"),
    *("window-management", "xr-spatial-tracking"),
)
"""What a browser lets pages do and ours do not; they copy, no more."""

SECURITY_HEADERS = {
    b"content-security-policy": (
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        b"img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
        b"require-trusted-types-for 'script'; trusted-types default"
    ),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",  # "no-referrer" makes browsers send `Origin: null`
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": ", ".join(f"{one}=()" for one in NOT_USED).encode(),
    b"cache-control": b"no-store",
}

HSTS = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")
"""Where the relay is reached by https; browsers ignore it where it is not (RFC 6797 §8.1)."""

EVERYWHERE = tuple(SECURITY_HEADERS.items())
BY_HTTPS = (*EVERYWHERE, HSTS)

STARTS = {"http.response.start", "websocket.http.response.start"}
"""The second where a socket is refused."""


class SecurityHeaders:
    """Puts the headers on every answer, errors and static files included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] in STARTS:
                given = {name.lower() for name, _ in message["headers"]}
                more = [(n, v) for n, v in security_headers(scope) if n not in given]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        await self._app(scope, receive, send if scope["type"] == "lifespan" else sending)


def security_headers(scope: Mapping[str, Any]) -> Headers:
    """Those of an answer to this request."""
    return BY_HTTPS if _by_https(scope) else EVERYWHERE


def _by_https(scope: Mapping[str, Any]) -> bool:
    """By what the server or its proxy says, or by the address that the operator gave."""
    public_url = scope["state"]["rules"].public_url or ""
    return scope["scheme"] in {"https", "wss"} or public_url.startswith("https:")
