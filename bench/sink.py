"""A destination that costs next to nothing: answers 200 at once, and notes when each id came.

`python -m bench.sink` prints its port, then answers the lines `count` and `report`.
"""

import asyncio
import gc
import json
import sys
import time
from typing import cast

import uvloop

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok"
ID = b"\r\nwebhook-id: "
LENGTH = b"\r\ncontent-length: "


class Sink(asyncio.Protocol):
    """Takes requests off a connection as they become whole. ``arrived`` is by `webhook-id`."""

    def __init__(self, arrived: dict[str, float]) -> None:
        self._arrived = arrived
        self._left = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        self._left += data
        while (end := self._left.find(b"\r\n\r\n")) >= 0:
            head = self._left[: end + 2].lower()
            whole = end + 4 + int(_value(head, LENGTH) or 0)
            if len(self._left) < whole:
                return
            self._left = self._left[whole:]
            self._arrived.setdefault(_value(head, ID).decode(), time.time())
            self._transport.write(ANSWER)


def _value(head: bytes, name: bytes) -> bytes:
    start = head.find(name)
    return head[start + len(name) : head.find(b"\r\n", start + 2)] if start >= 0 else b""


async def _serve() -> None:
    arrived: dict[str, float] = {}
    server = await asyncio.get_running_loop().create_server(
        lambda: Sink(arrived), "127.0.0.1", backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    while word := (await asyncio.to_thread(sys.stdin.readline)).strip():
        print(len(arrived) if word == "count" else json.dumps(arrived), flush=True)
        if word == "report":
            arrived.clear()


if __name__ == "__main__":
    gc.freeze()
    uvloop.run(_serve())
