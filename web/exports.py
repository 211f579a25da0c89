"""GET /api/signals/export: signals with their events as a file. Included before `signals`."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse

from database import exporting
from database.audit import Facts
from database.exporting import Page, Span
from database.searching import Wanted
from database.vault import SealError, Vault
from domain.exported import Body, csv_header, csv_rows, json_line, masked_body, open_body
from web.dependencies import Parts, Reader, State
from web.signals import Searched

router = APIRouter(prefix="/api/signals", tags=["signals"])

LIMIT = 250
"""Signals read at once: with bodies of 64 KiB each that is 16 MiB."""

KINDS = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}


@router.get("/export")
async def export_signals(
    parts: Parts,
    _actor: Reader,
    searched: Annotated[Searched, Depends()],
    format: Literal["csv", "jsonl"] = "jsonl",
) -> StreamingResponse:
    """Signals of a filter, oldest first, each with its events; `X-Total-Count` says how many.

    What comes after the export began is not in it. What a text is looked for in is not counted
    before: then `X-Total-Count` is not there.
    """
    async with parts["pages"].read() as connection:
        meant = await searched.meant(connection, parts["clock"]())
        span = await exporting.span(connection, meant.wanted)
    name = f"signals-{_stamp(parts['clock']())}.{format}"
    headers = {
        "content-disposition": f'attachment; filename="{name}"',
        **({} if span.total is None else {"x-total-count": str(span.total)}),
    }
    return StreamingResponse(
        _lines(parts, meant.wanted, span, csv=format == "csv"), 200, headers, KINDS[format]
    )


def _stamp(now: datetime) -> str:
    return now.strftime("%Y%m%dT%H%M%SZ")


async def _lines(parts: State, wanted: Wanted, span: Span, *, csv: bool) -> AsyncIterator[str]:
    """A page at a time: no transaction is open while the reader takes his time."""
    if csv:
        yield csv_header()
    after = span.first
    while after < span.last:
        async with parts["pages"].read() as connection:
            page = await exporting.page(
                connection, wanted, after=after, last=span.last, limit=LIMIT
            )
        after = page.reached
        yield "".join(_told(page, one, parts["vault"], csv=csv) for one in page.signals)


def _told(page: Page, signal: Facts, vault: Vault, *, csv: bool) -> str:
    body, events = _body(signal, vault), page.events.get(signal["id"], ())
    if csv:
        return csv_rows(signal, body, events)
    return json_line(signal, body, events, _here(page, signal))


def _body(signal: Facts, vault: Vault) -> Body:
    """What is sealed holds secrets, and leaves with these masked."""
    if not signal["body_sealed"]:
        return open_body(signal["body"])
    try:
        return masked_body(vault.open(signal["body"]))
    except SealError:
        return Body("(sealed with another ENCRYPTION_KEY)", masked=True)


def _here(page: Page, signal: Facts) -> dict[str, Any]:
    """What has a meaning in this database only: its numbers, and where the signal went."""
    names = ("seq", "shown", "universe_version", "batch_id", "only_destination_id")
    deliveries = [
        {name: value for name, value in delivery.items() if name != "signal_id"}
        for delivery in page.deliveries.get(signal["id"], ())
    ]
    return {name: signal[name] for name in names} | {"deliveries": deliveries}
