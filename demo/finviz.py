"""A made-up Finviz: screener pages, exports and every way of refusing, from a market in memory."""

import asyncio
import random  # noqa: TID251  made-up markets are drawn from a seed, so that they can be repeated
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from html import escape
from types import MappingProxyType
from typing import Any, TypeAlias
from urllib.parse import parse_qs

from demo.asgi import body_of

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

SYLLABLES = (
    "Al",
    "Bor",
    "Cor",
    "Del",
    "Fen",
    "Gal",
    "Hel",
    "Kor",
    "Lum",
    "Nor",
    "Or",
    "Tal",
    "Vex",
)
ENDINGS = ("ara", "ent", "ium", "onix", "ova", "yne")
KINDS = ("Foods Inc", "Energy Corp", "Robotics plc", "Health Ltd", "Rail & Ports Inc", "Motors SA")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One made-up company on the screen; ``change`` is today's, in percent."""

    ticker: str
    price: Decimal
    volume: int
    company: str = "Made-up Company Inc"
    change: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered instead of the truth."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "text/html"})


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request as it came: when on the event loop's clock, and what it asked for."""

    at: float
    path: str
    query: str
    headers: Mapping[str, str]


def made_up_market(seed: int, size: int) -> list[Listing]:
    """``size`` companies with different tickers, best of the day first; the same for one seed."""
    chance = random.Random(seed)  # noqa: S311  a market is drawn, no secret
    tickers: dict[str, None] = {}
    while len(tickers) < size:
        tickers["".join(chance.choices(LETTERS, k=chance.choice((2, 3, 4, 4, 4))))] = None
    listings = [_listing(ticker, chance) for ticker in tickers]
    return sorted(listings, key=lambda listing: listing.change, reverse=True)


def _listing(ticker: str, chance: random.Random) -> Listing:
    name = f"{chance.choice(SYLLABLES)}{chance.choice(ENDINGS)}"
    return Listing(
        ticker=ticker,
        price=Decimal(chance.randrange(500, 40_000)) / 100,
        volume=chance.randrange(50_000, 90_000_000),
        company=f"{name} {chance.choice(KINDS)}",
        change=Decimal(chance.randrange(-300, 4_000)) / 100,
    )


# ── Pages, in the markup of 2026: D before July (no logos), E since ─────────────────────────

PAGE = """<!DOCTYPE html>
<html lang="en">
<head><title>Stock Screener - Overview made up</title>
<script>FinvizSettings = {{ hasUserPremium: {premium}, name: "" }};</script></head>
<body>
<table class="navbar"><tr><td>
<a href="/{quote}?t=TRAP" class="tab-link">a preset of somebody</a></td></tr></table>
<table width="100%"><tr><td>
<div id="screener-total" class="count-text whitespace-nowrap">{count}</div>
<div id="screener-page-select"><select id="pageSelect"  class="pages-combo fv-select">
{options}</select></div></td></tr>
<tr id="screener-table"><td>
<table class="styled-table-new is-rounded screener_table">
<thead>
<tr align="center" valign="middle">
{headers}
</thead>
{rows}</table>
</td></tr>
<tr><td class="count-text"><b>Filters:</b> made:up</td></tr>
</table>
<!-- TS
{told}TE -->
</body>
</html>
"""
HEADERS = ("No.", "Ticker", "Company", "Price", "Change %", "Volume")

EMPTY_PAGE = """<!DOCTYPE html>
<html lang="en"><head><title>Stock Screener - Overview made up</title></head><body>
<table width="100%"><tr><td>
<table id="js-screener-body-empty" width="100%"><tr><td class="count-text">0 Total</td></tr></table>
</td></tr></table>
<!-- TS
TE -->
</body></html>
"""


def render_page(
    listings: Sequence[Listing],
    *,
    start: int = 1,
    step: int = 20,
    logos: bool = True,
    premium: bool = False,
) -> str:
    """The page of ``listings`` that begins at row ``start``; without logos in the older layout.

    ``premium``: for an Elite account.
    """
    if not listings:
        return EMPTY_PAGE
    total = len(listings)
    shown = listings[start - 1 : start - 1 + step]
    quote = "stock" if logos else "quote"
    return PAGE.format(
        premium=str(premium).lower(),
        quote=quote,
        count=f"#{min(start, total)} / {total} Total",
        options=_options(total, start, step),
        headers="\n".join(f'<th class="table-header" align="left">{name}</th>' for name in HEADERS),
        rows="".join(_row(n, listing, quote) for n, listing in enumerate(shown, start)),
        told="".join(f"{one.ticker}|{one.price}|{one.volume}\n" for one in shown),
    )


