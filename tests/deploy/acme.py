"""Run inside a network of its own: an authority, Caddy as the service `tls`, and who calls it.

`python -m tests.deploy.acme FOLDER COMMAND…` prints what was answered, as JSON.
"""

import http.server
import json
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any

from tests.end_to_end.stage import until

AUTHORITY = """\
{
	admin off
	skip_install_trust
	http_port 14001
	storage file_system FOLDER
}
https://ca.test:14000 {
	tls internal
	acme_server
}
"""
HOST = "relay.example.com"
FORGED = {"X-Forwarded-For": "10.8.0.1", "X-Forwarded-Proto": "http", "Forwarded": "for=10.8.0.1"}
SEEN: list[dict[str, Any]] = []


class Relay(http.server.BaseHTTPRequestHandler):
    """Stands for the proxy and what is behind it."""

    def do_GET(self) -> None:
        SEEN.append({"path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()}})
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(202 if self.command == "POST" else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    do_POST = do_GET  # noqa: N815  its own name

    def log_message(self, format: str, *args: object) -> None:
        del format, args


def quietly(what: Callable[[], object]) -> bool:
    with suppress(OSError):
        what()
        return True
    return False


def ask(
    method: str, path: str, address: str, context: ssl.SSLContext | None
) -> tuple[int, str, str]:
    """Status, where one is sent on to, and the body."""
    source = (address, 0)
    if context:
        line: HTTPConnection = HTTPSConnection(HOST, 443, source_address=source, context=context)
    else:
        line = HTTPConnection(HOST, 80, source_address=source)
    line.request(method, path, b"{}" if method == "POST" else None, FORGED)
    answer = line.getresponse()
    return answer.status, answer.headers.get("location", ""), answer.read().decode()


def main(folder: Path, command: list[str]) -> None:
    root = folder / "ca/pki/authorities/local/root.crt"
    file = folder / "ca.Caddyfile"
    file.write_text(AUTHORITY.replace("FOLDER", f"{folder}/ca"))
    server = http.server.ThreadingHTTPServer(("proxy", 8080), Relay)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    authority = ["caddy", "run", "--adapter", "caddyfile", "--config", str(file)]
    with subprocess.Popen(authority) as ours:
        try:
            until(root.exists, what="an authority")
            trusting = ssl.create_default_context(cafile=root)
            directory = "https://ca.test:14000/acme/local/directory"
            until(
                lambda: quietly(lambda: urllib.request.urlopen(directory, context=trusting)),
                what="an authority that answers",
            )
            with subprocess.Popen(command) as tls:
                try:
                    until(
                        lambda: quietly(lambda: ask("GET", "/ready", "127.0.0.1", trusting)),
                        what="a certificate",
                    )
                    found = {
                        "outside": ask("GET", "/admin", "127.0.0.4", trusting),
                        "inside": ask("GET", "/admin", "127.0.0.3", trusting),
                        "alert": ask("POST", "/webhook/in/token", "127.0.0.4", trusting),
                        "not an alert": ask("GET", "/webhook/in/token", "127.0.0.3", trusting),
                        "page in the clear": ask("GET", "/admin", "127.0.0.3", None),
                        "alert in the clear": ask("POST", "/webhook/in/token", "127.0.0.4", None),
                    }
                    print(json.dumps({"answers": found, "seen": SEEN}))  # noqa: T201  its result
                finally:
                    tls.kill()
        finally:
            ours.kill()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
