"""The live feed with a thousand clients, one of them stalled: how late the others hear."""

import asyncio
import base64
import itertools
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx

from bench.stage import ROOT, TOKEN, Server, alerts, relay

ADMIN = "benchmark-operator-token-0123456789abcdefghi"
OF_A_SESSION = 20
TICKERS = ["AAA", "BBB", "CCC"]
CLOCK = time.time
"""Of this machine, as PostgreSQL's `at`."""


def run(clients: int = 1_000, seconds: float = 20.0) -> None:
    """Print latencies from the writing of an event (before its commit) to its arrival."""
    with relay(LIVE_CLIENTS_MAX=str(clients), ADMIN_TOKEN=ADMIN) as server:
        empty, idle = server.rss_mb(), _idle(server)
        print(f"  nobody: {empty:.0f} MB, {idle:.1%} of a core")
        with _readers(server.port, clients) as readers:
            assert readers.stdin
            assert readers.stdout
            json.loads(readers.stdout.readline())
            print(f"  {clients} clients: {server.rss_mb():.0f} MB, {_idle(server):.1%} of a core")
            for rate in (10, 100):
                _measure(server, readers, rate, seconds)
            readers.stdin.close()
        print(f"  all gone: {server.rss_mb():.0f} MB, {_idle(server):.1%} of a core")


def _idle(server: Server, seconds: float = 5.0) -> float:
    time.sleep(1)
    before = server.cpu_seconds()
    time.sleep(seconds)
    return (server.cpu_seconds() - before) / seconds


def _measure(server: Server, readers: "subprocess.Popen[str]", rate: int, seconds: float) -> None:
    assert readers.stdin
    assert readers.stdout
    before = server.cpu_seconds()
    asyncio.run(_post(server.port, rate, seconds))
    time.sleep(1)
    used = server.cpu_seconds() - before
    readers.stdin.write("report\n")
    readers.stdin.flush()
    found = json.loads(readers.stdout.readline())
    words = ", ".join(f"{name} {value:.1f}" for name, value in found.items())
    print(f"  {rate} alerts/s for {seconds:.0f} s: {words}")
    print(f"    server {used:.1f} CPU seconds, {server.rss_mb():.0f} MB")


async def _post(port: int, rate: int, seconds: float) -> None:
    """Alerts that are rejected: each is two events, in two commits."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        began = time.perf_counter()
        async with asyncio.TaskGroup() as posting:
            for number, body in enumerate(itertools.islice(alerts(TICKERS), int(rate * seconds))):
                await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
                said = body.replace(b"breakout", f"at {rate}".encode())
                posting.create_task(client.post(f"/webhook/in/{TOKEN}", content=said))


# ── The clients, in a process of their own ──────────────────────────────────────────────────


def _readers(port: int, clients: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "bench.live", str(port), str(clients)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@dataclass(slots=True)
class _Heard:
    """What all clients heard since the last report. Of equal frames one is read, all are timed."""

    latencies: list[float] = field(default_factory=list[float])
    rereads: int = 0
    closed: int = 0
    _last: bytes = b""
    _written: list[float] = field(default_factory=list[float])

    def frame(self, payload: bytes) -> None:
        now = CLOCK()
        if payload != self._last:
            said: dict[str, Any] = json.loads(payload)
            self.rereads += said["type"] == "reread"
            events = said.get("events", ())
            self._written = [datetime.fromisoformat(one["at"]).timestamp() for one in events]
            self._last = payload
        self.latencies += [now - at for at in self._written]

    def report(self) -> dict[str, float]:
        waits = sorted(one * 1000 for one in self.latencies) or [0.0]
        found = {
            "events heard": float(len(self.latencies)),
            "p50 ms": statistics.median(waits),
            "p99 ms": waits[int(len(waits) * 0.99)],
            "max ms": waits[-1],
            "told to re-read": float(self.rereads),
            "closed": float(self.closed),
        }
        self.latencies.clear()
        return found


class _Reader(asyncio.Protocol):
    """Takes frames apart, and no more than that; a ``stalled`` one reads nothing."""

    def __init__(self, request: bytes, heard: _Heard, *, stalled: bool) -> None:
        self._request, self._heard, self._stalled = request, heard, stalled
        self._left = b""
        self.greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        data = self._left + data
        if not self.greeted.done():
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self._left = head
                return
            assert b" 101 " in head[:20], head
            self.greeted.set_result(None)
            if self._stalled:
                self._transport.pause_reading()
        self._left = self._frames(data)

    def _frames(self, data: bytes) -> bytes:
        while len(data) >= 2:
            length, start = data[1], 2
            if length == 126:
                length, start = int.from_bytes(data[2:4], "big"), 4
            elif length == 127:
                length, start = int.from_bytes(data[2:10], "big"), 10
            if len(data) < start + length:
                break
            if data[0] == 0x81:
                self._heard.frame(data[start : start + length])
            elif data[0] == 0x89:
                self._pong(data[start : start + length])
            data = data[start + length :]
        return data

    def _pong(self, payload: bytes) -> None:
        self._transport.write(bytes((0x8A, 0x80 | len(payload))) + bytes(4) + payload)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        self._heard.closed += 1


async def _sessions(port: int, count: int) -> list[str]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        found: list[str] = []
        for _ in range(count):
            answer = await client.post("/admin/login", data={"token": ADMIN})
            found.append(answer.cookies["session"])
            client.cookies.clear()
        return found


def _request(port: int, session: str) -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    host = f"127.0.0.1:{port}"
    return (
        f"GET /ws/live HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        f"Cookie: session={session}\r\n\r\n"
    ).encode()


async def _read(port: int, clients: int) -> None:
    heard, loop = _Heard(), asyncio.get_running_loop()
    sessions = await _sessions(port, -(-clients // OF_A_SESSION))
    for number in range(clients):
        request = _request(port, sessions[number // OF_A_SESSION])
        _, reader = await loop.create_connection(
            lambda request=request, number=number: _Reader(request, heard, stalled=number == 0),
            sock=_connected(port, small=number == 0),
        )
        await reader.greeted
    print(json.dumps({"clients": clients}), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(heard.report()), flush=True)


def _connected(port: int, *, small: bool) -> socket.socket:
    """The stalled one has a small buffer, so that it stalls soon."""
    one = socket.socket()
    if small:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    one.connect(("127.0.0.1", port))
    one.setblocking(False)
    return one


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(_read(int(sys.argv[1]), int(sys.argv[2])))
