"""Several processes: one after another, one dies and comes back, one signal ends all of them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from config import Settings
from launcher import logs
from launcher.connections import Connection, SharedConnection
from launcher.serve import _uvicorn  # pyright: ignore[reportPrivateUsage]  what a server is made of
from launcher.server import Entrance
from tests.conftest import KEY
from tests.launcher.programs import line, lives, running, until

PARENT = """
import json, logging, socket, sys
from pathlib import Path
from config import Settings
from launcher.processes import Processes
from launcher.server import NoStartError

lines = logging.StreamHandler(sys.stdout)
lines.setFormatter(logging.Formatter("%(message)s %(_process)s %(end)s", defaults={"end": ""}))
logging.getLogger().addHandler(lines)
processes = Processes(
    Settings.taken(json.loads(sys.argv[2])), "a-url", Path("a-folder"),
    on_ready=lambda: print("all ready"), at_once=lambda: print("at once"),
    command=[sys.executable, "-u", "-c", sys.argv[1]],
)
try:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        processes.run([listening], Path("a-log"))
except NoStartError as error:
    sys.exit(f"{error.line} ({error.code})")
print("after")
"""
CHILD = """
import json, os, signal, socket, sys, time
channel = socket.socket(fileno=0)
order = json.loads(channel.makefile("rb").readline())
listening = socket.socket(fileno=order["sockets"][0])
assert listening.getsockname()[0] == "127.0.0.1"
assert order["database_url"] == "a-url" and order["of"] == 2
def say(what):  # at once: they share the output
    os.write(1, f"process {order['number']} {what}\\n".encode())
def end(*_):
    say("ended")
    sys.exit()
"""
SERVING = f"""{CHILD}
signal.signal(signal.SIGTERM, end)
say(os.getpid())
channel.sendall(b'{{"is": "ready"}}\\n')
while True:
    signal.pause()
