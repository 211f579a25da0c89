"""Bodies as they are meant: JSON whatever its sender calls it, and none where none is read."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

PATHS = ("/api/", "/sell/", "/finviz/")
"""Where nothing but JSON is read. No page posts there without saying so, and none needs a form."""

BODILESS = frozenset({"GET", "HEAD"})
"""What comes with them means nothing (RFC 9110, 9.3.1). Read all the same, while an answer is
streamed, one that is too long would end that answer in the middle."""

MISNOMERS = frozenset({b"application/x-www-form-urlencoded", b"text/plain", b"text/json"})


class JsonBodies:
    """Gives requests for the API the content type that their bodies have: `curl -d` says a form."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(PATHS):
            scope = {**scope, "headers": _named(scope["headers"])}
        if scope["type"] == "http" and scope["method"] in BODILESS:
            receive = _without_body(receive)
        await self._app(scope, receive, send)


def _without_body(receive: Receive) -> Receive:
    async def received() -> Message:
        message = await receive()
        return {**message, "body": b""} if message["type"] == "http.request" else message

    return received


def _named(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    others = [one for one in headers if one[0] != b"content-type"]
    given = next((value for name, value in headers if name == b"content-type"), b"text/plain")
    if given.partition(b";")[0].strip().lower() not in MISNOMERS:
        return headers
    return [*others, (b"content-type", b"application/json")]
