"""H1, H4, H20: the examples in deploy/ in a real nginx and a real Caddy, our own certificates."""

import json
import re
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.certificates import TRADINGVIEW, Authority, NameOID
from tests.end_to_end.edge import (
    CADDY,
    HOST,
    INSIDER,
    NGINX,
    OUTSIDER,
    PLACES,
    SENDER,
    Edge,
    Proxy,
    standing,
)
from tests.end_to_end.stage import until


def _loosened(proxy: Proxy, *changes: tuple[str, str]) -> Callable[[Path], Proxy]:
    def written(folder: Path) -> Proxy:
        text = proxy.example.read_text()
        for pattern, new in changes:
            text, number = re.subn(pattern, new, text, flags=re.MULTILINE)
            assert number == 1, pattern
        file = folder / "loosened"
        file.write_text(text)
        return replace(proxy, example=file)

    return written


LOOSENED = {
    "nginx": _loosened(
        NGINX,
        ("SUCCESS:1:1 1;", '"~:1$" 1;'),
        ("ssl_verify_client optional;", "ssl_verify_client off;"),
    ),
    "caddy": _loosened(
        CADDY, ("mode verify_if_given", "mode request"), (r"^\t\texpression `{tls.*$", "")
    ),
}


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def edge(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Edge]:
    name: str = request.param
    program = shutil.which(name, path=PLACES)
    if not program:
        pytest.skip(f"no {name} on this machine")
    with standing(
        tmp_path_factory.mktemp(name), program, {"nginx": NGINX, "caddy": CADDY}[name]
    ) as it:
        yield it


def test_an_alert_of_tradingview_comes_through_and_what_it_claims_to_be_does_not(
    edge: Edge,
) -> None:
    path = "/webhook/in/of-tradingview"
    assert edge.ask("POST", path, address=SENDER, shown=edge.sender).status_code == 202
    [headers] = [headers for where, headers in edge.relay.requests if where == path]
    assert headers["x-forwarded-for"] == SENDER
    assert headers["x-forwarded-proto"] == "https"
    assert headers["host"] == HOST
    assert not headers.keys() & {"x-real-ip", "forwarded"}
    assert "evil.example" not in headers.values()


def test_who_is_not_tradingview_never_reaches_the_relay(edge: Edge) -> None:
    strangers = Authority.made(edge.folder, "strangers")
    renamed = edge.tradingview.client(
        TRADINGVIEW | {NameOID.COMMON_NAME: "x,CN=webhook-server@tradingview.com"}
    )
    other = edge.tradingview.client(TRADINGVIEW | {NameOID.ORGANIZATION_NAME: "TradingView Inc"})
    for number, (address, shown) in enumerate(
        [
            (SENDER, None),
            (SENDER, strangers.client(TRADINGVIEW)),
            (SENDER, renamed),
            (SENDER, other),
            (SENDER, edge.tradingview.server(HOST)),
            (OUTSIDER, edge.sender),
            (INSIDER, None),
        ]
    ):
        path = f"/webhook/in/refused-{number}"
        try:
            status = edge.ask("POST", path, address=address, shown=shown).status_code
        except httpx.TransportError as error:  # the handshake itself was refused
            assert "alert" in str(error) or "reset" in str(error), error  # noqa: PT017
            status = 403
        assert status in {400, 403}, number
        assert path not in {where for where, _ in edge.relay.requests}


@pytest.mark.parametrize(
    "path", ["/admin", "/api/signals", "/webhook/../admin", "/webhook/%2e%2e/admin", "//admin"]
)
def test_pages_and_the_api_are_for_insiders(edge: Edge, path: str) -> None:
    known = len(edge.relay.requests)
    for address, shown in ((OUTSIDER, None), (SENDER, edge.sender)):
        assert edge.ask("GET", path, address=address, shown=shown).status_code == 403
    assert len(edge.relay.requests) == known
    assert edge.ask("GET", "/admin", address=INSIDER).status_code == 200
    assert edge.relay.requests[-1][1]["x-forwarded-for"] == INSIDER


