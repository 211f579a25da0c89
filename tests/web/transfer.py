"""Signals of every sort, whole files through the application in pieces, and memory watched."""

import asyncio
import json
import os
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from tests.web.stage import ADMIN_TOKEN, Relay, http_scope

PIECE = 64 * 1024

# Every status and side, bodies of every sort, prices with all their digits, two to five events.
SEED = """
    WITH made AS (
        INSERT INTO signals (
            id, source, ticker, exchange, symbol, side, closes, partial, price, price_text,
            sender_time, clock_skew, hop, content_type, body, body_sealed, received_at, expires_at,
            status, reason, judged_at, universe_version, rank, cutoff, list_age_ms, waits_since,
            waits_until, replay_of, imported_from)
        SELECT CAST(md5('signal' || n) AS uuid),
               (ARRAY['webhook', 'operator', 'paper-1'])[1 + n % 3],
               CASE WHEN n % 7 <> 6 THEN 'T' || n % 900 END, CASE WHEN n % 2 = 0 THEN 'NYSE' END,
               CASE WHEN n % 5 > 0 THEN '=T.' || n END,
               CASE WHEN n % 7 <> 6 THEN (ARRAY['buy', 'sell'])[1 + n % 2] END,
               (ARRAY[true, false, NULL])[1 + n % 3], n % 11 = 0,
               CASE WHEN n % 4 > 0 THEN CAST(n || '.' || repeat('120', n % 4) AS numeric) END,
               CASE WHEN n % 4 = 1 THEN '+' || n || ' "USD", net' END,
               CASE WHEN n % 3 = 0 THEN at - interval '1.000001 s' END, n % 13 = 0, n % 2,
               'application/json',
               CASE WHEN n % 9 = 0 THEN :sealed
                    WHEN n % 9 = 1 THEN decode('ff00fe0a0d', 'hex')
                    WHEN n % 9 = 2 THEN convert_to(E'=a,"b"\\r\\nsecond line\\n' || n, 'UTF8')
                    ELSE convert_to('{"ticker": "T' || n || '", "note": "' || repeat('é€', n % 50)
                                    || '", "price": 1.50}', 'UTF8') END,
               n % 9 = 0, at, at + interval '30 s',
               (ARRAY['approved', 'rejected', 'expired', 'approved', 'approved', 'rejected',
                      'invalid'])[1 + n % 7],
               (ARRAY[NULL, 'not_in_list', 'expired', NULL, NULL, 'no_position',
                      'no_action'])[1 + n % 7],
               at + interval '0.123457 s', NULL, nullif(n % 40, 0), 15, n * 7,
               CASE WHEN n % 17 = 0 THEN at END, CASE WHEN n % 17 = 0 THEN at + interval '1 m' END,
               CASE WHEN n % 19 = 0 THEN CAST(md5('signal' || n - 1) AS uuid) END,
               CASE WHEN n % 23 = 0 THEN 'original relay' END
        FROM generate_series(CAST(:first AS integer), :last) AS n,
             LATERAL (SELECT timestamptz '2026-01-02 10:00:00.000001+00'
                             + n * interval '3.7 s') AS t (at)
        ORDER BY n
        RETURNING id, seq, received_at, status
    )
    INSERT INTO events (at, event, signal_id, delivery_id, position_id, actor, origin, detail, xid)
    SELECT received_at + step * interval '0.01 s',
           (ARRAY['signal.received', 'signal.' || status, 'delivery.queued', 'delivery.dead',
                  'position.void'])[step],
           id, CASE WHEN step > 2 THEN CAST(md5(id || 'd') AS uuid) END,
           CASE WHEN step = 5 THEN CAST(md5(id || 'p') AS uuid) END,
           CASE WHEN step = 4 THEN '@admin token' END, CASE WHEN step = 4 THEN '203.0.113.7' END,
           jsonb_build_object('step', step, 'n', CAST('1.5000' AS numeric), 'deep',
               jsonb_build_array(seq, NULL, true, E'line\\n"é"', jsonb_build_object('a', '{}'))),
           CAST(NULL AS xid8)
    FROM made, generate_series(1, 2 + CAST(seq % 4 AS integer)) AS step
    ORDER BY seq, step
"""

COLUMNS = """
    id, source, ticker, exchange, symbol, side, closes, partial, price, CAST(price AS text),
    price_text, sender_time, clock_skew, hop, content_type,
    CASE WHEN body_sealed THEN NULL ELSE body END, body_sealed, received_at, expires_at, status,
    reason, judged_at, rank, cutoff, list_age_ms, waits_since, waits_until, replay_of
"""
ALL_SIGNALS = f"""
    SELECT md5(string_agg(CAST(one AS text), E'\\n' ORDER BY seq)) AS digest, count(*) AS n
    FROM (SELECT seq, ROW({COLUMNS}) AS one FROM signals) AS them
"""
ALL_EVENTS = """
    SELECT md5(string_agg(CAST(one AS text), E'\\n' ORDER BY seq, id)) AS digest, count(*) AS n
    FROM (SELECT events.id, seq, ROW(signal_id, at, event, delivery_id, position_id, actor, origin,
                                     CAST(detail AS text)) AS one
          FROM events JOIN signals ON signals.id = signal_id) AS them
"""


def resident() -> int:
    """Bytes of memory this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class Transfer:
    """A request in plain ASGI: the body from a file, the answer into one, a piece at a time."""

    app: ASGIApp
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict[str, str])
    start: int = field(default_factory=resident)
    peak: int = 0
    pieces: int = 0

    async def __call__(
        self, method: str, path: str, source: Path | None, sink: Path, token: str = ADMIN_TOKEN
    ) -> None:
        size = str(_size(source)).encode()
        bearer = f"Bearer {token}".encode()
        scope = http_scope(method, path, [(b"authorization", bearer), (b"content-length", size)])
        with (source or Path(os.devnull)).open("rb") as content, sink.open("wb") as answer:
            ended = False

            async def receive() -> MutableMapping[str, Any]:
                nonlocal ended
                piece = content.read(PIECE)
                self.peak = max(self.peak, resident())
                if ended:  # nothing more comes, and nobody goes away
                    return await _never()
                ended = not piece
                return {"type": "http.request", "body": piece, "more_body": not ended}

            async def send(message: MutableMapping[str, Any]) -> None:
                if message["type"] == "http.response.start":
                    self.status = message["status"]
                    self.headers = {n.decode(): v.decode() for n, v in message["headers"]}
                answer.write(message.get("body", b""))
                self.pieces += 1
                self.peak = max(self.peak, resident())

            await self.app(scope, receive, send)


def _size(source: Path | None) -> int:
    return source.stat().st_size if source else 0


async def _never() -> Any:
    await asyncio.Event().wait()


async def seed(relay: Relay, count: int, sealed: bytes) -> None:
    """So many signals with their events, a thousand at once."""
    for first in range(0, count, 1_000):
        await relay.execute(SEED, first=first, last=min(first + 1_000, count) - 1, sealed=sealed)


async def exported(relay: Relay, sink: Path, format: str = "jsonl", query: str = "") -> Transfer:
    transfer = Transfer(relay.app)
    await transfer("GET", f"/api/signals/export?format={format}{query}", None, sink)
    assert transfer.status == 200
    return transfer


async def imported(relay: Relay, source: Path, sink: Path, query: str = "") -> Transfer:
    transfer = Transfer(relay.app)
    await transfer("POST", f"/api/signals/import?{query}", source, sink)
    return transfer


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]
