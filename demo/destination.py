"""A made-up destination: answers like an order gateway, and keeps what it was sent."""

import json
import random  # noqa: TID251  chance is handed in, drawn from the demo's seed
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from starlette.types import Receive, Scope, Send

from demo.asgi import answer, body_of

Answer: TypeAlias = tuple[int, dict[str, object]]

BUSY: Answer = (429, {"success": False, "messageCode": "too-many-requests"})
DOWN: Answer = (500, {"success": False, "messageCode": "unknown-error"})


@dataclass(frozen=True, slots=True)
class Parcel:
    """One request as it arrived."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class MadeUpDestination:
    """A plain ASGI application. One answer in ``trouble`` is "too many requests" or an error."""

    chance: random.Random
    trouble: int = 25
    parcels: list[Parcel] = field(default_factory=list[Parcel])
    most_kept: int = 10_000

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await body_of(receive)
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        del self.parcels[: -self.most_kept]
        self.parcels.append(Parcel(headers, body))
        status, said = self._answer()
        await answer(send, status, json.dumps(said).encode())

    def _answer(self) -> Answer:
        if self.trouble and self.chance.randrange(self.trouble) == 0:
            return self.chance.choice((BUSY, DOWN))
        number = len(self.parcels)
        return 200, {"success": True, "id": f"made-up-{number}", "logId": f"log-{number}"}
