"""A server as deploy/README.md makes it: the unit's relay, nginx or Caddy with TLS before it."""

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from launcher import credentials
from tests.deploy import containers, units
from tests.end_to_end.edge import (
    ALERT,
    CADDY,
    FORGED,
    HOST,
    INSIDER,
    NGINX,
    OUTSIDER,
    PLACES,
    SENDER,
    Front,
    Proxy,
    in_front,
)
from tests.end_to_end.stage import in_the_end
from tests.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

SETTINGS = """\
PORT={port}
PUBLIC_URL=https://{host}
TRUSTED_PROXIES=127.0.0.1
FINVIZ_BASE_URL=http://127.0.0.1:9
"""
ORIGIN = {"origin": f"https://{HOST}"}


@dataclass(frozen=True, slots=True)
class Relay:
    """What the unit started."""

    port: int
    state: Path
    process: subprocess.Popen[bytes]
    told: list[str]

    def secret(self, name: str) -> str:
        return credentials.read(self.state / "data/secrets.env")[name]


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Generator[Relay]:
    if not containers.BWRAP:
        pytest.skip("no bwrap on this machine (Debian: apt install bubblewrap)")
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    state, notify = folder / "state", Path(tmp_path_factory.mktemp("n"))
    state.mkdir(mode=0o700)
    found, manager = units.unit(f"{units.NAME}.service"), units.Manager(notify)
    given = units.environment(found, SETTINGS.format(port=port, host=HOST))
    given |= {"NOTIFY_SOCKET": manager.address, "PATH": "/usr/bin:/bin"}
    with (
        (folder / "journal").open("wb") as journal,
        subprocess.Popen(
            units.command(found, state, notify), env=given, stdout=journal, stderr=journal
        ) as process,
    ):
        try:
            told = manager.hear(lambda: process.poll() is None, folder / "journal")
            it = Relay(port, state, process, told)
            yield it
            stopped_in_order(it)
        finally:
            process.kill()
            manager.close()


def stopped_in_order(relay: Relay) -> None:
    """SIGTERM, as systemd sends it to the main process alone; PostgreSQL ends after it."""
    [inside] = containers.children(containers.children(relay.process.pid)[0])
    os.kill(inside, signal.SIGTERM)
    assert relay.process.wait(60) == 0
    log = relay.state / "data/postgres-18/postgres.log"
    assert "database system is shut down" in log.read_text()


@pytest.fixture(scope="module", params=[NGINX, CADDY], ids=lambda each: each.name)
def front(
    request: pytest.FixtureRequest, relay: Relay, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Front]:
    proxy: Proxy = request.param
    program = shutil.which(proxy.name, path=PLACES)
    if not program:
        pytest.skip(f"no {proxy.name} on this machine")
    with in_front(tmp_path_factory.mktemp(proxy.name), program, proxy, relay.port) as it:
        yield it


@pytest.fixture(scope="module")
def session(front: Front, relay: Relay) -> dict[str, str]:
    """The cookie of an operator who signed in from inside, through the proxy."""
    answer = front.ask(
        "POST",
        "/admin/login",
        address=INSIDER,
        headers={**ORIGIN, "content-type": "application/x-www-form-urlencoded"},
        content=f"token={relay.secret('ADMIN_TOKEN')}".encode(),
    )
    assert answer.status_code == 303, answer.text
    kept = answer.headers["set-cookie"]
    assert "Secure" in kept, "the relay knows that it is https"
    return {"cookie": kept.partition(";")[0]}


def alert(front: Front, relay: Relay, **more: object) -> httpx.Response:
    body = json.dumps(json.loads(ALERT) | more).encode()
    path = f"/webhook/in/{relay.secret('WEBHOOK_TOKEN')}"
    return in_the_end(
        lambda: front.ask("POST", path, address=SENDER, shown=front.sender, content=body)
    )


def test_the_unit_starts_a_relay_that_tells_when_it_is_ready(relay: Relay) -> None:
    assert relay.told == ["READY=1", f"STATUS=https://{HOST}"]
    written = {path.name for path in relay.state.iterdir()}
    assert written == {"data"}
    assert {"logs", "postgres-18", "secrets.env"} <= {
        path.name for path in (relay.state / "data").iterdir()
    }


def test_an_alert_comes_in_and_the_pages_stay_inside(front: Front, relay: Relay) -> None:
    assert alert(front, relay, n=front.port).status_code in {200, 202}
    for address, shown in ((OUTSIDER, None), (SENDER, front.sender)):
        assert front.ask("GET", "/admin", address=address, shown=shown).status_code == 403
    assert front.ask("GET", "/admin/login", address=INSIDER).status_code == 200


def test_an_operator_signs_in_and_is_known_by_his_own_address(
    front: Front, session: dict[str, str]
) -> None:
    """Whatever the headers claim: `FORGED` is on every request."""
    page = front.ask("GET", "/admin", address=INSIDER, headers=session)
    assert page.status_code == 200
    assert "Overview" in page.text
    answer = front.ask("GET", "/api/activity", address=INSIDER, headers=session)
    begun = [one for one in answer.json()["items"] if one["action"] == "session.begun"]
    assert begun[0]["from"] == INSIDER
    assert FORGED["x-forwarded-for"] not in answer.text


def heard(live: ClientConnection, kind: str) -> dict[str, Any]:
    while (message := json.loads(live.recv(60)))["type"] != kind:
        pass
    return message


def live(front: Front, address: str, headers: dict[str, str]) -> ClientConnection:
    line = socket.create_connection(("127.0.0.1", front.port), source_address=(address, 0))
    return connect(
        f"wss://{HOST}/ws/live",
        sock=line,
        ssl=front.context(),
        server_hostname=HOST,
        additional_headers={**ORIGIN, **headers},
        open_timeout=60,
        proxy=None,
    )


def test_the_live_connection_goes_through(
    front: Front, relay: Relay, session: dict[str, str]
) -> None:
    with live(front, INSIDER, session) as there:
        assert heard(there, "hello")["cursor"]
        signal = alert(front, relay, n=-front.port).json()["signal_id"]
        told: set[str] = set()
        while signal not in told:
            told |= {one["signal_id"] for one in heard(there, "events")["events"]}
    with pytest.raises(InvalidStatus, match="403"):
        live(front, OUTSIDER, session)
