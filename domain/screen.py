"""A screen: what we ask Finviz, how many of its rows count, and how often we look."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from domain.ticker import Ticker, normalise

ScreenUrl = NewType("ScreenUrl", str)
NO_URL = ScreenUrl("")
"""That of a fixed list, which asks nobody."""

HOSTS = frozenset({"finviz.com", "www.finviz.com", "elite.finviz.com"})
PATHS = frozenset({"/screener", "/screener.ashx"})
EXPORT_PATH = "/export.ashx"
NOT_KEPT = frozenset({"r", "ar", "auth"})
"""First row and auto-refresh are ours to choose; an export token has no place in an address."""

TOP_N_MAX = 1_000
REFRESH_MIN = timedelta(seconds=1)
REFRESH_MAX = timedelta(days=1)
WAIT_MAX = timedelta(hours=1)
URL_MAX = 2_000
WHOLE_MARKET = 8_000
UNFILTERED = 10_000
"""Finviz lists 10,188 rows without a filter in 2025 and 11,532 in 2026."""

EXAMPLE_URL = ScreenUrl(
    "https://finviz.com/screener.ashx?v=111&s=ta_topgainers&f=sh_avgvol_o500,sh_price_o5&o=-change"
)
"""Today's gainers above 5 dollars with a usual volume above 500,000, best first."""


class ScreenKind(StrEnum):
    """Where the list of a screen comes from."""

    FINVIZ = "finviz"
    FIXED = "fixed"


