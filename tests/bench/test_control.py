import pytest
from sqlalchemy import TextClause, text

from bench.control import without_lock
from database import journal


@pytest.mark.parametrize("statement", [journal.APPEND, journal.APPEND_ONE])
def test_the_control_appends_the_same_without_waiting_for_its_turn(statement: TextClause) -> None:
    before, after = statement.text, without_lock(statement).text
    assert "pg_advisory_xact_lock" in before
    assert "pg_advisory_xact_lock" not in after
    assert after.partition("AS mine")[2] == before.partition("AS mine")[2]


def test_it_says_when_the_journal_takes_its_turn_in_another_way() -> None:
    with pytest.raises(ValueError, match="has to be told"):
        without_lock(text("SELECT 1"))