def _options(total: int, start: int, step: int) -> str:
    firsts = range(1, total + 1, step)
    chosen = {start: ' selected="selected"'}
    return "".join(
        f"<option{chosen.get(first, '')} value={first}>Page {page} / {len(firsts)}</option>"
        for page, first in enumerate(firsts, start=1)
    )


def _row(number: int, listing: Listing, quote: str) -> str:
    link = f'<a href="{quote}?t={listing.ticker}&ty=c&p=d&b=1"'
    box = f'data-boxover-ticker="{listing.ticker}" data-boxover-company="{escape(listing.company)}"'
    name = f'{link} class="tab-link">{listing.ticker}</a>'
    if quote == "stock":
        logo = f'{link} class="company-ticker"><span>{listing.ticker[0]}</span></a>'
        name = f'<span class="flex items-center">{logo}{name}</span>'
    cells = (
        f'<td height="10" align="right">{link} ">{number}</a></td>',
        f'<td height="10" align="left"{box}>{name}</td>',
        f'<td height="10" align="left">{link} ">{escape(listing.company)}</a></td>',
        f'<td height="10" align="right"{box}>{link} "><span>{listing.price}</span></a></td>',
        f'<td height="10" align="right">{link} "><span>{listing.change}%</span></a></td>',
        f'<td height="10" align="right">{link} ">{listing.volume:,}</a></td>',
    )
    return f'<tr class="styled-row is-hoverable" valign="top">\n{"".join(cells)}</tr>'


def render_export(listings: Sequence[Listing]) -> str:
    """The same market as an Elite export: all rows, texts quoted, lines ended with CRLF."""
    header = '"No.","Ticker","Company","Price","Change","Volume"'
    lines = [
        f'{number},"{one.ticker}","{one.company}",{one.price},{one.change}%,{one.volume}'
        for number, one in enumerate(listings, start=1)
    ]
    return "".join(f"{line}\r\n" for line in [header, *lines])


# ── Refusals and mistakes ───────────────────────────────────────────────────────────────────

LOGIN_PAGE = """<!DOCTYPE html><html><head><title>Login</title></head><body>
<form name="login" action="login_submit.ashx" method="post">
<input name="email"><input name="password"></form></body></html>"""
CHALLENGE = "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body></body></html>"
OTHER_PAGE = (
    "<!DOCTYPE html><html><head><title>Insider trades</title></head><body>none</body></html>"
)

FAULTS: Mapping[str, Reply] = MappingProxyType(
    {
        "throttled": Reply(200, b"Too many requests."),
        "throttled_429": Reply(429, b"Too many requests.", {"retry-after": "60"}),
        "blocked": Reply(403, CHALLENGE.encode(), {"cf-mitigated": "challenge"}),
        "unauthorized": Reply(401, b"no"),
        "login": Reply(200, LOGIN_PAGE.encode()),
        "wrong_page": Reply(200, OTHER_PAGE.encode()),
        "nothing": Reply(200, b""),
        "failing": Reply(502, b"bad gateway"),
        "maintenance": Reply(503, b"back soon", {"retry-after": "120"}),
        "empty": Reply(200, EMPTY_PAGE.encode()),
    }
)
MADE_FAULTS = frozenset({"cut_off", "half_the_rows", "past_end"})
"""Mistakes that are made from the market's own page."""

SESSION = ".ASPXAUTH"
SIGNING_IN = "/login_submit.ashx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who may sign in, and what Finviz says of his account."""

    email: str
    password: str
    elite: bool = True


