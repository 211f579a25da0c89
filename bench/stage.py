"""What a benchmark runs against: the relay as users start it, the bare application, the control."""

import asyncio
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import httpx
from sqlalchemy import text

from bench import machine
from database.pool import Database
from launcher.postgres import LocalPostgres

ROOT = Path(__file__).parents[1]
TOKEN = "benchmark-webhook-token-0123456789abcdefghij"
ADMIN_TOKEN = "benchmark-operator-token-0123456789abcdefghi"
UPDATE_TOKEN = "benchmark-config-token-0123456789abcdefghijk"
KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
NUMBERS = itertools.count(10_000_000)
"""No two alerts of a process are the same, whoever makes them."""

Rows: TypeAlias = Sequence[Mapping[Any, Any]]


@dataclass(frozen=True, slots=True)
class Server:
    """A process under load, and where its files are."""

    port: int
    pid: int
    folder: Path

    def cpu_seconds(self) -> float:
        """CPU seconds it has used itself, its children apart."""
        return machine.own_seconds(self.pid)

    def postgres_seconds(self) -> float:
        """CPU seconds of everything it has started: its PostgreSQL."""
        return machine.seconds_of(machine.tree(self.pid) - {self.pid})

    def rss_mb(self) -> float:
        return machine.memory_mb(self.pid)["Rss"]

    def rows(self, query: str) -> Rows:
        """What its own PostgreSQL answers."""
        return asyncio.run(self._rows(query))

    async def _rows(self, query: str) -> Rows:
        database = self.database()
        try:
            async with database.autocommit() as connection:
                return (await connection.execute(text(query))).mappings().all()
        finally:
            await database.close()

    def database(self) -> Database:
        url = LocalPostgres.running(self.folder / "data")
        return Database.connect(url, pool=1, patience=timedelta(minutes=1))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextmanager
def running(
    command: Sequence[str], port: int, path: str, folder: str, environment: Mapping[str, str]
) -> Generator[Server]:
    """A server, from its first answer at a path to its end."""
    with (
        Path(folder, "output.log").open("wb") as output,
        subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=output
        ) as process,
    ):
        try:
            _wait(process, f"http://127.0.0.1:{port}{path}", Path(folder, "output.log"))
            yield Server(port, process.pid, Path(folder))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def _wait(process: "subprocess.Popen[bytes]", url: str, output: Path) -> None:
    deadline = time.monotonic() + 60
    with httpx.Client(timeout=1) as http:
        while True:
            try:
                if http.get(url).status_code < 400:
                    return
            except httpx.HTTPError:
                pass
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"it did not start:\n{output.read_text()}")
            time.sleep(0.02)


@contextmanager
def bare() -> Generator[Server]:
    """The baseline on the same uvicorn."""
    port = free_port()
    command = [sys.executable, "-m", "bench.bare", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (
        TemporaryDirectory() as folder,
        running(command, port, "/", folder, environment) as server,
    ):
        yield server


@contextmanager
def relay(**settings: str) -> Generator[Server]:
    """`python run.py` with its own PostgreSQL, fsync on, in a temporary directory."""
    with TemporaryDirectory() as folder, relay_in(folder, **settings) as server:
        yield server


@contextmanager
def relay_in(folder: str, *command: str, **settings: str) -> Generator[Server]:
    """The same in a folder that stays; ``command`` instead of `run.py`."""
    port = free_port()
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "PYTHONPATH": str(ROOT),
        "RELAY_ENVIRONMENT": "system",
        "PORT": str(port),
        "WEBHOOK_TOKEN": TOKEN,
        "FINVIZ_UPDATE_TOKEN": UPDATE_TOKEN,
        "ADMIN_TOKEN": ADMIN_TOKEN,
        "QUEUE_MAX_SIZE": "10000000",
        "LOG_LEVEL": "WARNING",
        "FINVIZ_BASE_URL": "http://127.0.0.1:9",
        **settings,
    }
    whole = [sys.executable, *(command or [str(ROOT / "run.py")])]
    with running(whole, port, "/health/ready", folder, environment) as server:
        yield server


