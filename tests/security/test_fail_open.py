"""H32: whatever a verdict or a departure needs and fails, no buy passes meanwhile; no sell is lost.

Each dependency fails in the running relay, where it is called; then it works again.
"""

import json
from collections.abc import AsyncGenerator, Iterator
from itertools import count
from typing import Any

import pytest
import pytest_asyncio

from database import gate, journal, lanes, universes, verdicts
from database.vault import SealError, Vault
from engines.relay import judge, leasing
from tests.web.stage import Relay, cloned, relay, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(template: str) -> AsyncGenerator[Relay]:
    limits: dict[str, Any] = {
        "dest_webhook_rate_limiting_enabled": True,
        "dest_webhook_rate_limits": "900/60s",
    }
    async with cloned(template) as url, relay(url, **limits) as one:
        yield one


@pytest.fixture(scope="module")
def numbers() -> Iterator[int]:
    return count()


class Fault:
    """Raises wherever it is put, and counts."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.met = 0

    def __call__(self, *_: object, **__: object) -> Any:
        self.met += 1
        raise self.error


BROKEN = RuntimeError("it does not work")
JUDGING = [
    *((gate, name) for name in ("read", "standing")),
    *((verdicts, name) for name in ("claim", "_positions", "record")),
    *((universes, "mark"), (judge, "judge_in_order")),
]
SENDING = [(lanes, "hold"), (lanes, "usage"), (lanes, "lease"), (leasing, "permit")]


def named(place: tuple[Any, str]) -> str:
    return f"{place[0].__name__}.{place[1]}"


async def post(house: Relay, ticker: str, action: str) -> str:
    """With a secret in its body, so that its bytes are sealed."""
    answer = await house.post({"ticker": ticker, "action": action, "password": "a-secret"})
    assert answer.status_code == 202, answer.text
    return answer.json()["signal_id"]


def sent(house: Relay, ticker: str) -> list[str]:
    bodies = [json.loads(parcel.body) for parcel in house.destination.parcels]
    return [body["action"] for body in bodies if body["ticker"] == ticker]


async def approved(house: Relay) -> list[Any]:
    return await house.rows("SELECT ticker FROM signals WHERE status = 'approved'")


async def struck(
    house: Relay,
    numbers: Iterator[int],
    patch: pytest.MonkeyPatch,
    place: tuple[Any, str],
    error: Exception = BROKEN,
) -> list[Any]:
    """A buy and a sell while it fails, and after; return what had been approved in between."""
    fault = Fault(error)
    held, wanted = (house.finviz.market[next(numbers)].ticker for _ in range(2))
    await house.settled(await post(house, held, "buy"))
    before = await approved(house)
    with patch.context() as patched:
        patched.setattr(*place, fault)
        buy, sell = await post(house, wanted, "buy"), await post(house, held, "sell")

        async def met_it() -> bool:
            return fault.met >= 2

        await until(met_it, f"a use of {named(place)}")
        assert (sent(house, wanted), sent(house, held)) == ([], ["buy"])
        meanwhile = await approved(house)
    found = [await house.settled(one) for one in (buy, sell)]
    assert [one["status"] for one in found] == ["delivered", "delivered"]
    assert (sent(house, wanted), sent(house, held)) == (["buy"], ["buy", "sell"])
    return [one for one in meanwhile if one not in before]


@pytest.mark.parametrize("place", JUDGING, ids=named)
async def test_what_cannot_be_judged_is_not_approved(
    house: Relay, numbers: Iterator[int], place: tuple[Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await struck(house, numbers, monkeypatch, place) == []


@pytest.mark.parametrize("place", SENDING, ids=named)
async def test_what_cannot_be_leased_does_not_leave(
    house: Relay, numbers: Iterator[int], place: tuple[Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await struck(house, numbers, monkeypatch, place)


async def test_what_cannot_be_unsealed_does_not_leave(
    house: Relay, numbers: Iterator[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    await struck(house, numbers, monkeypatch, (Vault, "open"), SealError("no key opens it"))


async def test_what_cannot_be_told_from_a_repeat_is_not_taken(
    house: Relay, numbers: Iterator[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not acknowledged either: the sender knows, and may send it again."""
    ticker = house.finviz.market[next(numbers)].ticker
    fault = Fault(BROKEN)
    with monkeypatch.context() as patched:
        patched.setattr(journal, "append", fault)
        for action in ("buy", "sell"):
            answer = await house.post({"ticker": ticker, "action": action})
            assert answer.status_code == 503, answer.text
    assert fault.met >= 2
    assert not await house.rows("SELECT 1 FROM signals WHERE ticker = :ticker", ticker=ticker)
    await house.settled(await post(house, ticker, "buy"))
    await house.settled(await post(house, ticker, "sell"))
    assert sent(house, ticker) == ["buy", "sell"]
