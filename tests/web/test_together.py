"""Alerts that arrive together: read together, in their order, and none fails for another."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from database.journal import Entry, Receipt
from database.pool import UnavailableError
from demo.asgi import answer
from domain.alert import Invalid, Parsed, parse
from domain.signal import SignalStatus
from engines.relay.intake import Waiting
from tests.web.stage import WEBHOOK_TOKEN, Relay, call, http_scope
from web import together
from web.posted import PATH, NotAdmittedError, Refusal
from web.together import MOST, Asked, Together

pytestmark = pytest.mark.asyncio(loop_scope="module")

MANY = 2 * MOST + 10


@pytest.fixture(scope="module", params=["asgi", "express"])
def route(request: pytest.FixtureRequest) -> str:
    return request.param


@dataclass(slots=True)
class Keeping:
    """An intake that notes what it is given, and takes no more than ``most``."""

    most: int = 1_000
    given: list[Entry] = field(default_factory=list[Entry])

    def put(self, entry: Entry, receipt: Waiting) -> None:
        if len(self.given) == self.most:
            raise UnavailableError("full")
        self.given.append(entry)
        if not receipt.done():
            status = SignalStatus.RECEIVED
            receipt.set_result(Receipt(entry.id, status, entry.ticker, duplicate=False))


@pytest.fixture
def keeping() -> Keeping:
    return Keeping()


@pytest.fixture
async def state(shared: Relay, keeping: Keeping) -> dict[str, Any]:
    """What the relay's requests carry, with that intake."""
    found: dict[str, Any] = {}

    async def catch(_self: object, scope: Scope, _receive: Receive, send: Send) -> None:
        found.update(scope["state"])
        await answer(send, 200, b"")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("web.webhook.Webhook.__call__", catch)
        await call(shared.app, "GET", "/health")
    return found | {"intake": keeping}


def asking(state: dict[str, Any], body: bytes, token: str = WEBHOOK_TOKEN) -> tuple[Any, ...]:
    scope = {**http_scope("POST", f"{PATH}/{token}", []), "state": state}
    return scope, {}, body


def alert(number: int) -> bytes:
    return json.dumps({"ticker": f"T{number}", "action": "buy"}).encode()


async def ended(asked: Sequence[Asked]) -> list[Any]:
    async with asyncio.timeout(60):
        return await asyncio.gather(*(one.receipt for one in asked), return_exceptions=True)


async def test_they_keep_their_order(state: dict[str, Any], keeping: Keeping) -> None:
    reader = Together()
    asked = [reader.ask(*asking(state, alert(number))) for number in range(MANY)]
    await ended(asked)
    assert [entry.ticker for entry in keeping.given] == [f"T{n}" for n in range(MANY)]
    late = reader.ask(*asking(state, alert(MANY)))
    await ended([late])
    assert keeping.given[-1].ticker == f"T{MANY}"


async def test_the_first_are_handed_over_before_the_last_are_read(
    state: dict[str, Any], keeping: Keeping
) -> None:
    reader = Together()
    for number in range(MANY):
        reader.ask(*asking(state, alert(number)))
    given: list[int] = []
    while len(keeping.given) < MANY:
        await asyncio.sleep(0)
        given.append(len(keeping.given))
    assert [*dict.fromkeys(given)][-3:] == [MOST, 2 * MOST, MANY]


@pytest.mark.parametrize("at", [0, 5, 9])
async def test_one_that_is_refused_is_refused_alone(
    state: dict[str, Any], keeping: Keeping, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the others are not read once more for it."""
    bodies: list[bytes] = []

    def counted(body: bytes, content_type: str) -> Parsed | Invalid:
        bodies.append(body)
        return parse(body, content_type)

    monkeypatch.setattr(together, "parse", counted)
    reader = Together()
    given = [asking(state, alert(number)) for number in range(10)]
    given[at] = asking(state, alert(at), WEBHOOK_TOKEN[:-1] + "g")
    found = await ended([reader.ask(*one) for one in given])
    assert [place for place, one in enumerate(found) if isinstance(one, NotAdmittedError)] == [at]
    assert [entry.ticker for entry in keeping.given] == [f"T{n}" for n in range(10) if n != at]
    assert bodies == [alert(number) for number in range(10)]


async def test_one_that_breaks_us_breaks_alone(
    state: dict[str, Any], keeping: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaking(body: bytes, content_type: str) -> Parsed | Invalid:
        if b"T5" in body:
            raise ZeroDivisionError
        return parse(body, content_type)

    monkeypatch.setattr(together, "parse", breaking)
    reader = Together()
    found = await ended([reader.ask(*asking(state, alert(number))) for number in range(10)])
    assert [isinstance(one, ZeroDivisionError) for one in found] == [n == 5 for n in range(10)]
    assert len(keeping.given) == 9


async def test_each_knows_whether_it_is_an_alert(state: dict[str, Any], keeping: Keeping) -> None:
    reader = Together()
    bodies = (alert(1), b"nonsense", alert(2), b'{"ticker": "X"}')
    asked = [reader.ask(*asking(state, body)) for body in bodies]
    await ended(asked)
    codes = [one.invalid and one.invalid.code for one in asked]
    assert codes == [None, "not_json", None, "no_action"]
    assert [entry.invalid for entry in keeping.given] == codes


async def test_who_has_gone_keeps_nobody_from_being_read(
    state: dict[str, Any], keeping: Keeping
) -> None:
    reader = Together()
    asked = [reader.ask(*asking(state, alert(number))) for number in range(3)]
    asked[1].receipt.cancel()
    gone = reader.ask(*asking(state, alert(3), "wrong"))
    gone.receipt.cancel()
    await ended(asked)
    assert {entry.ticker for entry in keeping.given} >= {"T0", "T2"}


async def test_a_full_intake_refuses_who_is_too_many(
    state: dict[str, Any], keeping: Keeping
) -> None:
    keeping.most = 4
    reader = Together()
    found = await ended([reader.ask(*asking(state, alert(number))) for number in range(10)])
    assert [isinstance(one, UnavailableError) for one in found] == [False] * 4 + [True] * 6


async def test_a_full_backlog_refuses_buys_first(state: dict[str, Any], keeping: Keeping) -> None:
    state["backlog"] = lambda: state["rules"].queue_max
    sell = json.dumps({"ticker": "T1", "action": "sell"}).encode()
    reader = Together()
    found = await ended([reader.ask(*asking(state, body)) for body in (alert(1), sell, alert(2))])
    assert [isinstance(one, Refusal) and one.code for one in found] == [
        "backlog_full",
        False,
        "backlog_full",
    ]
    assert [entry.side for entry in keeping.given] == ["sell"]


async def test_a_crowd_of_all_kinds_is_answered_each_for_itself(shared: Relay) -> None:
    """Over the whole application, by either way."""
    good = [shared.post({"ticker": f"C{n}", "action": "buy"}) for n in range(40)]
    wrong = [shared.http.post(PATH + "/wrong", content=alert(n)) for n in range(5)]
    bad = [shared.post(b"nonsense %d" % n) for n in range(5)]
    answers = await asyncio.gather(*good[:20], *wrong, *good[20:], *bad)
    statuses = [one.status_code for one in answers]
    assert statuses == [202] * 20 + [401] * 5 + [202] * 20 + [400] * 5
    [row] = await shared.rows("SELECT count(*) AS kept FROM signals WHERE ticker ~ '^C[0-9]+$'")
    assert row.kept == 40
