"""CSV cells: never a formula, and nothing lost (H18)."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.csv_cell import plain, safe

STARTS = "=+-@\0\t\r\n＝＋－＠"  # noqa: RUF001 - the wide ones are meant

cells = st.text() | st.text(alphabet="'ab" + STARTS)


@pytest.mark.parametrize("start", STARTS)
def test_a_formula_begins_with_an_apostrophe(start: str) -> None:
    assert safe(f"{start}1+1") == f"'{start}1+1"


@pytest.mark.parametrize("cell", ["", "AAPL", "'tis", "1-1", "a=b", "2026-03-02T15:00:00Z"])
def test_anything_else_stays_as_it_is(cell: str) -> None:
    assert safe(cell) == cell == plain(cell)


def test_an_apostrophe_of_its_own_is_kept() -> None:
    assert plain(safe("'=1")) == "'=1"


@given(cells)
def test_nothing_is_lost(cell: str) -> None:
    assert plain(safe(cell)) == cell


@given(cells)
def test_no_cell_begins_like_a_formula(cell: str) -> None:
    assert not safe(cell).startswith(tuple(STARTS))


@given(cells, cells)
def test_two_cells_never_become_one(one: str, other: str) -> None:
    assert (safe(one) == safe(other)) == (one == other)


@given(st.lists(st.lists(cells, min_size=1, max_size=4), max_size=5))
def test_a_file_of_them_reads_back(rows: list[list[str]]) -> None:
    rows = [[cell.replace("\0", "") for cell in row] for row in rows]
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\r\n").writerows([map(safe, row) for row in rows])
    file.seek(0)
    assert [list(map(plain, row)) for row in csv.reader(file)] == rows
