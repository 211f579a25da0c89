"""What the original relay exported: one row a signal, mapped to ours."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID, uuid5

from domain.exported import Found
from domain.history import Event, HistoryError, SignalHistory, checked
from domain.records import cells_of
from domain.signal import OPERATOR, WEBHOOK, Side, SignalStatus
from domain.ticker import normalise

HEADER = (
    *("timestamp", "signal_id", "ticker", "signal_type", "status", "location", "worker_id"),
    *("details", "http_code"),
)
FROM = "original relay"

_ROWS = UUID("6f0e3c1a-6d5e-5d0c-9a43-0f6f3a5d7c11")
"""The namespace of ids for rows that have none: the same row gets the same."""

_TYPES: Mapping[str, tuple[Side, str]] = {
    "buy": (Side.BUY, WEBHOOK),
    "sell": (Side.SELL, WEBHOOK),
    "manual_sell": (Side.SELL, OPERATOR),
    "manual_close": (Side.SELL, OPERATOR),
    "position_close": (Side.SELL, OPERATOR),
    "sell_all": (Side.SELL, OPERATOR),
    "manual_sell_entry": (Side.BUY, OPERATOR),
}
# Whatever it did afterwards, it had passed. What it never finished with was not sent.
_STATUSES: Mapping[str, SignalStatus] = {
    **dict.fromkeys(
        (
            *("approved", "queued_forwarding", "forwarding", "forwarded_success"),
            *("forwarded_http_error", "forwarded_generic_error", "forwarded_error"),
            "forwarded_timeout",
        ),
        SignalStatus.APPROVED,
    ),
    "rejected": SignalStatus.REJECTED,
    **dict.fromkeys(("received", "processing", "error", "discarded"), SignalStatus.EXPIRED),
}
# It told no reasons, and had one each: the list for buys, the position for sells.
_REASONS = {Side.BUY: "not_in_list", Side.SELL: "no_position"}


@dataclass(slots=True)
class OriginalReader:
    """Each row is a signal."""

    def feed(self, line: int, record: bytes) -> Iterator[Found]:
        """The signal of a row, or what is wrong with it."""
        try:
            yield line, read(record)
        except HistoryError as error:
            yield line, error

    def end(self) -> Iterator[Found]:
        """Nothing: no row waits for another."""
        return iter(())


def read(record: bytes) -> SignalHistory:
    """The signal of a row. Raises HistoryError naming what cannot be mapped."""
    row = _row(record)
    at = _time(row["timestamp"])
    side, source = _meaning(_TYPES, "signal_type", row)
    status = _meaning(_STATUSES, "status", row)
    reasons = {SignalStatus.REJECTED: _REASONS[side], SignalStatus.EXPIRED: "expired"}
    columns = checked(
        {
            "id": str(_id(row, record)),
            "source": source,
            "ticker": _ticker(row["ticker"]),
            "symbol": row["ticker"],
            "side": side.value,
            "partial": False,
            "clock_skew": False,
            "hop": 0,
            "content_type": "application/json",
            "received_at": at,
            "expires_at": at,
            "judged_at": at,
            "status": status.value,
            "reason": reasons.get(status),
            "imported_from": FROM,
        }
    )
    body = json.dumps(row, ensure_ascii=False)
    judged_at: datetime = columns["judged_at"]
    events = (
        Event(at=judged_at, event="signal.received"),
        Event(
            at=judged_at,
            event=f"signal.{status}",
            detail=json.dumps(_story(row, reasons.get(status)), ensure_ascii=False),
        ),
    )
    return SignalHistory(columns=columns, body=body.encode(), masked=False, events=events)


def _row(record: bytes) -> dict[str, str]:
    try:
        cells = cells_of(record.decode())
    except ValueError:
        raise HistoryError("is not a row of a CSV in UTF-8") from None
    if len(cells) != len(HEADER):
        raise HistoryError(f"has {len(cells)} cells instead of {len(HEADER)}")
    if "\0" in "".join(cells):
        raise HistoryError("holds NUL")
    return dict(zip(HEADER, cells, strict=True))


_Meaning = TypeVar("_Meaning")


def _meaning(meanings: Mapping[str, _Meaning], name: str, row: Mapping[str, str]) -> _Meaning:
    found = meanings.get(row[name].strip().lower())
    if found is None:
        raise HistoryError(f"{name}: is not known")
    return found


def _time(text: str) -> str:
    """Times without a zone are UTC: the original's were."""
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        raise HistoryError("timestamp: is not a time") from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).isoformat()


def _ticker(text: str) -> str:
    try:
        return normalise(text)
    except ValueError as error:
        raise HistoryError(f"ticker: {error}") from None


def _id(row: Mapping[str, str], record: bytes) -> UUID:
    try:
        return UUID(row["signal_id"].strip())
    except ValueError:
        return uuid5(_ROWS, record.hex())


def _story(row: Mapping[str, str], reason: str | None) -> dict[str, str]:
    """What the original said of it, as far as it said anything."""
    names = ("status", "signal_type", "location", "worker_id", "details", "http_code")
    said = {f"original_{name}": row[name] for name in names if row[name].strip() not in {"", "-"}}
    return ({"reason": reason} if reason else {}) | said
