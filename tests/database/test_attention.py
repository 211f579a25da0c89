"""The tables of attention: of one mind with the enums and the index, and shut to half truths."""

import re
from enum import StrEnum

import pytest
from sqlalchemy.exc import IntegrityError

from domain.attention import Severity
from domain.channel import ChannelKind
from tests.database.rows import Rows

ENUMS: dict[tuple[str, str], type[StrEnum]] = {
    ("attention", "severity"): Severity,
    ("notices", "severity"): Severity,
    ("channels", "severity"): Severity,
    ("channels", "kind"): ChannelKind,
}
ITEM = (
    "INSERT INTO attention (cause, key, severity, text, first_at, last_at)"
    " VALUES ('held', 'k', 'info', 'x', now(), now())"
)


@pytest.mark.parametrize(("table", "column"), ENUMS)
async def test_an_enum_and_its_column_know_the_same_words(
    rows: Rows, table: str, column: str
) -> None:
    (check,) = await rows.sql(
        "SELECT pg_get_constraintdef(pg_constraint.oid) FROM pg_constraint"
        " JOIN pg_attribute ON attrelid = conrelid AND attnum = conkey[1]"
        " WHERE contype = 'c' AND conrelid = CAST(:table AS regclass) AND attname = :column",
        table=table,
        column=column,
    )
    assert set(re.findall(r"'(\w+)'", check)) == set(ENUMS[table, column])


async def test_one_item_of_a_cause_and_key_is_open(rows: Rows) -> None:
    await rows.sql(ITEM)
    with pytest.raises(IntegrityError):
        await rows.sql(ITEM)
    await rows.sql("UPDATE attention SET resolved_at = now()")
    await rows.sql(ITEM)


async def test_the_mark_begins_behind_what_there_was(rows: Rows) -> None:
    """An upgraded relay does not raise the alarm over years of history."""
    (mark,) = await rows.sql("SELECT count(*) FROM watchman WHERE signal_seq = 0 AND event_id = 0")
    assert mark == 1
