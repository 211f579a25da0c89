"""POST /api/signals/import: history from a file, with its progress. Included before `signals`."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from database import importing, jobs
from database.jobs import JobId
from database.pool import is_unavailable
from domain import original
from domain.access import Scope as Permission
from domain.exported import CSV_HEADER, CsvReader, Found, JsonReader
from domain.history import HistoryError, SignalHistory
from domain.original import OriginalReader
from domain.records import RecordError, Records, cells_of
from domain.signal import uuid7
from web.dependencies import Parts, Reader, State, needs
from web.errors import ProblemError

log = logging.getLogger(__name__)

router = APIRouter(prefix="/api", tags=["signals"])

BATCH, BATCH_BYTES = 500, 4 * 1024 * 1024
REPORT = 1_000
MOST_PROBLEMS = 20
MOST_BYTES = 2**50
"""Of an import. Nothing of it is kept in memory but a batch."""

FIRST_BYTES = 65_536

Importer = Annotated[str, Depends(needs(Permission.ADMIN))]


class RecordReader(Protocol):
    """Makes signals of records; one may need several."""

    def feed(self, line: int, record: bytes) -> Iterator[Found]:
        """The signals that end with this record, or what is wrong with it."""
        ...

    def end(self) -> Iterator[Found]:
        """The signals that end with the file."""
        ...


@dataclass(slots=True)
class Tally:
    """How far an import is. ``bytes`` are those read, ``waiting`` those of the batch."""

    bytes: int = 0
    read: int = 0
    imported: int = 0
    skipped: int = 0
    refused: int = 0
    waiting: int = 0
    problems: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def refuse(self, line: int, what: str) -> None:
        self.refused += 1
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append({"line": line, "problem": what})

    def counts(self) -> dict[str, int]:
        names = ("read", "imported", "skipped", "refused")
        return {name: getattr(self, name) for name in names}


class CancelledJobError(Exception):
    """Somebody cancelled this work: nothing more of it is done."""


@router.get("/jobs/{id}")
async def read_job(id: UUID, parts: Parts, _actor: Reader) -> dict[str, Any]:
    """How far long work is, or how it ended."""
    async with parts["pages"].read() as connection:
        job = await jobs.one(connection, JobId(id))
    if job is None:
        raise ProblemError(404, "no_such_job", "There is no job with this id.")
    return dict(job)


@router.post("/jobs/{id}/cancel")
async def cancel_job(id: UUID, parts: Parts, actor: Importer) -> dict[str, Any]:
    """End long work where it is; what it has done stays. Nothing more is done after the answer."""
    async with parts["pages"].write() as connection:
        changed = await jobs.cancel(connection, JobId(id), actor=actor)
        job = await jobs.one(connection, JobId(id))
    if job is None:
        raise ProblemError(404, "no_such_job", "There is no job with this id.")
    return {**job, "changed": changed}


@router.post("/signals/import", max_body_size=MOST_BYTES, response_class=Response)
async def import_signals(
    request: Request,
    parts: Parts,
    actor: Importer,
    *,
    format: Literal["auto", "csv", "jsonl"] = "auto",
    dry_run: bool = False,
    job: UUID | None = None,
) -> Response:
    """Take over history; the body is the file. Answers with its progress, a line now and then.

    ``job`` is the id its progress shall have; left out, one is made.
    """
    pieces = aiter(request.stream())
    begin = await _beginning(pieces)
    records, reader = _reader(begin, format)
    length = request.headers.get("content-length", "")
    total = int(length) if length.isdecimal() and len(length) < 16 else None
    id = JobId(job or uuid7(parts["clock"](), parts["entropy"](10)))
    kind = "check_signals" if dry_run else "import_signals"
    async with parts["pages"].write() as connection:
        if not await jobs.begin(connection, id, kind=kind, total=total, actor=actor):
            raise ProblemError(409, "job_taken", "There is a job with this id.", field="job")
    work = Import(parts, id, total, records, reader, keep=not dry_run)
    return _Progress(work.lines(begin, pieces))


async def _beginning(pieces: AsyncIterator[bytes]) -> bytes:
    """As much as tells what the file is: its first line. Raises ProblemError."""
    begin = b""
    try:
        while b"\n" not in begin.lstrip() and len(begin) < FIRST_BYTES:
            begin += await anext(pieces)
    except StopAsyncIteration:
        pass
    except ClientDisconnect:
        raise ProblemError(400, "incomplete", "The sender went away.") from None
    return begin


def _reader(begin: bytes, format: str) -> tuple[Records, RecordReader]:
    """Who reads such a file. Raises ProblemError where nobody does."""
    line = begin.removeprefix(b"\xef\xbb\xbf").lstrip().partition(b"\n")[0]
    if format == "jsonl" or (format == "auto" and line.startswith(b"{")):
        return Records(quoted=False), JsonReader()
    try:
        header = tuple(cells_of(line.decode().strip()))
    except ValueError:
        header = ()
    if header == CSV_HEADER:
        return Records(quoted=True), CsvReader()
    if header == original.HEADER:
        return Records(quoted=True), OriginalReader()
    words = "The file is neither one of our exports nor one of the original relay's."
    raise ProblemError(400, "invalid_field", words, field="body")


@dataclass(frozen=True, slots=True)
class Import:
    """One import at work. Without ``keep`` it only finds out what would come of it."""

    parts: State
    job: JobId
    total: int | None
    records: Records
    reader: RecordReader
    keep: bool
    tally: Tally = field(default_factory=Tally)
    batch: list[tuple[int, SignalHistory]] = field(default_factory=list[tuple[int, SignalHistory]])

    async def lines(self, begin: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[str]:
        """Do it; tell how far it is, and in the last line how it ended."""
        yield self._line(job=str(self.job))
        failure = None
        try:
            async for _ in self._read(begin, pieces):
                yield await self._told()
        except CancelledJobError:
            yield self._line(**self._result(), state="cancelled")
            return
        except ClientDisconnect:
            failure = "the sender went away"
        except RecordError as error:
            failure = str(error)
        except Exception as error:
            if not is_unavailable(error):
                await self._end("it failed: the log says why")
                raise
            failure = "the database does not answer just now"
        state = "failed" if failure else "done"
        yield self._line(
            **self._result(failure), state=state if await self._end(failure) else "cancelled"
        )

    async def _read(self, begin: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[None]:
        """Everything there is; come back when there is something to tell."""
        told, header = 0, not isinstance(self.reader, JsonReader)
        async for piece in _after(begin, pieces):
            self.tally.bytes += len(piece)
            for line, record in self.records.feed(piece):
                if header:
                    header = False
                    continue
                await self._take(self.reader.feed(line, record))
            if self.tally.read - told >= REPORT:
                told = self.tally.read
                yield
            await asyncio.sleep(0)  # alerts come first
        for line, record in self.records.end():
            await self._take(self.reader.feed(line, record))
        await self._take(self.reader.end())
        await self._put()

    async def _take(self, found: Iterable[Found]) -> None:
        for line, one in found:
            self.tally.read += 1
            if isinstance(one, HistoryError):
                self.tally.refuse(line, str(one))
            else:
                self.batch.append((line, one))
                self.tally.waiting += len(one.body)
        if len(self.batch) >= BATCH or self.tally.waiting >= BATCH_BYTES:
            await self._put()

    async def _put(self) -> None:
        batch, tally = list(self.batch), self.tally
        self.batch.clear()
        tally.waiting = 0
        if not batch:
            return
        async with self.parts["pages"].write() as connection:
            if not await jobs.hold(connection, self.job):
                raise CancelledJobError
            new, refused = await importing.put(
                connection, self.parts["vault"], [one for _, one in batch], keep=self.keep
            )
            lines = [line for line, one in batch if one.id in refused]
            for line in lines:
                tally.refuse(line, "the database refuses it")
            tally.imported += len(new)
            tally.skipped += len(batch) - len(new) - len(lines)
            await jobs.advance(connection, self.job, done=tally.bytes, result=self._result())

    def _result(self, failure: str | None = None) -> dict[str, Any]:
        ended = {"failure": failure} if failure else {}
        return (
            self.tally.counts()
            | {"dry_run": not self.keep, "problems": self.tally.problems}
            | ended
        )

    async def _told(self) -> str:
        async with self.parts["pages"].write() as connection:
            if not await jobs.advance(
                connection, self.job, done=self.tally.bytes, result=self._result()
            ):
                raise CancelledJobError
        return self._line(**self.tally.counts())

    async def _end(self, failure: str | None) -> bool:
        """Write down how it ended; where that cannot be, the job is seen to have stalled.

        False: it was cancelled before.
        """
        try:
            async with self.parts["pages"].write() as connection:
                return await jobs.end(
                    connection,
                    self.job,
                    done=self.tally.bytes,
                    result=self._result(failure),
                    failed=failure is not None,
                    event="signals.imported" if self.keep else None,
                )
        except Exception as error:
            if not is_unavailable(error):
                raise
            log.warning("import.not_recorded", extra={"job": str(self.job)})
            return True

    def _line(self, **more: object) -> str:
        return json.dumps({**more, "bytes": self.tally.bytes, "total_bytes": self.total}) + "\n"


async def _after(begin: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield begin
    async for piece in pieces:
        yield piece


class _Progress(Response):
    """Answers while the request is still coming. Starlette's own would read it for itself."""

    media_type = "application/x-ndjson"

    def __init__(self, lines: AsyncIterator[str]) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        async for line in self._lines:
            await send({"type": "http.response.body", "body": line.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b""})