class MadeUpFinviz:
    """An ASGI application answering `/screener`, `/screener.ashx` and `/export.ashx`.

    ``market`` is what it lists, best first; it may be replaced at any time, also by ``before``,
    which is called with every request before it is answered. ``arrivals`` are all requests so far.
    An export needs ``token``. Who is signed in to ``account`` is in ``sessions``; ``walled``: it
    shows its pages to nobody else. A filter that is not in ``filters`` is ignored without a word:
    the answer is then ``everything``.
    """

    def __init__(
        self,
        market: Sequence[Listing],
        *,
        step: int = 20,
        logos: bool = True,
        token: str = "",
        account: Account | None = None,
    ) -> None:
        self.market = list(market)
        self.step = step
        self.logos = logos
        self.token = token
        self.account = account
        self.sign_in_at = SIGNING_IN
        self.walled = False
        self.sessions: set[str] = set()
        self.filters: Collection[str] | None = None
        self.everything: Sequence[Listing] = ()
        self.before: Callable[[Arrival], None] = lambda _: None
        self.arrivals: list[Arrival] = []
        self._fault: str | Reply | None = None

    def answer_with(self, fault: str | Reply | None) -> None:
        """Answer so from now on: a fault by its name, any bytes, or (None) the truth.

        Raises KeyError for a name that is in neither FAULTS nor MADE_FAULTS.
        """
        if isinstance(fault, str) and fault not in MADE_FAULTS:
            fault = FAULTS[fault]
        self._fault = fault

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, query = scope["path"], scope["query_string"].decode("latin-1")
        posted = (await body_of(receive)).decode("latin-1")
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        arrival = Arrival(asyncio.get_running_loop().time(), path, query, headers)
        self.arrivals.append(arrival)
        self.before(arrival)
        asked = {name: values[0] for name, values in parse_qs(posted or query).items()}
        reply = self.reply(path, asked)
        head = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in reply.headers.items()]
        await send({"type": "http.response.start", "status": reply.status, "headers": head})
        await send({"type": "http.response.body", "body": reply.body})

    def reply(self, path: str, asked: Mapping[str, str]) -> Reply:
        """What is answered to the last request, faults included."""
        if isinstance(self._fault, Reply):
            return self._fault
        if path == "/export.ashx":
            return self._exported(asked.get("auth", ""))
        if path == self.sign_in_at and self.account:
            return self._signed_in(self.account, asked)
        if path not in {"/screener", "/screener.ashx"}:
            return Reply(404, b"no such page")
        known = self._is_signed_in()
        if self.walled and not known:
            return FAULTS["login"]
        premium = known and self.account is not None and self.account.elite
        return Reply(200, self._page(asked, premium=premium).encode())

    def _is_signed_in(self) -> bool:
        sent = self.arrivals[-1].headers.get("cookie", "").split("; ") if self.arrivals else []
        return any(f"{SESSION}={session}" in sent for session in self.sessions)

    def _signed_in(self, account: Account, form: Mapping[str, str]) -> Reply:
        given = (form.get("email"), form.get("password"), form.get("remember"))
        if given != (account.email, account.password, "true"):
            return Reply(302, b"", {"location": "/login.ashx?error=1"})
        session = f"made-up-session-{len(self.arrivals)}"
        self.sessions.add(session)
        cookie = f"{SESSION}={session}; path=/; HttpOnly"
        return Reply(302, b"", {"location": "/", "set-cookie": cookie})

    def _exported(self, auth: str) -> Reply:
        if not self.token or auth != self.token:
            return Reply(200, b"<!DOCTYPE html><html><body>Please log in</body></html>")
        export = render_export(self.market)
        whole = len(export) if self._fault != "cut_off" else -9
        return Reply(200, export[:whole].encode(), {"content-type": "text/csv"})

    def _page(self, asked: Mapping[str, str], *, premium: bool) -> str:
        market = self.market if self._knows(asked.get("f", "")) else self.everything
        past_end, start = self._fault == "past_end", int(asked.get("r", "1"))
        page = render_page(
            market,
            start=len(market) + 1 if past_end else start,
            step=self.step,
            logos=self.logos,
            premium=premium,
        )
        if self._fault == "cut_off":
            return page[: page.index("<!-- TS")]
        return _half(page) if self._fault == "half_the_rows" else page

    def _knows(self, filters: str) -> bool:
        return self.filters is None or set(filter(None, filters.split(","))) <= set(self.filters)


def _half(page: str) -> str:
    """The page without the second half of its rows, as if a proxy had dropped a piece of it."""
    head, *rows = page.split('<tr class="styled-row')
    kept = [head, *rows[: len(rows) // 2]]
    return '<tr class="styled-row'.join(kept) + page[page.rindex("</table>\n</td></tr>\n<tr>") :]


async def _live(receive: Receive, send: Send) -> None:
    """Starting and stopping need nothing; a server wants to hear so."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
