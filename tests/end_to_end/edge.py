"""The examples in deploy/ in a real nginx and a real Caddy, our own certificates, any relay."""

import socket
import ssl
import subprocess
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from starlette.types import Receive, Scope, Send

from demo.asgi import answer, body_of
from tests.end_to_end.certificates import TRADINGVIEW, Authority, Shown
from tests.end_to_end.stage import ROOT, free_port, served, until

PLACES = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/sbin"
HOST = "relay.example.com"
SENDER, INSIDER, OUTSIDER = "127.0.0.2", "127.0.0.3", "127.0.0.4"
"""Of TradingView, of the VPN, and of anybody else."""
FORGED = {
    "x-forwarded-for": "10.8.0.1",
    "x-forwarded-proto": "http",
    "x-forwarded-host": "evil.example",
    "x-real-ip": "10.8.0.1",
    "forwarded": "for=10.8.0.1",
}
ALERT = b'{"ticker": "AAPL", "action": "buy"}'


@dataclass(slots=True)
class Heard:
    """Stands for the relay: takes everything and remembers who is said to have called."""

    requests: list[tuple[str, dict[str, str]]] = field(
        default_factory=list[tuple[str, dict[str, str]]]
    )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await body_of(receive)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.requests.append((scope["path"], headers))
        await answer(send, 202 if scope["method"] == "POST" else 200, b"{}", "application/json")


@dataclass(frozen=True, slots=True)
class Front:
    """A proxy at work in front of a relay: https at ``port``, http at ``plain``."""

    port: int
    plain: int
    authority: Path
    tradingview: Authority
    sender: Shown
    folder: Path

    def context(self, shown: Shown | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.authority)
        if shown:
            context.load_cert_chain(shown.certificate, shown.key)
        return context

    def ask(
        self,
        method: str,
        path: str,
        *,
        address: str,
        shown: Shown | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> httpx.Response:
        way = httpx.HTTPTransport(verify=self.context(shown), local_address=address)
        body = content if content is not None else ALERT if method == "POST" else None
        with httpx.Client(transport=way, timeout=20) as client:
            return client.request(
                method,
                f"https://127.0.0.1:{self.port}{path}",
                headers=FORGED | {"host": HOST} | dict(headers or {}),
                content=body,
                extensions={"sni_hostname": HOST},
            )

    def ask_in_the_clear(self, method: str, path: str) -> httpx.Response:
        way = httpx.HTTPTransport(local_address=SENDER)
        with httpx.Client(transport=way, timeout=20) as client:
            return client.request(
                method,
                f"http://127.0.0.1:{self.plain}{path}",
                headers={"host": HOST},
                content=ALERT if method == "POST" else None,
            )


@dataclass(frozen=True, slots=True)
class Edge(Front):
    """In front of one that only remembers."""

    relay: Heard


@dataclass(frozen=True, slots=True)
class Place:
    """What a test changes in an example: its certificates, ports, and where the relay is."""

    folder: Path
    server: Shown
    tradingview: Authority
    port: int
    plain: int
    relay: int


@dataclass(frozen=True, slots=True)
class Proxy:
    """One of the two: its example, and how it is started with that."""

    name: str
    example: Path
    changes: Callable[[Place], dict[str, str]]
    command: Callable[[str, Path], list[str]]


def _nginx_changes(place: Place) -> dict[str, str]:
    """The file as it is, except for what is marked CHANGE, and addresses and folders of a test."""
    folder = place.folder
    return {
        "52.89.214.238 1": f"{SENDER} 1",
        "10.8.0.0/24": f"{INSIDER}/32",
        "server 127.0.0.1:8000": f"server 127.0.0.1:{place.relay}",
        "listen 80 default_server": f"listen 127.0.0.1:{place.plain} default_server",
        "listen 443 ssl": f"listen 127.0.0.1:{place.port} ssl",
        "/etc/letsencrypt/live/relay.example.com/fullchain.pem": str(place.server.certificate),
        "/etc/letsencrypt/live/relay.example.com/privkey.pem": str(place.server.key),
        "/etc/nginx/tradingview-ca.pem": str(place.tradingview.file),
        "/var/www/letsencrypt": f"{folder}/www",
        "/run/nginx.pid": f"{folder}/nginx.pid",
        "/var/log/nginx/": f"{folder}/",
        "client_body_buffer_size 256k;": "client_body_buffer_size 256k;"
        + "".join(
            f"{name}_temp_path {folder}/{name};"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        ),
    }


def _caddy_changes(place: Place) -> dict[str, str]:
    ports = f"http_port {place.plain}\n\thttps_port {place.port}\n\tdefault_bind 127.0.0.1"
    return {
        "52.89.214.238": SENDER,
        "10.8.0.0/24": f"{INSIDER}/32",
        "127.0.0.1:8000": f"127.0.0.1:{place.relay}",
        "admin off": f"admin off\n\tstorage file_system {place.folder}\n\t{ports}",
        "tls {": f"tls {place.server.certificate} {place.server.key} {{",
        "/etc/caddy/tradingview-ca.pem": str(place.tradingview.file),
    }


NGINX = Proxy(
    "nginx",
    ROOT / "deploy/nginx/edge.conf",
    _nginx_changes,
    lambda program, file: [
        *(program, "-c", str(file), "-e", "stderr"),
        *("-g", "daemon off; master_process off;"),
    ],
)
CADDY = Proxy(
    "caddy",
    ROOT / "deploy/caddy/Caddyfile",
    _caddy_changes,
    lambda program, file: [program, "run", "--adapter", "caddyfile", "--config", str(file)],
)


def opened(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def written(place: Place, proxy: Proxy) -> Path:
    text = proxy.example.read_text()
    for old, new in proxy.changes(place).items():
        assert old in text, f"{old} is not in the example any more"
        text = text.replace(old, new)
    file = place.folder / "configuration"
    file.write_text(text)
    return file


@contextmanager
def started(place: Place, program: str, proxy: Proxy) -> Generator[None]:
    log = place.folder / "output.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            proxy.command(program, written(place, proxy)),
            stdout=output,
            stderr=output,
            env={"HOME": str(place.folder), "PATH": PLACES},
        ) as process,
    ):
        try:
            until(lambda: opened(place.port) or process.poll() is not None, what="a proxy")
            assert process.poll() is None, log.read_text()
            yield
        finally:
            process.kill()


@contextmanager
def in_front(folder: Path, program: str, proxy: Proxy, relay: int) -> Generator[Front]:
    """Of whatever listens at the port ``relay``."""
    ours, tradingview = Authority.made(folder, "ours"), Authority.made(folder, "tradingview")
    place = Place(folder, ours.server(HOST), tradingview, free_port(), free_port(), relay)
    with started(place, program, proxy):
        sender = tradingview.client(TRADINGVIEW)
        yield Front(place.port, place.plain, ours.file, tradingview, sender, folder)


@contextmanager
def standing(folder: Path, program: str, proxy: Proxy) -> Generator[Edge]:
    relay = Heard()
    with (
        served(relay) as url,
        in_front(folder, program, proxy, int(url.rpartition(":")[2])) as it,
    ):
        yield Edge(it.port, it.plain, it.authority, it.tradingview, it.sender, folder, relay)
