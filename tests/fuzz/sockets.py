"""Broken bytes at the server as `run.py` makes it, with the relay behind it: it has to live on."""

import asyncio
import random  # noqa: TID251  a seed, so that a run can be repeated
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from demo.finviz import MadeUpFinviz, made_up_market
from main import Outside, build
from tests.chaos.report import machine
from tests.fuzz.words import HOSTILE
from tests.fuzz.world import AGAIN, listened
from tests.launcher.test_smuggling import CLEAR, GET, POST, UNCLEAR
from tests.launcher.wire import Wire, serving
from tests.web.stage import LEISURE, WEBHOOK_TOKEN, Destination, cloned, settings

STATUS = re.compile(rb"(?:\A|\r\n\r\n[^\r]*?)HTTP/1\.[01] (\d{3})")
AT_ONCE = 24
PATIENCE = 30.0
"""Seconds until a connection has to be over, whatever was sent: slow ones are cut after five."""
EVERY = 100
LEFT = "uvicorn.error ASGI callable returned without completing handshake."
"""uvicorn's words for a client that leaves before its socket is accepted."""
BODY = b'{"ticker":"AAPL","action":"sell"}'
ALERT = POST.replace(b"/in", b"/in/" + WEBHOOK_TOKEN.encode())
WHOLE = ALERT + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
CHUNKED = ALERT + b"Transfer-Encoding: chunked\r\n\r\n21\r\n" + BODY + b"\r\n0\r\n\r\n"
SOCKET = (
    b"GET /ws/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
SEEDS = (
    *(WHOLE, CHUNKED, GET + b"\r\n", WHOLE + GET + b"\r\n", SOCKET),
    *UNCLEAR.values(),
    *(data for data, _ in CLEAR.values()),
)
TOKENS = (
    *(b"\r\n", b"\r", b"\n", b"\r\n\r\n", b" ", b"\t", b":", b",", b";", b"\0", b"HTTP/1.1", b"0"),
    *(b"Content-Length: ", b"Transfer-Encoding: chunked", b"Connection: close", b"Upgrade: h2c"),
    *(b"Expect: 100-continue\r\n", b"Connection: upgrade\r\n", b"Host: x\r\n", b"%00", b"../"),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How many connections, and from which seed."""

    connections: int
    seed: int = 1


@dataclass(slots=True)
class Seen:
    """What came back."""

    statuses: Counter[str] = field(default_factory=Counter[str])
    faults: Counter[str] = field(default_factory=Counter[str])
    examples: list[str] = field(default_factory=list[str])
    connections: int = 0

    def fault(self, kind: str, sent: bytes, said: bytes = b"") -> None:
        self.faults[kind] += 1
        if len(self.examples) < 20:
            self.examples.append(f"{kind}: {sent[:1_000]!r} -> {said[:300]!r}")


def mutated(chance: random.Random) -> bytes:
    """A request with a few bytes changed, taken out, doubled, or put in."""
    data = bytearray(chance.choice(SEEDS))
    for _ in range(chance.choice((0, 1, 1, 2, 4, 12))):
        place = chance.randrange(len(data) + 1)
        length = chance.choice((0, 0, 1, 4, 40))
        piece = chance.choice((*TOKENS, *HOSTILE, bytes([chance.randrange(256)]), b""))
        if chance.random() < 0.15:
            piece = bytes(data[place : place + 60]) * chance.choice((1, 2, 50))
        data[place : place + length] = piece
    return bytes(data[:400_000])


def run(plan: Plan, say: Callable[[str], None], template: str = "template1") -> dict[str, Any]:
    return asyncio.run(thrown(plan, say, template))


async def thrown(plan: Plan, say: Callable[[str], None], template: str) -> dict[str, Any]:
    """Throw all of it; return what was seen."""
    began = time.monotonic()
    seen, chance = Seen(), random.Random(plan.seed)
    async with cloned(template) as url:
        with listened() as troubles:
            outside = Outside(
                finviz=httpx.ASGITransport(MadeUpFinviz(made_up_market(3, 60), step=100)),
                destination=httpx.ASGITransport(Destination()),
            )
            relay = build(settings(), url, outside=outside, check_durability=False, leisure=LEISURE)
            async with serving(relay) as wire:
                asyncio.get_running_loop().set_exception_handler(
                    lambda _loop, context: seen.fault(
                        "exception in the loop", str(context).encode()
                    )
                )
                await _legitimate(wire, seen)
                before = _files()
                await _all(plan, wire, seen, chance, say)
                await wire.emptied()
                await _legitimate(wire, seen)
                after = _files()
        if after > before + 20:
            seen.fault(f"{after - before} files are left open", b"")
        for event in troubles.counted.keys() - {LEFT}:
            seen.fault(f"logged: {event}", b"", "\n".join(troubles.traces[-1:]).encode())
    seconds = time.monotonic() - began
    return {
        "machine": machine(),
        "seed": plan.seed,
        "connections": seen.connections,
        "seconds": round(seconds, 1),
        "per_second": round(seen.connections / seconds),
        "answers": dict(sorted(seen.statuses.items())),
        "open_files": [before, after],
        "faults": dict(seen.faults),
        "examples": seen.examples,
    }


def _files() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


async def _all(
    plan: Plan, wire: Wire, seen: Seen, chance: random.Random, say: Callable[[str], None]
) -> None:
    room = asyncio.Semaphore(AT_ONCE)

    async def one(data: bytes, cut: int, *, ends: bool) -> None:
        async with room:
            await _connection(wire, seen, data, cut, ends=ends)

    said = time.monotonic()
    for begin in range(0, plan.connections, EVERY):
        async with asyncio.TaskGroup() as group:
            for _ in range(min(EVERY, plan.connections - begin)):
                data = mutated(chance)
                cut = chance.randrange(len(data) + 1)
                group.create_task(one(data, cut, ends=chance.random() < 0.97))
        await _legitimate(wire, seen)
        if time.monotonic() - said > 20:
            said = time.monotonic()
            say(f"{seen.connections} connections, {dict(seen.statuses)}")


async def _connection(wire: Wire, seen: Seen, data: bytes, cut: int, *, ends: bool) -> None:
    seen.connections += 1
    try:
        async with asyncio.timeout(PATIENCE):
            line = await wire.open()
            if await line.send(data[:cut]):
                await line.send(data[cut:])
            if ends:
                line.writer.write_eof()
            said = await line.rest()
    except TimeoutError:
        seen.fault("a connection without an end", data)
        return
    except (ConnectionError, OSError):
        seen.statuses["reset"] += 1
        return
    for status in STATUS.findall(said) or [b"none"]:
        seen.statuses[status.decode()] += 1
        if status.startswith(b"5") and status != b"503":
            seen.fault(f"answer {status.decode()}", data, said)


async def _legitimate(wire: Wire, seen: Seen) -> None:
    """Others are answered meanwhile as ever."""
    last = b"Connection: close\r\n"
    posted = ALERT + last + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    for data, fine in ((GET + last + b"\r\n", b"200"), (posted, b"20")):
        said = await wire.say(data, wait=PATIENCE)
        for pause in AGAIN:
            if not said.startswith(b"HTTP/1.1 503"):
                break
            await asyncio.sleep(pause)
            said = await wire.say(data, wait=PATIENCE)
        if not said.startswith(b"HTTP/1.1 " + fine):
            seen.fault("a legitimate request is refused", data, said)
