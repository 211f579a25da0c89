"""Assemble the HTTP application from its routers; the webhook stands in front of it."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.responses import RedirectResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from web import (
    admin,
    deliveries,
    destinations,
    errors,
    health,
    lists,
    login,
    lookout,
    screen_files,
    screens,
    signals,
    universes,
    whatif,
)
from web.dependencies import Reader, State
from web.security import SecurityHeaders
from web.webhook import Webhook

STATIC = Path(__file__).parents[1] / "static"
MODULES = (
    *(health, lists, universes, screen_files, screens, lookout, whatif),
    *(signals, destinations, deliveries, admin, login),
)
MOST_BYTES = 65_536
"""Of any request body; nobody's is held in memory beyond it, with or without a token."""


def create_app(
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[State]], version: str
) -> ASGIApp:
    """The webhook first: it is the hot path and passes through none of the layers behind it."""
    app = FastAPI(
        title="Trading Signal Processor",
        version=version,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        max_body_size=MOST_BYTES,
    )
    errors.install(app)
    for module in MODULES:
        app.include_router(module.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi(_actor: Reader) -> dict[str, Any]:
        return app.openapi()

    @app.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        return RedirectResponse("/admin", 307)

    return Webhook(SecurityHeaders(app))
