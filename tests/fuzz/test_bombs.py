"""H19: bodies made to cost much cost no more than others, and are refused."""

import json
import time
import tracemalloc

import pytest

from domain.alert import Invalid, read
from domain.body import masked
from domain.parsed import MOST_BYTES
from tests.fuzz.alerts import MOST_SECONDS, OWN, TARGET, TYPES

SLOW = 5 * MOST_SECONDS
MOST_MEMORY = 8_000_000
"""Bytes at the worst moment: of a body of 64 KiB nothing stays."""


def full(begin: str, unit: str, end: str = "") -> bytes:
    """As large as a body may be."""
    room = MOST_BYTES - len(begin.encode()) - len(end.encode())
    return (begin + unit * (room // len(unit.encode())) + end).encode()


def numbered(form: str, begin: str = "{", end: str = '"z":0}') -> bytes:
    """Full of members of which every one is another."""
    pieces: list[str] = []
    room = MOST_BYTES - len(begin) - len(end)
    number = 0
    while (room := room - len(piece := form % number)) >= 0:
        pieces.append(piece)
        number += 1
    return (begin + "".join(pieces) + end).encode()


FLOODS = {
    **{
        f"{unit!r} {where}": full(begin, unit, end)
        for where, begin, end in (
            ("alone", "", ""),
            ("in a text", '{"ticker":"', '"}'),
            ("in an object", '{"a":1,', "}"),
            ("in an array", '{"a":[', "]}"),
        )
        for unit in (
            *('"', "\\", "\\\\", "\\u0041", "\\ud83d\\ude00", "\\ud800", "{", "[", "]", "}", ":"),
            *('{"a":', '[{"a":', '"a":1,', '"a":{},', "[],", "0,", "1e9,", "-", "9", "1e", ".1"),
            *(
                "null,",
                "true,",
                '"",',
                " ",
                "\t",
                "\n",
                "\ufeff",
                "é",
                "\U0001f4a3",
                "%22",
                "=",
                "&",
            ),
            *(
                "token=",
                'token:"',
                '"token":"',
                "secret ",
                '\\"secret\\":',
                "{{x}}",
                "buy ",
                "“",
                "pin: ",
            ),
        )
    },
    "a number of many digits": b'{"price":' + b"9" * 65_000 + b"}",
    "an exponent of many digits": b'{"price":1e' + b"9" * 65_000 + b"}",
    "a fraction of many digits": b'{"price":0.' + b"0" * 65_000 + b"1}",
    "numbers too large": full("[", "1e999,", "0]"),
    "other keys": numbered('"k%d":0,'),
    "keys of digits": numbered('"%d":0,'),
    "keys that would collide, were they numbers": numbered('"%d2305843009213693951":0,'),
    "keys alike but for case": numbered('"TICKER%d":"A",'),
    "a key many times": full("{", '"ticker":"A",', '"ticker":"B"}'),
    "a form of other fields": numbered("f%d=1&", "", "z=1"),
    "a form of the same field": full("", "ticker=A&", "ticker=B"),
    "a form of percents": full("ticker=", "%41"),
    "messages in messages": json.dumps({"message": json.dumps({"message": "{" * 9_000})}).encode(),
    "a wide and deep one": full('{"a":', "[[[[]]]],").replace(b",", b"", 1),
    "our token many times": full("{", f'"token":"{OWN}",', '"a":1}'),
    "orders filled": full("", "order buy @ 1 filled on A ", ""),
    "blanks before a brace": full("", " ", "{"),
    "one byte too many": b" " * (MOST_BYTES + 1),
    "ten times too many": b"{" * (10 * MOST_BYTES),
}

WIDE = ("other keys", "'[],' in an array", "'0,' in an array", "'{' alone")


def cpu(data: bytes) -> float:
    """The better of three: what is measured is the body, not who else is at work."""
    took: list[float] = []  # what else is here is frozen, as in the server: it is not gone over
    while len(took) < 3 and not (took and took[0] < MOST_SECONDS / 2):
        began = time.thread_time()
        TARGET.read(data)
        took.append(time.thread_time() - began)
    return min(took)


@pytest.mark.parametrize("kind", [0, 3], ids=["JSON", "form"])
def test_a_bomb_is_refused_in_no_time(kind: int) -> None:
    """At most 50 ms each: read, cut, sealed, masked; a slow machine gets more here."""
    assert len(FLOODS) >= 60
    slow = {
        name: took for name, body in FLOODS.items() if (took := cpu(bytes([kind]) + body)) > SLOW
    }
    assert not slow
    readings = {name: read(body, TYPES[kind]) for name, body in FLOODS.items()}
    assert {name for name, one in readings.items() if not isinstance(one, Invalid)} == set()


@pytest.mark.parametrize("name", WIDE)
def test_a_bomb_takes_little_memory(name: str) -> None:
    body = FLOODS[name]
    tracemalloc.start()
    read(body)
    masked(body)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < MOST_MEMORY


def test_one_name_may_not_stand_ten_thousand_times() -> None:
    """Each time counts: to go over them all when it is forwarded took longer than all the rest."""
    often = full('{"ticker":"A","action":"buy",', '"a":1,', '"b":1}')
    for body in (
        often,
        b'{"ticker":"A","action":"buy","message":' + b'{"a":1' + b',"a":1' * 201 + b"}}",
    ):
        reading = read(body)
        assert isinstance(reading, Invalid)
        assert reading.code == "too_many_keys"
