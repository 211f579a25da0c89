"""Never a wrong list: whatever happens to a page, it is refused, or read as it was."""

import random  # noqa: TID251  fixed seeds, so that a failure can be repeated
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache

import pytest

from demo.finviz import EMPTY_PAGE
from domain.universe import FetchOutcome
from engines.universe.finviz_export import read_export
from engines.universe.finviz_page import Page, read_page
from tests.engines.finviz_pages import CORPUS, LAYOUTS, page_in

SEED = 20_261_121
SHORT, LONG = 50, 1_000
"""Mutants of one kind, over all pages."""

ROW = re.compile(r"<tr[^>]*>\s*<td[^>]*><a [^>]*\bt=[^>]*>\d+</a>.*?</tr>", re.DOTALL)
TOLD = re.compile(r"(?<=<!-- TS\n).*?(?=TE -->)", re.DOTALL)
NAME = re.compile(r"\bt=([A-Z][A-Z0-9-]*)")
COUNT = re.compile(r"#?\d+ ?/ ?\d+ Total|\d+ Total|</b>\d+ #\d+")
CLASSED = re.compile(r"""\b(?:class|id|data-boxover-ticker)=["']?[\w -]+""")
SELECTOR = re.compile(r"""<select id=.pageSelect.*?</select>""", re.DOTALL)
BLOCK = re.compile(r"<!-- TS.*?TE -->", re.DOTALL)

Mutation = Callable[[str, random.Random], str]


def cut_off(page: str, chance: random.Random) -> str:
    return page[: chance.randrange(len(page))]


