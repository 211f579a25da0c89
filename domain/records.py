"""Records of a text that comes in pieces: lines, or rows of a CSV (RFC 4180), in flat memory."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

MOST_BYTES = 16 * 1024 * 1024
"""Of one record. A signal's body has 64 KiB; its events are what may be many."""

_CELL = re.compile(r'"((?:[^"]|"")*+)"(?=,|\Z)|([^",]*+)(?=,|\Z)')
_BOM = b"\xef\xbb\xbf"


class RecordError(ValueError):
    """The text cannot be cut into records from here on."""


@dataclass(slots=True)
class Records:
    """Cuts what it is fed into records: at line feeds; with ``quoted`` only outside of quotes."""

    quoted: bool
    _line: int = 0
    _first: int = 1
    _rest: bytes = b""
    _record: list[bytes] = field(default_factory=list[bytes])
    _size: int = 0
    _open: bool = False

    def feed(self, piece: bytes) -> Iterator[tuple[int, bytes]]:
        """The records that this piece ends, each with the number of its first line.

        Raises RecordError.
        """
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            yield from self._add(line)
        if self._size + len(self._rest) > MOST_BYTES:
            raise RecordError(self._too_long())

    def end(self) -> Iterator[tuple[int, bytes]]:
        """What stands behind the last line feed. Raises RecordError."""
        if self._rest:
            rest, self._rest = self._rest, b""
            yield from self._add(rest)
        if self._record:
            raise RecordError(f"line {self._first}: a quote is not closed")

    def _add(self, line: bytes) -> Iterator[tuple[int, bytes]]:
        self._line += 1
        if not self._record:
            self._first = self._line
        self._record.append(line)
        self._size += len(line) + 1
        if self._size > MOST_BYTES:
            raise RecordError(self._too_long())
        self._open ^= self.quoted and line.count(b'"') % 2 == 1
        if self._open:
            return
        record = b"\n".join(self._record).removesuffix(b"\r")
        self._record, self._size = [], 0
        if self._line == 1:
            record = record.removeprefix(_BOM)
        if record.strip():
            yield self._first, record

    def _too_long(self) -> str:
        return f"line {self._first}: longer than {MOST_BYTES} bytes, or a quote is not closed"


def cells_of(record: str) -> list[str]:
    """The cells of a row. Raises ValueError."""
    cells: list[str] = []
    at = 0
    while cell := _CELL.match(record, at):
        quoted, bare = cell.groups()
        cells.append(bare if quoted is None else quoted.replace('""', '"'))
        at = cell.end() + 1
        if cell.end() == len(record):
            return cells
    raise ValueError("not a row of a CSV")


def row_of(cells: Iterable[str]) -> str:
    """A row, as `cells_of` reads it. What is not empty is quoted: nothing in it parts cells."""
    return ",".join(_quoted(cell) for cell in cells) + "\r\n"


def _quoted(cell: str) -> str:
    doubled = cell.replace('"', '""')
    return f'"{doubled}"' if cell else ""
