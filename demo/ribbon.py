"""Says on every page that this is the demo. The relay itself does not know."""

from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

WORDS = "Demo: everything here is made up, and nothing leaves this computer."


@dataclass(frozen=True, slots=True)
class Ribbon:
    """Adds ``words`` to whole pages, in their title and above their content."""

    app: ASGIApp
    words: str = WORDS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/admin"):
            await self.app(scope, receive, send)
            return
        started: list[Message] = []
        body = bytearray()

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and _is_page(message):
                started.append(message)
            elif not started:
                await send(message)
            else:
                body.extend(message.get("body", b""))
                if not message.get("more_body", False):
                    await self._send(started[0], bytes(body), send)

        await self.app(scope, receive, sending)

    async def _send(self, start: Message, body: bytes, send: Send) -> None:
        page = body.replace(b"<title>", b"<title>Demo: ", 1)
        ribbon = f'<p class="said" id="demo" role="note">{self.words}</p>'.encode()
        page = page.replace(b'tabindex="-1">', b'tabindex="-1">' + ribbon, 1)
        length = (b"content-length", str(len(page)).encode())
        headers = [*(pair for pair in start["headers"] if pair[0] != length[0]), length]
        await send({**start, "headers": headers})
        await send({"type": "http.response.body", "body": page})


def _is_page(start: Message) -> bool:
    headers = dict(start["headers"])
    return headers.get(b"content-type", b"").startswith(b"text/html")
