"""A load generator that costs little itself: prepared requests over keep-alive connections."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class Result:
    """What came of a run: answers by status, seconds it took, latencies in seconds."""

    statuses: dict[str, int] = field(default_factory=dict[str, int])
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list[float])

    @property
    def accepted_per_second(self) -> float:
        return self.statuses.get("202", 0) / self.seconds

    def percentile(self, share: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


class _Connection(asyncio.Protocol):
    """Sends the next request as soon as an answer is whole."""

    def __init__(self, requests: Iterator[bytes], result: Result, until: float) -> None:
        self._requests, self._result, self._until = requests, result, until
        self._began = 0.0
        self._answer = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def _next(self) -> None:
        self._began = time.perf_counter()
        if self._began >= self._until:
            self._transport.close()
            return
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, found, body = self._answer.partition(b"\r\n\r\n")
        if not found or len(body) < _length(head):
            return
        self._result.latencies.append(time.perf_counter() - self._began)
        status = head[9:12].decode()
        self._result.statuses[status] = self._result.statuses.get(status, 0) + 1
        self._answer = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        if not self.done.done():
            self.done.set_result(None)


def _length(head: bytes) -> int:
    _, _, rest = head.lower().partition(b"content-length: ")
    return int(rest.partition(b"\r\n")[0] or 0)


async def saturate(
    port: int, requests: Iterator[bytes], *, connections: int, seconds: float
) -> Result:
    """Closed loop: every connection sends its next request when the last was answered."""
    result = Result()
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    made = [
        await loop.create_connection(
            lambda: _Connection(requests, result, began + seconds), "127.0.0.1", port
        )
        for _ in range(connections)
    ]
    await asyncio.gather(*(connection.done for _, connection in made))
    result.seconds = time.perf_counter() - began
    return result


def posts(path: str, bodies: Iterator[bytes]) -> Iterator[bytes]:
    """HTTP/1.1 requests with these bodies."""
    for body in bodies:
        yield (
            f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body
