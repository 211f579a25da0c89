"""H4, H21: whom a request is from and which names we answer to, over the whole application."""

from collections.abc import AsyncGenerator
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any, cast

import pytest
import pytest_asyncio
from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from tests.web.stage import ADMIN_TOKEN, Relay, call, cloned, http_scope, relay, settings
from web.proxies import Hosts, Proxies, name_of, names_of
from web.webhook import Express, Whole

pytestmark = pytest.mark.asyncio(loop_scope="module")

PUBLIC = "https://relay.example"
BEARER = (b"authorization", f"Bearer {ADMIN_TOKEN}".encode())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def behind(template: str) -> AsyncGenerator[Relay]:
    """A relay with a name of its own, behind a proxy on the same machine."""
    async with (
        cloned(template) as url,
        relay(url, public_url=PUBLIC, trusted_proxies="127.0.0.1", wait=False) as one,
    ):
        yield one


async def seen(trusted: str, headers: list[tuple[bytes, bytes]], kind: str = "http") -> Scope:
    """The scope that an application behind these proxies gets."""
    got: list[Scope] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        got.append(scope)

    async def nothing(*_: object) -> None:
        raise AssertionError

    given = {**http_scope("GET", "/", headers), "type": kind}
    given["scheme"] = "ws" if kind == "websocket" else "http"
    await Proxies(app, [ip_network(trusted)])(given, nothing, nothing)  # pyright: ignore[reportArgumentType]  never called
    return got[0]


@pytest.mark.parametrize(
    ("said", "scheme"),
    [
        (["https"], "https"),
        (["HTTPS"], "https"),
        (["http"], "http"),
        (["http", "https"], "https"),
        (["https", "http"], "http"),
        (["http, https"], "https"),
        (["javascript"], "http"),
        ([""], "http"),
        ([], "http"),
    ],
)
async def test_the_scheme_is_what_the_nearest_proxy_says(said: list[str], scheme: str) -> None:
    headers = [(b"x-forwarded-proto", value.encode()) for value in said]
    assert (await seen("127.0.0.1/32", headers))["scheme"] == scheme
    assert (await seen("10.0.0.0/8", headers))["scheme"] == "http", "a stranger says nothing"
    socket = await seen("127.0.0.1/32", headers, "websocket")
    assert socket["scheme"] == scheme.replace("http", "ws")


async def test_other_headers_name_nobody() -> None:
    """Proxies that do not know them pass on what a stranger wrote."""
    for name in (b"forwarded", b"x-real-ip", b"x-client-ip", b"true-client-ip", b"via"):
        found = await seen("127.0.0.1/32", [(name, b"for=6.6.6.6, 6.6.6.6")])
        assert found["client"] == ("127.0.0.1", 40_000)
    found = await seen("127.0.0.1/32", [(b"x-forwarded-for", b"6.6.6.6"), (b"forwarded", b"for=x")])
    assert found["client"] == ("6.6.6.6", 0)


async def test_the_audit_trail_has_the_caller_that_the_proxy_names(behind: Relay) -> None:
    headers = [(b"host", b"relay.example"), (b"x-forwarded-for", b"6.6.6.6, 203.0.113.9")]
    forged = (b"authorization", b"Bearer not-the-token")
    assert (await call(behind.app, "GET", "/status", [*headers, forged])).status == 401
    origins = await behind.rows("SELECT origin FROM events WHERE event = 'access.refused'")
    assert [row.origin for row in origins] == ["203.0.113.9"]


