"""Signing in to Finviz with e-mail and password: a session that lives in memory alone."""

from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from domain.universe import FetchOutcome
from engines.universe.finviz_http import REDIRECTING, FetchError, Reply, Visitor
from engines.universe.finviz_markup import asks_to_log_in
from engines.universe.finviz_page import refusal

PATHS = ("/login_submit.ashx", "/login_submit")
"""Of before 2026 and since: the second when the first is gone or leads there."""

CLOUDFLARE = ("__cf", "_cf", "cf_")
"""Cookies that everybody gets; another one is our session."""

REFUSED = "Finviz did not accept FINVIZ_EMAIL and FINVIZ_PASSWORD"
NOT_ELITE = "Finviz says this account is not Elite: quotes are delayed"


@dataclass(frozen=True, slots=True)
class Login:
    """What an operator signs in to Finviz with."""

    email: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(slots=True)
class Session:
    """One account at one origin. ``elite`` is what pages have said of it since it signed in."""

    origin: str
    login: Login
    elite: bool | None = None
    _cookies: dict[str, str] = field(default_factory=dict[str, str], repr=False)

    @property
    def is_open(self) -> bool:
        return bool(self._cookies)

    @property
    def secrets(self) -> list[str]:
        return [self.login.email, self.login.password, *self._cookies.values()]

    def visitor(self, visitor: Visitor) -> Visitor:
        """The same, with our cookies."""
        cookie = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        return replace(visitor, cookie=cookie)

    async def sign_in(self, visitor: Visitor) -> None:
        """Raise FetchError when we are not let in, or there is no answer."""
        self.close()
        form = {"email": self.login.email, "password": self.login.password, "remember": "true"}
        origin = self.origin.rstrip("/")
        reply = await visitor.post(origin + PATHS[0], form)
        if _is_elsewhere(reply):
            reply = await visitor.post(origin + PATHS[1], form)
        _check(reply)
        self._cookies = {name: value for name, value in reply.cookies.items() if value}
        if all(name.startswith(CLOUDFLARE) for name in self._cookies):
            self.close()
            raise FetchError(FetchOutcome.LOGIN, REFUSED)

    def learn(self, premium: bool | None) -> None:  # noqa: FBT001  what a page says, as it says it
        """Take in what a page says. Raise FetchError when it no longer knows an Elite account."""
        if premium is False and self.elite:
            raise FetchError(FetchOutcome.LOGIN, "Finviz no longer knows our session")
        self.elite = self.elite if premium is None else premium

    def close(self) -> None:
        """Forget the cookies: the next look signs in again."""
        self._cookies, self.elite = {}, None


def _is_elsewhere(reply: Reply) -> bool:
    return reply.status == 404 or _leads_to(reply).endswith(PATHS[1])


def _leads_to(reply: Reply) -> str:
    """The last part of the path that a redirect names; it is never followed."""
    location = reply.headers.get("location", "") if reply.status in REDIRECTING else ""
    try:
        return f"/{urlsplit(location).path.rpartition('/')[2].lower()}"
    except ValueError:
        return "/"


def _check(reply: Reply) -> None:
    """A refusal has the login page come back, at once or by a redirect."""
    text = reply.body.decode(errors="replace")
    if _leads_to(reply).startswith("/login") or asks_to_log_in(text) or reply.status == 401:
        raise FetchError(FetchOutcome.LOGIN, REFUSED)
    turned_away = (
        None if reply.status in REDIRECTING else refusal(text, reply.status, reply.headers)
    )
    if turned_away and text.strip():
        raise FetchError(turned_away.kind, turned_away.why, retry_after=reply.retry_after)
