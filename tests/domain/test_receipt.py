import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.receipt import LONGEST, NAMES, read_receipt

TAKEN = '{"success": true, "id": "0b0c", "logId": "91ab", "payload": {"ticker": "AAPL"}}'
REFUSED = '{"success": false, "logId": 7, "messageCode": "invalid-ticker", "message": "No"}'


@pytest.mark.parametrize(
    ("excerpt", "receipt"),
    [
        (TAKEN, {"id": "0b0c", "log_id": "91ab"}),
        (REFUSED, {"log_id": "7", "message_code": "invalid-ticker", "message": "No"}),
        (' \n{"id": 12}', {"id": "12"}),
        ('{"id": "a\\u0000b\\ud800"}', {"id": "ab?"}),
        ('{"id": true, "logId": null, "message": ["x"], "messageCode": 1.5}', None),
        ("{}", None),
        ("[]", None),
        ('"id"', None),
        ("ok", None),
        ("", None),
        (None, None),
        (TAKEN[:-1], None),
        ('{"id":' * 100_000, None),
    ],
)
def test_what_an_answer_says_of_itself(excerpt: str | None, receipt: dict[str, str] | None) -> None:
    assert read_receipt(excerpt) == receipt


def test_long_words_are_cut() -> None:
    found = read_receipt(json.dumps({"message": "x" * 10_000}))
    assert found == {"message": "x" * LONGEST}


@given(st.text())
def test_no_answer_is_too_odd_to_be_read(excerpt: str) -> None:
    found = read_receipt(excerpt)
    assert found is None or set(found) <= set(NAMES.values())


@given(st.dictionaries(st.sampled_from([*NAMES, "other"]), st.text() | st.integers()))
def test_what_is_found_can_be_stored(members: dict[str, str | int]) -> None:
    for text in (read_receipt(json.dumps(members)) or {}).values():
        assert "\0" not in text
        assert len(text.encode()) <= 4 * LONGEST
