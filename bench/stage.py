"""What a benchmark runs against: the relay as users start it, and the bare application."""

import itertools
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

ROOT = Path(__file__).parents[1]
TOKEN = "benchmark-webhook-token-0123456789abcdefghij"


@dataclass(frozen=True, slots=True)
class Server:
    """A process under load, and the CPU seconds it has used itself (its children apart)."""

    port: int
    pid: int

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mb(self) -> float:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 1e6


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextmanager
def _running(
    command: list[str], port: int, path: str, folder: str, environment: Mapping[str, str]
) -> Generator[Server]:
    with (
        Path(folder, "output.log").open("wb") as output,
        subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=output
        ) as process,
    ):
        try:
            _wait(process, f"http://127.0.0.1:{port}{path}", Path(folder, "output.log"))
            yield Server(port, process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def _wait(process: "subprocess.Popen[bytes]", url: str, output: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if httpx.get(url, timeout=1).status_code < 400:
                return
        except httpx.HTTPError:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"it did not start:\n{output.read_text()}")
        time.sleep(0.05)


@contextmanager
def bare() -> Generator[Server]:
    """The baseline on the same uvicorn."""
    port = free_port()
    command = [sys.executable, "-m", "bench.bare", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (
        TemporaryDirectory() as folder,
        _running(command, port, "/", folder, environment) as server,
    ):
        yield server


@contextmanager
def relay(**settings: str) -> Generator[Server]:
    """`python run.py` with its own PostgreSQL, fsync on, in a temporary directory."""
    port = free_port()
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "RELAY_ENVIRONMENT": "system",
        "PORT": str(port),
        "WEBHOOK_TOKEN": TOKEN,
        "QUEUE_MAX_SIZE": "10000000",
        "LOG_LEVEL": "WARNING",
        "FINVIZ_BASE_URL": "http://127.0.0.1:9",
        **settings,
    }
    command = [sys.executable, str(ROOT / "run.py")]
    with (
        TemporaryDirectory() as folder,
        _running(command, port, "/health/ready", folder, environment) as server,
    ):
        yield server


def alerts(tickers: list[str]) -> Iterator[bytes]:
    """Different alerts of about 200 bytes, as TradingView's templates make them."""
    for number in itertools.count():
        yield json.dumps(
            {
                "ticker": f"NASDAQ:{tickers[number % len(tickers)]}",
                "action": "buy",
                "price": "187.12",
                "interval": "5",
                "strategy": "opening range breakout, version 7",
                "comment": "made for a benchmark, as long as usual",
                "n": number,
            }
        ).encode()
