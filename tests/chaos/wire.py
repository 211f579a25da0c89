"""HTTP by hand, one connection a request: what was sent and what came back are told apart."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NOWHERE, TOO_LATE = "refused", "no answer in time"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, or (``status`` None) why there is none."""

    status: int | None
    body: bytes = b""
    problem: str = ""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def ask(
    port: int,
    method: str,
    path: str,
    *,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    within: float = 3.0,
) -> Reply:
    """Ask a replica on loopback; never raises for what it does."""
    lines = [f"{method} {path} HTTP/1.1", f"host: 127.0.0.1:{port}", "connection: close"]
    lines += [f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    request = "\r\n".join([*lines, "", ""]).encode() + body
    try:
        async with asyncio.timeout(within):
            return await _exchange(port, request)
    except ConnectionRefusedError:
        return Reply(None, problem=NOWHERE)
    except TimeoutError:
        return Reply(None, problem=TOO_LATE)
    except (OSError, asyncio.IncompleteReadError, ValueError) as error:
        return Reply(None, problem=type(error).__name__)


async def _exchange(port: int, request: bytes) -> Reply:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        return Reply(status, await reader.readexactly(length_of(head)))
    finally:
        writer.transport.abort()


def length_of(head: bytes) -> int:
    _, _, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0] or 0)


def headers_of(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
