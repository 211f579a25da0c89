"""Who may open a connection to others: every module that could is named here, with its reason.

H5, H6: what goes to an address that somebody typed goes by `engines/outbound.py`, which vets it.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TypeGuard

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = [
    *(ROOT / f"{name}.py" for name in ("main", "engine_room", "furnishing", "house")),
    *(ROOT / f"{name}.py" for name in ("config", "run", "version")),
    *(
        path
        for package in ("domain", "database", "engines", "web", "launcher", "demo")
        for path in sorted((ROOT / package).rglob("*.py"))
    ),
]
NAMED = {path.relative_to(ROOT).as_posix(): path for path in PRODUCT}

NETWORK = (
    *("httpx", "httpcore", "h11", "h2", "anyio", "requests", "urllib3", "aiohttp", "websockets"),
    *("socket", "socketserver", "http.client", "urllib.request", "smtplib", "ftplib", "poplib"),
    *("imaplib", "nntplib", "telnetlib", "xmlrpc", "asyncore", "multiprocessing.connection"),
    *("dns", "paramiko", "grpc"),
)
OPENERS = {
    *("open_connection", "create_connection", "create_datagram_endpoint", "open_unix_connection"),
    *("sock_connect", "getaddrinfo", "start_tls", "create_unix_connection"),
}

MAY: dict[str, dict[str, str]] = {
    "engines/outbound.py": {
        "httpx": "the one way out: clients that follow nothing and know no proxy",
        "httpcore": "its place for what dials",
        "socket": "a constant of getaddrinfo",
        "getaddrinfo": "looks a host up, to vet every answer",
        "create_connection": "dials what was vetted",
    },
    "engines/destinations/client.py": {
        "httpx": "plays a destination in this process, by the client of outbound",
        "httpcore": "names of what fails",
    },
    "engines/destinations/wire.py": {
        "httpx": "reads an address",
        "httpcore": "names of what fails",
    },
    "engines/universe/finviz_http.py": {"httpx": "asks by outbound's transport; one origin"},
    "engines/universe/finviz.py": {"httpx": "the type of the client it is given"},
    "engines/notices/postman.py": {
        "smtplib": "mail goes to the server of SMTP_URL, which the environment alone can set",
    },
    "engines/siblings.py": {
        "open_unix_connection": "asks our own processes, by sockets in a folder of theirs",
    },
    "house.py": {"httpx": "a type: what plays the systems outside"},
    "engine_room.py": {"httpx": "types, and the heartbeat by the client of outbound"},
    "launcher/doctor/pages.py": {"httpx": "the type of a transport that tests hand in"},
    "launcher/doctor/whole.py": {"httpx": "the type of a transport that tests hand in"},
    "launcher/doctor/dial.py": {"httpcore": "names of what fails; dials by outbound"},
    "launcher/doctor/outside.py": {
        "httpx": "asks PUBLIC_URL, an address of the environment, by the client of outbound",
        "getaddrinfo": "what others find under our name",
    },
    "launcher/doctor/machine.py": {
        "socket": "whether somebody listens at our own HOST and PORT",
        "http.client": "whether that is us: /health, without a token",
        "getaddrinfo": "where HOST is",
    },
    "demo/hands.py": {"httpx": "the type of the client it is given"},
    "launcher/demo.py": {"httpx": "plays Finviz and a destination in this very process"},
    "launcher/asking.py": {"http.client": "asks the relay at the address its operator gave"},
    "launcher/websocket.py": {"http.client": "a type: what launcher/asking.py dialled"},
    "launcher/adoption.py": {"http.client": "hands a history to that relay, by its connection"},
    "launcher/shots.py": {"socket": "a free port", "urllib.request": "waits for its own relay"},
    "launcher/systemd.py": {"socket": "tells systemd, by the socket it named"},
    "launcher/server.py": {"socket": "listens"},
    "launcher/serve.py": {"socket": "listens", "getaddrinfo": "where its HOST is, to listen there"},
    "launcher/processes.py": {"socket": "hands listening ones, and a pair, to our own processes"},
    "launcher/process.py": {"socket": "takes those"},
    "launcher/connections.py": {"socket": "those that it accepted"},
    "launcher/sockets.py": {"socket": "listens"},
}

CLIENTS = {"AsyncClient", "Client", "AsyncHTTPTransport", "HTTPTransport", "AsyncConnectionPool"}
MAKERS = {
    "engines/outbound.py": {"AsyncClient", "AsyncHTTPTransport", "AsyncConnectionPool"},
    "engines/universe/finviz_http.py": {"AsyncClient"},
    "launcher/demo.py": {"AsyncClient"},
}
SHORTCUTS = {"get", "post", "put", "patch", "delete", "head", "options", "request", "stream"}


@cache
def parsed(name: str) -> ast.Module:
    """Not before it is asked for: every worker collects the tests, and one runs them."""
    return ast.parse(NAMED[name].read_text())


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def reaching(tree: ast.Module) -> set[str]:
    """The ways out of this process that a module names."""
    found = {
        way
        for name in imported(tree)
        for way in NETWORK
        if name == way or name.startswith(f"{way}.")
    }
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return found | (names & OPENERS)


def test_every_way_out_is_named_with_its_reason_and_nothing_else() -> None:
    found = {name: reaching(parsed(name)) for name in NAMED if reaching(parsed(name))}
    assert found == {name: set(reasons) for name, reasons in MAY.items()}


def made(tree: ast.Module) -> set[str]:
    """The kinds of clients that a module makes, and what it asks without one."""
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    attributes = [call for call in calls if isinstance(call, ast.Attribute)]
    return {call.attr for call in attributes if call.attr in CLIENTS} | {
        f"httpx.{call.attr}"
        for call in attributes
        if isinstance(call.value, ast.Name) and call.value.id == "httpx" and call.attr in SHORTCUTS
    }


def test_clients_are_made_where_they_are_given_a_vetted_transport() -> None:
    assert {name: made(parsed(name)) for name in NAMED if made(parsed(name))} == MAKERS


def test_no_client_follows_redirects_or_reads_proxies_of_the_environment() -> None:
    """Of those that leave the process; the demo's speak to it alone."""
    for name in MAKERS.keys() - {"launcher/demo.py"}:
        for node in ast.walk(parsed(name)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "httpx.AsyncClient":
                given = {one.arg: ast.unparse(one.value) for one in node.keywords}
                assert given["follow_redirects"] == given["trust_env"] == "False"
                assert "transport" in given


@pytest.mark.parametrize(
    "source",
    [
        "import httpx",
        "import socket as s",
        "from urllib import request",
        "from urllib.request import urlopen",
        "from http import client",
        "import smtplib",
        "async def f():\n    await asyncio.open_connection('h', 1)",
        "loop.getaddrinfo('h', 1)",
    ],
)
def test_the_rule_finds_a_way_out(source: str) -> None:
    assert reaching(ast.parse(source))


@pytest.mark.parametrize(
    "source", ["from urllib.parse import urlsplit", "from http import HTTPStatus"]
)
def test_the_rule_leaves_others_alone(source: str) -> None:
    assert not reaching(ast.parse(source))


# ── H26: what an alert says is carried, never evaluated ─────────────────────────────────────

EVALUATING = {"eval", "exec", "compile", "__import__"}
FORMATTING = {"format", "format_map", "substitute", "safe_substitute", "from_string"}
CARRYING = [
    name
    for name in NAMED
    if name.startswith(("domain/", "engines/relay/", "engines/destinations/", "engines/notices/"))
]


def test_what_carries_alerts_evaluates_no_text() -> None:
    """No template engine, nothing evaluated, and no format strings but constants of the module."""
    for name in CARRYING:
        tree = parsed(name)
        roots = {one.split(".")[0] for one in imported(tree)}
        assert not roots & {"jinja2", "string", "ast"}, name
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        assert [ast.unparse(call) for call in calls if _evaluates(call.func)] == [], name


def _evaluates(called: ast.expr) -> bool:
    if isinstance(called, ast.Name):
        return called.id in EVALUATING
    if not isinstance(called, ast.Attribute) or called.attr not in FORMATTING:
        return False
    text = called.value
    ours = isinstance(text, ast.Name) and text.id.isupper()
    return not (ours or isinstance(text, ast.Constant))


@pytest.mark.parametrize("source", ["eval(x)", "body.format(a=1)", "Template(x).substitute()"])
def test_the_rule_finds_what_evaluates(source: str) -> None:
    (call,) = (node for node in ast.walk(ast.parse(source)) if _is_outer(node, source))
    assert _evaluates(call.func)


def _is_outer(node: ast.AST, source: str) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and ast.unparse(node) == source
