"""The lines of a backup: what was written is read, and whatever was changed is found."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from domain.backup import (
    BLOCK,
    KEPT,
    LEFT_OUT,
    DamagedError,
    Header,
    NotABackupError,
    Reading,
    Table,
    Writing,
)

HEADER = Header(
    version="0.1.0",
    schema="0012",
    taken_at="2026-11-22T08:00:00+00:00",
    postgres=180_001,
    keys=("a1b2c3d4e5f6",),
    head=[7, "00ff"],
)
SIGNALS = Table("signals", ("id", "body"))
ROWS = b"1\t\\\\x00\n2\t\\\\.\n3\t\\N\n"


def a_backup(rows: bytes = ROWS, *, secrets: bool = True) -> bytes:
    writing = Writing()
    text = writing.begin(HEADER, {"ENCRYPTION_KEY": "k"} if secrets else {})
    text += writing.table(Table("gate", ("id",))) + writing.end_table("gate")
    text += writing.table(SIGNALS) + writing.rows(rows[:5]) + writing.rows(rows[5:])
    return text + writing.end_table("signals") + writing.end({"signals.seq": 3})


def lines(text: bytes) -> Iterator[bytes]:
    return iter(text.splitlines(keepends=True))


def read(text: bytes) -> Reading:
    reading = Reading(lines(text))
    reading.check()
    return reading


def test_what_was_written_is_read() -> None:
    reading = Reading(lines(a_backup()))
    assert reading.header == replace(HEADER, keys=["a1b2c3d4e5f6"])
    assert reading.secrets == {"ENCRYPTION_KEY": "k"}
    found = {table.name: b"".join(reading.rows(table)) for table in reading.tables()}
    assert found == {"gate": b"", "signals": ROWS}
    assert {name: one.rows for name, one in reading.counts.items()} == {"gate": 0, "signals": 3}
    assert reading.sequences == {"signals.seq": 3}
    assert read(a_backup(secrets=False)).secrets == {}


def test_rows_come_in_blocks_that_are_whole_rows() -> None:
    rows = b"".join(b"%d\t%s\n" % (number, b"x" * 100) for number in range(10_000))
    reading = Reading(lines(a_backup(rows)))
    for table in reading.tables():
        blocks = list(reading.rows(table))
        assert all(len(block) < BLOCK + 200 and block.endswith(b"\n") for block in blocks)
        assert b"".join(blocks) == (rows if table.name == "signals" else b"")


@pytest.mark.parametrize("number", range(len(a_backup().splitlines())))
def test_every_line_that_is_missing_twice_there_or_changed_is_found(number: int) -> None:
    whole = a_backup().splitlines(keepends=True)
    line = whole[number]
    at = len(line) // 2
    changed = line[:at] + bytes([line[at] ^ 1]) + line[at + 1 :]
    for instead in ([], [line, line], [changed]):
        with pytest.raises((DamagedError, NotABackupError)):
            read(b"".join([*whole[:number], *instead, *whole[number + 1 :]]))


def test_wherever_it_is_cut_off_that_is_found() -> None:
    whole = a_backup()
    for end in range(len(whole)):
        with pytest.raises((DamagedError, NotABackupError)):
            read(whole[:end])
    with pytest.raises(DamagedError, match="more after its end"):
        read(whole + b"\n")


def test_rows_in_another_order_are_found() -> None:
    one, two, three = ROWS.splitlines(keepends=True)
    with pytest.raises(DamagedError, match="rows of signals"):
        read(a_backup().replace(ROWS, two + one + three))


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"\n", b"[]\n", b"nothing\n", b'{"trail":1}\n', b'{"backup":2}\n'),
        *(b'{"backup":1}\n', b'{"backup":1,"version":"1"}\n', b"{" * 5_000 + b"\n"),
    ],
)
def test_what_is_no_backup_is_told_as_such(text: bytes) -> None:
    with pytest.raises(NotABackupError):
        Reading(lines(text))


def test_a_table_that_cannot_be_is_refused() -> None:
    head = Writing().begin(HEADER, {})
    for told in (b'{"table":1,"columns":[]}\n', b'{"table":"gate","columns":[1]}\n', b'{"a":1}\n'):
        with pytest.raises(DamagedError):
            read(head + told)


def test_no_table_is_both_kept_and_left_out() -> None:
    assert len({*KEPT, *LEFT_OUT}) == len(KEPT) + len(LEFT_OUT)
