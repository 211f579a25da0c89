"""A load generator that costs little itself: prepared bytes over plain sockets, and one epoll."""

import gc
import select
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self, TypeAlias

from bench.figures import percentile

PATIENCE = 30.0
"""Seconds without any answer after which a run is given up."""


class LoadError(Exception):
    """What a run cannot be counted after."""


@dataclass(slots=True)
class Result:
    """What came of a run.

    Latencies are in seconds, ``late`` is how long after its planned time each request was sent:
    the generator's own fault, and part of the latency. ``cpu`` is what the generator spent,
    ``began`` the time of day.
    """

    statuses: dict[str, int] = field(default_factory=dict[str, int])
    began: float = 0.0
    seconds: float = 0.0
    cpu: float = 0.0
    latencies: list[float] = field(default_factory=list[float])
    late: list[float] = field(default_factory=list[float])
    answers: list[tuple[float, bytes]] = field(default_factory=list[tuple[float, bytes]])

    @property
    def answered(self) -> int:
        return sum(self.statuses.values())

    @property
    def accepted_per_second(self) -> float:
        return sum(n for status, n in self.statuses.items() if status[0] == "2") / self.seconds

    @property
    def cpu_us(self) -> float:
        """The generator's own microseconds for a request."""
        return self.cpu / max(1, self.answered) * 1e6

    def percentile(self, share: float) -> float:
        return percentile(self.latencies, share)


Answer: TypeAlias = tuple[int, str, bytes]


class Lines:
    """Keep-alive connections by number; ``answered`` tells which have their whole answer."""

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._poll = select.epoll()  # first, so that its number is one that `select` takes
        self._sockets: dict[int, socket.socket] = {}
        self._partial: dict[int, bytes] = {}
        self.idle = deque(self._connect() for _ in range(count))

    def __enter__(self) -> Self:
        """From here on no garbage is looked for: that would be the generator's own pause."""
        gc.collect()
        gc.disable()
        return self

    def __exit__(self, *_: object) -> None:
        gc.enable()
        for one in self._sockets.values():
            one.close()
        self._poll.close()

    def _connect(self) -> int:
        one = socket.create_connection(("127.0.0.1", self._port), timeout=10)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one.setblocking(False)
        self._sockets[one.fileno()] = one
        self._poll.register(one.fileno(), select.EPOLLIN)
        return one.fileno()

    def send(self, line: int, request: bytes) -> None:
        sent = self._sockets[line].send(request)
        assert sent == len(request), "a request of a benchmark fits into a socket's buffer"

    def answered(self, timeout: float) -> list[Answer]:
        """Wait at most so long. Raises LoadError when nothing comes for as long as PATIENCE."""
        found: list[Answer] = []
        for line, _ in self._ready(timeout):
            data = self._sockets[line].recv(65_536)
            if not data:
                self._replace(line)
                continue
            whole = self._partial.pop(line, b"") + data
            if is_whole(whole):
                found.append((line, whole[9:12].decode(), whole))
            else:
                self._partial[line] = whole
        return found

    def _ready(self, timeout: float) -> list[tuple[int, int]]:
        """Short waits are `select`'s: it keeps to microseconds, epoll's own wait does not."""
        if timeout < PATIENCE:
            waited = select.select([self._poll], [], [], timeout)[0]
            return self._poll.poll(0) if waited else []
        ready = self._poll.poll(PATIENCE)
        if not ready:
            raise LoadError(f"no answer in {PATIENCE:.0f} s")
        return ready

    def _replace(self, line: int) -> None:
        """The server hung up: its right on an idle connection, else the run is worthless."""
        if line not in self.idle:
            raise LoadError("the server hung up on a request")
        self.idle.remove(line)
        self._poll.unregister(line)
        self._sockets.pop(line).close()
        self.idle.append(self._connect())


def is_whole(answer: bytes) -> bool:
    """Whether an HTTP/1.1 answer has arrived to its end."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = answer[: end + 2].lower()
    start = head.find(b"\r\ncontent-length:")
    if start < 0:
        return b"\r\ntransfer-encoding:" not in head or answer.endswith(b"\r\n0\r\n\r\n")
    length = int(head[start + 17 : head.find(b"\r\n", start + 17)])
    return len(answer) >= end + 4 + length


def saturate(port: int, requests: Iterator[bytes], *, connections: int, seconds: float) -> Result:
    """Closed loop: every connection sends its next request when the last was answered."""
    result = Result()
    with Lines(port, connections) as lines:
        began, cpu = time.perf_counter(), time.process_time()
        now = began
        sent: dict[int, float] = {}
        while sent or now < began + seconds:
            while lines.idle and now < began + seconds:
                line = lines.idle.popleft()
                sent[line] = time.perf_counter()
                lines.send(line, next(requests))
            answers = lines.answered(PATIENCE)
            now = time.perf_counter()
            for line, status, _ in answers:
                result.latencies.append(now - sent.pop(line))
                result.statuses[status] = result.statuses.get(status, 0) + 1
                lines.idle.append(line)
        result.seconds = time.perf_counter() - began
        result.cpu = time.process_time() - cpu
    return result


def at_rate(
    port: int,
    requests: Iterator[bytes],
    *,
    rate: float,
    seconds: float,
    connections: int = 64,
    keep: bool = False,
) -> Result:
    """Open loop: request number n is due at n/rate, whatever became of those before it."""
    due = [number / rate for number in range(round(rate * seconds))]
    return planned(port, requests, due, connections=connections, keep=keep)


def planned(
    port: int,
    requests: Iterator[bytes],
    due: Sequence[float],
    *,
    connections: int,
    keep: bool = False,
) -> Result:
    """Send each request when it is due, in seconds from now; a latency counts from then.

    One that finds no connection free waits for one, and that wait is part of its latency. With
    ``keep`` the answers are kept, with when they came.
    """
    result = Result()
    with Lines(port, connections) as lines:
        result.began, began, cpu = time.time(), time.perf_counter(), time.process_time()
        waiting = deque(due)
        sent: dict[int, float] = {}
        while waiting or sent:
            elapsed = time.perf_counter() - began
            while waiting and waiting[0] <= elapsed and lines.idle:
                line = lines.idle.popleft()
                sent[line] = waiting.popleft()
                lines.send(line, next(requests))
                result.late.append(elapsed - sent[line])
            next_due = waiting[0] - elapsed if waiting and lines.idle else PATIENCE
            answers = lines.answered(max(0.0, next_due))
            _note(result, lines, answers, sent, time.perf_counter() - began, keep=keep)
        result.seconds = time.perf_counter() - began
        result.cpu = time.process_time() - cpu
    return result


def _note(
    result: Result,
    lines: Lines,
    answers: Sequence[Answer],
    sent: dict[int, float],
    now: float,
    *,
    keep: bool,
) -> None:
    for line, status, answer in answers:
        result.latencies.append(now - sent.pop(line))
        result.statuses[status] = result.statuses.get(status, 0) + 1
        lines.idle.append(line)
        if keep:
            result.answers.append((time.time(), answer.partition(b"\r\n\r\n")[2]))
