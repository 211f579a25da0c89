"""Finviz as a source of universes: as many pages as the top N needs, all of them or none."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import quote

import httpx
from aiolimiter import AsyncLimiter

from domain.retry_after import retry_after
from domain.screen import Screen, export_url, page_url
from domain.ticker import Ticker
from domain.universe import FetchOutcome
from engines.clock import Clock
from engines.universe.finviz_export import read_export
from engines.universe.finviz_http import FetchError, Reply, Visitor, hushed
from engines.universe.finviz_page import Page, Row, read_page
from engines.universe.source import Answer

FREE = "https://finviz.com"
ELITE = "https://elite.finviz.com"
USER_AGENT = "Mozilla/5.0 (compatible; trading-signal-processor/0.1)"
DEADLINE = timedelta(seconds=15)
PAGES_MAX = 100


def one_a_second() -> AsyncLimiter:
    """The spacing of requests that other careful clients of Finviz keep."""
    return AsyncLimiter(1, 1.0)


class FinvizSource:
    """Reads pages, or with an export token the Elite export.

    ``base_url`` replaces scheme, host and port of every request. ``spacing`` is shared by all
    looks of this source; ``deadline`` bounds each request. The client's cookies are not used.
    """

    def __init__(  # noqa: PLR0913  each of them is an operator's or a test's to choose
        self,
        *,
        http: httpx.AsyncClient,
        clock: Clock,
        base_url: str | None = None,
        token: str | None = None,
        user_agent: str = USER_AGENT,
        spacing: AsyncLimiter | None = None,
        deadline: timedelta = DEADLINE,
    ) -> None:
        self._http = http
        self._clock = clock
        self._base_url = base_url or (ELITE if token else FREE)
        self._token = token
        self._user_agent = user_agent
        self._spacing = spacing or one_a_second()
        self._deadline = deadline

    async def fetch(self, screen: Screen) -> Answer:
        """Look once. Rows of fetched pages are kept beyond the top N; an export is cut to it."""
        look = _Look(screen)
        visitor = Visitor(
            http=self._http,
            spacing=self._spacing,
            user_agent=self._user_agent,
            deadline=self._deadline,
            answered=look.count,
        )
        try:
            if self._token:
                return await self._export(look, visitor, self._token)
            return await self._pages(look, visitor)
        except FetchError as error:
            return Answer(
                outcome=error.outcome,
                detail=self._hush(error.detail),
                retry_after=error.retry_after,
                pages=look.pages,
            )

    async def _pages(self, look: "_Look", visitor: Visitor) -> Answer:
        """A list that moved while it was read is read once more from its beginning."""
        try:
            return await self._all_pages(look, visitor)
        except _MovedError:
            look.rows.clear()
        try:
            return await self._all_pages(look, visitor)
        except _MovedError as error:
            detail = f"the list moved while it was read, twice: {error}"
            raise FetchError(FetchOutcome.BROKEN, detail) from error

    async def _all_pages(self, look: "_Look", visitor: Visitor) -> Answer:
        for _ in range(PAGES_MAX):
            start = len(look.rows) + 1
            page = await self._page(visitor, page_url(look.screen.url, self._base_url, start))
            if page.kind is FetchOutcome.EMPTY and not look.rows:
                return look.answer(FetchOutcome.EMPTY, page.why, 0)
            look.add(page)
            total = page.total or 0
            if len(look.rows) >= min(look.screen.top_n, total):
                detail = f"{len(look.rows)} of {total} rows; requests: {look.pages}"
                return look.answer(FetchOutcome.OK, detail, total)
        raise FetchError(FetchOutcome.BROKEN, f"more than {PAGES_MAX} pages for the top N")

    async def _page(self, visitor: Visitor, url: str) -> Page:
        reply = await visitor.get(url)
        page = await asyncio.to_thread(read_page, reply.body, reply.status, reply.headers)
        return self._accepted(page, reply)

    async def _export(self, look: "_Look", visitor: Visitor, token: str) -> Answer:
        url = export_url(look.screen.url, self._base_url)
        url += f"{'&' if '?' in url else '?'}auth={quote(token, safe='')}"
        reply = await visitor.get(url)
        body = reply.body.replace(token.encode(), b"***")  # an echo of it must reach no words
        page = await asyncio.to_thread(read_export, body, reply.status, reply.headers)
        self._accepted(page, reply)
        total = page.total or 0
        look.rows = list(page.rows[: look.screen.top_n])
        detail = page.why or f"{len(look.rows)} of {total} rows of the Elite export"
        return look.answer(page.kind, detail, total)

    def _accepted(self, page: Page, reply: Reply) -> Page:
        wish = retry_after(reply.headers.get("retry-after"), self._clock())
        if page.kind.is_list and not page.complete:
            raise FetchError(FetchOutcome.BROKEN, f"not a whole page: {page.why}", retry_after=wish)
        if not page.kind.is_list and page.kind is not FetchOutcome.PAST_END:
            raise FetchError(page.kind, page.why, retry_after=wish)
        return page

    def _hush(self, detail: str) -> str:
        if self._token:
            detail = detail.replace(self._token, "…").replace(quote(self._token, safe=""), "…")
        return hushed(detail)


class _MovedError(Exception):
    """Pages of one look that do not fit together: the list changed between them."""


@dataclass(slots=True)
class _Look:
    """What one look has read so far."""

    screen: Screen
    rows: list[Row] = field(default_factory=list[Row])
    pages: int = 0
    _total: int | None = None

    def count(self) -> None:
        self.pages += 1

    def add(self, page: Page) -> None:
        """Take the rows of the next page. Raises _MovedError when they do not continue the last."""
        if not self.rows:
            self._begin(page)
        self._check_total(page)
        if page.start != len(self.rows) + 1:
            detail = f"page with row {len(self.rows) + 1} begins at row {page.start}"
            raise FetchError(FetchOutcome.BROKEN, detail)
        again = {row.ticker for row in self.rows} & set(page.tickers)
        if again:
            raise _MovedError(f"{min(again)} stands on two pages")
        self.rows.extend(page.rows)

    def _begin(self, page: Page) -> None:
        if page.kind is not FetchOutcome.OK:
            raise FetchError(page.kind, page.why)
        self._total = page.total

    def _check_total(self, page: Page) -> None:
        """A few rows come and go between two pages; more than a tenth is another list."""
        first = self._total or 0
        if page.kind is not FetchOutcome.OK or page.total is None:
            raise _MovedError(f"a later page is {page.kind}")
        if abs(page.total - first) > max(5, first // 10):
            raise _MovedError(f"the total went from {first} to {page.total}")

    def answer(self, outcome: FetchOutcome, detail: str, total: int) -> Answer:
        tickers: tuple[Ticker, ...] = tuple(row.ticker for row in self.rows)
        return Answer(
            outcome=outcome, detail=detail, tickers=tickers, total=total, pages=self.pages
        )
