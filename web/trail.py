"""GET /api/activity/trail: the whole audit trail with its chain, for `run.py verify FILE`."""

from collections.abc import AsyncGenerator

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from database import chain
from domain.chain_file import Writing
from web.dependencies import Parts, Reader, State

router = APIRouter(prefix="/api/activity", tags=["activity"])


@router.get("/trail", response_class=StreamingResponse)
async def export_trail(parts: Parts, _actor: Reader) -> StreamingResponse:
    """Every event there is with the links that bind it, as one file that can be proven offline."""
    name = f"trail-{parts['clock']().strftime('%Y%m%dT%H%M%SZ')}.jsonl"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(_lines(parts), 200, headers, "application/x-ndjson")


async def _lines(parts: State) -> AsyncGenerator[bytes]:
    """A link at a time: no transaction is open while the reader takes his time."""
    writing, last = Writing(), None
    yield writing.begin(parts["clock"]())
    async for stretch in chain.walk(parts["pages"]):
        last = stretch.link.last_id
        yield writing.stretch(stretch)
    async for events in chain.waiting(parts["pages"], last):
        yield writing.waiting(events)
    yield writing.end()
