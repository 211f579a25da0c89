"""H25, H30: every route is public, a session's, or of one scope; who lacks it is turned away.

`tests/web/test_doors.py` has what each credential of the settings is answered; here each token has
one scope alone, or has ended.
"""

from collections.abc import AsyncGenerator, Iterator

import pytest
import pytest_asyncio
from fastapi import APIRouter, FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.routing import Route

from domain.access import Scope
from tests.web import doors_original
from tests.web.stage import ADMIN_TOKEN, WEBHOOK_TOKEN, Relay, call, until
from tests.web.test_doors import DOORS, NOBODY, Door, framework, routes

pytestmark = pytest.mark.asyncio(loop_scope="module")

PUBLIC = {
    ("GET", "/"),
    ("GET", "/health"),
    ("GET", "/health/ready"),
    ("GET", "/admin/login"),
    ("POST", "/admin/login"),
    ("POST", "/admin/logout"),
    *doors_original.GONE_DOORS,
}
OTHERS = {("MOUNT", "/static"), ("MOUNT", "/ws/live"), ("MOUNT", "/ws/admin-updates")}
"""Our public files; the socket, of the scope read: test_live.py has its doors; and one refused."""

CHANGES = {
    Scope.READ: "POST /api/whatif",
    Scope.TRADE: """
        POST /api/destinations/{id}/cancel-queued  POST /api/deliveries/{id}/resolve
        POST /api/deliveries/{id}/cancel  POST /api/deliveries/{id}/resend
        POST /api/deliveries/resend  POST /api/deliveries/cancel  POST /api/deliveries/resolve
        POST /sell/individual  POST /sell/all  POST /sell/list  POST /api/batches/{id}/retry
        POST /api/sell-list  DELETE /api/sell-list/{ticker}  POST /api/sell-list/clear
        POST /api/sell-list/fill  POST /api/buying/pause  POST /api/buying/resume
        POST /api/positions  POST /api/positions/{id}/close  POST /api/attention/resolve
        POST /api/attention/{id}/resolve  POST /api/rehearsals  POST /api/signals/replay
        POST /api/signals/{id}/replay  POST /admin/order/sell-individual
        POST /admin/order/close-position  POST /admin/order/sell-all
        POST /admin/sell-all-queue  POST /admin/orders/{id}/close
    """,
    Scope.CONFIG: """
        POST /api/destinations  PATCH /api/destinations/{id}  POST /api/destinations/{id}/pause
        POST /api/destinations/{id}/resume  POST /api/destinations/{id}/disable
        POST /api/destinations/{id}/enable  POST /api/destinations/{id}/rotate-secret
        POST /api/destinations/{id}/retarget  POST /api/destinations/{id}/close-breaker
        POST /api/destinations/{id}/test  POST /api/universe/refresh  POST /api/universe/accept
        POST /api/universe/refuse  POST /api/lookout/pause  POST /api/lookout/resume
        POST /api/screens  POST /api/screens/try  POST /api/screens/import
        POST /api/screens/export  PATCH /api/screens/{id}  POST /api/screens/{id}/duplicate
        POST /api/screens/{id}/activate  POST /api/screens/{id}/archive
        POST /api/screens/{id}/restore  POST /finviz/config  POST /api/sources
        PATCH /api/sources/{name}  POST /api/sources/{name}/archive
        POST /api/sources/{name}/tokens  POST /api/config/import  POST /api/channels
        PATCH /api/channels/{id}  POST /api/channels/{id}/test  POST /api/channels/{id}/archive
        PUT /api/rules  PATCH /api/rules  POST /admin/webhook/update
        POST /admin/webhook-rate-limiter/update  POST /admin/engine/pause
        POST /admin/engine/resume  POST /admin/engine/manual-refresh
        POST /admin/finviz/strategies  PUT /admin/finviz/strategies/{id}
        DELETE /admin/finviz/strategies/{id}  POST /admin/finviz/strategies/{id}/activate
        POST /admin/finviz/strategies/{id}/duplicate
    """,
    Scope.ADMIN: """
        GET /api/tokens  POST /api/tokens  POST /api/tokens/{id}/revoke
        POST /api/signals/import  POST /api/jobs/{id}/cancel
    """,
}
CLASSIFIED = {
    (method, path): scope
    for scope, doors in CHANGES.items()
    for method, path in zip(doors.split()[::2], doors.split()[1::2], strict=True)
}
PAGES = {
    door
    for door in DOORS
    if door[1].startswith("/admin") and door not in PUBLIC and door not in doors_original.DOORS
}
GIVEN = {"id": NOBODY, "delivery": NOBODY, "version": 0, "name": "nobody", "ticker": "NONE"}


def scope_of(door: Door) -> Scope | None:
    """What a token must allow here; None where none helps: public, or a page."""
    method, _ = door
    if door in PUBLIC or door in PAGES:
        return None
    return Scope.READ if method == "GET" and door not in CLASSIFIED else CLASSIFIED[door]


def doors() -> Iterator[tuple[Door, str, Scope]]:
    for door in DOORS:
        if scope := scope_of(door):
            yield door, door[1].format(**GIVEN, order="pause", verb="drop"), scope


async def test_every_route_is_public_a_sessions_or_of_a_scope() -> None:
    there = set(routes(vars(framework().router)["routes"]))
    assert set(CLASSIFIED) <= there
    assert there - OTHERS == set(DOORS), "an unclassified route"
    unknown = {door for door in there - OTHERS if scope_of(door) is None} - PUBLIC
    assert all(path.startswith("/admin") for _, path in unknown)


