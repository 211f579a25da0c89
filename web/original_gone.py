"""Addresses of the original relay that mean something else here: 410, and where to go instead."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from fastapi import APIRouter, WebSocket

from web.errors import ProblemError, problem

router = APIRouter(include_in_schema=False)


class Gone(NamedTuple):
    """Addresses as they were, what does it now, and why that is not the same."""

    were: tuple[str, ...]
    now: str
    why: str


KEPT = "Nothing deletes the history: what is over goes when it is older than RETENTION_DAYS."
OTHER_NUMBERS = "It counts what is in the database; the original counted since its start."
OTHER_EVENTS = "Events have other names, and all of them are there."
WHAT_LIMITS = 'There "pause" sent without a limit. Here it stops sending; a limit is a window.'
WAITING = "A rejected signal is never approved later: a buy waits before its verdict."

GONE = (
    Gone(("GET /health/detailed",), "GET /health/ready, GET /status", OTHER_NUMBERS),
    Gone(("GET /admin/system-info", "GET /admin/status"), "GET /status", OTHER_NUMBERS),
    Gone(
        ("POST /admin/metrics/reset",),
        "GET /metrics",
        "Counters are never set back: Prometheus and the charts take differences.",
    ),
    Gone(
        ("GET /admin/signals-history",),
        "GET /api/charts/signals",
        "The original made numbers up where it had none.",
    ),
    Gone(("GET /admin/audit-trail",), "GET /api/signals, GET /api/activity", OTHER_EVENTS),
    Gone(
        ("POST /admin/webhook-rate-limiter/pause", "POST /admin/webhook-rate-limiter/resume"),
        "PATCH /api/destinations/{id}, POST /api/destinations/{id}/pause",
        WHAT_LIMITS,
    ),
    Gone(
        ("POST /admin/sell-all-queue/clear",),
        "POST /api/positions/{id}/close",
        "It closed everything in the database and sold nothing: here each is closed with a reason.",
    ),
    Gone(
        ("POST /admin/system/config",),
        "POST /finviz/config, PATCH /api/destinations/{id}",
        "It was three changes at once, of which the original ignored some.",
    ),
    Gone(
        ("POST /admin/clear-database", "POST /admin/database/clear"),
        "RETENTION_DAYS in the settings",
        KEPT,
    ),
    Gone(
        ("GET /admin/export-csv", "GET /admin/database/export"),
        "GET /api/signals/export",
        "The file has other columns.",
    ),
    Gone(
        ("POST /admin/import-csv", "POST /admin/database/import"),
        "POST /api/signals/import",
        "The body is the file itself, and the scope is admin. It reads the original's CSV too.",
    ),
    Gone(
        ("GET /admin/sell-all/config", "POST /admin/sell-all/config"),
        "POST /api/sell-list",
        "Nothing read that setting. An entry of the sell list may end: `expires_in_sec`.",
    ),
    Gone(("GET /admin/reprocessing/health",), "GET /api/screens", WAITING),
    Gone(("POST /admin/reprocessing/trigger",), "POST /api/signals/replay", WAITING),
    Gone(
        (
            *("GET /admin/actions-log", "GET /admin/actions-log/summary"),
            "GET /admin/actions-log/export",
        ),
        "GET /api/activity, GET /api/activity/export",
        OTHER_EVENTS,
    ),
    Gone(("GET /docs",), "GET /openapi.json", "It needs a token with the scope read."),
)


def _refusal(now: str, why: str) -> ProblemError:
    return ProblemError(410, "gone", f"{why} Now: {now}. docs/migration.md has all of them.")


def _telling(one: Gone) -> Callable[[], Awaitable[None]]:
    async def gone() -> None:
        raise _refusal(one.now, one.why)

    return gone


for _one in GONE:
    for _was in _one.were:
        _method, _path = _was.split()
        router.add_api_route(_path, _telling(_one), methods=[_method])


@router.websocket("/ws/admin-updates")
async def updates(socket: WebSocket) -> None:
    """Refused before it is accepted; servers that cannot say why close it."""
    no = _refusal("WS /ws/live", "Its messages are other ones, and it needs a token.")
    await socket.send_denial_response(problem(no.status, no.code, no.detail))
