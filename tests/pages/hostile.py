"""What outsiders could have written wherever a page shows text: eight inlets, all payloads in each.

Where a way in has an alphabet or a length, the text is put into the table as if it had none: what
is tested is what a page makes of it.
"""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from uuid import uuid4

from tests.pages.conftest import House
from tests.security.xss import packed
from tests.web.stage import ADMIN_TOKEN

AT = "2026-11-21T15:04:05+00:00"
EXCERPT = 1_900
"""Of a destination's answer that is kept."""

TABLES = (
    """INTO fetches (screen_id, at, outcome, detail, pages, duration_ms, next_at)
       SELECT id, clock_timestamp(), 'broken', text, 1, 9, clock_timestamp()
       FROM screens, given WHERE active""",
    """INTO sessions (id_hash, created_at, seen_at, origin, agent)
       SELECT decode(md5(text), 'hex'), clock_timestamp(), clock_timestamp(), text, text
       FROM given""",
    """INTO tokens (id, name, digest, hint, scopes, made_by)
       SELECT gen_random_uuid(), text, decode(md5(text), 'hex'), left(text, 4), '{read}', text
       FROM given""",
    """INTO attention (cause, key, severity, text, first_at, last_at, ticker)
       SELECT 'sell_refused', text, 'urgent', text, now(), now(), text FROM given""",
    """INTO saved_filters (actor, page, name, query)
       SELECT 'admin session', 'signals', text, 'q=' || text FROM given""",
    """INTO sell_list (ticker, note, added_by, expires_at)
       SELECT text, text, text, now() + interval '1 hour' FROM given""",
    """INTO screens (id, name, url, top_n, refresh_sec, active)
       SELECT gen_random_uuid(), text, 'https://finviz.com/screener.ashx?v=111&o=' || text, 9, 60,
              false FROM given""",
    """INTO events (event, actor, origin, detail)
       SELECT 'access.refused', text, text,
              jsonb_build_object('door', text, 'reason', text, text, text) FROM given""",
)
"""Finviz's words; browsers and addresses of sessions; names, notes, and the audit trail."""


async def alerts(house: House, payloads: Sequence[str]) -> list[str]:
    """As symbol, price, exchange and member of an alert of its own: 1, 2. They come live: 8."""

    async def post(payload: str) -> str:
        told = {"ticker": payload, "action": "buy", "price": payload, payload: payload}
        return await house.post(told | {"exchange": payload, "salt": str(uuid4())})

    return await asyncio.gather(*map(post, payloads))


async def delivered(house: House, payloads: Sequence[str]) -> list[str]:
    """All in one body, and in what the destination answers: 2, 3."""
    made: list[str] = []
    for number, text in enumerate(packed(EXCERPT, list(payloads))):
        house.relay.destination.answer = text.encode()
        told = {"ticker": house.relay.finviz.market[number].ticker, "action": "buy"}
        made.append(await house.post({**told, "note": text}))
        ended = await house.relay.settled(made[-1])
        assert ended["status"] == "delivered", ended
    house.relay.destination.answer = b"{}"
    return made


async def tables(house: House, payloads: Sequence[str]) -> None:
    """What Finviz, a browser or an operator wrote: 4, 5, 6."""
    given = "WITH given AS (SELECT unnest(CAST(:texts AS text[])) AS text)"
    for statement in TABLES:
        insert = f"{given} INSERT {statement} ON CONFLICT DO NOTHING"
        await house.relay.execute(insert, texts=list(payloads))


async def imported(house: House, payloads: Sequence[str]) -> list[str]:
    """A file of JSON lines from another relay: 8."""
    made = [_signal(payload) for payload in payloads]
    lines = "".join(json.dumps(one) + "\n" for one in made)
    headers = {
        "authorization": f"Bearer {ADMIN_TOKEN}",
        "content-type": "application/octet-stream",
    }
    answer = await house.relay.http.post(
        "/api/signals/import", content=lines.encode(), headers=headers
    )
    assert answer.status_code == 200, answer.text
    return [str(one["id"]) for one in made]


def _signal(payload: str) -> dict[str, object]:
    id = hashlib.sha256(payload.encode()).hexdigest()
    return {
        "id": f"01a1fc1f-537e-78ef-a699-{id[:12]}",
        "source": "webhook",
        "symbol": payload[:64],
        "price_text": payload[:64],
        "partial": False,
        "clock_skew": False,
        "hop": 0,
        "content_type": "application/json",
        "received_at": AT,
        "expires_at": AT,
        "status": "invalid",
        "reason": "no_ticker",
        "judged_at": AT,
        "body": payload,
        "events": [
            {"at": AT, "event": "signal.received", "actor": payload, "detail": {payload: payload}}
        ],
    }
