from datetime import UTC, datetime, timedelta

from domain.spell import Point, Spell, spells

SINCE = datetime(2025, 1, 6, 15, tzinfo=UTC)
UNTIL = SINCE + timedelta(seconds=100)


def at(second: float) -> datetime:
    return SINCE + timedelta(seconds=second)


def found(*steps: tuple[float, bool]) -> list[Spell]:
    points = [Point(at=at(second), version=1, rank=1, is_in=is_in) for second, is_in in steps]
    return spells(points, since=SINCE, until=UNTIL)


def a_spell(entered: float | None, dropped: float | None, lasted: float) -> Spell:
    return Spell(
        entered_at=None if entered is None else at(entered),
        dropped_at=None if dropped is None else at(dropped),
        lasted=timedelta(seconds=lasted),
    )


def test_who_was_never_in_has_none() -> None:
    assert found() == found((0, False)) == found((0, False), (7, False)) == []


def test_a_spell_lasts_from_entering_to_dropping_out() -> None:
    assert found((0, False), (10, True), (15, True), (58, False), (60, True), (61, False)) == [
        a_spell(10, 58, 48),
        a_spell(60, 61, 1),
    ]


def test_who_was_in_at_the_beginning_entered_outside_the_period() -> None:
    assert found((0, True), (20, False)) == [a_spell(None, 20, 20)]


def test_who_is_in_at_the_end_did_not_drop_out_in_it() -> None:
    assert found((0, False), (70, True)) == [a_spell(70, None, 30)]
    assert found((0, True)) == [a_spell(None, None, 100)]
