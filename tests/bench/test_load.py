import asyncio
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import repeat
from typing import cast

import pytest

from bench.load import LoadError, is_whole, planned, saturate
from bench.sink import ANSWER as ANSWERED
from bench.sink import Sink

ANSWER = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok"
REQUEST = b"GET / HTTP/1.1\r\n\r\n"


@contextmanager
def answering(answer: Callable[[socket.socket, int], object], connections: int) -> Generator[int]:
    """A server that has request number n of a connection answered by ``answer``."""

    def serve(listening: socket.socket) -> None:
        for _ in range(connections):
            with listening.accept()[0] as one:
                numbers = iter(range(1_000_000))
                while one.recv(len(REQUEST)):
                    answer(one, next(numbers))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(30)
        thread = threading.Thread(target=serve, args=[listening])
        thread.start()
        yield listening.getsockname()[1]
        thread.join(30)


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        (ANSWER, True),
        (ANSWER[:-1], False),
        (b"HTTP/1.1 200 OK\r\nx: y\r\n", False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", True),
    ],
)
def test_an_answer_is_whole_when_its_last_byte_is_there(answer: bytes, *, whole: bool) -> None:
    assert is_whole(answer) is whole


def test_who_waits_for_a_slow_answer_has_waited() -> None:
    """All are due at once: a stall of the first is in the latency of every one behind it."""
    stalled = threading.Event()

    def answer(one: socket.socket, number: int) -> None:
        if number == 0:
            stalled.wait(0.2)
        one.sendall(ANSWER)

    with answering(answer, 1) as port:
        result = planned(port, repeat(REQUEST), [0.0] * 5, connections=1, keep=True)
    assert min(result.latencies) >= 0.2
    assert result.statuses == {"202": 5}
    assert [body for _, body in result.answers] == [b"ok"] * 5
    assert max(result.late) >= 0.2


def test_nothing_is_sent_before_it_is_due() -> None:
    with answering(lambda one, _: one.sendall(ANSWER), 1) as port:
        result = planned(port, repeat(REQUEST), [0.0, 0.1], connections=1)
    assert result.seconds >= 0.1
    assert min(result.late) >= 0


def test_answers_in_pieces_and_refusals_are_counted_apart() -> None:
    def answer(one: socket.socket, number: int) -> None:
        if number % 2:
            one.sendall(ANSWER.replace(b"202", b"503"))
        else:
            one.sendall(ANSWER[:10])
            one.sendall(ANSWER[10:])

    with answering(answer, 1) as port:
        result = planned(port, repeat(REQUEST), [0.0] * 4, connections=1)
    assert result.statuses == {"202": 2, "503": 2}
    assert result.accepted_per_second == pytest.approx(2 / result.seconds)


def test_a_server_that_hangs_up_ends_the_run() -> None:
    with (
        answering(lambda one, _: one.shutdown(socket.SHUT_RDWR), 1) as port,
        pytest.raises(LoadError, match="hung up"),
    ):
        saturate(port, repeat(REQUEST), connections=1, seconds=5)


class Wire:
    """The other end of a sink."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)


def test_a_sink_answers_each_request_once_and_notes_the_first_of_an_id() -> None:
    arrived: dict[str, float] = {}
    sink, wire = Sink(arrived), Wire()
    sink.connection_made(cast("asyncio.BaseTransport", wire))
    one = b"POST / HTTP/1.1\r\nWebhook-Id: a\r\nContent-Length: 4\r\n\r\nbody"
    stream = one + one.replace(b": a", b": b") + one
    for start in range(0, len(stream), 7):
        sink.data_received(stream[start : start + 7])
    assert wire.written == [ANSWERED] * 3
    assert list(arrived) == ["a", "b"]
    assert arrived["a"] <= arrived["b"]
