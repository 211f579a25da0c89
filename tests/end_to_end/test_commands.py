"""The commands that ask a relay, against one as users start it, by Python without its packages."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any

import pytest

from tests.end_to_end.stage import (
    ADMIN_TOKEN,
    ROOT,
    UPDATE_TOKEN,
    WEBHOOK_TOKEN,
    World,
    until,
    world,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

COMMAND = (sys.executable, "-E", "-s", "-S", "-u", str(ROOT / "run.py"))


def environment(stage: World) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],  # noqa: TID251  handed on
        "PORT": str(stage.relay.port),
        "WEBHOOK_TOKEN": WEBHOOK_TOKEN,
        "FINVIZ_UPDATE_TOKEN": UPDATE_TOKEN,
    }


def run(stage: World, *arguments: str) -> tuple[int, str, str]:
    """Its exit code, what it printed and said aside; it never tells a token."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=stage.relay.folder,
        env=environment(stage),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    for token in (ADMIN_TOKEN, UPDATE_TOKEN, WEBHOOK_TOKEN):
        assert token not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


class Tail:
    """`tail --json` as it runs: its lines, in order."""

    def __init__(self, stage: World, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "tail", "--json", *arguments],
            cwd=stage.relay.folder,
            env=environment(stage),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: Queue[str] = Queue()
        self._reading = Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._lines.put(line)

    def next(self, seconds: float = 60) -> dict[str, Any]:
        return json.loads(self._lines.get(timeout=seconds))

    def events(self, count: int) -> list[str]:
        return [self.next()["event"] for _ in range(count)]

    def end(self) -> None:
        self.process.kill()
        self.process.wait(30)
        self._reading.join(30)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream
            stream.close()


@contextmanager
def tailing(stage: World, *arguments: str) -> Generator[Tail]:
    tail = Tail(stage, *arguments)
    try:
        yield tail
    finally:
        tail.end()


def cursor_now(stage: World) -> str:
    """How far the feed is. Until its socket is open it misses what happens: so again and again."""
    with tailing(stage) as tail:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            stage.relay.post(json.dumps({"ticker": "NOBODY", "action": "buy", "n": deadline}))
            with contextlib.suppress(Empty):
                while not (cursor := tail.next(0.5)["cursor"]):
                    pass
                return cursor
    pytest.fail("nothing was told")


def test_commands_ask_the_relay_and_say_how_it_ended(tmp_path: Path) -> None:
    """One relay for all of them: they change nothing that the next would see otherwise."""
    with world(tmp_path / "relay", size=20, top_n=20) as stage:
        code, out, _ = run(stage, "status")
        assert (code, out.split(".")[0]) == (0, "Forwarding"), out
        replays(stage, sends(stage))
        until(lambda: run(stage, "status")[0] == 3, 90, "attention")
        assert "could not be read as a signal: no_action" in run(stage, "status")[1]
        follows_over_a_restart(stage)
        stage.relay.stop()
        code, out, _ = run(stage, "status")
        assert code == 1
        assert out.startswith(f"No relay answers at {stage.relay.url}")


def sends(stage: World) -> str:
    ticker = stage.tickers[0]
    asked = ("send", "--ticker", ticker, "--action", "buy")
    code, out, _ = run(stage, *asked, "--dry-run")
    assert code == 0, out
    assert "It would be sent to" in out
    assert run(stage, *asked)[0] == 2  # nobody is there to be asked
    assert stage.destination.arrivals == []
    code, out, _ = run(stage, *asked, "--yes", "--json", "--wait", "60")
    found = json.loads(out)
    assert (code, found["status"], found["ticker"]) == (0, "delivered", ticker)
    assert len(stage.destination.arrivals) == 1
    code, out, _ = run(stage, "send", '{"ticker": "AAPL"}', "--yes")
    assert (code, out.split(":")[0]) == (3, "Refused")
    return found["id"]


def replays(stage: World, id: str) -> None:
    code, out, said = run(stage, "replay", id, "--yes")
    assert (code, out) == (3, "")
    assert "it was delivered, once more would do it twice" in said
    forced = ("--yes", "--force", "--reason", "to see it twice", "--json", "--wait", "60")
    code, out, _ = run(stage, "replay", id, *forced)
    found = json.loads(out)
    assert (code, found["replay_of"], found["status"]) == (0, id, "delivered")
    assert len(stage.destination.arrivals) == 2


def follows_over_a_restart(stage: World) -> None:
    """What happens before, while it is away and after it is back is told once, in order."""
    since, ticker = cursor_now(stage), stage.tickers[1]
    path = ["signal.received", "signal.approved", "delivery.delivered"]
    with tailing(stage, "--cursor", since, "--ticker", ticker) as tail:
        stage.relay.accepted(json.dumps({"ticker": ticker, "action": "buy"}))
        assert tail.events(3) == path
        stage.relay.kill()
        stage.relay.start()
        stage.relay.accepted(json.dumps({"ticker": ticker, "action": "sell"}))
        assert tail.events(3) == path
        tail.process.send_signal(signal.SIGINT)
        assert tail.process.wait(60) == 130
        assert tail.process.stderr
        assert tail.process.stderr.read().splitlines()[:2] == [
            "The relay restarts. Waiting for it …",
            "It is back.",
        ]
