from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.retry_after import retry_after

NOW = datetime(2030, 1, 2, 15, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0),
        ("17", 17),
        (" 17 ", 17),
        ("999999999", 999_999_999),
        ("9999999999", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("Wed, 02 Jan 2030 15:05:05 GMT", 60),
        ("Wed, 02 Jan 2030 15:05:05 -0000", 60),
        ("Wednesday, 02-Jan-30 15:05:05 GMT", 60),
        ("Wed Jan  2 15:05:05 2030", 60),
        ("Wed, 02 Jan 2030 16:05:05 +0100", 60),
        ("Wed, 02 Jan 2030 15:00:00 GMT", 0),
        ("Wed, 32 Jan 2030 15:00:00 GMT", None),
        ("Wed, 02 Jan 99999999999 15:00:00 GMT", None),
        ("Wed, 02 Jan 2030 15:00:00 +9999999999", None),
        (" ", None),
        (",", None),
        (" 120 ", 120),
        ("99999999999999", None),
        ("Wed, 99 Jan 2030 15:05:05 GMT", None),
    ],
)
def test_a_wish_to_wait_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    wish = None if seconds is None else timedelta(seconds=seconds)
    assert retry_after(value, NOW) == wish


@given(st.text())
def test_whatever_is_said_it_is_no_wish_or_one_for_later(value: str) -> None:
    wish = retry_after(value, NOW)
    assert wish is None or wish >= timedelta(0)
