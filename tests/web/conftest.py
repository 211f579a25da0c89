"""One application for each module: its tests share it, and keep to tickers of their own."""

from collections.abc import AsyncGenerator, Iterator
from datetime import timedelta
from itertools import count

import pytest
import pytest_asyncio

from tests.web.stage import TOP_N, Relay, cloned, relay


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(template: str, route: str) -> AsyncGenerator[Relay]:
    parts = {"express": route == "express"}
    async with cloned(template) as url, relay(url, parts=parts) as one:
        yield one


@pytest.fixture(scope="module")
def route() -> str:
    """How requests come; modules about alerts have both."""
    return "express"


@pytest.fixture(scope="module")
def told_alone() -> Iterator[None]:
    """The keeper looks when he is told that a screen has changed, and hardly ever by himself."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("engines.universe.keeper.LOOK", timedelta(hours=1))
        yield


@pytest.fixture(scope="module")
def numbers() -> Iterator[int]:
    return count()


@pytest.fixture
def listed(shared: Relay, numbers: Iterator[int]) -> str:
    """A ticker of the list that no other test of the module uses."""
    return shared.finviz.market[next(numbers) % TOP_N].ticker
