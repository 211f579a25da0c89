"""Who may pass which door: every route against every credential."""

from collections.abc import AsyncGenerator, Iterator
from typing import Any, TypeAlias
from uuid import uuid4

import pytest
import pytest_asyncio
from fastapi import FastAPI
from fastapi.routing import APIRoute

from main import build
from tests.web import (
    doors_access,
    doors_attention,
    doors_doctor,
    doors_files,
    doors_list,
    doors_original,
    doors_overview,
    doors_places,
    doors_replay,
    doors_rules,
    doors_settings,
    doors_signals,
    doors_trade,
    doors_trading,
)
from tests.web.stage import (
    ADMIN_TOKEN,
    UPDATE_TOKEN,
    WEBHOOK_TOKEN,
    Relay,
    cloned,
    relay,
    settings,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

Door: TypeAlias = tuple[str, str]

NOBODY = str(uuid4())
CREDENTIALS = ("nothing", "forged", "ingest", "update", "admin", "session", "ended session")

# What each credential is answered, in the order of CREDENTIALS.
OPEN = (200,) * 7
READ = (401, 401, 401, 200, 200, 200, 401)
CHANGE = (401, 401, 401, 200, 200, 200, 401)
PAGE = (303, 303, 303, 303, 303, 200, 303)
PARTIAL = (401, 401, 401, 401, 401, 200, 401)

DOORS: dict[Door, tuple[int, ...]] = {
    ("GET", "/"): (307,) * 7,
    ("GET", "/health"): OPEN,
    ("GET", "/health/ready"): OPEN,
    ("GET", "/status"): READ,
    ("GET", "/metrics"): READ,
    ("GET", "/openapi.json"): READ,
    ("GET", "/api/universe"): READ,
    ("GET", "/api/signals"): READ,
    ("GET", "/api/signals/{id}"): tuple(404 if one == 200 else one for one in READ),
    ("GET", "/api/destinations"): READ,
    ("GET", "/api/destinations/{id}"): tuple(404 if one == 200 else one for one in READ),
    ("POST", "/api/destinations"): tuple(400 if one == 200 else one for one in CHANGE),
    ("PATCH", "/api/destinations/{id}"): tuple(400 if one == 200 else one for one in CHANGE),
    **{
        ("POST", f"/api/destinations/{{id}}/{order}"): tuple(
            404 if one == 200 else one for one in CHANGE
        )
        for order in (
            *("pause", "resume", "disable", "enable", "rotate-secret"),
            *("retarget", "cancel-queued", "close-breaker"),
        )
    },
    ("GET", "/api/deliveries"): READ,
    ("POST", "/api/deliveries/{id}/resolve"): tuple(400 if one == 200 else one for one in CHANGE),
    ("POST", "/api/deliveries/{id}/cancel"): tuple(404 if one == 200 else one for one in CHANGE),
    ("POST", "/api/universe/refresh"): tuple(202 if one == 200 else one for one in CHANGE),
    **{
        ("POST", f"/api/{path}"): tuple(400 if one == 200 else one for one in CHANGE)
        for path in (
            *("universe/accept", "universe/refuse", "lookout/pause"),
            *("screens", "screens/try", "screens/import"),
        )
    },
    ("GET", "/api/lookout"): READ,
    ("POST", "/api/lookout/resume"): CHANGE,
    ("GET", "/api/screens"): READ,
    ("GET", "/api/screens/export"): READ,
    ("POST", "/api/screens/export"): CHANGE,
    ("GET", "/api/screens/{id}"): tuple(404 if one == 200 else one for one in READ),
    ("PATCH", "/api/screens/{id}"): tuple(400 if one == 200 else one for one in CHANGE),
    **{
        ("POST", f"/api/screens/{{id}}/{order}"): tuple(
            404 if one == 200 else one for one in CHANGE
        )
        for order in ("duplicate", "activate", "archive", "restore")
    },
    ("GET", "/api/universes"): READ,
    ("GET", "/api/universes/{version}"): tuple(404 if one == 200 else one for one in READ),
    **{
        ("GET", f"/api/universes/{path}"): tuple(400 if one == 200 else one for one in READ)
        for path in ("at", "rank")
    },
    ("GET", "/api/fetches"): READ,
    ("POST", "/api/whatif"): tuple(400 if one == 200 else one for one in READ),
    ("GET", "/finviz/config"): READ,
    ("POST", "/finviz/config"): CHANGE,
    ("GET", "/admin"): PAGE,
    ("GET", "/admin/partials/overview"): PARTIAL,
    ("GET", "/admin/partials/shell"): PARTIAL,
    ("GET", "/admin/signals/{id}"): tuple(404 if one == 200 else one for one in PAGE),
    ("GET", "/admin/login"): OPEN,
    ("POST", "/admin/login"): (401,) * 7,
    ("POST", "/admin/logout"): (303,) * 7,
    **doors_access.DOORS,
    **doors_files.DOORS,
    **doors_list.DOORS,
    **doors_original.DOORS,
    **doors_overview.DOORS,
    **doors_trade.DOORS,
    **doors_trading.DOORS,
    **doors_attention.DOORS,
    **doors_doctor.DOORS,
    **doors_places.DOORS,
    **doors_replay.DOORS,
    **doors_rules.DOORS,
    **doors_settings.DOORS,
    **doors_signals.DOORS,
}


def routes(found: Any) -> Iterator[Door]:
    """Every method and path an application answers, whatever router it came with."""
    for route in found:
        if isinstance(route, APIRoute):
            yield from ((method, route.path) for method in route.methods or ())
        elif included := getattr(route, "original_router", None):
            yield from routes(included.routes)
        else:
            yield ("MOUNT", route.path)


def framework() -> FastAPI:
    """The framework's application behind the layers that stand in front of it."""
    layer: object = build(settings(), "postgresql+asyncpg://nobody@/nothing")
    while not isinstance(layer, FastAPI):
        layer = vars(layer)["_app"]
    return layer


async def test_every_route_has_a_row_in_this_table() -> None:
    """A new route fails here until somebody has thought about who may use it."""
    others = {("MOUNT", "/static"), ("MOUNT", "/ws/live")}  # the socket's are in test_live.py
    others.add(("MOUNT", "/ws/admin-updates"))  # answered 410: test_original.py
    assert set(routes(vars(framework().router)["routes"])) == {*DOORS, *others}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Relay]:
    """One of the doors writes the configuration file: not into the folder the tests run in."""
    file = tmp_path_factory.mktemp("doors") / "finviz_config.json"
    async with cloned(template) as url, relay(url, finviz_config_file=str(file)) as one:
        yield one


