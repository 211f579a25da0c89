"""Finviz as a source of universes: as many pages as the top N needs, all of them or none."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import timedelta
from urllib.parse import quote

import httpx
from aiolimiter import AsyncLimiter

from domain.screen import Screen, export_url, page_url
from domain.universe import FetchOutcome, Row
from engines.clock import Clock
from engines.universe.finviz_export import read_export
from engines.universe.finviz_http import FetchError, Reply, Visitor, hushed
from engines.universe.finviz_login import NOT_ELITE, REFUSED, Login, Session
from engines.universe.finviz_page import Page, read_page
from engines.universe.source import Answer
from version import VERSION

FREE = "https://finviz.com"
ELITE = "https://elite.finviz.com"
USER_AGENT = f"Mozilla/5.0 (compatible; trading-signal-processor/{VERSION})"
DEADLINE = timedelta(seconds=15)
PAGES_MAX = 100
TURNED_AWAY = frozenset({FetchOutcome.LOGIN, FetchOutcome.WRONG_PAGE})
"""What is answered to whom Finviz does not know, or no longer."""


def one_a_second() -> AsyncLimiter:
    """The spacing of requests that other careful clients of Finviz keep."""
    return AsyncLimiter(1, 1.0)


class FinvizSource:
    """Reads the Elite export with a token, signed-in pages with a login, or else free pages.

    With both, the pages are read when the token is refused. ``base_url`` replaces scheme, host and
    port of every request. ``spacing`` is shared by all looks of this source; ``deadline`` bounds
    each request. The client's cookies are not used.
    """

    def __init__(  # noqa: PLR0913  each of them is an operator's or a test's to choose
        self,
        *,
        http: httpx.AsyncClient,
        clock: Clock,
        base_url: str | None = None,
        token: str | None = None,
        login: Login | None = None,
        user_agent: str = USER_AGENT,
        spacing: AsyncLimiter | None = None,
        deadline: timedelta = DEADLINE,
    ) -> None:
        self._http = http
        self._clock = clock
        self._base_url = base_url or (ELITE if token or login else FREE)
        self._token = token
        self._session = Session(self._base_url, login) if login else None
        self._user_agent = user_agent
        self._spacing = spacing or one_a_second()
        self._deadline = deadline

    async def fetch(self, screen: Screen) -> Answer:
        """Look once. Rows of fetched pages are kept beyond what counts; an export is cut to it."""
        look = _Look(screen)
        visitor = Visitor(
            http=self._http,
            spacing=self._spacing,
            user_agent=self._user_agent,
            deadline=self._deadline,
            clock=self._clock,
            answered=look.count,
        )
        try:
            answer = await self._read(look, visitor)
        except FetchError as error:
            answer = Answer(
                outcome=error.outcome,
                detail=error.detail,
                retry_after=error.retry_after,
                pages=look.pages,
                premium=look.premium,
            )
        words = "; ".join([*look.notes, answer.detail])
        return replace(answer, detail=self._hushed(words))

    async def _read(self, look: "_Look", visitor: Visitor) -> Answer:
        if self._token:
            try:
                return await self._export(look, visitor, self._token)
            except FetchError as error:
                if self._session is None or error.outcome not in TURNED_AWAY:
                    raise
                look.notes.append(f"no export ({error.detail}); read as signed-in pages")
        if self._session:
            answer = await self._signed_in(look, visitor, self._session)
            if answer.premium is False:
                look.notes.append(NOT_ELITE)
            return answer
        return await self._pages(look, visitor)

    async def _signed_in(self, look: "_Look", visitor: Visitor, session: Session) -> Answer:
        """As Finviz knows us from before; when it does not, as it does after signing in once."""
        if session.is_open:
            try:
                return await self._pages(look, session.visitor(visitor), session)
            except FetchError as error:
                if error.outcome not in TURNED_AWAY:
                    raise
        await session.sign_in(visitor)
        try:
            return await self._pages(look, session.visitor(visitor), session)
        except FetchError as error:
            if error.outcome is not FetchOutcome.LOGIN:
                raise
            session.close()
            raise FetchError(FetchOutcome.LOGIN, REFUSED) from None

    async def _pages(
        self, look: "_Look", visitor: Visitor, session: Session | None = None
    ) -> Answer:
        """A list that moved while it was read is read once more from its beginning."""
        try:
            return await self._all_pages(look, visitor, session)
        except _MovedError:
            pass
        try:
            return await self._all_pages(look, visitor, session)
        except _MovedError as error:
            detail = f"the list moved while it was read, twice: {error}"
            raise FetchError(FetchOutcome.BROKEN, detail) from error

    async def _all_pages(self, look: "_Look", visitor: Visitor, session: Session | None) -> Answer:
        look.restart()
        for _ in range(PAGES_MAX):
            start = len(look.rows) + 1
            page = await self._page(visitor, page_url(look.screen.url, self._base_url, start))
            look.note(page)
            if session:
                session.learn(page.premium)
            if page.kind is FetchOutcome.EMPTY and not look.rows:
                return look.answer(FetchOutcome.EMPTY, page.why, 0)
            look.add(page)
            total = page.total or 0
            if len(look.rows) >= min(look.screen.depth, total):
                detail = f"{len(look.rows)} of {total} rows; requests: {look.pages}"
                return look.answer(FetchOutcome.OK, detail, total)
        raise FetchError(FetchOutcome.BROKEN, f"more than {PAGES_MAX} pages for the top N")

    async def _page(self, visitor: Visitor, url: str) -> Page:
        reply = await visitor.get(url)
        page = await asyncio.to_thread(read_page, reply.body, reply.status, reply.headers)
        return _accepted(page, reply)

    async def _export(self, look: "_Look", visitor: Visitor, token: str) -> Answer:
        url = export_url(look.screen.url, self._base_url)
        url += f"{'&' if '?' in url else '?'}auth={quote(token, safe='')}"
        reply = await visitor.get(url)
        page = await asyncio.to_thread(read_export, reply.body, reply.status, reply.headers)
        look.note(_accepted(page, reply))
        total = page.total or 0
        look.rows = list(page.rows[: look.screen.depth])
        detail = page.why or f"{len(look.rows)} of {total} rows of the Elite export"
        return look.answer(page.kind, detail, total)

    def _hushed(self, words: str) -> str:
        secrets = [self._token or "", *(self._session.secrets if self._session else ())]
        return hushed(words, *secrets, *(quote(secret, safe="") for secret in secrets))


def _accepted(page: Page, reply: Reply) -> Page:
    if page.kind.is_list and not page.complete:
        why = f"not a whole page: {page.why}"
        raise FetchError(FetchOutcome.BROKEN, why, retry_after=reply.retry_after)
    if not page.kind.is_list and page.kind is not FetchOutcome.PAST_END:
        raise FetchError(page.kind, page.why, retry_after=reply.retry_after)
    return page


class _MovedError(Exception):
    """Pages of one look that do not fit together: the list changed between them."""


@dataclass(slots=True)
class _Look:
    """What one look has read so far."""

    screen: Screen
    rows: list[Row] = field(default_factory=list[Row])
    pages: int = 0
    premium: bool | None = None
    witnesses: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])
    _total: int | None = None

    def count(self) -> None:
        self.pages += 1

    def restart(self) -> None:
        self.rows.clear()
        self.witnesses.clear()

    def note(self, page: Page) -> None:
        """What a page says besides its rows."""
        self.premium = self.premium if page.premium is None else page.premium
        if page.witness and page.witness not in self.witnesses:
            self.witnesses.append(page.witness)

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
        return Answer(
            outcome=outcome,
            detail=detail,
            rows=tuple(self.rows),
            total=total,
            witness="; ".join(self.witnesses),
            pages=self.pages,
            premium=self.premium,
        )
