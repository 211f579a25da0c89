"""Hands on the relay, as people and senders outside have them: its API and its webhook."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

ATTEMPTS, PAUSE = 4, 5.0
"""TradingView posts an alert again after a server error or silence: three times, 5 s apart."""

GIVES_UP = 3.0
"""Seconds after which TradingView does not wait for the answer any more."""


class NotDoneError(Exception):
    """The relay said no to what the demo asked of it: the code of its answer."""


@dataclass(frozen=True, slots=True)
class Posted:
    """What became of a posting; status 0: no answer."""

    status: int = 0
    signal_id: str | None = None
    duplicate: bool = False

    @property
    def heard(self) -> bool:
        return 0 < self.status < 500


@dataclass(frozen=True, slots=True)
class Hands:
    """``token`` is whose hands they are; ``doors`` are the tokens of the sources."""

    client: httpx.AsyncClient
    token: str = field(repr=False)
    doors: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    def of(self, token: str) -> "Hands":
        """Somebody else's."""
        return replace(self, token=token)

    async def ask(self, method: str, path: str, given: object = None) -> Any:
        """What is answered. Raises NotDoneError."""
        headers = {"authorization": f"Bearer {self.token}"}
        answer = await self.client.request(method, path, json=given, headers=headers)
        if answer.is_success:
            return answer.json()
        raise NotDoneError(_code(answer))

    async def read(self, path: str) -> Any:
        return await self.ask("GET", path)

    async def items(self, path: str) -> list[Any]:
        return (await self.read(path))["items"]

    async def order(self, path: str, **given: object) -> Any:
        return await self.ask("POST", path, given)

    async def done(self, path: str, **given: object) -> bool:
        """Whether an order that may come too late was taken."""
        try:
            await self.order(path, **given)
        except NotDoneError:
            return False
        return True

    async def post(self, source: str, body: str) -> Posted:
        """An alert as TradingView posts it: again when the relay fails or does not answer."""
        posted = Posted()
        for attempt in range(ATTEMPTS):
            await asyncio.sleep(PAUSE if attempt else 0)
            posted = await self._post(source, body)
            if posted.heard:
                break
        return posted

    async def _post(self, source: str, body: str) -> Posted:
        path = f"/webhook/in/{self.doors[source]}"
        try:
            answer = await asyncio.wait_for(self.client.post(path, content=body), GIVES_UP)
        except TimeoutError:
            return Posted()
        told = answer.json()
        return Posted(answer.status_code, told.get("signal_id"), told.get("duplicate", False))

    async def upload(self, path: str, lines: str) -> None:
        """A file of history."""
        headers = {"authorization": f"Bearer {self.token}"}
        answer = await self.client.post(path, content=lines, headers=headers)
        if '"state": "done"' not in answer.text:
            raise NotDoneError(answer.text[-200:])


def _code(answer: httpx.Response) -> str:
    try:
        return f"{answer.status_code} {answer.json().get('code')}"
    except ValueError:
        return str(answer.status_code)