async def sign_in(relay: Relay) -> str:
    answer = await relay.http.post("/admin/login", data={"token": ADMIN_TOKEN})
    assert answer.status_code == 303
    relay.http.cookies.clear()
    return answer.cookies["session"]


async def sign_out(relay: Relay, session: str) -> None:
    cookie = {"cookie": f"session={session}"}
    assert (await relay.http.post("/admin/logout", headers=cookie)).status_code == 303


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ended(shared: Relay) -> str:
    session = await sign_in(shared)
    await sign_out(shared, session)
    return session


async def headers_of(relay: Relay, credential: str, ended: str) -> dict[str, str]:
    tokens = {
        "forged": ADMIN_TOKEN[:-1] + "0",
        "ingest": WEBHOOK_TOKEN,
        "update": UPDATE_TOKEN,
        "admin": ADMIN_TOKEN,
    }
    if credential in tokens:
        return {"authorization": f"Bearer {tokens[credential]}"}
    if credential == "session":
        return {"cookie": f"session={await sign_in(relay)}"}
    return {"cookie": f"session={ended}"} if credential == "ended session" else {}


@pytest.mark.parametrize("credential", CREDENTIALS)
@pytest.mark.parametrize("door", DOORS, ids=" ".join)
async def test_a_door_opens_to_whom_it_should(
    shared: Relay, ended: str, door: Door, credential: str
) -> None:
    method, path = door
    await shared.execute("UPDATE lookout SET by_hand_at = NULL")
    headers = await headers_of(shared, credential, ended)
    body: dict[str, object] | None = {} if door == ("POST", "/finviz/config") else None
    given = {"id": NOBODY, "delivery": NOBODY, "version": 0, "name": "nobody", "ticker": "NONE"}
    path = path.format(**given, order="pause", verb="drop")
    answer = await shared.http.request(
        method, path, headers=headers, follow_redirects=False, json=body
    )
    assert answer.status_code == DOORS[door][CREDENTIALS.index(credential)]
    if answer.status_code == 401 and path != "/admin/login":
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["code"] in {"unauthorized", "signed_out"}


@pytest.mark.parametrize(
    "marks",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "null"},
    ],
)
async def test_another_sites_page_changes_nothing_with_the_operators_cookie(
    shared: Relay, marks: dict[str, str]
) -> None:
    """Cookies do not know ports: a page of any local program is of the same site."""
    cookie = {"cookie": f"session={await sign_in(shared)}"}
    before = await shared.rows("SELECT version FROM screens")
    answer = await shared.http.post("/finviz/config", json={"top_n": 3}, headers=cookie | marks)
    assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")
    assert await shared.rows("SELECT version FROM screens") == before


async def test_the_relays_own_page_may_change_and_a_token_needs_no_page(shared: Relay) -> None:
    cookie = {"cookie": f"session={await sign_in(shared)}"}
    own = {"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1:8000"}
    bearer = {"authorization": f"Bearer {UPDATE_TOKEN}", "origin": "https://a-script.example"}
    for headers in (cookie | own, bearer):
        answer = await shared.http.post("/finviz/config", json={"top_n": 50}, headers=headers)
        assert answer.status_code == 200
