"""Who was refused is told of after the answer, and before the relay ends."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from database.journal import Receipt
from engines.failpoints import passes
from engines.metrics import Metrics
from tests.web.express import Whole
from tests.web.stage import http_scope
from web.app import create_app
from web.dependencies import State
from web.posted import PATH, NotAdmittedError
from web.together import Asked, Together


@dataclass(slots=True)
class Slow:
    """Refusals that are written down some time later."""

    noted: list[str] = field(default_factory=list[str])

    def beyond(self) -> None:
        return None

    async def wrong(self, door: str) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        self.noted.append(door)


async def test_an_end_waits_for_what_is_still_to_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    refusals, rules = Slow(), cast("Any", type("Rules", (), {"public_url": None}))
    parts = {"refusals": refusals, "rules": rules, "reach": passes, "metrics": Metrics()}

    @asynccontextmanager
    async def lifespan(_app: object) -> AsyncGenerator[State]:
        yield cast("State", parts)
        assert refusals.noted == [f"POST {PATH}"]

    def ask(_self: Together, scope: Any, headers: Any, body: bytes) -> Asked:
        receipt: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        receipt.set_exception(NotAdmittedError(guessed=True))
        return Asked(scope, headers, body, receipt)

    monkeypatch.setattr(Together, "ask", ask)
    app = create_app(lifespan, "an end")
    asked: asyncio.Queue[Any] = asyncio.Queue()
    said: asyncio.Queue[Any] = asyncio.Queue()
    life = asyncio.ensure_future(app({"type": "lifespan", "state": {}}, asked.get, said.put))
    await asked.put({"type": "lifespan.startup"})
    await said.get()
    whole = Whole(bytearray(b"{}"))
    assert app.express({**http_scope("POST", PATH, []), "state": parts}, whole)
    status, _, _ = await whole.answered
    assert (status, refusals.noted) == (401, [])
    await asked.put({"type": "lifespan.shutdown"})
    await life
    assert (await said.get())["type"] == "lifespan.shutdown.complete"
    assert refusals.noted
