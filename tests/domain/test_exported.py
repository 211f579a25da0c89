import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.body import masked
from domain.exported import (
    CSV_HEADER,
    Body,
    CsvReader,
    csv_rows,
    json_line,
    masked_body,
    open_body,
    read_json,
)
from domain.history import EVENT_FIELDS, FIELDS, HistoryError, SignalHistory
from domain.records import Records

ID = "01a1fc1f-537e-78ef-a699-c5d9b4210879"
AT = "2026-11-21T15:04:05.324866+00:00"

SIGNAL: dict[str, Any] = dict.fromkeys(FIELDS) | {
    "id": ID,
    "source": "webhook",
    "ticker": "BRK-B",
    "exchange": "NYSE",
    "symbol": "NYSE:BRK.B",
    "side": "buy",
    "partial": False,
    "clock_skew": True,
    "price": "471.20",
    "price_text": "+471.20",
    "hop": 0,
    "content_type": "application/json",
    "received_at": AT,
    "expires_at": AT,
    "status": "approved",
    "judged_at": AT,
    "rank": 3,
}
EVENTS: list[dict[str, Any]] = [
    dict.fromkeys(EVENT_FIELDS) | {"at": AT, "event": event, "actor": actor, "detail": detail}
    for event, actor, detail in (
        ("signal.received", None, "{}"),
        ("signal.approved", None, '{"rank": 3, "n": 1.50, "big": 12345678901234567890123}'),
        ("delivery.cancelled", "=cmd|' /C calc'!A0", '{"a": ["x", null, true, {"é": "\\n"}]}'),
    )
]
NASTY = st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), max_size=40
) | st.sampled_from(
    ["", "'", "''=1", "=1+1", "'=x", '"', '","', "\r\n", "\n", " x ", "-1", "@a", "\t", "\ufeff"]
)


def read_csv(text: str) -> list[SignalHistory | HistoryError]:
    records, reader = Records(quoted=True), CsvReader()
    found = [one for line in records.feed(text.encode()) for one in reader.feed(*line)]
    return [one for _, one in [*found, *reader.end()]]


def as_json(signal: dict[str, Any], body: Body, events: list[dict[str, Any]]) -> SignalHistory:
    return read_json(json_line(signal, body, events, {"seq": 1}).encode())


def as_csv(signal: dict[str, Any], body: Body, events: list[dict[str, Any]]) -> SignalHistory:
    (found,) = read_csv(csv_rows(signal, body, events))
    assert isinstance(found, SignalHistory), found
    return found


@pytest.mark.parametrize("through", [as_json, as_csv])
def test_a_signal_is_read_as_it_was_written(through: Any) -> None:
    found = through(SIGNAL, Body("{}"), EVENTS)
    assert {name: str(value) for name, value in found.columns.items() if value is not None} == {
        name: str(value).replace("T15", " 15") if name.endswith("_at") else str(value)
        for name, value in SIGNAL.items()
        if value is not None
    }
    assert found.columns["clock_skew"] is True
    assert found.columns["closes"] is None
    assert [event.event for event in found.events] == [event["event"] for event in EVENTS]
    assert [event.detail for event in found.events] == [event["detail"] for event in EVENTS]
    assert found.events[2].actor == EVENTS[2]["actor"]
    assert (found.body, found.masked) == (b"{}", False)


@pytest.mark.parametrize("through", [as_json, as_csv])
@example(body=b"", symbol="", actor="\\u0000")
@example(body=b"", symbol="", actor="\\\\u0000")
@given(body=st.binary(max_size=60) | NASTY.map(str.encode), symbol=NASTY, actor=NASTY)
def test_no_body_and_no_text_is_lost(through: Any, body: bytes, symbol: str, actor: str) -> None:
    """An empty text is as good as none, and there is none in the database."""
    events = [EVENTS[0] | {"actor": actor or None, "detail": json.dumps({"a": actor})}]
    found = through(SIGNAL | {"symbol": symbol or None}, open_body(body), events)
    assert (found.body, found.columns["symbol"]) == (body, symbol or None)
    assert found.events[0].actor == (actor or None)
    assert json.loads(found.events[0].detail) == {"a": actor}


FRAGMENTS = st.sampled_from(
    [
        *('"password": ', "key=", "'token': ", "pin:", "auth", "Bearer ", "api key", "secret"),
        *('"', "'", "{", "}", "[", "]", ",", ":", "=", "&", " ", "\\", '\\"', "\n", "%", "u0022"),
        *("abc", "x1", "null", "\u201c", "\u201d", "`", "=>", "\\u0061", ";", "\0", "é"),
    ]
)


@settings(max_examples=500)
@given(st.lists(FRAGMENTS, max_size=25).map(lambda parts: "".join(parts).encode()))
def test_masking_what_is_masked_changes_nothing(body: bytes) -> None:
    once = masked_body(body)
    assert masked_body(once.bytes()) == once