@contextmanager
def control(**settings: str) -> Generator[Server]:
    """The relay with a transaction of its own for each alert: `bench/control.py`."""
    with (
        TemporaryDirectory() as folder,
        relay_in(folder, "-m", "bench.control", **settings) as server,
    ):
        yield server


# ── What stands around it ───────────────────────────────────────────────────────────────────


class Sink:
    """A destination in a process of its own: `bench/sink.py`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.pid = process.pid
        self.port = int(self._said())

    def _said(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()

    def _ask(self, word: str) -> str:
        assert self._process.stdin
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        return self._said()

    def count(self) -> int:
        return int(self._ask("count"))

    def arrivals(self) -> dict[str, float]:
        """When each signal first arrived, on this machine's clock; from then on it counts anew."""
        return json.loads(self._ask("report"))

    def settings(self) -> dict[str, str]:
        """A relay that sends here, as fast as it can."""
        return {
            "DEST_WEBHOOK_URL": f"http://127.0.0.1:{self.port}/hook",
            "PRIVATE_DESTINATIONS": "127.0.0.0/8",
            "DEST_WEBHOOK_RATE_LIMITING_ENABLED": "false",
            "BUY_TTL_SEC": "600",
        }


@contextmanager
def sink() -> Generator[Sink]:
    with subprocess.Popen(
        [sys.executable, "-m", "bench.sink"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdin
        try:
            yield Sink(process)
        finally:
            process.stdin.close()


def operator(server: Server) -> httpx.Client:
    """Who may change things at a relay."""
    headers = {"authorization": f"Bearer {UPDATE_TOKEN}"}
    return httpx.Client(base_url=f"http://127.0.0.1:{server.port}/api", headers=headers, timeout=30)


def listed(server: Server, tickers: Sequence[str]) -> None:
    """Put a fixed list in force and wait until it is."""
    until = (datetime.now(UTC) + timedelta(days=1)).isoformat()  # noqa: DTZ005,TID251,RUF100
    with operator(server) as http:
        given = {"name": "benchmark", "tickers": list(tickers), "valid_until": until}
        screen = http.post("/screens", json=given).raise_for_status().json()
        http.post(f"/screens/{screen['id']}/activate").raise_for_status()
    query = "SELECT 1 FROM universes JOIN screens ON screens.id = screen_id WHERE active"
    until_true(lambda: bool(server.rows(query)))


def until_true(asked: Callable[[], bool], seconds: float = 60, every: float = 0.05) -> None:
    deadline = time.monotonic() + seconds
    while not asked():
        if time.monotonic() > deadline:
            raise SystemExit(f"what was waited for did not happen within {seconds:.0f} s")
        time.sleep(every)


def alerts(tickers: list[str]) -> Iterator[bytes]:
    """Different alerts of about 200 bytes, as TradingView's templates make them."""
    for number, ticker in zip(NUMBERS, itertools.cycle(tickers), strict=False):
        yield _alert(ticker, str(number))


def _alert(ticker: str, number: str) -> bytes:
    return json.dumps(
        {
            "ticker": f"NASDAQ:{ticker}",
            "action": "buy",
            "price": "187.12",
            "interval": "5",
            "strategy": "opening range breakout, version 7",
            "comment": "made for a benchmark, as long as usual",
            "n": number,
        }
    ).encode()


def posts(tickers: Sequence[str], path: str = f"/webhook/in/{TOKEN}") -> Iterator[bytes]:
    """The same alerts as whole requests, made beforehand but for their number."""
    made: list[bytes] = []
    for ticker in tickers:
        body = _alert(ticker, "%08d")
        length = len(body) + len("10000000") - len("%08d")
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: benchmark\r\n"
            f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        )
        made.append(head.encode() + body)
    for number, request in zip(NUMBERS, itertools.cycle(made), strict=False):
        yield request % number
