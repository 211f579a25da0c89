"""What handlers may ask for. The only place that knows where the parts are kept."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypedDict, cast
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.requests import HTTPConnection

from database.pool import Database, acting_from
from database.vault import Vault
from domain.access import Grant, Scope
from domain.address import Network
from domain.gate import SellPolicy
from domain.origin import without_port
from domain.signal import Side
from engines.access.doorkeeper import Doorkeeper
from engines.access.keyring import Keyring
from engines.access.refusals import Refusals
from engines.access.standing import Standing
from engines.clock import Clock, Entropy
from engines.destinations.examiner import Examiner
from engines.exposition import Exposition
from engines.failpoints import Reach
from engines.live.hub import Hub
from engines.metrics import Metrics
from engines.notices.notifier import Notifier
from engines.relay.desk import Desk
from engines.relay.intake import Intake
from engines.relay.rehearsal import Rehearsal
from engines.relay.replayer import Replayer
from engines.siblings import Siblings
from engines.universe.source import UniverseSource
from engines.worker import Worker
from web.errors import ProblemError

SESSION_COOKIES = ("__Host-session", "session")
"""The first wherever there is https; the second on a loopback address only."""

LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
"""What this machine calls itself, and no other can be made to be called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The settings that answers depend on. Times are those of design section 3."""

    version: str
    revision: str | None = None
    public_url: str | None
    open_ingress: bool
    lifetimes: Mapping[Side, timedelta]
    dedupe_window: timedelta
    list_max_age: timedelta | None
    sell_policy: SellPolicy
    elite: bool
    queue_max: int
    sell_share: float
    private_destinations: Sequence[Network] = ()
    own_hosts: Collection[str] = ()


class State(TypedDict):
    """Built by main's lifespan, carried by Starlette, read only here and where alerts come in."""

    intake: Intake
    doorkeeper: Doorkeeper
    keyring: Keyring
    refusals: Refusals
    standing: Standing
    hub: Hub
    pages: Database
    vault: Vault
    desk: Desk
    replayer: Replayer
    rehearsal: Rehearsal
    metrics: Metrics
    exposition: Exposition
    siblings: Siblings | None
    workers: Sequence[Worker]
    backlog: Callable[[], int]
    wake_keeper: Callable[[], None]
    source: UniverseSource
    notifier: Notifier
    examiner: Examiner
    config_file: Path
    rules: Rules
    settings: Mapping[str, str]
    reach: Reach
    clock: Clock
    entropy: Entropy
    chance: Entropy


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
    """Refuse a change that another site's page asked for (OWASP ASVS 5.0, 3.5.1)."""
    if is_foreign(request):
        raise ProblemError(403, "cross_site", "This must come from the relay's own page.")


def is_foreign(connection: HTTPConnection) -> bool:
    """Whether another site's page asks, or opens a socket.

    Browsers say so in `Sec-Fetch-Site`; older ones at least in `Origin`. The cookie's `SameSite`
    is not enough: sites have no ports, so a page of any program on this machine is of ours.
    """
    site, origin = (connection.headers.get(name) for name in ("sec-fetch-site", "origin"))
    foreign = site not in {None, "same-origin", "none"}
    return foreign or (origin is not None and _host(origin) not in _own_hosts(connection))


def is_rebound(connection: HTTPConnection) -> bool:
    """Whether it names us as anybody may: its page's own name may lead here (DNS rebinding)."""
    name = name_of(connection.headers.get("host", ""))
    public = urlsplit(state_of(connection)["rules"].public_url or "").hostname
    return name not in LOCAL and name != public


def name_of(host: str) -> str:
    """The name in a Host header, without its port."""
    return without_port(host.lower()).removeprefix("[").removesuffix("]")


def _own_hosts(connection: HTTPConnection) -> list[str]:
    """What the browser may have typed: a proxy may hand us another Host than PUBLIC_URL's."""
    named = (connection.headers.get("host"), _host(state_of(connection)["rules"].public_url or ""))
    return [host for host in named if host]


def _host(origin: str) -> str:
    return origin.partition("://")[2]


def origin_of(connection: HTTPConnection) -> str:
    return origin_in(connection.scope)


def origin_in(scope: Mapping[str, Any]) -> str:
    """The caller's address; behind one of TRUSTED_PROXIES the one that it names."""
    client = scope.get("client")
    return client[0] if client else "unknown"


async def caller_with(request: Request, scope: Scope, token: str | None = None) -> Grant:
    """A caller who may do this, by token or session. Raises ProblemError 401 or 403."""
    doorkeeper = state_of(request)["doorkeeper"]
    acting_from.set(origin_of(request))
    given = bearer(request) or token
    if given is None and (session := await doorkeeper.session(session_of(request))):
        if request.method not in {"GET", "HEAD"}:
            require_same_origin(request)
        return session
    grant = doorkeeper.grant(given, scope)
    if grant is None:
        door = f"{request.method} {request.scope['route'].path}"
        await refused(request, door, given)
        raise ProblemError(401, "unauthorized", "A token with the scope of this call is needed.")
    return grant


async def refused(connection: HTTPConnection, door: str, token: str | None) -> None:
    """Tell and count who is not let in. Raises ProblemError 429 after too many wrong tokens."""
    refusals = state_of(connection)["refusals"]
    if token is None:
        await refusals.missing(door)
    elif seconds := await refusals.wrong(door):
        raise too_many(seconds)


def too_many(seconds: int) -> ProblemError:
    """What a wrong token is told after too many; the right one is never told so."""
    words = f"Too many wrong tokens came from here. In {seconds} s the next is looked at."
    return ProblemError(429, "too_many_wrong_tokens", words, retry_after=str(seconds))


async def actor_with(request: Request, scope: Scope, token: str | None = None) -> str:
    """The name of such a caller, for the audit trail."""
    return (await caller_with(request, scope, token)).name


SCOPES: dict[Callable[..., object], Scope] = {}
"""What each dependency below asks for: the description of the interface tells it."""


def needs(scope: Scope) -> Callable[[Request], object]:
    """A dependency that lets only callers with ``scope`` through."""

    async def check(request: Request) -> str:
        return await actor_with(request, scope)

    SCOPES[check] = scope
    return check


Reader = Annotated[str, Depends(needs(Scope.READ))]
Configurer = Annotated[str, Depends(needs(Scope.CONFIG))]
Trader = Annotated[str, Depends(needs(Scope.TRADE))]


async def _admin(request: Request) -> Grant:
    return await caller_with(request, Scope.ADMIN)


SCOPES[_admin] = Scope.ADMIN
Admin = Annotated[Grant, Depends(_admin)]
"""Who may do everything; with what he has, because nobody gives away more."""


async def proven(request: Request) -> None:
    """Refuse a session whose token was shown long ago, where pages would ask for it again.

    Raises ProblemError 403. A call with a token of its own is proof in itself.
    """
    if bearer(request) is None and (session := session_of(request)):
        visit = await state_of(request)["doorkeeper"].visit(session)
        if visit is not None and not visit.proved:
            words = "This session has shown no token for five minutes: send one with this call."
            raise ProblemError(403, "proof_needed", words)


SENSITIVE = [Depends(proven)]
"""Of routes that sell everything, change where orders go, or give access away."""
