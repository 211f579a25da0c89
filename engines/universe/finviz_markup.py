"""The markup of a Finviz page: the part of it that matters, walked once."""

import re
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from urllib.parse import parse_qs, urlsplit

from bs4 import BeautifulSoup
from bs4.element import Tag

EMPTY_MARK = "js-screener-body-empty"
MARKS = ("screener-total", "count-text", EMPTY_MARK)
"""One of them stands in the first tag that matters."""

MOST_TEXT, MOST_TAGS, MOST_ROWS, DEEPEST = 1_500_000, 25_000, 3_000, 60
"""Of a page from there on; tags that close count too. The largest known: 290,000 characters, 5,800
tags, 100 rows, 14 deep. What is beyond is no list, and reading it could take minutes."""
LONGEST_TAG = 4_000

LOGIN_TARGET = re.compile("login_submit", re.IGNORECASE)
LOGIN_TAG = re.compile(r"<form\b[^<>]*\baction\s*=\s*[\"']?[^\"'<>]*\Z", re.IGNORECASE)
MOST_TARGETS = 50
QUOTE_PATH = re.compile(r"(?:^|/)(?:quote(?:\.ashx)?|stock)/?$")


class BrokenError(Exception):
    """The answer contradicts itself, or is more than any list; the message says how."""


def asks_to_log_in(text: str) -> bool:
    """Whether a page has Finviz's form to log in.

    It looks at a few places and at a bounded text before each: a page can be full of half a form.
    """
    places = islice(LOGIN_TARGET.finditer(text), MOST_TARGETS)
    before = (text[max(0, place.start() - LONGEST_TAG // 8) : place.start()] for place in places)
    return any(LOGIN_TAG.match(head, max(0, head.rfind("<"))) for head in before)


@dataclass(frozen=True, slots=True)
class Seen:
    """What one walk over a page finds; to ask the page for each of them takes twice as long."""

    counts: list[Tag] = field(default_factory=list[Tag])
    selectors: list[Tag] = field(default_factory=list[Tag])
    tables: list[Tag] = field(default_factory=list[Tag])
    links: list[Tag] = field(default_factory=list[Tag])
    empty: list[Tag] = field(default_factory=list[Tag])


@contextmanager
def walked(text: str) -> Generator[Seen]:
    """What a page holds from the first mark on, for as long as it is looked at.

    Raises BrokenError for what is far more than a list: its markup, or how deep it is nested.

    The tree is taken apart afterwards. It is full of cycles: left to the garbage collector, it
    would stop the whole process, the event loop too, for a tenth of a second now and then.
    """
    begin = _begin(text)
    soup = BeautifulSoup("" if begin is None else _bounded(text[begin:]), "lxml")
    try:
        yield _walk(soup)
    finally:
        soup.clear(decompose=True)


def _bounded(text: str) -> str:
    if len(text) > MOST_TEXT or text.count("<") > MOST_TAGS:
        raise BrokenError("the page is far larger than a list")
    return text


def _begin(text: str) -> int | None:
    """Where the first tag with one of the marks begins: what is before costs time to parse."""
    return min((at for mark in MARKS if (at := _tag_with(text, mark)) is not None), default=None)


def _tag_with(text: str, mark: str) -> int | None:
    at = text.find(mark)
    while at >= 0:
        begin = text.rfind("<", max(0, at - LONGEST_TAG), at)
        if begin >= 0 and text.find(">", begin, at) < 0:
            return begin
        at = text.find(mark, at + 1)
    return None


def _walk(soup: BeautifulSoup) -> Seen:
    seen = Seen()
    by_id = {"pageSelect": seen.selectors, EMPTY_MARK: seen.empty}
    by_name = {"table": seen.tables, "a": seen.links}
    depths: dict[int, int] = {}
    for tag in soup.find_all(name=True):
        depths[id(tag)] = depths.get(id(tag.parent), 0) + 1
        if depths[id(tag)] > DEEPEST:
            raise BrokenError("the page is nested deeper than any list")
        by_name.get(tag.name, []).append(tag)
        name = attribute(tag, "id")
        by_id.get(name, []).append(tag)
        if name == "screener-total" or "count-text" in classes(tag):
            seen.counts.append(tag)
    return seen


def header_names(table: Tag) -> set[str]:
    first = table.find("tr")
    if first is None:
        return set()
    cells = first.find_all(["td", "th"], recursive=False)
    return {cell.get_text(strip=True) for cell in cells}


def linked(links: Iterable[Tag]) -> list[str]:
    """The tickers whose quotes these links lead to, each once; most lead to the same ones."""
    addresses = dict.fromkeys(attribute(link, "href") for link in links)
    return list(dict.fromkeys(name for address in addresses for name in _quoted(address)))


def _quoted(address: str) -> list[str]:
    try:
        parts = urlsplit(address)
    except ValueError:
        return []
    return parse_qs(parts.query).get("t", []) if QUOTE_PATH.search(parts.path) else []


def attribute(tag: Tag, name: str) -> str:
    value = tag.get(name)
    return value if isinstance(value, str) else ""


def classes(tag: Tag) -> Sequence[str]:
    value = tag.get("class")
    return value.split() if isinstance(value, str) else value or ()
