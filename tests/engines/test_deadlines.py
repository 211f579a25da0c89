"""A deadline that passes before the first byte: nothing can have arrived, and it is sent again."""

import asyncio
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from domain.delivery import Answer, Guarantee, Outcome
from domain.destination import Destination
from engines.destinations.client import DestinationClient, Limits
from tests.database.rows import Rows
from tests.engines.conditions import until_rows
from tests.engines.loopback import BODY, HEADERS, LOOPBACK, Writer, loopback
from tests.engines.outside import PATIENT, Outside, forwarding, queued

BRIEF = timedelta(seconds=0.3)
UNCONNECTED = (Outcome.NOT_SENT, "no connection in time")


@contextmanager
def without_tls() -> Generator[str]:
    """The address of a port that takes connections, and never answers a handshake."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        yield f"https://127.0.0.1:{silent.getsockname()[1]}/hook"


async def posted(url: str, leaves: Callable[[], bool], deadline: timedelta = BRIEF) -> Answer:
    """Connecting may take longer than the whole request."""
    limits = Limits(deadline=deadline, connecting=timedelta(seconds=60))
    ours = DestinationClient(url, private=LOOPBACK, limits=limits)
    answer = await ours.post(BODY, HEADERS, leaves)
    await ours.close()
    return answer


@pytest.fixture
def asked() -> list[bool]:
    """What was answered to a client that asked whether the request may leave."""
    return []


@pytest.fixture
def leaves(asked: list[bool]) -> Callable[[], bool]:
    def leave() -> bool:
        asked.append(True)
        return True

    return leave


async def test_a_deadline_that_passes_while_tls_hangs_sent_nothing(
    asked: list[bool], leaves: Callable[[], bool]
) -> None:
    with without_tls() as url:
        answer = await posted(url, leaves)
    assert (answer.outcome, answer.error) == UNCONNECTED
    assert answer.duration >= BRIEF - timedelta(seconds=0.01)
    assert asked == []


async def test_a_deadline_that_passes_while_a_name_is_looked_up_sent_nothing(
    asked: list[bool], leaves: Callable[[], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = asyncio.Event()

    async def getaddrinfo(*_: object, **__: object) -> object:
        await heard.wait()
        return []

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    answer = await posted("https://silent.example/hook", leaves)
    heard.set()
    assert (answer.outcome, answer.error) == UNCONNECTED
    assert asked == []


async def test_a_deadline_that_passes_after_the_request_leaves_the_outcome_open(
    asked: list[bool], leaves: Callable[[], bool]
) -> None:
    async def never(_: Writer) -> None:
        await asyncio.sleep(60)

    async with loopback(never) as there:
        for deadline in (0.3, 1, 4):  # on a slow machine nothing may be sent within the first
            answer = await posted(there.url, leaves, timedelta(seconds=deadline))
            if asked:
                break
    assert (answer.outcome, answer.error) == (Outcome.AMBIGUOUS, "total deadline passed")


class Dialling(Outside):
    """Goes out by the real client."""

    def connect(self, destination: Destination) -> DestinationClient:  # pyright: ignore[reportIncompatibleMethodOverride]
        limits = Limits(deadline=destination.timeout, connecting=destination.connect_timeout)
        return DestinationClient(destination.url, private=LOOPBACK, limits=limits)


async def tried_twice(rows: Rows) -> bool:
    return (await rows.sql("SELECT count(*) FROM attempts WHERE outcome IS NOT NULL"))[0] >= 2


@pytest.mark.parametrize("guarantee", Guarantee)
async def test_what_never_left_is_tried_again_and_takes_no_room(
    rows: Rows, guarantee: Guarantee
) -> None:
    """Neither held, nor marked, nor counted in a window: whatever was promised."""
    with without_tls() as url:
        await rows.destination(guarantee=guarantee, timeout=timedelta(seconds=0.5), url=url)
        await queued(rows, "buy AAPL")
        async with forwarding(rows, Dialling(), breaker=PATIENT):
            await until_rows(lambda: tried_twice(rows))
    assert await rows.sql("SELECT DISTINCT outcome, written_at FROM attempts") == [
        ("not_sent", None)
    ]
    assert await rows.sql("SELECT state, possibly_sent FROM deliveries") == [("queued", False)]
    await rows.sql("UPDATE deliveries SET expires_at = now()")
    await rows.expire()
    assert await rows.states("positions") == ["void"]
