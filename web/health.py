"""Is it alive, is it ready, how is it doing: /health, /health/ready, /status, /metrics."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from database import gate, statistics
from database.pool import Database, is_unavailable
from database.statistics import Backlog, Standing
from domain.universe import Trust
from engines.siblings import Siblings
from engines.worker import SICK_AFTER, Worker
from web import buying
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


@router.get("/health")
async def alive() -> dict[str, str]:
    """The process answers. Nothing else is looked at."""
    return {"status": "alive"}


@router.get("/health/ready")
async def ready(parts: Parts) -> JSONResponse:
    """Each part by name. Ready is: alerts can be stored and every worker works."""
    found = await parts_found(parts["pages"], parts["workers"])
    is_ready = all(answer == "ok" for answer in found.values())
    body = {"ready": is_ready, "parts": found | {"list": await _list(parts, found["database"])}}
    return JSONResponse(body, 200 if is_ready else 503)


async def parts_found(pages: Database, workers: Sequence[Worker]) -> dict[str, str]:
    """What being ready depends on, by name: "ok", or what is wrong."""
    return {"database": await _database(pages), "workers": _workers(workers)}


async def is_ready(pages: Database, workers: Sequence[Worker]) -> bool:
    """What /health/ready answers, for those who ask from inside."""
    return all(answer == "ok" for answer in (await parts_found(pages, workers)).values())


async def _database(pages: Database) -> str:
    try:
        async with pages.read() as connection:
            await statistics.backlog(connection)
    except Exception as error:
        if is_unavailable(error):
            return "does not answer"
        raise
    return "ok"


def _workers(workers: Sequence[Worker]) -> str:
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
        in_force = await gate.read(connection)
    age = age_of(current)
    return {
        "version": parts["rules"].version,
        "revision": parts["rules"].revision,
        "process": _place(parts["siblings"]),
        "list": {
            "trust": trust_of(current, parts["rules"]),
            "since": trust_since(current, parts["rules"]),
            "age_sec": age and round(age.total_seconds(), 3),
            "last_fetch": fetch_shown(last),
            "paused": pause_shown(last),
            "pending": pending_shown(last),
        },
        "buying": {"paused": buying.pause_shown(in_force.pause)},
        "backlog": _plain(found.backlog),
        "last_24h": found.recent,
        "dead_24h": found.dead,
        "positions": found.positions,
        "destinations": [_plain(standing) for standing in found.standings],
        "workers": [{"name": w.name, **_health(w)} for w in parts["workers"]],
    }


def _place(siblings: Siblings | None) -> dict[str, int]:
    """Which of the processes that share the port answers: the workers below are its own."""
    number, of = (siblings.place.number, siblings.place.of) if siblings else (1, 1)
    return {"number": number, "of": of}


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
    """Prometheus text; what each process that shares the port counts has the label `process`."""
    found = await parts["exposition"].render()
    return Response(found, media_type="text/plain; version=0.0.4; charset=utf-8")
