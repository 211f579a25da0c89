"""POST /webhook/in when it cannot be stored: 503 in time, and back without a restart."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import make_url

from tests.stalls import stalls
from tests.web.stage import ADMIN_TOKEN, TOP_N, Relay, cloned, relay, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Wire:
    """A socket between the relay and its PostgreSQL that can be cut, or fall silent."""

    def __init__(self, url: str) -> None:
        self._there = make_url(url)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def lay(self, folder: str) -> str:
        """Listen in ``folder``; return the address that leads through here."""
        self._folder = folder
        path = str(Path(folder) / ".s.PGSQL.5432")
        self._server = await asyncio.start_unix_server(self._join, path)
        url = self._there.set(host=None, port=None, query={"host": folder})
        return url.render_as_string(hide_password=False)

    async def cut(self) -> None:
        """Every connection ends, none is made: the server is gone."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
        Path(self._folder, ".s.PGSQL.5432").unlink(missing_ok=True)  # noqa: ASYNC240  a moment

    def silence(self) -> None:
        """Connections are accepted, and nothing is ever answered."""
        self._flowing.clear()

    async def mend(self) -> None:
        self._flowing.set()
        if self._server is None or not self._server.is_serving():
            await self.lay(self._folder)

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        place = self._there.query.get("host", self._there.host)
        port = self._there.port or 5432
        if isinstance(place, str) and place.startswith("/"):
            return await asyncio.open_unix_connection(f"{place}/.s.PGSQL.{port}")
        return await asyncio.open_connection(str(place), port)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await self._open()
        if self._server is None or not self._server.is_serving():  # it was cut meanwhile
            there_writer.close()
            writer.close()
            return
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            self._writers.add(sink)
            task = asyncio.create_task(self._carry(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while piece := await source.read(65_536):
                await self._flowing.wait()
                sink.write(piece)
                await sink.drain()
        except ConnectionError:
            return
        finally:
            self._writers.discard(sink)
            sink.close()


@pytest.fixture(scope="module")
def wires() -> list[Wire]:
    return []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wired(template: str, wires: list[Wire]) -> AsyncGenerator[Relay]:
    with TemporaryDirectory() as folder:
        async with cloned(template) as url:
            wires.append(Wire(url))
            through = await wires[0].lay(folder)
            async with relay(through, own_url=url, parts={"leisure": 1}) as one:
                yield one
            await wires[0].cut()


async def is_ready(relay: Relay) -> bool:
    return (await relay.http.get("/health/ready")).status_code == 200


async def cut(wire: Wire) -> None:
    await wire.cut()


async def silence(wire: Wire) -> None:
    wire.silence()


@pytest.mark.parametrize("harm", [cut, silence])
async def test_no_database_is_answered_with_503_in_time(
    wired: Relay, wires: list[Wire], harm: Callable[[Wire], asyncio.Future[None]]
) -> None:
    listed = wired.finviz.market[0].ticker
    await until(lambda: is_ready(wired), "a ready relay")
    alerts = [{"ticker": listed, "action": "buy", "n": number} for number in range(100)]

    async def timed(alert: object) -> tuple[httpx.Response, float, float]:
        began = time.monotonic()
        return await wired.post(alert), began, time.monotonic()

    try:
        await harm(wires[0])
        for some in ([alerts[0]], alerts):
            with stalls() as stood:
                told = await asyncio.gather(*map(timed, some))
            answers = [answer for answer, _, _ in told]
            # Time in which this machine stood still does not count, nor as much to catch up.
            took = [ended - began - 2 * stood.seconds(began, ended) for _, began, ended in told]
            assert max(took) <= 2.5
            assert {answer.status_code for answer in answers} == {503}
            assert {answer.json()["code"] for answer in answers} == {"unavailable"}
            assert all(answer.headers["retry-after"].isdecimal() for answer in answers)
    finally:
        await wires[0].mend()

    async def accepted() -> bool:
        alert = {"ticker": listed, "action": "buy", "after": harm.__name__}
        answer = await wired.post(alert)
        assert answer.status_code in {200, 202, 503}
        return answer.status_code != 503

    await until(accepted, "an alert accepted again")
    await until(lambda: is_ready(wired), "a ready relay again")


@pytest.mark.parametrize(
    "path",
    ["/status", "/api/universe", "/api/signals", "/finviz/config", "/admin", "/health/ready"],
)
async def test_readers_are_told_to_come_again(wired: Relay, wires: list[Wire], path: str) -> None:
    """Not a server error of ours, and nothing raised into the server's log."""
    await until(lambda: is_ready(wired), "a ready relay")
    headers = {"authorization": f"Bearer {ADMIN_TOKEN}", "cookie": "session=somebody"}
    try:
        await wires[0].cut()
        answer = await wired.http.get(path, headers=headers)
        assert answer.status_code == 503
        assert (await wired.http.get("/health")).status_code == 200
        assert (await wired.get("/metrics")).status_code == 200
    finally:
        await wires[0].mend()


async def test_the_log_says_why_a_reader_was_told_so(
    wired: Relay, wires: list[Wire], caplog: pytest.LogCaptureFixture
) -> None:
    await until(lambda: is_ready(wired), "a ready relay")
    try:
        await wires[0].cut()
        assert (await wired.get("/api/signals")).json()["code"] == "database_unavailable"
    finally:
        await wires[0].mend()
    told = [one for one in caplog.records if one.getMessage() == "request.unavailable"]
    assert [(one.levelname, bool(vars(one)["error"])) for one in told] == [("WARNING", True)]


async def test_ready_names_the_part_that_is_not(wired: Relay, wires: list[Wire]) -> None:
    await until(lambda: is_ready(wired), "a ready relay")
    try:
        await wires[0].cut()
        answer = (await wired.http.get("/health/ready")).json()
        assert not answer["ready"]
        assert answer["parts"]["database"] == "does not answer"
    finally:
        await wires[0].mend()


async def test_a_full_backlog_refuses_buys_and_takes_sells_up_to_a_fifth_more(
    template: str,
) -> None:
    """A destination that allows one request an hour lets everything else wait.

    The sells are of other tickers than the buys: an exit could end a buy that waits.
    """
    limits: dict[str, Any] = {
        "sell_policy": "always",
        "dest_webhook_rate_limiting_enabled": True,
        "dest_webhook_rate_limits": "1/3600s",
    }
    async with cloned(template) as url, relay(url, queue_max_size=10, **limits) as one:
        tickers = [listing.ticker for listing in one.finviz.market[:TOP_N]]
        for ticker in tickers[:8]:
            assert not await refused(one, "buy", ticker)
        assert 10 <= await filled(one, "buy", tickers[8:]) < 12
        others = [listing.ticker for listing in one.finviz.market[TOP_N : 2 * TOP_N]]
        assert 12 <= await filled(one, "sell", others) < 14
        assert await refused(one, "buy", tickers[-1])


async def refused(one: Relay, action: str, ticker: str) -> bool:
    answer = await one.post({"ticker": ticker, "action": action})
    if answer.status_code != 503:
        assert answer.status_code == 202
        return False
    assert answer.json()["code"] == "backlog_full"
    assert answer.headers["retry-after"].isdecimal()
    return True


async def filled(one: Relay, action: str, tickers: list[str]) -> int:
    """Send alerts until one is refused; how many deliveries wait then."""
    for ticker in tickers:
        await until(lambda: is_known(one), "a backlog that is known")
        if await refused(one, action, ticker):
            return (await one.read("/status"))["backlog"]["unfinished"]
    raise AssertionError("never refused")


async def is_known(one: Relay) -> bool:
    """Intake knows how much waits as of its last count, which the metrics show too."""
    backlog = (await one.read("/status"))["backlog"]
    counted = f"relay_deliveries_unfinished {float(backlog['unfinished'])}\n"
    return not backlog["undecided"] and counted in (await one.get("/metrics")).text
