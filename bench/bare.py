"""The baseline: an ASGI application that reads the body and answers 202, and nothing else.

It runs as lightly as uvicorn can: its own protocol on httptools and uvloop, no middleware, and what
is loaded kept out of the garbage collector's way, as the relay does it.
"""

import gc
import sys

import uvicorn
from starlette.types import Receive, Scope, Send

BODY = b'{"status":"received"}'
HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", str(len(BODY)).encode()),
]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer 202 to anything."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 202, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


if __name__ == "__main__":
    gc.collect()
    gc.freeze()
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        interface="asgi3",
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="critical",
        server_header=False,
        proxy_headers=False,
    )
