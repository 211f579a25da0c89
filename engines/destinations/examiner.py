"""The examiner: sends a destination one request marked as a test, which can never be an order."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from database import destination_tests
from database.destination_tests import Refusal
from database.pool import Database
from database.vault import Vault
from domain.body import MASK
from domain.delivery import Answer, DestinationId, Outcome
from domain.destination import Destination, Mode
from domain.destination_told import hidden
from domain.disclosure import disclosed
from domain.signal import uuid7
from domain.signature import sign
from engines.clock import Clock, Entropy

MESSAGE = "A test of the connection. It is no order: there is nothing to buy or to sell."
SHOWN = 400
"""Characters of an answer that are shown."""


class Client(Protocol):
    """What sends to one destination: `engines.destinations.client.DestinationClient`."""

    async def post(
        self, body: bytes, headers: dict[str, str], leaves: Callable[[], bool]
    ) -> Answer: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What was sent, or in a dry run would have been, and how that was answered, masked."""

    sent: bool
    body: str
    headers: Mapping[str, str]
    answer: Answer
    excerpt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Examiner:
    """Outside of lanes and positions: nothing but the trace in the audit trail stays of it."""

    database: Database
    vault: Vault
    connect: Callable[[Destination], Client]
    clock: Clock
    entropy: Entropy
    sell_share: float

    async def examine(self, id: DestinationId, *, actor: str) -> Examined | Refusal:
        """Send one test now, or say why not."""
        async with self.database.write() as connection:
            found = await destination_tests.begin(
                connection, self.vault, id, sell_share=self.sell_share
            )
        if isinstance(found, Refusal):
            return found
        now = self.clock()
        test_id = f"test_{uuid7(now, self.entropy(10))}"
        body = _body(test_id, now)
        headers = _headers(found, test_id, body, now)
        answer = disclosed(await self._answer(found, body, headers))
        async with self.database.write() as connection:
            await destination_tests.tell(connection, found, _told(answer), actor=actor)
        return Examined(
            sent=found.mode is Mode.LIVE,
            body=body.decode(),
            headers=headers | dict.fromkeys([*found.headers, "webhook-signature"], MASK),
            answer=answer,
            excerpt=hidden(answer.excerpt or "", found)[:SHOWN],
        )

    async def _answer(self, one: Destination, body: bytes, headers: dict[str, str]) -> Answer:
        if one.mode is Mode.DRY_RUN:
            return Answer(outcome=Outcome.DRY_RUN)
        client = await asyncio.to_thread(self.connect, one)  # its certificates are read from disk
        try:
            return await client.post(body, headers, lambda: True)
        finally:
            await client.close()


def _body(id: str, now: datetime) -> bytes:
    """No ticker, no action, and nothing that a mapping adds: constants might make it an order."""
    sent_at = now.astimezone(UTC).isoformat().replace("+00:00", "Z")
    said = {"test": True, "message": MESSAGE, "test_id": id, "sent_at": sent_at}
    return json.dumps(said).encode()


def _headers(one: Destination, id: str, body: bytes, now: datetime) -> dict[str, str]:
    timestamp = int(now.timestamp())
    signatures = [sign(key, id=id, timestamp=timestamp, body=body) for key in one.keys.at(now)]
    return {
        **one.headers,
        "content-type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
        "idempotency-key": id,
    }


def _told(answer: Answer) -> dict[str, object]:
    return {
        "outcome": answer.outcome,
        "status": answer.status,
        "error": answer.error,
        "duration_ms": milliseconds(answer),
    }


def milliseconds(answer: Answer) -> int:
    return int(answer.duration.total_seconds() * 1000)
