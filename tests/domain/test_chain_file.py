"""H27: an export says of itself whether it is whole; no byte of it can be changed unnoticed."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.chain import Broken, Examination
from domain.chain_file import NotATrailError, Reading
from tests.domain.chains import NOON, OLD, a_chain, a_file

CHAIN = a_chain((1, 2, 3), (5, 8), (9,), (12, 13, 14, 20))
FORGOTTEN = [
    replace(CHAIN[0], events=CHAIN[0].events[2:], forgotten={1: NOON + OLD, 2: NOON + OLD})
]
FILE = a_file([*FORGOTTEN, *CHAIN[1:]], 21, 23)


def read(content: bytes) -> tuple[Broken | None, Examination]:
    examination = Examination()
    return Reading(examination).whole(iter(content.splitlines(keepends=True))), examination


def words(content: bytes) -> str:
    broken, _ = read(content)
    return broken.words if broken else "whole"


def test_what_was_written_is_read_again() -> None:
    broken, found = read(FILE)
    assert broken is None
    assert (found.links, found.events, found.forgotten, found.waiting) == (4, 8, 2, 2)
    assert found.head == CHAIN[-1].link.hash.hex()
    assert words(a_file([])) == words(a_file([], 1, 2)) == "whole"


@pytest.mark.parametrize("content", [b"", b"\n", b"{}", b'{"trail":2}\n', b'{"trail":', b"PK\3\4"])
def test_what_is_no_export_is_not_read(content: bytes) -> None:
    with pytest.raises(NotATrailError):
        read(content)


@pytest.mark.parametrize(
    ("was", "becomes", "told"),
    [
        (
            rb'("id": 8, .*?"event": )"signal.received"',
            rb'\1"delivery.dead"',
            "event 8 of .* was ch",
        ),
        (rb'\{"at": ("[^"]*", "id": 8,)', rb'["at": \1', "event 8 of .* was changed"),
        (rb'\{"at": "[^"]*", "id": 8,.*\n', b"", "event 8 of .* is missing"),
        (rb'("id": )8,', rb"\g<1>7,", r"event 7 \(.*\) was added later"),
        (rb'(\{"at": "[^"]*", "id": 8,.*\n)', rb"\1\1", r"event 8 \(.*\) was added later"),
        (rb'\{"link":2,.*\n', b"", r"event 5 \(.*\) was added later"),
        (rb'("link":2,"day":"2026-11-2).', rb"\g<1>9", "link 2 was changed"),
        (rb'("link":2,.*"entries":")..', rb"\1//", "link 2 was changed"),
        (rb'("link":2,.*"entries":")..', rb"\1~~", "link 2 was changed"),
        (rb'"link":2,', b'"l1nk":2,', "line 5 of the file was changed: it cannot be read"),
        (rb'("link":2,.*"hash":")..', rb"\1xy", "line 5 of the file was changed"),
        (rb'\{"forgotten":.*\n', b"", "event 1 of .* is missing"),
        (rb'"forgotten":\[\[1,', b'"forgotten":[[4,', "event 1 of .* is missing"),
        (rb'\{"waiting":true\}\n', b"", r"event 21 \(.*\) was added later"),
        (rb'("id": )21,', rb"\g<1>19,", "line 16 of the file was changed: it stands where"),
        (rb'("id": )21,', rb"\g<1>22,", "the file was changed: its sum is another"),
        (rb'\{"end":.*\n', b"", "the file is cut off: its end is missing"),
        (rb'"end":\{"links":4', b'"end":{"links":5', "the file was changed: its sum is another"),
        (rb"\Z", b'{"link":5}\n', "line 19 of the file was changed: there is more after its end"),
        (rb"\n", b"\r\n", "event 3 of .* was changed"),
    ],
)
def test_what_was_done_to_a_file_is_named(was: bytes, becomes: bytes, told: str) -> None:
    content = re.sub(was, becomes, FILE)
    assert content != FILE
    assert re.match(told, words(content)), words(content)


@given(st.data())
def test_no_byte_can_be_changed(data: st.DataObject) -> None:
    content = bytearray(FILE)
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        assert words(bytes(content)) != "whole"
    except NotATrailError:
        assert content.splitlines()[0] != FILE.splitlines()[0]


@given(st.integers(0, len(FILE) - 1))
def test_no_end_can_be_cut_off(length: int) -> None:
    try:
        assert words(FILE[:length]) != "whole"
    except NotATrailError:
        assert length < FILE.index(b"\n")


@given(st.data())
def test_no_line_can_be_taken_out_or_doubled(data: st.DataObject) -> None:
    lines = FILE.splitlines(keepends=True)
    place = data.draw(st.integers(1, len(lines) - 1))
    lines[place : place + 1] = [lines[place]] * data.draw(st.sampled_from((0, 2)))
    assert words(b"".join(lines)) != "whole"
