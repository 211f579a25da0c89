"""Who does not take what is written is let go; who takes it is not, however little or late."""

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from launcher.deadline import Deadline
from launcher.outflow import LEAST, Outflow
from tests.launcher.test_deadline import Loop

PATIENCE = 10.0


@dataclass(slots=True)
class Reader:
    """A transport of which as much leaves as its other side takes."""

    loop: Loop = field(default_factory=Loop)
    unsent: int = 0
    is_gone: bool = False

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def abort(self) -> None:
        self.is_gone = True

    def take(self, size: int) -> None:
        self.unsent = max(0, self.unsent - size)


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def outflow(reader: Reader) -> Outflow:
    stalling = Deadline(cast("Any", reader.loop))
    return Outflow(cast("Any", reader), stalling, PATIENCE)


def write(outflow: Outflow, reader: Reader, size: int) -> None:
    reader.unsent += size
    outflow.written += size
    outflow.watch()


def after(reader: Reader, seconds: float) -> bool:
    """Whether the reader is still there."""
    reader.loop.pass_to(reader.loop.now + seconds)
    return not reader.is_gone


def test_who_takes_nothing_is_let_go(outflow: Outflow, reader: Reader) -> None:
    write(outflow, reader, 100)
    assert after(reader, PATIENCE - 1)
    assert not after(reader, 1)


@pytest.mark.parametrize("taken", [0, 100])
def test_more_that_is_written_is_no_reprieve(outflow: Outflow, reader: Reader, taken: int) -> None:
    write(outflow, reader, 10_000)
    for _ in range(9):
        assert after(reader, 1)
        reader.take(taken)
        write(outflow, reader, 50)
    assert not after(reader, 1)


def test_who_takes_what_was_there_has_as_long_for_what_is_new(
    outflow: Outflow, reader: Reader
) -> None:
    write(outflow, reader, 100)
    assert after(reader, 1)
    reader.take(100)
    assert after(reader, PATIENCE - 2)
    write(outflow, reader, 10 * LEAST)
    assert after(reader, PATIENCE - 1)
    reader.take(LEAST)
    assert after(reader, PATIENCE - 1)
    assert not after(reader, 3)


def test_a_slow_reader_has_all_of_it(outflow: Outflow, reader: Reader) -> None:
    write(outflow, reader, 20 * LEAST)
    for _ in range(20):
        assert after(reader, PATIENCE - 1)
        reader.take(LEAST)
    assert after(reader, 100)


def test_an_answer_in_pieces_lasts_as_long_as_they_are_taken(
    outflow: Outflow, reader: Reader
) -> None:
    for _ in range(50):
        write(outflow, reader, 1_000)
        assert after(reader, 0.5)
        reader.take(1_000)
    assert after(reader, 100)
