import pytest
from sqlalchemy import text

from bench.control import without_lock
from database import journal


def test_the_control_appends_the_same_without_waiting_for_its_turn() -> None:
    before, after = journal.APPEND.text, without_lock(journal.APPEND).text
    assert "pg_advisory_xact_lock" in before
    assert "pg_advisory_xact_lock" not in after
    assert after.partition("AS mine")[2] == before.partition("AS mine")[2]


def test_it_says_when_the_journal_takes_its_turn_in_another_way() -> None:
    with pytest.raises(ValueError, match="has to be told"):
        without_lock(text("SELECT 1"))
