"""H3: a captured alert, posted again at once, after 31 s, an hour, a day, is never sent twice.

Time is not waited for: alerts are dated back, taken from a source that lets them live that long,
and what the database remembers of them is moved back as well. One without a send time or a key says
nothing of when it was meant: after DEDUPE_WINDOW_SEC the same words are another alert.
"""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import httpx
import pytest

from engines.clock import utc_now
from tests.web.operating import ask
from tests.web.stage import TOP_N, Relay

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHORT, LONG = 6, 250
HOUR, DAY = 3_600, 86_400
FORMS = ("timenow", "sent", "key")


def alert(relay: Relay, number: int, age: float) -> dict[str, Any]:
    """Dated so long ago; every third by its sender's key alone."""
    at = (utc_now() - timedelta(seconds=age)).isoformat()
    form = FORMS[number % len(FORMS)]
    dated = {} if form == "key" else {form: at}
    ticker = relay.finviz.market[number % TOP_N].ticker
    return {"ticker": ticker, "action": "buy", "n": number, "age": age} | dated


async def post(relay: Relay, token: str, body: bytes, number: int) -> httpx.Response:
    key = {"idempotency-key": f"alert {number}"} if FORMS[number % len(FORMS)] == "key" else {}
    return await relay.http.post(f"/webhook/in/{token}", content=body, headers=key)


async def sent(relay: Relay, name: str) -> int:
    [row] = await relay.rows(
        "SELECT count(*) AS number FROM deliveries JOIN signals ON signals.id = signal_id"
        " WHERE source = :name",
        name=name,
    )
    return row.number


async def recorded(
    relay: Relay, token: str, age: float, numbers: Sequence[int]
) -> dict[int, bytes]:
    """Alerts of that age which were taken, and sent where one may live so long."""
    bodies = {number: json.dumps(alert(relay, number, age)).encode() for number in numbers}
    ids: list[str] = []
    for number, body in bodies.items():
        answer = await post(relay, token, body, number)
        assert answer.status_code == 202
        ids.append(answer.json()["signal_id"])
    if age < DAY:
        for id in ids:
            assert (await relay.settled(id))["status"] == "delivered"
    return bodies


@pytest.mark.parametrize(
    ("age", "forgotten"),
    [*((age, False) for age in (0, 31, HOUR, 25 * HOUR)), (31, True), (25 * HOUR, True)],
)
async def test_a_replay_is_a_repeat_or_too_late(
    shared: Relay, request: pytest.FixtureRequest, age: float, *, forgotten: bool
) -> None:
    """``forgotten``: what folds repeats was lost; then what is dated is too late all the same."""
    most = LONG if request.config.getoption("--long") else SHORT
    name = f"replay-{age}-{'lost' if forgotten else 'known'}"
    patient = {"name": name, "buy_ttl_sec": DAY, "sell_ttl_sec": DAY}
    token = (await ask(shared, "POST", "/api/sources", patient)).json()["token"]
    # A key is remembered for a day, and says nothing of the time.
    undated = not forgotten and age < DAY
    numbers = [n for n in range(most) if undated or FORMS[n % len(FORMS)] != "key"]
    bodies = await recorded(shared, token, age, numbers)
    usual = {"buy_ttl_sec": 30, "sell_ttl_sec": 600}
    assert (await ask(shared, "PATCH", f"/api/sources/{name}", usual)).status_code == 200
    await shared.execute(
        "UPDATE dedupe_keys SET expires_at = dedupe_keys.expires_at - make_interval(secs => :age)"
        " FROM signals WHERE signals.id = signal_id AND source = :name",
        age=DAY * 2 if forgotten else age,
        name=name,
    )
    before = await sent(shared, name)
    for number, body in bodies.items():
        answer = await post(shared, token, body, number)
        told = answer.json()
        assert told["duplicate"] or told["status"] == "expired", told
    assert await sent(shared, name) == before