def test_an_alert_in_the_clear_is_refused_with_words_and_pages_are_sent_to_https(
    edge: Edge,
) -> None:
    """A redirect would have the sender show its token again, or turn POST into GET."""
    refused = edge.ask_in_the_clear("POST", "/webhook/in/in-the-clear")
    assert (refused.status_code, refused.json()["code"]) == (403, "https_only")
    assert "location" not in refused.headers
    assert "/webhook/in/in-the-clear" not in {where for where, _ in edge.relay.requests}
    sent_on = edge.ask_in_the_clear("GET", "/admin?x=1")
    assert sent_on.status_code in {301, 308}
    assert sent_on.headers["location"].rstrip("/") == f"https://{HOST}/admin?x=1"


def test_another_host_in_the_head_than_in_the_handshake_is_not_answered(edge: Edge) -> None:
    known = len(edge.relay.requests)
    for host in ("evil.example", "127.0.0.1", f"{HOST}.evil.example"):
        refused = edge.ask("GET", "/admin", address=INSIDER, headers={"host": host})
        assert refused.status_code in {400, 403, 421}, host
    assert len(edge.relay.requests) == known


def test_another_name_is_not_answered(edge: Edge) -> None:
    context = ssl.create_default_context(cafile=edge.authority)
    context.check_hostname = False
    with (
        socket.create_connection(("127.0.0.1", edge.port), timeout=10) as plain,
        pytest.raises(ssl.SSLError, match=r"(?i)alert|unrecognized"),
    ):
        context.wrap_socket(plain, server_hostname="another.example")


def test_a_slow_sender_is_cut_and_never_reaches_the_relay(edge: Edge) -> None:
    """H20: half a head, then nothing: cut by the proxy's own clock (after five seconds)."""
    context = ssl.create_default_context(cafile=edge.authority)
    begun = time.monotonic()
    with (
        socket.create_connection(("127.0.0.1", edge.port), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as secure,
    ):
        secure.sendall(b"POST /webhook/in/slow HTTP/1.1\r\nHost: relay.exa")
        try:
            left = secure.recv(4096)
        except (ConnectionResetError, ssl.SSLError):
            left = b""
    assert not left or b" 408 " in left
    assert time.monotonic() - begun < 40
    assert "/webhook/in/slow" not in {where for where, _ in edge.relay.requests}


def test_what_nginx_writes_down_of_the_refused_tells_why_and_no_address_that_was_asked_for(
    tmp_path: Path,
) -> None:
    program = shutil.which("nginx", path=PLACES)
    if not program:
        pytest.skip("no nginx on this machine")
    with standing(tmp_path, program, NGINX) as edge:
        unknown = Authority.made(tmp_path, "unknown").client(TRADINGVIEW)
        edge.ask("POST", "/webhook/in/a-token", address=OUTSIDER, shown=edge.sender)
        edge.ask("POST", "/webhook/in/a-token", address=SENDER, shown=unknown)
        log = tmp_path / "refused.log"
        until(lambda: log.read_text().count("\n") == 2, what="two lines in the log")
        elsewhere, unproven = map(json.loads, log.read_text().splitlines())
        assert (elsewhere["from"], elsewhere["certificate"]) == (OUTSIDER, "SUCCESS")
        assert unproven["certificate"].startswith("FAILED:")
        assert unproven["issuer"] == "CN=unknown"
        assert "CN=webhook-server@tradingview.com" in unproven["subject"]
        assert "a-token" not in log.read_text()


@pytest.mark.parametrize("name", ["nginx", "caddy"])
def test_without_trust_in_certificates_the_address_decides(name: str, tmp_path: Path) -> None:
    """The way back of deploy/README.md, for the day TradingView shows another certificate."""
    program = shutil.which(name, path=PLACES)
    if not program:
        pytest.skip(f"no {name} on this machine")
    proxy = LOOSENED[name](tmp_path)
    with standing(tmp_path, program, proxy) as edge:
        unknown = Authority.made(tmp_path, "unknown").client(TRADINGVIEW)
        for shown in (None, unknown):
            answer = edge.ask("POST", "/webhook/in/x", address=SENDER, shown=shown)
            assert answer.status_code == 202
        refused = edge.ask("POST", "/webhook/in/x", address=OUTSIDER, shown=edge.sender)
        assert refused.status_code == 403