class ScreenError(ValueError):
    """A screen that cannot be. ``field`` names what is wrong; ``problem`` is for people."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field
        self.problem = problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """What may be bought: the top N of a list. Raises ScreenError for what is out of bounds.

    ``url`` comes from ``parse_screen_url``, ``tickers`` from ``parse_tickers``; ``refresh`` is the
    time between two looks. A ticker that is in stays in until its rank is beyond ``top_n`` plus
    ``margin``; a buy of one that is not waits up to ``wait`` for it to come in. A fixed list is
    typed by the operator and counts until ``valid_until``. ``whole_market``: no filter is meant.
    """

    kind: ScreenKind = ScreenKind.FINVIZ
    url: ScreenUrl = NO_URL
    top_n: int
    refresh: timedelta
    margin: int = 0
    wait: timedelta = timedelta(0)
    tickers: tuple[Ticker, ...] = ()
    valid_until: datetime | None = None
    whole_market: bool = False
    slow_when_closed: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.top_n <= TOP_N_MAX:
            raise ScreenError("top_n", f"must be a whole number from 1 to {TOP_N_MAX}")
        if not REFRESH_MIN <= self.refresh <= REFRESH_MAX:
            raise ScreenError("refresh", "must be from 1 second to 86400 seconds (a day)")
        if not 0 <= self.margin <= TOP_N_MAX - self.top_n:
            raise ScreenError("margin", f"must be 0 or more, and with top_n at most {TOP_N_MAX}")
        if not timedelta(0) <= self.wait <= WAIT_MAX:
            raise ScreenError("wait", "must be from 0 (off) to 3600 seconds")
        self._check_kind()

    def _check_kind(self) -> None:
        fixed = self.kind is ScreenKind.FIXED
        if fixed == bool(self.url):
            problem = "is asked of nobody: a fixed list has none" if fixed else "is missing"
            raise ScreenError("url", problem)
        if fixed != bool(self.tickers):
            problem = "are missing: a fixed list needs them" if fixed else "are for a fixed list"
            raise ScreenError("tickers", problem)
        if fixed != (self.valid_until is not None):
            problem = "is missing: a fixed list must end" if fixed else "is for a fixed list"
            raise ScreenError("valid_until", problem)

    @property
    def depth(self) -> int:
        """How many ranks must be read."""
        return self.top_n + self.margin


def parse_tickers(given: str | Sequence[str]) -> tuple[Ticker, ...]:
    """The tickers of a fixed list, best first: as a text, whatever parts them. Raises ScreenError.

    One that stands twice counts at its first place.
    """
    names = re.split(r"[\s,;]+", given) if isinstance(given, str) else given
    try:
        tickers = tuple(dict.fromkeys(normalise(name) for name in names if name.strip()))
    except ValueError as error:
        raise ScreenError("tickers", f"cannot be read: {error}") from None
    if not 1 <= len(tickers) <= TOP_N_MAX:
        raise ScreenError("tickers", f"must be 1 to {TOP_N_MAX}")
    return tickers


def parse_screen_url(text: str) -> ScreenUrl:
    """Return the address of a Finviz screener in its one spelling, or raise ScreenError.

    The query is kept as written but for ``r`` (first row), ``ar`` (auto-refresh) and ``auth``.
    """
    text = text.strip()
    if not text or len(text) > URL_MAX:
        raise ScreenError("url", f"must be an address of 1 to {URL_MAX} characters")
    if not re.fullmatch(r"[!-~]+", text) or "\\" in text:
        raise ScreenError("url", "has a blank or a sign in it that no address has")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ScreenError("url", "is not an address") from None
    _check_origin(parts, port)
    if parts.path not in PATHS:
        raise ScreenError("url", "must lead to the screener: its path is /screener.ashx")
    return ScreenUrl(
        urlunsplit(("https", parts.hostname or "", parts.path, _kept(parts.query), ""))
    )


def _check_origin(parts: SplitResult, port: int | None) -> None:
    if parts.scheme != "https":
        raise ScreenError("url", "must begin with https://")
    if parts.username is not None or parts.password is not None:
        raise ScreenError("url", "must not hold a user name or password")
    if parts.hostname not in HOSTS:
        raise ScreenError("url", f"must be on {', '.join(sorted(HOSTS))}")
    if port not in {None, 443}:
        raise ScreenError("url", "must not name a port")


def _kept(query: str) -> str:
    return "&".join(part for part in query.split("&") if part and _key(part) not in NOT_KEPT)


def _key(part: str) -> str:
    return unquote(part.partition("=")[0]).strip().lower()


def page_url(url: ScreenUrl, base: str, start: int) -> str:
    """The address of the page whose first row is ``start``, at ``base`` (scheme, host, port)."""
    parts = urlsplit(url)
    first = f"r={start}" if start > 1 else ""
    query = "&".join(part for part in (parts.query, first) if part)
    return _at(base, parts.path, query)


def export_url(url: ScreenUrl, base: str) -> str:
    """The address of the same screen as an Elite export, without its token."""
    return _at(base, EXPORT_PATH, urlsplit(url).query)


def _at(base: str, path: str, query: str) -> str:
    origin = urlsplit(base)
    return urlunsplit((origin.scheme, origin.netloc, path, query, ""))


def warnings(screen: Screen, *, elite: bool, total: int | None = None) -> list[str]:
    """What is allowed but probably not meant, in words; ``total`` is what the last look counted."""
    if screen.kind is ScreenKind.FIXED:
        return []
    asked = _asked(screen.url)
    found = [
        _too_often(screen.refresh, elite=elite),
        _without_order(asked.get("o", "")),
        None if screen.whole_market else _without_filter(asked, total),
        _without_columns(asked),
    ]
    return [words for words in found if words]


def looks_unfiltered(screen: Screen, total: int) -> bool:
    """Whether a screen that names a filter was answered with what can only be the whole market.

    Finviz ignores a filter it does not know without saying so.
    """
    named = _asked(screen.url).keys() & {"f", "s", "t"}
    return bool(named) and not screen.whole_market and total >= UNFILTERED


def _asked(url: ScreenUrl) -> dict[str, str]:
    parts = (part.partition("=") for part in urlsplit(url).query.split("&"))
    return {unquote(key): unquote(value) for key, _, value in parts if value}


def _too_often(refresh: timedelta, *, elite: bool) -> str | None:
    seconds = refresh.total_seconds()
    if elite and seconds < 10:
        return (
            f"A refresh every {seconds:g} s is faster than Finviz Elite's own page, which refreshes"
            " every 10 s: it brings nothing newer and Finviz may refuse us."
        )
    if not elite and seconds < 60:
        return (
            f"A refresh every {seconds:g} s is faster than Finviz's own free page, which refreshes"
            " every 180 s with delayed quotes: Finviz may refuse us. 180 s or more is safe."
        )
    return None


def _without_order(order: str) -> str | None:
    if not order:
        return (
            "The address names no order (o=): the ranks follow Finviz's own order, usually the"
            " alphabet. Click a column on Finviz until the best stand first, then copy the address."
        )
    if not order.startswith("-"):
        return (
            f"The order o={order} goes upwards: rank 1 is the smallest. o=-{order} begins with"
            " the greatest."
        )
    return None


def _without_filter(asked: dict[str, str], total: int | None) -> str | None:
    if not asked.keys() & {"f", "s", "t"}:
        return "The address has no filter (f=) and no signal (s=): this screen is the whole market."
    if total is not None and total >= WHOLE_MARKET:
        return (
            f"Finviz answered {total} rows, nearly the whole market: it ignores filters it does"
            " not know without saying so. Compare the address with the page in a browser."
        )
    return None


def _without_columns(asked: dict[str, str]) -> str | None:
    if asked.get("v") not in {"150", "151", "152"} or "c" not in asked:
        return None
    columns = set(asked["c"].split(","))
    if "1" not in columns:
        return (
            "The custom view has no Ticker column (c= without 1): the tickers can then be read"
            " from the links of a page alone, and from no export."
        )
    if "0" not in columns:
        return (
            "The custom view has no row numbers (c= without 0): a page without them cannot be"
            " proven complete and is not taken."
        )
    return None
