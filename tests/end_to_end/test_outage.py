"""The database stops under load: 503 in time, recovery without a restart."""

import os
import signal
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.stage import ADMIN_TOKEN, WEBHOOK_TOKEN, alert, until, world

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]


def test_a_stopped_database_is_answered_with_503_and_recovered_from(tmp_path: Path) -> None:
    """SIGSTOP of the whole PostgreSQL: it accepts connections and never answers."""
    with world(tmp_path / "relay", size=20, top_n=5) as stage:
        postgres = stage.relay.postgres_pid
        os.killpg(os.getpgid(postgres), signal.SIGSTOP)
        try:
            for number in range(3):
                began = time.monotonic()
                answer = stage.relay.post(alert(stage.tickers[0], "buy", number))
                assert answer.status_code == 503
                assert answer.headers["retry-after"].isdecimal()
                assert time.monotonic() - began <= 2.5
        finally:
            os.killpg(os.getpgid(postgres), signal.SIGCONT)
        until(
            lambda: stage.relay.post(alert(stage.tickers[1], "buy", 99)).status_code in {200, 202},
            20,
            "an accepted alert",
        )
        until(lambda: len(stage.destination.arrivals) > 0, 20, "a delivery")
        assert stage.relay.process is not None
        assert stage.relay.process.poll() is None


def test_postgres_killed_under_load_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """Only 202, 200 and 503 are ever answered; every 202 is in the journal afterwards."""
    with world(tmp_path / "relay", size=20, top_n=5) as stage:
        acknowledged: list[str] = []
        statuses: set[int] = set()
        stop = threading.Event()

        def send() -> None:
            with httpx.Client(timeout=10) as client:
                number = 0
                while not stop.is_set():
                    number += 1
                    body = alert(stage.tickers[number % 5], "buy", number)
                    url = f"{stage.relay.url}/webhook/in"
                    bearer = {"authorization": f"Bearer {WEBHOOK_TOKEN}"}
                    answer = client.post(url, content=body, headers=bearer)
                    statuses.add(answer.status_code)
                    if answer.status_code == 202:
                        acknowledged.append(answer.json()["signal_id"])

        thread = threading.Thread(target=send)
        thread.start()
        try:
            for _ in range(3):
                before = len(acknowledged)
                until(lambda: len(acknowledged) > before + 30, 30, "alerts accepted")  # noqa: B023  used within this turn
                os.kill(stage.relay.postgres_pid, signal.SIGKILL)
            before = len(acknowledged)
            until(lambda: len(acknowledged) > before + 30, 30, "alerts accepted after the last")
        finally:
            stop.set()
            thread.join(20)
        assert statuses <= {200, 202, 503}
        missing = [id for id in acknowledged if not _is_kept(stage.relay.url, id)]
        assert not missing


def _is_kept(url: str, id: str) -> bool:
    headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
    return httpx.get(f"{url}/api/signals/{id}", headers=headers, timeout=10).status_code == 200
