import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.records import MOST_BYTES, RecordError, Records, cells_of, row_of

CELLS = st.lists(st.text(st.characters(codec="utf-8"), max_size=12), min_size=2, max_size=5)


def cut(content: bytes, *, quoted: bool, size: int = 3) -> list[tuple[int, bytes]]:
    records = Records(quoted=quoted)
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    found = [one for piece in pieces for one in records.feed(piece)]
    return [*found, *records.end()]


@given(CELLS)
def test_a_row_is_read_as_it_was_written(cells: list[str]) -> None:
    assert cells_of(row_of(cells).removesuffix("\r\n")) == cells


@given(st.lists(CELLS, max_size=5), st.integers(1, 50))
def test_rows_come_whole_however_the_file_is_cut(rows: list[list[str]], size: int) -> None:
    content = "".join(row_of(row) for row in rows).encode()
    found = cut(content, quoted=True, size=size)
    assert [cells_of(record.decode()) for _, record in found] == rows


def test_lines_have_their_numbers_and_blank_ones_are_none() -> None:
    content = b'\xef\xbb\xbfone\r\n\r\n"two\nlines",x\nlast'
    assert cut(content, quoted=True) == [(1, b"one"), (3, b'"two\nlines",x'), (5, b"last")]
    assert cut(b'a"b\nc', quoted=False) == [(1, b'a"b'), (2, b"c")]


@pytest.mark.parametrize("row", ['"a"b,c', 'a"b', '"a', 'a,"b" ,c'])
def test_what_is_no_row_is_refused(row: str) -> None:
    with pytest.raises(ValueError, match="not a row"):
        cells_of(row)


def test_a_quote_that_is_never_closed_ends_the_reading() -> None:
    with pytest.raises(RecordError, match="line 2: a quote is not closed"):
        cut(b'a\n"b\nc\n', quoted=True)
    with pytest.raises(RecordError, match="line 1: longer than"):
        cut(b"x" * (MOST_BYTES + 1), quoted=False, size=1 << 20)
