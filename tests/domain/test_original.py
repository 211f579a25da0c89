import json

import pytest

from domain.history import HistoryError, SignalHistory
from domain.original import HEADER, OriginalReader, read
from domain.records import row_of

ID = "7d4f0c9e-5a3b-4c7e-9a53-3f0d7a6b1c22"
ROW = {
    "timestamp": "2025-07-20T14:30:05.123456",
    "signal_id": ID,
    "ticker": "brk.b",
    "signal_type": "buy",
    "status": "forwarded_success",
    "location": "COMPLETED",
    "worker_id": "-",
    "details": 'said "yes", twice',
    "http_code": "",
}


def row(**given: str) -> bytes:
    values = ROW | given
    return row_of(values[name] for name in HEADER).removesuffix("\r\n").encode()


def test_a_row_becomes_a_signal_with_what_was_said_of_it() -> None:
    found = read(row())
    columns = found.columns
    assert str(found.id) == ID
    assert columns["received_at"].isoformat() == "2025-07-20T14:30:05.123456+00:00"
    assert columns["judged_at"] == columns["received_at"] == columns["expires_at"]
    assert (columns["ticker"], columns["symbol"], columns["side"]) == ("BRK-B", "brk.b", "buy")
    assert (columns["status"], columns["reason"]) == ("approved", None)
    assert (columns["source"], columns["imported_from"]) == ("webhook", "original relay")
    assert json.loads(found.body) == ROW
    assert [event.event for event in found.events] == ["signal.received", "signal.approved"]
    assert json.loads(found.events[1].detail) == {
        "original_status": "forwarded_success",
        "original_signal_type": "buy",
        "original_location": "COMPLETED",
        "original_details": 'said "yes", twice',
    }


@pytest.mark.parametrize(
    ("type", "side", "source"),
    [
        ("buy", "buy", "webhook"),
        ("SELL", "sell", "webhook"),
        ("manual_sell", "sell", "operator"),
        ("manual_close", "sell", "operator"),
        ("position_close", "sell", "operator"),
        ("sell_all", "sell", "operator"),
        ("manual_sell_entry", "buy", "operator"),
    ],
)
def test_each_type_has_its_side_and_its_source(type: str, side: str, source: str) -> None:
    columns = read(row(signal_type=type)).columns
    assert (columns["side"], columns["source"]) == (side, source)


@pytest.mark.parametrize(
    ("status", "side", "ours", "reason"),
    [
        ("rejected", "buy", "rejected", "not_in_list"),
        ("rejected", "sell", "rejected", "no_position"),
        *((s, "buy", "expired", "expired") for s in ("received", "processing", "error")),
        ("discarded", "sell", "expired", "expired"),
        *(
            (s, "sell", "approved", None)
            for s in (
                *("approved", "queued_forwarding", "forwarding", "forwarded_success"),
                *("forwarded_http_error", "forwarded_generic_error", "forwarded_error"),
                "forwarded_timeout",
            )
        ),
    ],
)
def test_each_status_has_its_own(status: str, side: str, ours: str, reason: str | None) -> None:
    found = read(row(status=status, signal_type=side))
    assert (found.columns["status"], found.columns["reason"]) == (ours, reason)
    assert found.events[1].event == f"signal.{ours}"
    assert json.loads(found.events[1].detail).get("reason") == reason


def test_a_row_without_an_id_gets_the_same_one_each_time() -> None:
    first, again = (read(row(signal_id="")).id for _ in range(2))
    assert first == again
    assert first != read(row(signal_id="", ticker="AAPL")).id


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"timestamp": "yesterday"}, "timestamp: is not a time"),
        ({"ticker": ""}, "ticker: "),
        ({"ticker": "A B"}, "ticker: "),
        ({"signal_type": "short"}, "signal_type: is not known"),
        ({"status": "lost"}, "status: is not known"),
        ({"details": "a\0b"}, "holds NUL"),
    ],
)
def test_what_cannot_be_mapped_is_named(given: dict[str, str], words: str) -> None:
    ((line, found),) = OriginalReader().feed(7, row(**given))
    assert line == 7
    assert isinstance(found, HistoryError)
    assert str(found).startswith(words)


def test_a_row_of_another_length_or_coding_is_named() -> None:
    found = [one for record in (b"a,b", b"\xff") for _, one in OriginalReader().feed(1, record)]
    assert [str(one) for one in found] == [
        "has 2 cells instead of 9",
        "is not a row of a CSV in UTF-8",
    ]


def test_a_zone_is_obeyed() -> None:
    (_, found), *_ = OriginalReader().feed(1, row(timestamp="2025-07-20 10:30:05-04:00"))
    assert isinstance(found, SignalHistory)
    assert found.columns["received_at"].isoformat() == "2025-07-20T14:30:05+00:00"
