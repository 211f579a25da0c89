"""Asks Finviz for one answer of each kind, to see whether each is read as this version knows it."""

import asyncio
import re
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass, field, replace
from urllib.parse import quote

from domain.screen import ScreenUrl, export_url, page_url, parse_screen_url
from domain.universe import FetchOutcome
from engines.universe.finviz_export import read_export
from engines.universe.finviz_http import FetchError, Reply, Visitor, hushed
from engines.universe.finviz_page import Page, read_page

NAMES = ("results", "second_page", "past_end", "empty", "ticker_view", "export")
LIST = frozenset({FetchOutcome.OK, FetchOutcome.EMPTY})
FINAL = frozenset({FetchOutcome.THROTTLED, FetchOutcome.BLOCKED, FetchOutcome.UNREACHABLE})
"""After such an answer it would be rude, or useless, to go on asking."""

NOTHING = parse_screen_url("https://finviz.com/screener.ashx?v=111&f=cap_mega,sh_price_u1")
"""The greatest companies below one dollar. Of two filters with one key Finviz drops one."""

USUAL_STEP = 20
MANY, FAR = 100_000, 1_001


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked, and what the answer is if Finviz is as we know it.

    ``url`` is without the export token; ``start`` is the first row expected, where rows are.
    """

    name: str
    url: str
    expected: frozenset[FetchOutcome]
    start: int = 1
    export: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A question and its answer. ``reply`` is None when there was none worth reading."""

    question: Question
    page: Page
    reply: Reply | None = field(default=None, repr=False)

    @property
    def as_expected(self) -> bool:
        page = self.page
        if page.kind not in self.question.expected:
            return False
        of_rows = page.complete and page.start == self.question.start
        return of_rows or page.kind is not FetchOutcome.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Looks with the visitor and the readers that the relay's own looks use.

    Pages are asked of ``pages``, an export of ``exports``, with ``token``: each is scheme and host.
    """

    visitor: Visitor
    pages: str
    exports: str
    token: str | None = field(default=None, repr=False)

    async def samples(self, url: ScreenUrl) -> AsyncGenerator[Sample]:
        """Ask for the screen at ``url`` and what follows from it; end early when turned away."""
        sample = await self._ask(self._question("results", url, LIST))
        yield sample
        for question in self._further(url, sample.page):
            if sample.page.kind in FINAL:
                return
            sample = await self._ask(question)
            yield sample

    def _further(self, url: ScreenUrl, first: Page) -> Generator[Question]:
        """A screen that fits on one page has no second one."""
        total = first.total
        second = (first.step or len(first.rows) or USUAL_STEP) + 1
        if total is None or total >= second:
            yield self._question("second_page", url, frozenset({FetchOutcome.OK}), second)
        beyond = frozenset({FetchOutcome.EMPTY if total == 0 else FetchOutcome.PAST_END})
        yield self._question("past_end", url, beyond, (total or MANY) + FAR)
        yield self._question("empty", NOTHING, frozenset({FetchOutcome.EMPTY}))
        yield self._question("ticker_view", _tickers_of(url), LIST)
        if self.token:
            export = export_url(url, self.exports)
            yield Question(name="export", url=export, expected=LIST, export=True)

    def _question(
        self, name: str, url: ScreenUrl, expected: frozenset[FetchOutcome], start: int = 1
    ) -> Question:
        asked = page_url(url, self.pages, start)
        return Question(name=name, url=asked, expected=expected, start=start)

    async def _ask(self, question: Question) -> Sample:
        try:
            reply = await self.visitor.get(self._address(question))
        except FetchError as error:
            page = Page(kind=error.outcome, why=error.detail)
            return Sample(question=question, page=page)
        read = read_export if question.export else read_page
        page = await asyncio.to_thread(read, reply.body, reply.status, reply.headers)
        return Sample(question=question, page=self._hushed(page), reply=reply)

    def _address(self, question: Question) -> str:
        if not question.export:
            return question.url
        joint = "&" if "?" in question.url else "?"
        return f"{question.url}{joint}auth={quote(self.token or '', safe='')}"

    def _hushed(self, page: Page) -> Page:
        """An echo of the token must reach no words, not even the beginning of one."""
        token = self.token or ""
        return replace(page, why=hushed(page.why, token, quote(token, safe="")))


def _tickers_of(url: ScreenUrl) -> ScreenUrl:
    """The same screen as nothing but tickers, up to 1,000 of them on one page."""
    head, _, query = url.partition("?")
    others = [part for part in query.split("&") if part and not re.match(r"(?i)[vc]=", part)]
    return ScreenUrl("&".join([f"{head}?v=411", *others]))
