"""Cursors from strangers, and frames as they go over the wire."""

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from domain.feed import LONGEST_FRAME, PING, Cursor, Why, cursor_of, frame, hello, reread, told

NUMBERS = st.integers(min_value=1, max_value=10**17)


@given(st.sets(NUMBERS, min_size=1, max_size=40))
def test_a_cursor_comes_back_as_it_went(numbers: set[int]) -> None:
    oldest, *running = sorted(numbers)
    cursor = Cursor(oldest, max(numbers) + 1, tuple(running))
    assert Cursor.read(str(cursor)) == cursor
    assert cursor_of(str(cursor)) == cursor


@pytest.mark.parametrize(
    ("text", "cursor"),
    [
        ("7:7:", Cursor(7, 7)),
        ("7:9:7", Cursor(7, 9, (7,))),
        ("7:19:8,12,18", Cursor(7, 19, (8, 12, 18))),
    ],
)
def test_what_postgresql_writes_is_read(text: str, cursor: Cursor) -> None:
    assert cursor_of(text) == cursor
    assert str(cursor) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "::", "1:2", "1:2:3:", "a:b:c", "0:0:", "0:5:", "9:7:", "7:9:9", "7:9:6"),
        *("7:9:8,7", "7:9:8,8", "7:9:,", "7:9:8,", "-1:2:", " 7:9:", "7:9:\n", "7:9: 8", "+7:9:"),
        *("7:9:8'; DROP TABLE events; --", "\u0661:\u0662:", "1e3:2e3:", "1:99999999999999999999:"),
        "5:999999999:" + ",".join(str(number) for number in range(5, 2_000)),
    ],
)
def test_what_cannot_be_a_cursor_is_none(text: str) -> None:
    assert cursor_of(text) is None


@given(st.text(max_size=60))
def test_no_text_of_a_stranger_does_any_harm(text: str) -> None:
    cursor = cursor_of(text)
    assert cursor is None or str(cursor) == text or text.strip("0123456789:,") == ""


@pytest.mark.parametrize("length", [0, 1, 50, 107, 108, 109, 65_517, 65_518, 65_519, 100_000])
def test_a_frame_is_one_of_the_standards(length: int) -> None:
    made = frame({"type": "ping", "x": "x" * length})
    payload = made.text.encode()
    assert made.wire == Frame(Opcode.TEXT, payload).serialize(mask=False)


def test_what_is_said_is_json() -> None:
    cursor, id = Cursor(7, 9, (8,)), UUID(int=1)
    at = datetime(2026, 11, 21, 15, 4, 5, tzinfo=UTC)
    assert json.loads(PING.text) == {"type": "ping"}
    assert json.loads(hello(cursor, "1.2").text) == {
        "type": "hello",
        "cursor": "7:9:8",
        "version": "1.2",
    }
    again = {"type": "reread", "cursor": "7:9:8", "why": "slow"}
    assert json.loads(reread(cursor, Why.SLOW).text) == again
    made = told(cursor, [{"id": 1, "at": at, "signal_id": id, "detail": {"über": None}}])
    assert made is not None
    event = {
        "id": 1,
        "at": "2026-11-21T15:04:05Z",
        "signal_id": str(id),
        "detail": {"über": None},
    }
    assert json.loads(made.text) == {"type": "events", "cursor": "7:9:8", "events": [event]}


def test_too_long_a_story_is_not_told() -> None:
    assert told(Cursor(1, 1), [{"detail": "x" * LONGEST_FRAME}]) is None
    assert told(Cursor(1, 1), [{"detail": "x" * (LONGEST_FRAME // 2)}]) is not None
