"""Two thousand slow sockets at once: how the others are served meanwhile, and when all are gone."""

import asyncio
import itertools
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field

import httpx

from bench.stage import ROOT, TOKEN, alerts, relay

SOCKETS, A_SECOND = 2_000, 1_000
RATE, SECONDS, EVERY = 50, 10.0, 1.0
HEAD = b"POST /webhook/in HTTP/1.1\r\nHost: slow\r\n"
KINDS = {
    "says nothing": (b"", b""),
    "drips a header": (HEAD + b"X-A: ", b"x"),
    "drips headers": (HEAD, b"X-A: y\r\n"),
    "drips a body": (HEAD + b"Content-Length: 60000\r\n\r\n", b"x"),
    "drips chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "drips blank lines": (b"", b"\r\n"),
}


@dataclass(slots=True)
class Seen:
    """How long each alert took, and what it was told."""

    alerts: list[float] = field(default_factory=list[float])
    statuses: dict[int, int] = field(default_factory=dict[int, int])


def run(sockets: int = SOCKETS, seconds: float = SECONDS) -> None:
    """Print latencies without and with slow sockets, and how long those lasted."""
    with relay(FINVIZ_REFRESH_SEC="3600") as server:
        asyncio.run(_post(server.port, 2, Seen()))  # the first ones load what is needed
        for number in (0, sockets):
            command = [sys.executable, "-m", "bench.slow", str(server.port), str(number)]
            with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as slow:
                seen = Seen()
                asyncio.run(_post(server.port, seconds, seen))
                said, _ = slow.communicate(timeout=60)
            times = sorted(seen.alerts)
            p50, p99 = (times[int(len(times) * share)] * 1e3 for share in (0.5, 0.99))
            print(
                f"  {number} slow sockets: alerts p50 {p50:.1f} ms, p99 {p99:.1f} ms,"
                f" maximum {times[-1] * 1e3:.0f} ms; {dict(sorted(seen.statuses.items()))}"
            )
            for kind, lasted in sorted(json.loads(said).items()):
                middle = statistics.median(lasted)
                print(f"    {kind}: {len(lasted)}, cut off after {middle:.1f} s, {max(lasted):.1f}")
        print(f"  {server.rss_mb():.0f} MB, {server.cpu_seconds():.1f} CPU seconds in all")


async def _post(port: int, seconds: float, seen: Seen) -> None:
    """Alerts at a steady rate, whoever else is connected."""
    # Hung up on before the server does it: a request into a closing connection is nobody's fault.
    limits = httpx.Limits(max_connections=100, keepalive_expiry=2)
    url = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(base_url=url, timeout=30, limits=limits) as client:

        async def one(body: bytes) -> None:
            sent = time.perf_counter()
            answer = await client.post(f"/webhook/in/{TOKEN}", content=body)
            seen.alerts.append(time.perf_counter() - sent)
            seen.statuses[answer.status_code] = seen.statuses.get(answer.status_code, 0) + 1

        began, run = time.perf_counter(), str(time.time_ns()).encode()
        async with asyncio.TaskGroup() as posting:
            for number, body in enumerate(itertools.islice(alerts(["AAA"]), int(RATE * seconds))):
                await asyncio.sleep(max(0.0, began + number / RATE - time.perf_counter()))
                posting.create_task(one(body.replace(b"breakout", run)))


# ── The slow ones, in a process of their own ────────────────────────────────────────────────


async def _all(port: int, sockets: int) -> dict[str, list[float]]:
    lasted: dict[str, list[float]] = {}
    began = time.perf_counter()
    async with asyncio.TaskGroup() as working:
        for number, kind in zip(range(sockets), itertools.cycle(KINDS), strict=False):
            await asyncio.sleep(max(0.0, began + number / A_SECOND - time.perf_counter()))
            working.create_task(_slow(port, kind, lasted))
    return lasted


async def _slow(port: int, kind: str, lasted: dict[str, list[float]]) -> None:
    """One socket that sends a drop now and then, until it is cut off."""
    first, drop = KINDS[kind]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began, gone = time.perf_counter(), asyncio.ensure_future(reader.read())
    try:
        writer.write(first)
        while not gone.done():
            await asyncio.wait([gone], timeout=EVERY)
            writer.write(drop)
    finally:
        lasted.setdefault(kind, []).append(time.perf_counter() - began)
        await asyncio.gather(gone, return_exceptions=True)
        writer.close()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_all(int(sys.argv[1]), int(sys.argv[2])))))
