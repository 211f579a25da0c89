"""A relay that answers as it is told to, and a folder in which commands ask it."""

import json
import signal
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, TypeAlias

import pytest

from config import Settings
from launcher.command_line import main

UPDATE_TOKEN = "made-up-finviz-update-token-0123456789abcdef"
WEBHOOK_TOKEN = "made-up-webhook-token-0123456789abcdefghijk"
ADMIN_TOKEN = "made-up-admin-token-0123456789abcdefghijklmn"
TOKENS = {
    UPDATE_TOKEN: "FINVIZ_UPDATE_TOKEN",
    WEBHOOK_TOKEN: "WEBHOOK_TOKEN",
    ADMIN_TOKEN: "ADMIN_TOKEN",
}

Run: TypeAlias = Callable[..., tuple[int, str, str]]


@dataclass(frozen=True, slots=True)
class Asked:
    """``by`` is the name of the token that was shown."""

    what: str
    by: str | None
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Answering:
    """``answers``: by method and path, a status and what is answered; of several the next."""

    answers: dict[str, list[tuple[int, object]]] = field(
        default_factory=dict[str, list[tuple[int, object]]]
    )
    asked: list[Asked] = field(default_factory=list[Asked])
    port: int = 0

    def put(self, what: str, *answers: object, status: int = 200) -> None:
        self.answers[what] = [(status, one) for one in answers]

    def take(self, what: str) -> tuple[int, object]:
        there = self.answers.get(what) or [(404, {"detail": f"no {what}"})]
        return there.pop(0) if len(there) > 1 else there[0]


def _handler(relay: Answering) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            what = f"{self.command} {self.path}"
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            shown = (self.headers["authorization"] or "").removeprefix("Bearer ")
            relay.asked.append(Asked(what, TOKENS.get(shown), dict(self.headers), body))
            status, found = relay.take(what)
            text = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(status)
            self.send_header("location", f"http://127.0.0.1:{relay.port}/elsewhere")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    return Handler


@contextmanager
def answering() -> Generator[Answering]:
    relay = Answering()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(relay))
    relay.port = server.server_port
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield relay
    server.shutdown()
    server.server_close()
    thread.join()


@contextmanager
def commanding(
    port: int, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Generator[Run]:
    """Run commands where a relay has run on ``port``: exit code, what is printed, and aside."""
    monkeypatch.chdir(folder)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    (folder / "data").mkdir()
    secrets = "".join(f"{name}={token}\n" for token, name in TOKENS.items())
    (folder / "data" / "secrets.env").write_text(secrets)
    (folder / ".env").write_text(f"PORT={port}\n")

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            sys.exit(main(arguments))
        printed = capsys.readouterr()
        assert not any(token in printed.out + printed.err for token in TOKENS)
        assert "Traceback" not in printed.err
        assert isinstance(ended.value.code, int)
        return ended.value.code, printed.out, printed.err

    before = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, before)
