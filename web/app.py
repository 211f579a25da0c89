"""Assemble the HTTP application from its routers; the webhook stands in front of it."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import cache
from typing import Any

from fastapi import FastAPI
from starlette.responses import RedirectResponse
from starlette.routing import Router
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send

from web import (
    activity,
    attention,
    buying,
    channels,
    charts,
    config_files,
    deliveries,
    destinations,
    errors,
    exports,
    health,
    imports,
    lists,
    live,
    lookout,
    original,
    original_gone,
    positions,
    rank_chart,
    rehearsals,
    replays,
    rules,
    screen_files,
    screens,
    sells,
    signals,
    sources,
    tokens,
    trail,
    universes,
    whatif,
)
from web.dependencies import Reader, State
from web.json_bodies import JsonBodies
from web.openapi import described
from web.pages import activity as activity_pages
from web.pages import attention as attention_pages
from web.pages import (
    attention_bulk,
    doctor,
    login,
    overview,
    past_lists,
    past_positions,
    screen_orders,
    selling,
    settings_channels,
    settings_environment,
    settings_files,
    settings_rules,
    settings_sessions,
    settings_sources,
    settings_tokens,
    shell,
    signal,
    signal_actions,
    signal_commands,
)
from web.pages import destinations as destination_pages
from web.pages import list as list_pages
from web.pages import lookout as lookout_pages
from web.pages import positions as position_pages
from web.pages import screens as screen_pages
from web.pages import signals as signal_pages
from web.pages import whatif as whatif_pages
from web.security import SecurityHeaders
from web.static import Files
from web.webhook import Express, Webhook

MODULES = (
    *(activity, trail),
    *(health, lists, rank_chart, universes, screen_files, screens, lookout, whatif, rules),
    *(exports, imports, config_files, replays, rehearsals),
    *(sells, positions, buying),
    *(signals, destinations, deliveries, sources, tokens),
    *(attention, channels, charts),
    live,
)
LIST_PAGES = (list_pages, past_lists, lookout_pages, whatif_pages, screen_orders, screen_pages)
PLACES = (destination_pages, attention_bulk, attention_pages)
PAGES = (
    *LIST_PAGES,
    *PLACES,
    login,
    shell,
    overview,
    *(signal_commands, signal_pages, signal, signal_actions),
    past_positions,
    position_pages,
    selling,
    activity_pages,
    doctor,
)
SETTINGS = (
    *(settings_rules, settings_sources, settings_tokens, settings_channels),
    *(settings_files, settings_sessions, settings_environment),
)
ORIGINAL = (original, original_gone)
MOST_BYTES = 65_536
"""Of any request body; nobody's is held in memory beyond it, with or without a token."""

PREPARING, REST = "routes", 1.0
UNKNOWN: Scope = {"type": "http", "method": "GET", "path": "", "root_path": "", "headers": []}


def create_app(
    lifespan: Callable[[object], AbstractAsyncContextManager[State]], version: str
) -> Express:
    """The webhook first: it is the hot path, and passes through none of the layers behind it."""
    routes = framework(version)

    @asynccontextmanager
    async def living(app: object) -> AsyncGenerator[State]:
        async with lifespan(app) as state:
            preparing = asyncio.create_task(prepare(routes, REST), name=PREPARING)
            try:
                yield state
            finally:
                preparing.cancel()
                with suppress(asyncio.CancelledError):
                    await preparing
                await webhook.told()

    webhook = Webhook(SecurityHeaders(JsonBodies(Living(routes, living))))
    return webhook


class Living:
    """Starts and ends by ``lifespan``; its routes know only what each request carries."""

    def __init__(self, app: ASGIApp, lifespan: Lifespan[Any]) -> None:
        self._app, self._life = app, Router(lifespan=lifespan)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._life if scope["type"] == "lifespan" else self._app
        await app(scope, receive, send)


async def prepare(app: FastAPI, rest: float = 0) -> None:
    """Have a request come by every route, after as many seconds of rest: the start comes first.

    FastAPI prepares them when the first one does, all at once: for a third of a second nothing else
    would run, and an alert may be among what waits. Here the others have a turn after each router.
    """
    await asyncio.sleep(rest)
    for route in app.routes:
        route.matches(UNKNOWN)
        await asyncio.sleep(0)


@cache
def framework(version: str) -> FastAPI:
    """All routes but the webhook's. One is enough for every application of a process."""
    app = FastAPI(
        title="Trading Signal Processor",
        version=version,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        max_body_size=MOST_BYTES,
    )
    errors.install(app, shell.shown)
    shell.install(app)
    for module in (*MODULES, *ORIGINAL, *PAGES, *SETTINGS):
        app.include_router(module.router)
    app.mount("/static", Files(), name="static")

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi(_actor: Reader) -> dict[str, Any]:
        return described(app, [module.router for module in MODULES])

    @app.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        return RedirectResponse("/admin", 307)

    return app
