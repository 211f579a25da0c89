"""Is it alive, is it ready, how is it doing: /health, /health/ready, /status, /metrics."""

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from database import statistics
from database.pool import is_unavailable
from database.statistics import Backlog, Standing
from domain.universe import Trust
from engines.worker import Worker
from web.dependencies import Parts, Reader, State
from web.lists import (
    age_of,
    fetch_shown,
    look,
    pause_shown,
    pending_shown,
    trust_of,
    trust_since,
)

router = APIRouter(tags=["health"])

SICK_AFTER = 3
"""Failures in a row after which a worker counts as not working."""


@router.get("/health")
async def alive() -> dict[str, str]:
    """The process answers. Nothing else is looked at."""
    return {"status": "alive"}


@router.get("/health/ready")
async def ready(parts: Parts) -> JSONResponse:
    """Each part by name. Ready is: alerts can be stored and every worker works."""
    found = {"database": await _database(parts), "workers": _workers(parts["workers"])}
    is_ready = all(answer == "ok" for answer in found.values())
    body = {"ready": is_ready, "parts": found | {"list": await _list(parts, found["database"])}}
    return JSONResponse(body, 200 if is_ready else 503)


async def _database(parts: State) -> str:
    try:
        async with parts["pages"].read() as connection:
            await statistics.backlog(connection)
    except Exception as error:
        if is_unavailable(error):
            return "does not answer"
        raise
    return "ok"


def _workers(workers: list[Worker] | Any) -> str:
    sick = [w.name for w in workers if w.health.failures_in_row >= SICK_AFTER]
    return f"failing: {', '.join(sick)}" if sick else "ok"


async def _list(parts: State, database: str) -> str:
    """For information: without a fresh list sells still go out, so it does not decide."""
    if database != "ok":
        return str(Trust.UNKNOWN)
    async with parts["pages"].read() as connection:
        current, _ = await look(connection)
    return str(trust_of(current, parts["rules"]))


@router.get("/status")
async def status(parts: Parts, _actor: Reader) -> dict[str, Any]:
    """Everything an operator asks first, from one snapshot of the database."""
    async with parts["pages"].read() as connection:
        current, last = await look(connection)
        found = await statistics.snapshot(connection)
    age = age_of(current)
    return {
        "version": parts["rules"].version,
        "list": {
            "trust": trust_of(current, parts["rules"]),
            "since": trust_since(current, parts["rules"]),
            "age_sec": age and round(age.total_seconds(), 3),
            "last_fetch": fetch_shown(last),
            "paused": pause_shown(last),
            "pending": pending_shown(last),
        },
        "backlog": _plain(found.backlog),
        "last_24h": found.recent,
        "dead_24h": found.dead,
        "positions": found.positions,
        "destinations": [_plain(standing) for standing in found.standings],
        "workers": [{"name": w.name, **_health(w)} for w in parts["workers"]],
    }


def _plain(row: Backlog | Standing) -> dict[str, Any]:
    """A row for programs: durations are seconds here, as everywhere in the API."""
    return {
        key: round(value.total_seconds(), 3) if isinstance(value, timedelta) else value
        for key, value in asdict(row).items()
    }


def _health(worker: Worker) -> dict[str, Any]:
    health = worker.health
    return {
        "stepped_at": health.stepped_at,
        "failures_in_row": health.failures_in_row,
        "last_failure": health.failure,
        "failed_at": health.failed_at,
    }


@router.get("/metrics")
async def metrics(parts: Parts, _actor: Reader) -> Response:
    """Prometheus text."""
    return Response(
        parts["metrics"].render(), media_type="text/plain; version=0.0.4; charset=utf-8"
    )
