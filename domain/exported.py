"""Signals with their events as files hold them: written, and read again without a loss."""

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias, cast

from domain.body import masked
from domain.csv_cell import plain, safe
from domain.history import (
    EVENT_FIELDS,
    FIELDS,
    Event,
    Exact,
    HistoryError,
    Record,
    SignalHistory,
    checked,
    event_of,
)
from domain.records import cells_of, row_of

Facts: TypeAlias = Mapping[str, Any]
Found: TypeAlias = tuple[int, SignalHistory | HistoryError]
"""A line, and the signal that begins there, or what is wrong with it."""

BODY = ("body", "body_base64", "body_masked")
CSV_EVENT = ("event_at", *(name for name in EVENT_FIELDS if name != "at"), "detail")
CSV_HEADER = (*FIELDS, *BODY, *CSV_EVENT)


@dataclass(frozen=True, slots=True)
class Body:
    """A body as it may leave: text, base64 where it is none, or masked where it holds secrets."""

    text: str
    base64: bool = False
    masked: bool = False

    def bytes(self) -> bytes:
        """Raises HistoryError."""
        try:
            return base64.b64decode(self.text, validate=True) if self.base64 else self.text.encode()
        except (binascii.Error, ValueError):
            raise HistoryError("body: is not base64, or not a text") from None


def open_body(body: bytes) -> Body:
    """A body without secrets."""
    try:
        text = body.decode()
        if "\0" not in text:
            return Body(text)
    except UnicodeDecodeError:
        pass
    return Body(base64.b64encode(body).decode(), base64=True)


def masked_body(body: bytes) -> Body:
    """A body with secrets: their values are masked, the whole of the rest is there.

    A mask may join with what stands behind it: masked until nothing more is, so that what was
    imported leaves as it came.
    """
    text = body.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    while (again := masked(text.encode(), limit=len(text))) != text:
        text = again
    return Body(text, masked=True)


def json_line(signal: Facts, body: Body, events: Iterable[Facts], here: Facts) -> str:
    """A signal as one line. ``here`` is what only this relay knows: for reading, not imported."""
    told = {name: _shown(signal[name]) for name in FIELDS} | _body_shown(body)
    lines = ", ".join(_event_json(event) for event in events)
    rest = json.dumps(here, ensure_ascii=False, default=_shown)
    return f'{_json(told)[:-1]}, "events": [{lines}], "here": {rest}}}\n'


def _event_json(event: Facts) -> str:
    told = {name: _shown(event[name]) for name in EVENT_FIELDS if event[name] is not None}
    return f'{_json(told)[:-1]}, "detail": {event["detail"]}}}'


def csv_header() -> str:
    return row_of(CSV_HEADER)


def csv_rows(signal: Facts, body: Body, events: Sequence[Facts]) -> str:
    """One row an event. What is the signal's stands in its first row; its id in each."""
    head = [_cell(signal[name]) for name in FIELDS]
    head += [_cell(value) for value in _body_shown(body).values()]
    told = [
        [*(_cell(event[name]) for name in EVENT_FIELDS), safe(event["detail"])] for event in events
    ]
    none = [""] * len(CSV_EVENT)
    later = [head[0], *[""] * (len(head) - 1)]
    first, *others = told or [none]
    return row_of([*head, *first]) + "".join(row_of([*later, *one]) for one in others)


def _body_shown(body: Body) -> dict[str, Any]:
    return {"body": body.text, "body_base64": body.base64, "body_masked": body.masked}


def _shown(value: object) -> Any:
    """A value of the database in JSON: times in UTC, everything that is no number as text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _cell(value: object) -> str:
    shown = _shown(value)
    if isinstance(shown, bool):
        return str(shown).lower()
    return "" if shown is None else safe(str(shown))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


# ── Reading ─────────────────────────────────────────────────────────────────────────────────


def read_json(line: bytes) -> SignalHistory:
    """The signal of a line. Raises HistoryError."""
    try:
        given = json.loads(line, parse_float=Exact)
    except (ValueError, RecursionError):
        raise HistoryError("is not JSON") from None
    if not isinstance(given, dict):
        raise HistoryError("is not a JSON object")
    record = cast("Record", given)
    events = record.get("events", [])
    if not isinstance(events, list):
        raise HistoryError("events: is not a list")
    return _history(record, [event_of(one) for one in cast("list[object]", events)])


def _history(given: Record, events: Iterable[Event]) -> SignalHistory:
    body = _body(given)
    return SignalHistory(
        columns=checked(given), body=body.bytes(), masked=body.masked, events=tuple(events)
    ).ended()


def _body(given: Record) -> Body:
    text, coded, hidden = (given.get(name) for name in BODY)
    if not isinstance(text, str | None):
        raise HistoryError("body: is not a text")
    truths: tuple[object, ...] = (True, "true")
    return Body(text or "", base64=coded in truths, masked=hidden in truths)


class JsonReader:
    """Each line is a signal."""

    def feed(self, line: int, record: bytes) -> Iterator[Found]:
        """The signal of a line, or what is wrong with it."""
        try:
            yield line, read_json(record)
        except HistoryError as error:
            yield line, error

    def end(self) -> Iterator[Found]:
        """Nothing: no line waits for another."""
        return iter(())


@dataclass(slots=True)
class CsvReader:
    """Puts the rows of our own CSV together to signals; a signal is whole when the next begins."""

    _line: int = 0
    _head: Record | None = None
    _events: list[Record] = field(default_factory=list[Record])

    def feed(self, line: int, record: bytes) -> Iterator[Found]:
        """The signals that this row ends, or what is wrong with it."""
        try:
            row = _row(record)
        except ValueError as error:
            yield line, HistoryError(str(error))
            return
        if row["status"] is not None:
            yield from self.end()
            self._line, self._head, self._events = line, row, []
        elif self._head is None or row["id"] != self._head["id"]:
            yield line, HistoryError("an event of another signal than the one above it")
            return
        if row["event"] is not None:
            self._events.append(row)

    def end(self) -> Iterator[Found]:
        """The last signal."""
        if self._head is None:
            return
        head, self._head = self._head, None
        try:
            yield self._line, _history(head, [_csv_event(row) for row in self._events])
        except HistoryError as error:
            yield self._line, error


def _row(record: bytes) -> Record:
    try:
        cells = cells_of(record.decode())
    except UnicodeDecodeError:
        raise HistoryError("is not UTF-8") from None
    if len(cells) != len(CSV_HEADER):
        raise HistoryError(f"has {len(cells)} cells instead of {len(CSV_HEADER)}")
    return {name: plain(cell) or None for name, cell in zip(CSV_HEADER, cells, strict=True)}


def _csv_event(row: Record) -> Event:
    try:
        detail = json.loads(str(row["detail"] or "{}"), parse_float=Exact)
    except (ValueError, RecursionError):
        raise HistoryError("detail: is not JSON") from None
    return event_of({**row, "at": row["event_at"], "detail": detail})
