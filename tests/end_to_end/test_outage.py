"""The database stops under load: 503 in time, recovery without a restart."""

import itertools
import os
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.stage import ADMIN_TOKEN, CALLER, WEBHOOK_TOKEN, World, alert, until, world
from tests.stalls import stalls

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_a_stopped_database_is_answered_with_503_and_recovered_from(tmp_path: Path) -> None:
    """SIGSTOP of the whole PostgreSQL: it accepts connections and never answers."""
    with world(tmp_path / "relay", size=20, top_n=5) as stage, stalls() as stood_still:
        postgres = stage.relay.postgres_pid
        os.killpg(os.getpgid(postgres), signal.SIGSTOP)
        try:
            for number in range(3):
                began = time.monotonic()
                answer = stage.relay.post(alert(stage.tickers[0], "buy", number))
                assert answer.status_code == 503
                assert answer.headers["retry-after"].isdecimal()
                assert stood_still.at_work(began) <= 2.5
        finally:
            os.killpg(os.getpgid(postgres), signal.SIGCONT)
        until(
            lambda: stage.relay.post(alert(stage.tickers[1], "buy", 99)).status_code in {200, 202},
            40,
            "an accepted alert",
        )
        until(lambda: len(stage.destination.arrivals) > 0, 40, "a delivery")
        assert stage.relay.process is not None
        assert stage.relay.process.poll() is None


@dataclass(slots=True)
class Flood:
    """Posts alerts one after another, and remembers what was answered."""

    stage: World
    acknowledged: list[str] = field(default_factory=list[str])
    statuses: set[int] = field(default_factory=set[int])
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        bearer = {"authorization": f"Bearer {WEBHOOK_TOKEN}"}
        with httpx.Client(timeout=30, headers=bearer) as client:
            for number in itertools.takewhile(lambda _: not self.stop.is_set(), itertools.count()):
                body = alert(self.stage.tickers[number % 5], "buy", number)
                answer = client.post(f"{self.stage.relay.url}/webhook/in", content=body)
                self.statuses.add(answer.status_code)
                if answer.status_code == 202:
                    self.acknowledged.append(answer.json()["signal_id"])

    def wait_for(self, more: int) -> None:
        enough = len(self.acknowledged) + more
        until(lambda: len(self.acknowledged) >= enough, 60, f"{more} more alerts accepted")


def test_postgres_killed_under_load_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """Only 202, 200 and 503 are ever answered; every 202 is in the journal afterwards."""
    with world(tmp_path / "relay", size=20, top_n=5) as stage:
        flood = Flood(stage)
        thread = threading.Thread(target=flood.run)
        thread.start()
        try:
            for _ in range(3):
                flood.wait_for(30)
                os.kill(stage.relay.postgres_pid, signal.SIGKILL)
            flood.wait_for(30)
        finally:
            flood.stop.set()
            thread.join(60)
        assert flood.statuses <= {200, 202, 503}
        assert [id for id in flood.acknowledged if not _is_kept(stage.relay.url, id)] == []


def _is_kept(url: str, id: str) -> bool:
    headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
    return CALLER.get(f"{url}/api/signals/{id}", headers=headers).status_code == 200