def hole(page: str, chance: random.Random) -> str:
    begin = chance.randrange(len(page))
    return page[:begin] + page[begin + chance.randrange(1, len(page) // 3) :]


def small_hole(page: str, chance: random.Random) -> str:
    """Of a few characters, where it matters: anywhere in the rows, or after them."""
    begin = chance.randrange(_begin_of_rows(page), len(page))
    return page[:begin] + page[begin + chance.randrange(1, 9) :]


def _begin_of_rows(page: str) -> int:
    row = ROW.search(page)
    return row.start() if row else len(page) // 4


def byte_flipped(page: str, chance: random.Random) -> str:
    raw = bytearray(page.encode())
    first = min(_begin_of_rows(page), len(raw) - 1) if chance.random() < 0.8 else 0
    for _ in range(chance.choice((1, 1, 1, 4, 16))):
        raw[chance.randrange(first, len(raw))] ^= 1 << chance.randrange(8)
    return raw.decode(errors="replace")


def on_rows(page: str, change: Callable[[list[str]], list[str]]) -> str:
    rows = ROW.findall(page)
    if len(rows) < 2:
        return page
    begin, end = page.index(rows[0]), page.rindex(rows[-1]) + len(rows[-1])
    return page[:begin] + "".join(change(rows)) + page[end:]


def shuffled(page: str, chance: random.Random) -> str:
    return on_rows(page, lambda rows: chance.sample(rows, len(rows)))


def removed(page: str, chance: random.Random) -> str:
    return on_rows(page, lambda rows: chance.sample(rows, chance.randrange(len(rows))))


def first_or_last_removed(page: str, chance: random.Random) -> str:
    return on_rows(page, lambda rows: rows[1:] if chance.random() < 0.5 else rows[:-1])


def repeated(page: str, chance: random.Random) -> str:
    return on_rows(page, lambda rows: [*rows, chance.choice(rows)])


def swapped(page: str, chance: random.Random) -> str:
    def change(rows: list[str]) -> list[str]:
        one, other = chance.sample(range(len(rows)), 2)
        rows[one], rows[other] = rows[other], rows[one]
        return rows

    return on_rows(page, change)


def two_names(page: str, chance: random.Random) -> str:
    rows = list(ROW.finditer(page))
    if not rows:
        return page
    row = chance.choice(rows)
    name = chance.choice(list(NAME.finditer(row[0])))
    begin = row.start() + name.start(1)
    return page[:begin] + chance.choice("AZ") + page[begin:]


def other_links(page: str, chance: random.Random) -> str:
    """All links of one ticker name another one: the list at the end, where it is, does not."""
    names = NAME.findall(page, _begin_of_rows(page))
    if not names or not TOLD.search(page):
        return page
    old = chance.choice(names)
    return re.sub(rf"\bt={old}(?![A-Z0-9-])", f"t={old[::-1]}Q", page)


def on_told(page: str, change: Callable[[list[str]], list[str]]) -> str:
    return TOLD.sub(lambda match: "".join(change(match[0].splitlines(keepends=True))), page)


def told_dropped(page: str, chance: random.Random) -> str:
    return on_told(page, lambda lines: [line for line in lines if chance.random() < 0.7])


def told_shuffled(page: str, chance: random.Random) -> str:
    return on_told(page, lambda lines: chance.sample(lines, len(lines)))


def told_other(page: str, chance: random.Random) -> str:
    def change(lines: list[str]) -> list[str]:
        if not lines:
            return ["ZZ|1|1\n"]
        place = chance.randrange(len(lines))
        lines[place] = chance.choice("ABZ") + lines[place]
        return lines

    return on_told(page, change)


def told_gone(page: str, chance: random.Random) -> str:
    """Without its own list, in whole or in part; and without a row or two now and then."""
    whole = BLOCK.sub("", page)
    part = re.sub(chance.choice(("<!-- TS\n", "TE -->")), "", page)
    return removed(whole, chance) if chance.random() < 0.5 else chance.choice((whole, part))


def counts_changed(page: str, chance: random.Random) -> str:
    def other(match: re.Match[str]) -> str:
        place = chance.choice([at for at, sign in enumerate(match[0]) if sign.isdigit()])
        return match[0][:place] + chance.choice("0123456789,") + match[0][place + 1 :]

    return COUNT.sub(other, page)


def class_renamed(page: str, chance: random.Random) -> str:
    """A new layout: what elements are called changes, once or everywhere."""
    name = chance.choice(CLASSED.findall(page) or [""])
    return page.replace(name, f"{name}-new", chance.choice((1, -1))) if name else page


def selector_gone(page: str, chance: random.Random) -> str:
    return removed(SELECTOR.sub("", page), chance)


def spliced(page: str, chance: random.Random) -> str:
    """The head of this page and the tail of another: an answer of two caches."""
    other = chance.choice(list(originals().values()))
    if not (TOLD.search(page) and TOLD.search(other)):
        return page
    begins = [0, *(row.start() for row in ROW.finditer(page)), chance.randrange(len(page))]
    ends = [*(row.start() for row in ROW.finditer(other)), chance.randrange(len(other))]
    return page[: chance.choice(begins)] + other[chance.choice(ends) :]


MUTATIONS: tuple[Mutation, ...] = (
    cut_off,
    hole,
    small_hole,
    byte_flipped,
    shuffled,
    removed,
    first_or_last_removed,
    repeated,
    swapped,
    two_names,
    other_links,
    told_dropped,
    told_shuffled,
    told_other,
    told_gone,
    counts_changed,
    class_renamed,
    selector_gone,
    spliced,
)
ANYTHING = {cut_off, hole, small_hole, byte_flipped, told_gone, class_renamed, counts_changed}
"""What may leave enough of a page to prove the whole list."""


@cache
def made_up() -> dict[str, str]:
    pages = {
        f"{layout}{start}{'' if told else ' untold'}{'' if selector else ' unselected'}": page_in(
            layout, start=start, told=told, selector=selector
        )
        for layout in LAYOUTS
        for start in (1, 9)
        for told in (True, False)
        for selector in (True, False)
    }
    return {name: page for name, page in pages.items() if read_page(page).complete}


@cache
def stored() -> dict[str, str]:
    return {
        path.name: path.read_text(encoding="utf-8", errors="replace")
        for path in sorted([*CORPUS.glob("*.html"), *CORPUS.glob("*.txt")])
    }


@cache
def originals() -> dict[str, str]:
    return {"empty": EMPTY_PAGE, **made_up(), **stored()}


@cache
def truth(name: str) -> Page:
    return read_page(originals()[name])


def mutants(mutation: Mutation, count: int) -> Iterator[tuple[str, str]]:
    """The name of a page and a mutant of it that is not the page itself, ``count`` of them."""
    chance = random.Random(f"{SEED} {mutation.__name__}")
    light = {name for name, page in originals().items() if len(page) < 20_000}
    while count:
        name = chance.choice(list(originals()))
        if name not in light and count % 4 and chance.random() < 0.5:
            continue
        mutant = mutation(originals()[name], chance)
        if mutant != originals()[name]:
            count -= 1
            yield name, mutant


def is_list(page: Page) -> bool:
    return page.kind.is_list and page.complete


def is_false(name: str, mutation: Mutation, mutant: Page) -> bool:
    """Whether a mutant was taken for a list that the page was not.

    A splice of two pages may be either of them: when of one of them only the head is left.
    """
    true = [truth(name)]
    if mutation is spliced:
        true = [truth(other) for other in originals()]
    lists = {(page.kind, page.tickers) for page in true if page.kind.is_list}
    return is_list(mutant) and (mutant.kind, mutant.tickers) not in lists


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_no_mutant_is_a_wrong_list(mutation: Mutation, request: pytest.FixtureRequest) -> None:
    """Over every stored page and every made-up layout; with --long, a thousand of each kind."""
    count = LONG if request.config.getoption("--long") else SHORT
    outcomes: Counter[str] = Counter()
    for name, mutant in mutants(mutation, count):
        page = read_page(mutant)
        assert not is_false(name, mutation, page), f"{name}:\n{mutant[:5_000]}"
        assert read_export(mutant).kind is not FetchOutcome.OK
        outcomes["as it was" if is_list(page) else str(page.kind)] += 1
    assert sum(outcomes.values()) == count
    print(f"mutants {mutation.__name__}: {count} {dict(outcomes)}")  # noqa: T201  figures, with -rP


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_most_mutations_are_noticed(mutation: Mutation) -> None:
    """A mutation that changed nothing would prove nothing."""
    chance = random.Random(1)
    page = page_in("D")
    changed = [mutant for _ in range(30) if (mutant := mutation(page, chance)) != page]
    assert len(changed) > 10
    kinds = {read_page(mutant).kind for mutant in changed}
    assert FetchOutcome.BROKEN in kinds
    if mutation not in {*ANYTHING, spliced}:
        assert not any(is_list(read_page(mutant)) for mutant in changed)


def test_every_kind_of_page_is_mutated() -> None:
    assert len(made_up()) > 30
    if CORPUS.exists():
        kinds = {truth(name).kind for name in stored()}
        assert kinds >= {"ok", "empty", "past_end", "throttled", "blocked", "login", "wrong_page"}