@pytest.mark.parametrize(
    "proxies", ["*", "0.0.0.0/0", "::/0", "0.0.0.0/0,::/0", "10.0.0.0/8,0.0.0.0/1", "2000::/3"]
)
async def test_who_trusts_everybody_does_not_start(proxies: str) -> None:
    with pytest.raises(ValidationError, match=r"trusts everybody|valid IPv4 network"):
        settings(trusted_proxies=proxies)


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        *((b"relay.example", True), (b"RELAY.example", True), (b"relay.example:443", True)),
        *((b"localhost:8000", True), (b"127.0.0.1", True), (b"[::1]:8000", True)),
        *((b"evil.example", False), (b"relay.example.evil.example", False), (b"", False)),
        *((b"evil.example:443", False), (b"relay.example@evil.example", False)),
        *((b"relay.example, evil.example", False), (b"169.254.169.254", False)),
    ],
)
async def test_only_our_own_names_are_answered(behind: Relay, host: bytes, *, ours: bool) -> None:
    headers = [(b"host", host), BEARER]
    answer = await call(behind.app, "GET", "/status", headers)
    assert answer.status == (200 if ours else 421)
    assert answer.headers["x-content-type-options"] == "nosniff"
    if not ours:
        assert answer.json()["code"] == "wrong_host"
    for path in ("/health", "/metrics"):
        assert (await call(behind.app, "GET", path, headers)).status == 200, "by any name"
    alert = await call(behind.app, "POST", "/webhook/in", headers, [b'{"ticker": 1}'])
    assert alert.status == 422


async def test_a_host_is_said_once(behind: Relay) -> None:
    twice = [(b"host", b"relay.example"), (b"host", b"evil.example"), BEARER]
    assert (await call(behind.app, "GET", "/status", twice)).status == 421
    assert (await call(behind.app, "GET", "/status", [BEARER])).status == 421


async def test_a_socket_has_to_name_us_too() -> None:
    said: list[dict[str, Any]] = []

    async def app(*_: object) -> None:
        raise AssertionError

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    scope: Scope = {
        **http_scope("GET", "/ws/live", [(b"host", b"evil.example")]),
        "type": "websocket",
        "state": {"rules": SimpleNamespace(public_url=PUBLIC)},
        "extensions": {"websocket.http.response": {}},
    }
    await Hosts(app, names_of(PUBLIC, "0.0.0.0"))(scope, receive, send)  # pyright: ignore[reportArgumentType]  plain dicts will do
    assert (said[0]["type"], said[0]["status"]) == ("websocket.http.response.start", 421)
    assert (b"x-content-type-options", b"nosniff") in said[0]["headers"]


async def test_names_are_without_ports() -> None:
    assert name_of("Relay.Example:8443") == "relay.example"
    assert name_of("[::1]:8000") == "::1"
    assert names_of(PUBLIC, "192.168.1.5") == {"relay.example", "192.168.1.5"}
    assert names_of(PUBLIC, "0.0.0.0") == {"relay.example"}
    assert names_of(None, "192.168.1.5") == frozenset()


class Noting:
    """An application that notes what comes by express, and takes it."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError(scope, receive, send)

    def express(self, scope: Scope, whole: Whole) -> bool:  # noqa: ARG002  as the protocol has it
        self.scopes.append(scope)
        return True


def expressed(app: Express, path: str, *headers: tuple[bytes, bytes]) -> bool:
    return app.express(http_scope("POST", path, headers), cast("Whole", None))


async def test_a_proxy_is_believed_by_express_too() -> None:
    """A whole request must not come from where another one would not."""
    told = [(b"x-forwarded-for", b"203.0.113.7"), (b"x-forwarded-proto", b"https")]
    for trusted, found in (("127.0.0.1", "203.0.113.7"), ("10.0.0.0/8", "127.0.0.1")):
        app = Noting()
        assert expressed(Proxies(app, [ip_network(trusted)]), "/webhook/in", *told)
        [scope] = app.scopes
        assert scope["client"][0] == found
        assert scope["scheme"] == ("https" if found == "203.0.113.7" else "http")


@pytest.mark.parametrize(
    ("path", "host", "passes"),
    [
        ("/webhook/in", b"elsewhere.example", True),
        ("/admin", b"relay.example", True),
        ("/admin", b"elsewhere.example", False),
    ],
)
async def test_another_name_is_none_by_express_either(
    path: str, host: bytes, *, passes: bool
) -> None:
    app = Noting()
    assert expressed(Hosts(app, {"relay.example"}), path, (b"host", host)) is passes
    assert len(app.scopes) == passes
