"""The activity log: who changed what, from where, from what to what, and why."""

import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse

from database import activity
from database.activity import Wanted
from database.audit import Facts
from domain.csv_cell import safe
from domain.records import row_of
from web.dependencies import Parts, Reader
from web.moments import Moment
from web.signals import before, cursor, named

router = APIRouter(prefix="/api/activity", tags=["activity"])

COLUMNS = (
    *("at", "who", "from", "action", "kind", "id", "name", "ticker"),
    *("was", "becomes", "reason", "detail"),
)


class Format(StrEnum):
    """How an export is written."""

    CSV = "csv"
    JSONL = "jsonl"


def shown(row: Facts) -> dict[str, Any]:
    """A change: what it was and became, and apart from that whatever else its event says."""
    detail = {**row["detail"]}
    was, becomes, reason = (detail.pop(name, None) for name in ("was", "becomes", "reason"))
    return {
        "at": row["at"],
        "who": row["actor"],
        "from": row["origin"],
        "action": row["event"],
        "subject": _subject(row, detail),
        "was": was,
        "becomes": becomes,
        "reason": reason,
        "detail": detail,
    }


def _subject(row: Facts, detail: Mapping[str, Any]) -> dict[str, Any]:
    """The thing that was changed; events are named by its kind."""
    kind = row["event"].partition(".")[0]
    id = row.get(f"{kind}_id") or detail.get(f"{kind}_id") or row["signal_id"]
    name = detail.get("name") or detail.get(kind)
    return {"kind": kind, "id": id, "name": name, "ticker": row["ticker"]}


async def _wanted(  # noqa: PLR0913  one parameter per filter
    *,
    who: Annotated[str | None, Query(max_length=100)] = None,
    action: Annotated[str | None, Query(max_length=60, pattern=r"^[a-z_.]*$")] = None,
    subject: UUID | None = None,
    ticker: Annotated[str | None, Query(max_length=40)] = None,
    text: Annotated[str | None, Query(max_length=100)] = None,
    since: Moment | None = None,
    until: Moment | None = None,
) -> Wanted:
    return Wanted(
        who=who or None,
        action=action or None,
        subject=subject,
        ticker=named(ticker),
        text=text or None,
        since=since,
        until=until,
    )


Filtered = Annotated[Wanted, Depends(_wanted)]
As = Annotated[Format, Query(alias="format")]


@router.get("")
async def list_activity(
    parts: Parts,
    _actor: Reader,
    wanted: Filtered,
    *,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor_: Annotated[str | None, Query(alias="cursor", max_length=40)] = None,
) -> dict[str, Any]:
    """Changes that somebody made, the newest first; `next` is the cursor of the next page."""
    wanted = replace(wanted, before=before(cursor_), limit=limit + 1)
    async with parts["pages"].read() as connection:
        rows = await activity.page(connection, wanted)
    more = len(rows) > limit
    return {
        "items": [shown(row) for row in rows[:limit]],
        "next": cursor(rows[limit - 1]["id"]) if more else None,
    }


@router.get("/export", response_class=StreamingResponse)
async def export_activity(
    parts: Parts, _actor: Reader, wanted: Filtered, *, format_: As = Format.CSV
) -> StreamingResponse:
    """The same as one file, as long as it may be: a line for each change, the newest first."""
    write, media = WRITERS[format_]
    return StreamingResponse(
        write(activity.everything(parts["pages"], wanted)),
        media_type=media,
        headers={"content-disposition": f'attachment; filename="activity.{format_}"'},
    )


async def _csv(chunks: AsyncGenerator[Any]) -> AsyncGenerator[str]:
    yield row_of(COLUMNS)
    async for rows in chunks:
        yield "".join(row_of(_cells(shown(row))) for row in rows)


async def _jsonl(chunks: AsyncGenerator[Any]) -> AsyncGenerator[str]:
    async for rows in chunks:
        yield "".join(_json(shown(row)) + "\n" for row in rows)


WRITERS = {
    Format.CSV: (_csv, "text/csv; charset=utf-8"),
    Format.JSONL: (_jsonl, "application/x-ndjson"),
}


def _cells(item: Mapping[str, Any]) -> list[str]:
    flat = {**item, **item["subject"]}
    return [_cell(flat[name]) for name in COLUMNS]


def _cell(value: object) -> str:
    """Text as it is, nothing as nothing, a time in ISO 8601, and the rest as JSON."""
    if value is None or value == {}:
        return ""
    return safe(value if isinstance(value, str) else _json(value).strip('"'))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
