"""Never a wrong list: whatever happens to a page, it is refused, or read as it was."""

import random  # noqa: TID251  fixed seeds, so that a failure can be repeated
import re
from collections.abc import Callable

import pytest

from domain.universe import FetchOutcome
from engines.universe.finviz_page import Page, read_page
from tests.engines.finviz_pages import CORPUS, LAYOUTS, page_in

ROW = re.compile(r"<tr[^>]*>\s*<td[^>]*><a [^>]*\bt=[^>]*>\d+</a>.*?</tr>", re.DOTALL)
TOLD = re.compile(r"(?<=<!-- TS\n).*?(?=TE -->)", re.DOTALL)
NAME = re.compile(r"\bt=([A-Z][A-Z0-9-]*)")

Mutation = Callable[[str, random.Random], str]


def cut_off(page: str, chance: random.Random) -> str:
    return page[: chance.randrange(len(page))]


def hole(page: str, chance: random.Random) -> str:
    begin = chance.randrange(len(page))
    return page[:begin] + page[begin + chance.randrange(1, len(page) // 3) :]


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


def two_names(page: str, chance: random.Random) -> str:
    rows = list(ROW.finditer(page))
    if not rows:
        return page
    row = chance.choice(rows)
    name = chance.choice(list(NAME.finditer(row[0])))
    begin = row.start() + name.start(1)
    return page[:begin] + chance.choice("AZ") + page[begin:]


def told_dropped(page: str, chance: random.Random) -> str:
    def fewer(match: re.Match[str]) -> str:
        lines = match[0].splitlines(keepends=True)
        return "".join(line for line in lines if chance.random() < 0.7)

    return TOLD.sub(fewer, page)


def told_shuffled(page: str, chance: random.Random) -> str:
    def other(match: re.Match[str]) -> str:
        lines = match[0].splitlines(keepends=True)
        return "".join(chance.sample(lines, len(lines)))

    return TOLD.sub(other, page)


MUTATIONS: tuple[Mutation, ...] = (
    cut_off,
    hole,
    shuffled,
    removed,
    first_or_last_removed,
    repeated,
    two_names,
    told_dropped,
    told_shuffled,
)


def originals() -> dict[str, str]:
    made_up = {
        f"{layout}{start}{'' if told else ' untold'}{'' if selector else ' unselected'}": page_in(
            layout, start=start, told=told, selector=selector
        )
        for layout in LAYOUTS
        for start in (1, 9)
        for told in (True, False)
        for selector in (True, False)
    }
    return {name: page for name, page in made_up.items() if read_page(page).complete}


def refuted(original: Page, page: str) -> bool:
    """Whether this page was taken for a list that it was not."""
    mutant = read_page(page)
    taken = mutant.kind.is_list and mutant.complete
    return taken and (mutant.kind, mutant.tickers) != (original.kind, original.tickers)


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_no_mutant_of_a_made_up_page_is_a_wrong_list(mutation: Mutation) -> None:
    chance = random.Random(20_261_121)
    pages = originals()
    assert len(pages) > 30
    for name, page in pages.items():
        original = read_page(page)
        for _ in range(8):
            mutant = mutation(page, chance)
            assert not refuted(original, mutant), f"{name}:\n{mutant}"


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_most_mutations_are_noticed(mutation: Mutation) -> None:
    """A mutation that changed nothing would prove nothing."""
    chance = random.Random(1)
    page = page_in("D")
    changed = [mutant for _ in range(20) if (mutant := mutation(page, chance)) != page]
    assert len(changed) > 10
    if mutation not in {cut_off, hole}:
        assert {read_page(mutant).kind for mutant in changed} == {FetchOutcome.BROKEN}


@pytest.mark.skipif(
    not CORPUS.exists(), reason="the corpus of stored Finviz pages is not beside the repository"
)
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_no_mutant_of_a_stored_page_is_a_wrong_list(mutation: Mutation) -> None:
    chance = random.Random(20_261_121)
    seen = 0
    for path in sorted(CORPUS.glob("*.html")):
        page = path.read_text(encoding="utf-8", errors="replace")
        original = read_page(page)
        if original.complete and len(page) < 200_000:
            seen += 1
            assert not any(refuted(original, mutation(page, chance)) for _ in range(8)), path.name
    assert seen >= 8
