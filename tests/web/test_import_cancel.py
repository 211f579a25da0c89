"""An import that is cancelled while it runs: what it did stays, and nothing more is done."""

import asyncio
import json
from collections.abc import AsyncGenerator, MutableMapping
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from tests.web.operating import signed_in
from tests.web.stage import ADMIN_TOKEN, Relay, cloned, http_scope, relay, until
from tests.web.test_imports import a_signal, as_lines

pytestmark = pytest.mark.asyncio(loop_scope="module")

BATCH = 500


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared(template: str) -> AsyncGenerator[Relay]:
    async with cloned(template) as url, relay(url, wait=False) as one:
        yield one


class Sender:
    """Sends an import in pieces, when it is told to; keeps what was answered."""

    def __init__(self, relay: Relay, query: str) -> None:
        headers = [(b"authorization", f"Bearer {ADMIN_TOKEN}".encode())]
        self._scope = http_scope("POST", f"/api/signals/import?{query}", headers)
        self._pieces: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self.status, self.body = 0, b""
        self.task = asyncio.ensure_future(relay.app(self._scope, self._pieces.get, self._take))

    async def _take(self, message: MutableMapping[str, Any]) -> None:
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")

    def send(self, first: int, count: int, *, last: bool = False) -> None:
        text = as_lines(*(a_signal(number) for number in range(first, first + count)))
        piece = {"type": "http.request", "body": text.encode(), "more_body": not last}
        self._pieces.put_nowait(piece)

    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]


async def imported(relay: Relay) -> int:
    [row] = await relay.rows("SELECT count(*) AS n FROM signals")
    return row.n


async def test_nothing_is_imported_after_a_cancel_is_answered(shared: Relay) -> None:
    job, before = uuid4(), await imported(shared)
    sender = Sender(shared, f"job={job}")
    sender.send(0, BATCH)

    async def begun() -> bool:
        return await imported(shared) == before + BATCH

    await until(begun, "the first batch")
    browser = await signed_in(shared)
    page = await shared.http.get(f"/admin/settings/jobs/{job}", headers=browser)
    assert "running" in page.text
    cancelled = await shared.http.post(f"/admin/settings/jobs/{job}/cancel", headers=browser)
    assert cancelled.status_code == 303
    sender.send(BATCH, 3 * BATCH, last=True)
    await sender.task
    assert sender.lines()[-1]["state"] == "cancelled"
    assert await imported(shared) == before + BATCH
    found = await shared.read(f"/api/jobs/{job}")
    assert (found["state"], found["result"]["imported"]) == ("cancelled", BATCH)
    page = await shared.http.get(f"/admin/settings/jobs/{job}", headers=browser)
    assert f"What was imported stays: {BATCH} signals." in page.text
    assert "Cancelled by admin session" in page.text
    [told] = await shared.rows("SELECT actor, detail FROM events WHERE event = 'job.cancelled'")
    assert (told.actor, told.detail["imported"]) == ("admin session", BATCH)
    assert not await shared.rows("SELECT 1 FROM events WHERE event = 'signals.imported'")
    again = await shared.http.post(f"/admin/settings/jobs/{job}/cancel", headers=browser)
    assert again.status_code == 303
    page = await shared.http.get(f"/admin/settings/jobs/{job}", headers=browser)
    assert "It had ended before." in page.text


async def test_an_id_is_of_one_job_only(shared: Relay) -> None:
    job = uuid4()
    for status in (200, 409):
        sender = Sender(shared, f"job={job}&dry_run=true")
        sender.send(10_000, 1, last=True)
        await sender.task
        assert sender.status == status
    assert sender.lines()[0]["code"] == "job_taken"