"""
STUBBORN = SERVING.replace("signal.SIGTERM, end", "signal.SIGTERM, signal.SIG_IGN")
REFUSING = f"""{CHILD}
channel.sendall(json.dumps({{"is": "refused", "why": "HOST: is wrong", "code": 2}}).encode())
"""


def settings(**changes: object) -> Settings:
    given: dict[str, object] = {
        "webhook_token": "tests-webhook-0123456789-abcdefghijklm",
        "finviz_update_token": "tests-updates-0123456789-abcdefghijklm",
        "admin_token": "tests-operator-0123456789-abcdefghijklm",
        "encryption_key": KEY,
        "dest_webhook_signing_secret": f"whsec_{KEY}",
    }
    return Settings.taken(given | changes)


@contextmanager
def supervising(child: str) -> Generator[subprocess.Popen[str]]:
    with running(PARENT, child, json.dumps(settings(workers=2).handed())) as parent:
        yield parent


def test_they_start_one_after_another_and_end_together() -> None:
    with supervising(SERVING) as parent:
        assert [line(parent)[:9], line(parent)[:9]] == ["process 1", "process 2"]
        assert line(parent) == "all ready"
        parent.send_signal(signal.SIGTERM)
        assert line(parent).startswith("Stopping")
        ended = {line(parent), line(parent)}
        assert ended == {"process 1 ended", "process 2 ended"}
        assert line(parent) == "after"
        assert parent.wait(60) == 0


def test_one_that_dies_is_started_again_and_nobody_is_greeted_twice() -> None:
    with supervising(SERVING) as parent:
        first = int(line(parent).split()[-1])
        assert [line(parent)[:9], line(parent)] == ["process 2", "all ready"]
        for _ in range(2):
            os.kill(first, signal.SIGKILL)
            assert line(parent) == "process.died 1 signal 9"
            again = line(parent)
            assert again.startswith("process 1 ")
            first = int(again.split()[-1])
        parent.send_signal(signal.SIGHUP)
        assert line(parent).startswith("Stopping")


def test_a_second_ctrl_c_ends_them_at_once() -> None:
    with supervising(STUBBORN) as parent:
        pids = [int(line(parent).split()[-1]) for _ in range(2)]
        assert line(parent) == "all ready"
        parent.send_signal(signal.SIGINT)
        assert line(parent).startswith("Stopping")
        parent.send_signal(signal.SIGINT)
        assert line(parent) == "at once"
        assert parent.wait(60) == 130
        until(lambda: not any(map(lives, pids)))


def test_what_a_process_refuses_at_the_start_ends_them_all() -> None:
    with supervising(REFUSING) as parent:
        assert line(parent).startswith("Stopping")
        assert line(parent) == "HOST: is wrong (2)"
        assert parent.wait(60) == 1


def test_one_that_dies_at_every_start_is_given_up() -> None:
    with supervising("import sys; sys.exit(7)") as parent:
        died = [line(parent) for _ in range(4)]
        assert died == ["process.died 1 exit code 7"] * 4
        assert line(parent) == "process.lost 1"
        assert line(parent).startswith("Stopping")
        said = "Process 1 ended 5 times in a row (exit code 7); see a-folder/logs/process-1.log"
        assert line(parent) == f"{said} (1)"
        assert parent.wait(60) == 1


def test_a_process_stops_when_its_parent_is_gone() -> None:
    script = (
        "import logging, signal, socket, sys, threading\n"
        "from launcher.process import _follow\n"
        "logging.getLogger().addHandler(logging.NullHandler())\n"
        "ours, theirs = socket.socketpair()\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\n"
        "threading.Thread(target=_follow, args=(theirs, 60), daemon=True).start()\n"
        "ours.sendall(b'{}'); ours.close()\n"
        "signal.pause()"
    )
    with running(script) as process:
        assert process.wait(60) == 5


# ── What they are handed ────────────────────────────────────────────────────────────────────


def test_settings_arrive_as_they_were_given() -> None:
    given = settings(
        workers=3,
        private_destinations="10.0.0.0/8,::1/128",
        dest_webhook_url="https://hook.example/secret",
        dest_webhook_max_req_per_min=60,
        data_dir=Path("elsewhere"),
    )
    handed = json.loads(json.dumps(given.handed()))
    taken = Settings.taken(handed)
    assert taken == given
    assert taken.model_fields_set == given.model_fields_set
    assert taken.rate_windows == given.rate_windows != settings().rate_windows


def test_only_processes_that_share_a_port_give_way_to_one_another() -> None:
    alone, several = (_uvicorn(Entrance(_nothing), settings(workers=n)) for n in (1, 2))
    assert (alone.http, several.http) == (Connection, SharedConnection)


async def _nothing(*_: object) -> None:
    """An application that is never asked."""


def test_connections_are_those_of_the_pools_and_of_the_listener() -> None:
    few, many = (settings(worker_concurrency=number) for number in (1, 256))
    assert (few.connections, many.connections) == (16, 23)


def test_lines_of_a_process_say_which_and_go_into_a_file_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        logs.written(tmp_path, secrets=(), level="INFO", process=2) as path,
        logs.written(tmp_path, secrets=(), level="INFO", process=2) as another,
    ):
        assert (path.name, another.name) == ("process-2.log", "process-2-2.log")
        logs.log.info("here", extra={"n": 1})
    for said in (another.read_text(), capsys.readouterr().err):
        found = json.loads(said)
        assert (found["event"], found["process"], found["n"]) == ("here", 2, 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--demo", "--workers", "2"], "--demo: plays its market in one process"),
        (["--workers", "0"], "WORKERS: should be greater than or equal to 1 (allowed: from 1, to"),
    ],
)
def test_a_number_that_cannot_be_is_refused(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    script = (
        "import os, sys, launcher.command_line as c; os.environ.update(DATA_DIR=sys.argv[1],"
        " RELAY_ENVIRONMENT='system'); sys.exit(c.main(sys.argv[2:]))"
    )
    with running(script, tmp_path, *arguments, python=sys.executable) as run:
        assert run.wait(60) == 2
        assert run.stdout
        assert said in run.stdout.read()
