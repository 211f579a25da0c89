"""What handlers may ask for. The only place that knows where the parts are kept."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, TypedDict, cast

from fastapi import Depends, Request
from fastapi.requests import HTTPConnection

from database.pool import Database
from database.vault import Vault
from domain.access import Scope
from domain.address import Network
from domain.gate import SellPolicy
from domain.signal import Side
from engines.access.doorkeeper import Doorkeeper
from engines.clock import Clock, Entropy
from engines.failpoints import Reach
from engines.metrics import Metrics
from engines.relay.intake import Intake
from engines.universe.source import UniverseSource
from engines.worker import Worker
from web.errors import ProblemError

SESSION_COOKIES = ("__Host-session", "session")
"""The first wherever there is https; the second on a loopback address only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The settings that answers depend on. Times are those of design section 3."""

    version: str
    public_url: str | None
    open_ingress: bool
    lifetimes: Mapping[Side, timedelta]
    dedupe_window: timedelta
    list_max_age: timedelta | None
    sell_policy: SellPolicy
    elite: bool
    queue_max: int
    private_destinations: Sequence[Network] = ()
    own_hosts: Collection[str] = ()


class State(TypedDict):
    """Built by main's lifespan, carried by Starlette, read only here and in `web.webhook`."""

    intake: Intake
    doorkeeper: Doorkeeper
    pages: Database
    vault: Vault
    metrics: Metrics
    workers: Sequence[Worker]
    backlog: Callable[[], int]
    wake_keeper: Callable[[], None]
    source: UniverseSource
    config_file: Path
    rules: Rules
    reach: Reach
    clock: Clock
    entropy: Entropy


def state_of(connection: HTTPConnection) -> State:
    return cast("State", connection.scope["state"])


def _state(request: Request) -> State:
    return state_of(request)


Parts = Annotated[State, Depends(_state)]


def bearer(connection: HTTPConnection) -> str | None:
    """The token of an `Authorization: Bearer` header (RFC 6750 §2.1)."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token else None


def session_of(connection: HTTPConnection) -> str | None:
    return next((connection.cookies[n] for n in SESSION_COOKIES if n in connection.cookies), None)


def require_same_origin(request: Request) -> None:
    """Refuse a change that another site's page asked for (OWASP ASVS 5.0, 3.5.1).

    Browsers say so in `Sec-Fetch-Site`; older ones at least in `Origin`. The cookie's `SameSite`
    is not enough: sites have no ports, so a page of any program on this machine is of ours.
    """
    site, origin = (request.headers.get(name) for name in ("sec-fetch-site", "origin"))
    foreign = site not in {None, "same-origin", "none"}
    if foreign or (origin is not None and _host(origin) not in _own_hosts(request)):
        raise ProblemError(403, "cross_site", "This must come from the relay's own page.")


def _own_hosts(request: Request) -> list[str]:
    """What the browser may have typed: a proxy may hand us another Host than PUBLIC_URL's."""
    named = (request.headers.get("host"), _host(state_of(request)["rules"].public_url or ""))
    return [host for host in named if host]


def _host(origin: str) -> str:
    return origin.partition("://")[2]


async def actor_with(request: Request, scope: Scope, token: str | None = None) -> str:
    """The name of a caller who may do this, by token or session. Raises ProblemError 401 or 403."""
    doorkeeper = state_of(request)["doorkeeper"]
    given = bearer(request) or token
    if given is None and await doorkeeper.is_signed_in(session_of(request)):
        if request.method not in {"GET", "HEAD"}:
            require_same_origin(request)
        return "admin session"
    grant = doorkeeper.grant(given, scope)
    if grant is None:
        raise ProblemError(401, "unauthorized", "A token with the scope of this call is needed.")
    return grant.name


def needs(scope: Scope) -> Callable[[Request], object]:
    """A dependency that lets only callers with ``scope`` through."""

    async def check(request: Request) -> str:
        return await actor_with(request, scope)

    return check


Reader = Annotated[str, Depends(needs(Scope.READ))]
Configurer = Annotated[str, Depends(needs(Scope.CONFIG))]
Trader = Annotated[str, Depends(needs(Scope.TRADE))]