async def test_no_kind_of_route_is_overlooked() -> None:
    """Planted here, whatever way a route comes into an application, the table asks for it."""

    async def answer() -> None: ...

    async def talk(_socket: WebSocket) -> None: ...

    inner = APIRouter(prefix="/inner")
    inner.add_api_route("/deep", answer, methods=["POST", "DELETE"])
    outer = APIRouter(prefix="/outer")
    outer.include_router(inner)
    outer.add_api_websocket_route("/talk", talk)
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(outer)
    app.add_api_route("/hidden", answer, include_in_schema=False, methods=["HEAD"])
    app.router.routes.append(Route("/plain", answer))
    app.mount("/sub", Starlette())
    found = set(routes(app.routes))
    assert {path for _, path in found} >= {"/hidden", "/plain", "/sub"}
    assert {method for method, path in found if path.endswith("/deep")} == {"POST", "DELETE"}
    assert any(path.endswith("/talk") for _, path in found)
    assert not found & set(DOORS)


# ── One scope alone ─────────────────────────────────────────────────────────────────────────


ENDED = {"revoked": [Scope.ADMIN], "expired": [Scope.ADMIN]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tokens(shared: Relay) -> AsyncGenerator[dict[str, str]]:
    """A token of each scope; and one of all that was revoked, and one that expired."""
    admin = {"authorization": f"Bearer {ADMIN_TOKEN}"}
    made: dict[str, str] = {}
    for name, scopes in {**{one: [one] for one in Scope}, **ENDED}.items():
        days = 1e-6 if name == "expired" else 1
        given = {"name": f"only {name}", "scopes": scopes, "expires_in_days": days}
        answer = await shared.http.post("/api/tokens", json=given, headers=admin)
        made[name], id = answer.json()["token"], answer.json()["id"]
        if name == "revoked":
            await shared.http.post(f"/api/tokens/{id}/revoke", headers=admin)

    async def are_over() -> bool:
        asked = [await shared.get("/status", made[name]) for name in ENDED]
        return all(answer.status_code == 401 for answer in asked)

    await until(are_over, "the end of two tokens")
    yield made


@pytest.mark.parametrize("name", [*Scope, *ENDED, "the webhook's"])
async def test_a_token_opens_the_doors_of_its_scope_and_no_other(
    shared: Relay, tokens: dict[str, str], name: str
) -> None:
    token = tokens.get(name, WEBHOOK_TOKEN)
    amiss: list[str] = []
    for (method, route), path, scope in doors():
        body: object = {} if route == "/finviz/config" and method == "POST" else None
        headers = {"authorization": f"Bearer {token}"}
        answer = await shared.http.request(method, path, headers=headers, json=body)
        opened = answer.status_code not in {401, 403}
        if opened != (name in {scope, Scope.ADMIN}):  # what is ended is neither
            amiss.append(f"{method} {route}: {answer.status_code}")
    assert amiss == []


async def test_no_token_opens_a_page(shared: Relay, tokens: dict[str, str]) -> None:
    """What pages do, sessions do: a token that leaked into a link or a log is none."""
    for method, route in PAGES:
        path = route.format(**GIVEN, order="pause", verb="drop")
        headers = {"authorization": f"Bearer {tokens['admin']}"}
        answer = await shared.http.request(method, path, headers=headers)
        assert answer.status_code in {303, 401}, route


# ── What is not there ───────────────────────────────────────────────────────────────────────


async def test_no_path_answers_a_method_that_no_row_names(shared: Relay) -> None:
    """HEAD included: what a door hides, it hides by every method.

    401 where a row of another path takes it: `clear` may be the {ticker} of a sell list.
    """
    for route in sorted({route for _, route in DOORS}):
        path = route.format(**GIVEN, order="pause", verb="drop")
        for method in ("HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "CONNECT", "DEBUG"):
            if (method, route) not in DOORS:
                answer = await call(shared.app, method, path)
                assert answer.status in {405, 401}, f"{method} {route}"


@pytest.mark.parametrize(
    "path", ["", "/", "/x", "//", "/x/y", "/../../status", "/%2e%2e/status", "?token=x", "/%00"]
)
async def test_under_the_webhook_there_are_alerts_and_nothing_else(
    shared: Relay, path: str
) -> None:
    for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE"):
        assert (await call(shared.app, method, f"/webhook/in{path}")).status == 405
    answer = await call(shared.app, "POST", f"/webhook/in{path}", chunks=[b"{}"])
    assert answer.status == 401


@pytest.mark.parametrize("path", ["/redoc", "/docs/oauth2-redirect", "/.git/config"])
async def test_no_documentation_is_served(shared: Relay, path: str) -> None:
    assert (await shared.get(path)).status_code == 404


async def test_who_asks_for_the_originals_documentation_is_shown_the_way(shared: Relay) -> None:
    answer = await shared.http.get("/docs")
    assert (answer.status_code, answer.json()["code"]) == (410, "gone")
    assert (await shared.http.get("/openapi.json")).status_code == 401


async def test_who_asks_for_health_learns_nothing_else(shared: Relay) -> None:
    for path, most in (("/health", 2), ("/health/ready", 4)):
        told = (await shared.http.get(path)).json()
        assert len(told) <= most
        assert "version" not in str(told)
        assert "postgres" not in str(told).lower()
