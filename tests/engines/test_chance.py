"""Bytes for ids come by the page, each once."""

from collections.abc import Callable
from itertools import count

from engines.clock import A_PAGE, Chance


def numbered(asked: list[int]) -> Callable[[int], bytes]:
    numbers = count()

    def draw(size: int) -> bytes:
        asked.append(size)
        return b"".join(next(numbers).to_bytes(2) for _ in range(size // 2))

    return draw


def test_no_byte_is_given_twice() -> None:
    asked: list[int] = []
    chance = Chance(numbered(asked))
    given = [chance(10) for _ in range(1_000)]
    assert len(set(given)) == 1_000
    assert all(len(one) == 10 for one in given)
    assert asked == [A_PAGE] * 3


def test_more_than_a_page_is_asked_for_as_it_is() -> None:
    asked: list[int] = []
    chance = Chance(numbered(asked))
    assert len(chance(A_PAGE + 2)) == A_PAGE + 2
    assert len(chance(2)) == 2
    assert asked == [A_PAGE + 2, A_PAGE]
