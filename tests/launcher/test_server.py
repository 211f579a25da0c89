"""The server: signals end in an orderly return, a failed start in one line, a taken port too."""

import signal
import socket
from pathlib import Path

import pytest

from tests.launcher.programs import line, running

SERVE = """
import asyncio, logging, signal, socket, sys
import uvicorn
from launcher.command_line import _end
from launcher.server import Entrance, Server

async def application(scope, receive, send):
    await receive()
    if sys.argv[1] == "fail":
        trace = "Traceback (most recent call last):\\nValueError: no such thing\\n(background)"
        await send({"type": "lifespan.startup.failed", "message": trace})
        return
    await send({"type": "lifespan.startup.complete"})
    await receive()
    print("draining")
    await asyncio.sleep(float(sys.argv[1]))
    print("drained")
    await send({"type": "lifespan.shutdown.complete"})

logging.getLogger().addHandler(logging.NullHandler())
signal.signal(signal.SIGTERM, _end)
entrance = Entrance(application)
config = uvicorn.Config(entrance, interface="asgi3", lifespan="on", log_config=None)
server = Server(config, on_ready=lambda: print("ready"), at_once=lambda: print("at once"))
try:
    server.run([socket.create_server(("127.0.0.1", 0))])
except SystemExit:
    print("failed:", entrance.failure)
print("after")
"""
RELAY = """
import sys
from launcher.serve import _bound
with _bound(sys.argv[1], int(sys.argv[2])) as sockets:
    print(len(sockets) > 0, sockets[0].getsockname()[0])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_drains_and_returns_so_that_what_comes_after_runs(number: int) -> None:
    with running(SERVE, "0") as server:
        assert line(server) == "ready"
        server.send_signal(number)
        assert line(server).startswith("Stopping")
        assert [line(server) for _ in range(3)] == ["draining", "drained", "after"]
        assert server.wait(60) == 0


def test_as_many_connections_as_the_system_allows() -> None:
    script = (
        "import resource as r; from launcher.server import allow_open_files as allow\n"
        "hard = r.getrlimit(r.RLIMIT_NOFILE)[1]\n"
        "r.setrlimit(r.RLIMIT_NOFILE, (100, hard)); allow()\n"
        "print(r.getrlimit(r.RLIMIT_NOFILE) == (min(hard, 65_536) if hard > 0 else 65_536, hard))"
    )
    with running(script) as run:
        assert line(run) == "True"


def test_a_second_ctrl_c_stops_at_once() -> None:
    with running(SERVE, "60") as server:
        assert line(server) == "ready"
        server.send_signal(signal.SIGINT)
        assert line(server).startswith("Stopping")
        assert line(server) == "draining"
        server.send_signal(signal.SIGINT)
        assert line(server) == "at once"
        assert server.wait(60) == 130


def test_the_reason_of_a_failed_start_is_one_line() -> None:
    with running(SERVE, "fail") as server:
        assert [line(server), line(server)] == ["failed: ValueError: no such thing", "after"]


def test_a_taken_port_is_refused_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running(RELAY, "127.0.0.1", str(port)) as relay:
            said = f"HOST, PORT: cannot listen on 127.0.0.1:{port}: Address already in use."
            assert line(relay) == said
            assert relay.wait(60) == 1


def test_a_host_that_does_not_exist_is_refused_in_one_line() -> None:
    with running(RELAY, "no.such.host.invalid", "0") as relay:
        assert line(relay).startswith("HOST, PORT: cannot listen on no.such.host.invalid:0: ")
        assert relay.wait(60) == 1


def test_localhost_needs_only_one_of_its_addresses() -> None:
    with running(RELAY, "localhost", "0") as relay:
        assert line(relay).startswith("True ")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--help"], 0, "usage: run.py"),
        (["nonsense"], 2, "usage: run.py"),
        (["--nonsense"], 2, "usage: run.py"),
        (["docker", "more"], 2, "usage: run.py"),
    ],
)
def test_the_command_line_says_how_it_is_used(arguments: list[str], code: int, said: str) -> None:
    script = "import sys, launcher.command_line as c; sys.exit(c.main(sys.argv[1:]))"
    with running(script, *arguments) as run:
        assert line(run).startswith(said)
        assert run.wait(60) == code


def test_run_py_can_be_read_by_an_older_python_which_then_says_what_it_needs() -> None:
    source = (Path(__file__).parents[2] / "run.py").read_text()
    script = f"import sys; sys.version_info = (3, 9); exec({source!r})"
    with running(script) as run:
        assert line(run).startswith("This needs Python 3.11 or newer")
        assert run.wait(60) == 1
