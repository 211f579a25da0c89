"""deploy/nginx/relay.conf in a real nginx, in front of replicas that are stopped and killed."""

import asyncio
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from launcher.environment import ROOT
from tests.ports import free_port
from tests.stalls import Stalls, stalls

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/sbin")
CONF = ROOT / "deploy" / "nginx" / "relay.conf"
PATIENCE = 3.0
"""Seconds TradingView waits for an answer."""

UNTRIED, ANSWERED = 2.0, 2.4
"""Seconds for which who failed is left out, and until it has failed (the file's own)."""

pytestmark = pytest.mark.skipif(not NGINX, reason="no nginx on this machine")

REPLICA = """
import asyncio, json, os, pathlib, sys, uvicorn
async def app(scope, receive, send):
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    while scope["method"] == "POST" and (await receive()).get("more_body"):
        pass
    if scope["path"] == "/webhook/slow":
        await asyncio.sleep(60)
    if scope["path"].endswith("/fatal") and not (died := pathlib.Path(sys.argv[2])).exists():
        died.touch()
        os._exit(1)
    body = json.dumps({"replica": sys.argv[1], "headers": headers}).encode()
    status = 202 if scope["method"] == "POST" else 200
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})
uvicorn.run(app, port=int(sys.argv[1]), log_level="error", lifespan="off", proxy_headers=False)
"""

Process = asyncio.subprocess.Process


@pytest.fixture
def stood_still() -> Generator[Stalls]:
    with stalls() as noted:
        yield noted


@asynccontextmanager
async def started(*command: str) -> AsyncGenerator[Process]:
    process = await asyncio.create_subprocess_exec(*command)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def until_open(port: int) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                await writer.wait_closed()
                return


def configuration(folder: Path, port: int, replicas: list[int]) -> str:
    """The file as it is, except for what is Docker's: its name server, its names, its folders."""
    servers = "".join(
        f"server 127.0.0.1:{each} max_fails=1 fail_timeout=2s;\n" for each in replicas
    )
    found = CONF.read_text()
    for old, new in (
        (" /tmp/", f" {folder}/"),
        ("server app:8000 resolve max_fails=1 fail_timeout=2s;", servers),
        ("resolver 127.0.0.11 valid=5s;", ""),
        ("listen 8080;", f"listen 127.0.0.1:{port};"),
        ("172.31.250.1", "127.0.0.2"),
        ("/dev/stdout", f"{folder}/access.log"),
    ):
        assert old in found, f"{old} is not in the file any more"
        found = found.replace(old, new)
    return found


class Stand:
    """nginx and two replicas."""

    def __init__(self, http: httpx.AsyncClient, replicas: dict[int, Process], log: Path) -> None:
        self.http, self.replicas, self.log = http, replicas, log

    async def alert(self, path: str = "/webhook/in/secret") -> httpx.Response:
        return await self.http.post(path, json={"ticker": "AAPL", "action": "buy"})

    async def status(self) -> int:
        """All that TradingView looks at: a replica may be killed between its head and its body."""
        body = {"ticker": "AAPL", "action": "buy"}
        async with self.http.stream("POST", "/webhook/in/secret", json=body) as answer:
            return answer.status_code


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncGenerator[Stand]:
    port, ports = free_port(), [free_port(), free_port()]
    file = tmp_path / "relay.conf"
    file.write_text(configuration(tmp_path, port, ports))
    async with AsyncExitStack() as stack:
        replicas = {
            each: await stack.enter_async_context(
                started(sys.executable, "-c", REPLICA, str(each), str(tmp_path / "died"))
            )
            for each in ports
        }
        nginx = (
            str(NGINX),
            "-c",
            str(file),
            "-e",
            "stderr",
            "-g",
            "daemon off; master_process off;",
        )
        await stack.enter_async_context(started(*nginx))
        for each in (*ports, port):
            await until_open(each)
        http = await stack.enter_async_context(
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False)
        )
        yield Stand(http, replicas, tmp_path / "access.log")


async def test_replicas_share_the_alerts_and_see_who_called(stand: Stand) -> None:
    forged = {"x-forwarded-for": "127.0.0.1, 9.9.9.9", "x-forwarded-proto": "https"}
    answers = [
        await stand.http.post("/webhook/in", headers=forged | {"host": "relay.example"}, json={})
        for _ in range(8)
    ]
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["replica"] for answer in answers}) == 2
    headers = answers[0].json()["headers"]
    assert headers["host"] == "relay.example"
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "http"
    assert "upgrade" not in headers


async def test_what_asks_to_become_a_websocket_is_passed_on_as_that(stand: Stand) -> None:
    asked = {"connection": "Upgrade", "upgrade": "made-up"}
    headers = (await stand.http.get("/ws/live", headers=asked)).json()["headers"]
    assert (headers["connection"], headers["upgrade"]) == ("upgrade", "made-up")


async def test_a_body_that_the_relay_would_refuse_reaches_it(stand: Stand) -> None:
    assert (await stand.http.post("/webhook/in", content=b"x" * 70_000)).status_code == 202


async def test_a_replica_killed_under_load_costs_no_alert(stand: Stand) -> None:
    results, (first, _) = Counter[int](), stand.replicas.values()

    async def send() -> None:
        for _ in range(50):
            results[await stand.status()] += 1
            if sum(results.values()) == 40:
                first.kill()

    await asyncio.gather(*(send() for _ in range(4)))
    assert results == {202: 200}
    assert await first.wait() == -signal.SIGKILL


@pytest.mark.parametrize(("path", "status"), [("/webhook/fatal", 202), ("/sell/fatal", 503)])
async def test_a_request_its_replica_dies_over_is_repeated_only_where_repeats_are_folded(
    stand: Stand, path: str, status: int
) -> None:
    assert (await stand.alert(path)).status_code == status
    assert (await stand.alert()).status_code == 202


async def test_with_no_replica_left_the_sender_is_told_to_send_again(stand: Stand) -> None:
    for replica in stand.replicas.values():
        replica.kill()
        await replica.wait()
    for path in ("/webhook/in/secret", "/sell/all"):
        answer = await stand.alert(path)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert answer.headers["retry-after"] == "5"
    assert "secret" not in stand.log.read_text()
    assert '"status":"503"' in stand.log.read_text()


async def test_a_stopped_replica_is_a_503_in_time_never_a_504(
    stand: Stand, stood_still: Stalls
) -> None:
    """It still accepts connections. The next alerts go to the other one for two seconds."""
    first, *_ = stand.replicas.values()
    first.send_signal(signal.SIGSTOP)
    found: list[tuple[float, int]] = []
    for _ in range(6):
        began = time.monotonic()
        found.append((began, (await stand.alert()).status_code))
        assert stood_still.at_work(began) < PATIENCE
    assert {status for _, status in found} == {202, 503}
    failed = [began for began, status in found if status == 503]
    soonest = UNTRIED + ANSWERED
    assert all(later - earlier >= soonest for earlier, later in pairwise(failed)), found


async def test_an_alert_nobody_answers_is_a_503_in_time(stand: Stand, stood_still: Stalls) -> None:
    began = time.monotonic()
    assert (await stand.alert("/webhook/slow")).status_code == 503
    assert stood_still.at_work(began) < PATIENCE
