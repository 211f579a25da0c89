"""A backup as lines: what is in it, and how it is read; nothing of it is believed unchecked."""

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any

FORMAT = 1
OUT_OF_ROWS = b"\\.\n"
"""The line after the last row of a table; COPY's text format has no row like it."""

BLOCK = 262_144

KEPT = (
    *("screens", "screen_versions", "universes", "fetches", "watches", "lookout"),
    *("gate", "gate_versions", "sources", "tokens"),
    *("destinations", "destination_versions", "pending_addresses"),
    *("batches", "signals", "dedupe_keys", "deliveries", "attempts", "positions", "sell_list"),
    *("channels", "attention", "notices", "watchman", "hearings"),
    *("answers", "jobs", "saved_filters"),
    *("events", "links", "forgotten", "retention", "tallies", "tallied"),
)
"""Tables in an order in which each comes after those it refers to."""

LEFT_OUT = ("sessions", "wrong_tokens", "chronicle")
"""Who was signed in signs in again; wrong tokens are counted by the minute; how far one relay's log
was written says nothing of another's."""


class NotABackupError(Exception):
    """The file is none of ours, or of a format that this version does not know."""


class DamagedError(Exception):
    """It is ours, and not as it was written; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a backup is of. ``keys`` are the fingerprints of the keys that its values open with.

    ``head`` is the number and hash of the last link of the audit chain.
    """

    version: str
    schema: str
    taken_at: str
    postgres: int
    keys: Sequence[str] = ()
    head: Sequence[Any] | None = None


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    columns: Sequence[str]


@dataclass(frozen=True, slots=True)
class Rows:
    """How many rows a table has, and the digest of their lines."""

    rows: int
    sha256: str


@dataclass(slots=True)
class Writing:
    """Makes the lines; the last one has a digest of all others but rows, which have their own."""

    counts: dict[str, Rows] = field(default_factory=dict[str, Rows])
    _sum: Any = field(default_factory=sha256)
    _rows: int = 0
    _rows_sum: Any = field(default_factory=sha256)

    def begin(self, header: Header, secrets: Mapping[str, str]) -> bytes:
        first = self._line({"backup": FORMAT, **asdict(header)})
        return first + (self._line({"secrets": dict(secrets)}) if secrets else b"")

    def table(self, one: Table) -> bytes:
        self._rows, self._rows_sum = 0, sha256()
        return self._line({"table": one.name, "columns": list(one.columns)})

    def rows(self, lines: bytes) -> bytes:
        """Whole rows of the table begun last, as COPY writes them: each is one line."""
        self._rows += lines.count(b"\n")
        self._rows_sum.update(lines)
        return lines

    def end_table(self, name: str) -> bytes:
        told = Rows(self._rows, self._rows_sum.hexdigest())
        self.counts[name] = told
        return OUT_OF_ROWS + self._line(asdict(told))

    def end(self, sequences: Mapping[str, int]) -> bytes:
        last = self._line({"sequences": dict(sequences)})
        told = {"tables": len(self.counts), "sha256": self._sum.hexdigest()}
        return last + self._line({"end": told})

    def _line(self, told: Mapping[str, object]) -> bytes:
        line = json.dumps(told, separators=(",", ":")).encode() + b"\n"
        self._sum.update(line)
        return line


class Reading:
    """Reads the lines, and checks each part when it is over. Raises NotABackupError.

    What it raises later is DamagedError.
    """

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines, self._sum = lines, sha256()
        self.counts: dict[str, Rows] = {}
        self.sequences: Mapping[str, int] = {}
        self.secrets: Mapping[str, str] = {}
        self.header = self._begin()
        self._told = self._next()
        if "secrets" in self._told:
            self.secrets, self._told = _strings(self._told["secrets"]), self._next()

    def tables(self) -> Iterator[Table]:
        """Each table; its `rows` are to be read before the next."""
        while "table" in self._told:
            columns: Any = self._told.get("columns")
            name: Any = self._told["table"]
            if not isinstance(name, str) or not _are_names(columns) or name in self.counts:
                raise DamagedError("it cannot be read")
            yield Table(name, columns)
            if name not in self.counts:
                raise AssertionError("the rows of a table were not read")
            self._told = self._next()
        self._finish()

    def rows(self, table: Table) -> Iterator[bytes]:
        """The rows of the table just told, some at once; at their end they are checked."""
        found, digest = 0, sha256()
        for block, rows in self._blocks():
            digest.update(block)
            found += rows
            yield block
        counted = Rows(found, digest.hexdigest())
        if self._next() != asdict(counted):
            raise DamagedError(f"its rows of {table.name} are not those that were written")
        self.counts[table.name] = counted

    def check(self) -> None:
        """Read everything there is, for nothing but to see that it is whole."""
        for table in self.tables():
            for _ in self.rows(table):
                pass

    def _blocks(self) -> Generator[tuple[bytes, int]]:
        block: list[bytes] = []
        size = 0
        for line in self._lines:
            if line == OUT_OF_ROWS:
                break
            block.append(line)
            size += len(line)
            if size >= BLOCK:
                yield b"".join(block), len(block)
                block, size = [], 0
        else:
            raise DamagedError("it is cut off")
        if block:
            yield b"".join(block), len(block)

    def _begin(self) -> Header:
        try:
            first = self._next()
        except DamagedError:
            raise NotABackupError from None
        if first.pop("backup", None) != FORMAT:
            raise NotABackupError
        try:
            return Header(**first)
        except TypeError:
            raise NotABackupError from None

    def _finish(self) -> None:
        numbers: Any = self._told.get("sequences")
        if not isinstance(numbers, dict):
            raise DamagedError("it cannot be read")
        self.sequences = numbers
        expected = {"end": {"tables": len(self.counts), "sha256": self._sum.hexdigest()}}
        if self._next() != expected:
            raise DamagedError("it is not as it was written")
        if next(self._lines, None) is not None:
            raise DamagedError("there is more after its end")

    def _next(self) -> dict[str, Any]:
        line = next(self._lines, b"")
        if not line.endswith(b"\n"):
            raise DamagedError("it is cut off")
        self._sum.update(line)
        try:
            told = json.loads(line)
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict):
            raise DamagedError("it cannot be read")
        return told  # pyright: ignore[reportUnknownVariableType]  JSON


def _are_names(columns: object) -> bool:
    return isinstance(columns, list) and all(isinstance(one, str) for one in columns)  # pyright: ignore[reportUnknownVariableType]  JSON


def _strings(told: object) -> dict[str, str]:
    """Names and values of settings; anything else is none of ours."""
    if not isinstance(told, dict):
        raise DamagedError("it cannot be read")
    return {str(name): str(value) for name, value in told.items()}  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]  JSON