def test_a_secret_is_masked_however_far_behind_it_stands() -> None:
    body = json.dumps({"pad": "x" * 9_000, "password": "a secret", "z": 1}).encode()
    assert "a secret" not in masked_body(body).text
    assert masked_body(body).text.endswith('"z": 1}')
    assert masked(body) == masked_body(body).text[:4096]
    assert masked_body(body).masked


def test_no_cell_is_a_formula() -> None:
    row = csv_rows(SIGNAL, Body("=1+1"), EVENTS)
    assert ""","'=1+1","false","false",""" in row
    assert ""","'+471.20",""" in row
    assert "'=cmd" in row


def test_what_was_undecided_has_expired() -> None:
    signal = SIGNAL | {"status": "received", "judged_at": None}
    found = as_json(signal, Body(""), EVENTS[:1])
    assert (found.columns["status"], found.columns["reason"]) == ("expired", "expired")
    assert found.columns["judged_at"] == found.columns["expires_at"]
    assert [event.event for event in found.events] == ["signal.received", "signal.expired"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": "x"}, "id: must be a UUID"),
        ({"id": None}, "id: is missing"),
        ({"ticker": "brk.b"}, "ticker: is not spelt"),
        ({"ticker": None}, "ticker, side: are missing"),
        ({"side": "hold"}, "side: is not known"),
        ({"status": "sold"}, "status: is not known"),
        ({"status": "rejected"}, "reason: does not go"),
        ({"judged_at": None}, "judged_at: does not go"),
        ({"received_at": "2026-11-21"}, "received_at: must be a time with its zone"),
        ({"received_at": "0001-01-01T00:00:00Z"}, "received_at: must be a time with its zone"),
        ({"price": "NaN"}, "price: must be a number"),
        ({"price": "1e999999"}, "price: must be a number"),
        ({"rank": 2**40}, "rank: must be a whole number"),
        ({"hop": "x"}, "hop: must be a whole number"),
        ({"partial": "perhaps"}, "partial: must be true or false"),
        ({"source": "A B"}, "source: must be a name"),
        ({"symbol": "\0"}, "symbol: must be a text"),
        ({"waits_since": AT}, "waits_since, waits_until: go together"),
    ],
)
def test_what_cannot_have_been_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(HistoryError, match=words):
        as_json(SIGNAL | change, Body(""), [])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "is not JSON"),
        ("[" * 9_000, "is not JSON"),
        ("[]", "is not a JSON object"),
        ('{"events": 1}', "events: is not a list"),
        ('{"events": [1]}', "events: must hold objects"),
        ('{"events": [{"event": "x"}]}', "event: must be an event"),
        ('{"events": [{"event": "a.b"}]}', "events: need at and event"),
        (f'{{"events": [{{"at": "{AT}", "event": "a.b", "detail": []}}]}}', "detail: is not an"),
        (
            f'{{"events": [{{"at": "{AT}", "event": "a.b", "detail": {{"a": "\\u0000"}}}}]}}',
            "detail: holds NUL",
        ),
        (
            f'{{"events": [{{"at": "{AT}", "event": "a.b", "detail": {{"a": "\\ud800"}}}}]}}',
            "detail: is not a text",
        ),
        (
            f'{{"events": [{{"at": "{AT}", "event": "a.b", "detail": {{"a": NaN}}}}]}}',
            "detail: is not a text",
        ),
        ('{"body": 1}', "body: is not a text"),
        ('{"body": "\\ud800"}', "is missing|body: is not base64"),
        ('{"body": "%", "body_base64": true}', "is missing|body: is not base64"),
    ],
)
def test_a_line_that_is_none_is_named(line: str, words: str) -> None:
    with pytest.raises(HistoryError, match=words):
        read_json(line.encode())


def test_events_stand_right_below_their_signal() -> None:
    text = csv_rows(SIGNAL, Body("{}"), EVENTS)
    first, *later = text.split("\r\n")[:-1]
    assert len(later) == 2
    alone = read_csv("\r\n".join([later[0], first, later[1]]) + "\r\n")
    assert [str(one) for one in alone if isinstance(one, HistoryError)] == [
        "an event of another signal than the one above it"
    ]
    (history,) = [one for one in alone if isinstance(one, SignalHistory)]
    assert len(history.events) == 2


def test_a_row_of_another_length_or_coding_is_named() -> None:
    found = read_csv("a,b\r\n")
    assert [str(one) for one in found] == [f"has 2 cells instead of {len(CSV_HEADER)}"]
    reader = CsvReader()
    assert [str(one) for _, one in reader.feed(1, b"\xff")] == ["is not UTF-8"]
