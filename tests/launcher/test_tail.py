"""`run.py tail`: what is told by a socket, a line each; and on from the cursor when it breaks."""

import base64
import json
import socket
import struct
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.launcher.answering import UPDATE_TOKEN, Run, commanding

SIGNAL_ID = "01a1fc1f-537e-78ef-a699-c5d9b4210879"
HELLO = {"type": "hello", "cursor": "1:1:", "version": "0.1.0"}
UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


def an_event(event: str, ticker: str = "AAPL", **detail: object) -> dict[str, Any]:
    return {
        "id": 1,
        "at": "2026-11-21T15:04:05.324866Z",
        "event": event,
        "signal_id": SIGNAL_ID,
        "delivery_id": "d1" if event.startswith("delivery.") else None,
        "position_id": None,
        "ticker": ticker,
        "side": "buy",
        "actor": None,
        "detail": detail,
    }


def events(cursor: str, *told: dict[str, Any]) -> bytes:
    return frame({"type": "events", "cursor": cursor, "events": told})


def frame(message: object, opcode: int = 0x81) -> bytes:
    text = message if isinstance(message, bytes) else json.dumps(message).encode()
    length = bytes((len(text),)) if len(text) < 126 else b"\x7e" + struct.pack("!H", len(text))
    return bytes((opcode,)) + length + text


def closing(code: int) -> bytes:
    return frame(struct.pack("!H", code), 0x88)


ENDED = closing(1000)


def refused(status: int, detail: str) -> bytes:
    text = json.dumps({"detail": detail}).encode()
    return f"HTTP/1.1 {status} No\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text


class Feed:
    """Plays one piece to each who connects, and keeps the requests and what came after them."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.listening.settimeout(30)
        self.pieces, self.heads, self.answers = pieces, list[str](), list[bytes]()
        self.thread = Thread(target=self.play)
        self.thread.start()

    @property
    def port(self) -> int:
        return self.listening.getsockname()[1]

    def play(self) -> None:
        for piece in self.pieces:
            connection, _ = self.listening.accept()
            with connection:
                connection.settimeout(30)
                head = b""
                while b"\r\n\r\n" not in head:
                    head += connection.recv(4096)
                self.heads.append(head.decode())
                connection.sendall(piece)
                connection.shutdown(socket.SHUT_WR)
                rest = b""
                with suppress(ConnectionError):  # who has heard enough hangs up on the rest
                    while more := connection.recv(4096):
                        rest += more
                self.answers.append(rest)


@contextmanager
def feed(*pieces: bytes) -> Generator[Feed]:
    found = Feed(pieces)
    yield found
    found.listening.close()
    found.thread.join(30)


class Tails:
    """Runs `tail` against what is played, until there is no more."""

    def __init__(self, run: Run, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.run, self.folder, self.patch = run, folder, patch
        self.feed: Feed

    def __call__(self, *pieces: bytes, arguments: Sequence[str] = ()) -> tuple[int, str, str]:
        waits = 0

        def wait(_seconds: float) -> None:
            nonlocal waits
            waits += 1
            if waits >= len(pieces):
                raise KeyboardInterrupt

        self.patch.setattr("launcher.tail.time.sleep", wait)
        with feed(*pieces) as self.feed:
            (self.folder / ".env").write_text(f"PORT={self.feed.port}\n")
            return self.run("tail", *arguments)


@pytest.fixture
def tail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Generator[Tails]:
    monkeypatch.setenv("TZ", "UTC")
    with commanding(1, tmp_path, monkeypatch, capsys) as run:
        yield Tails(run, tmp_path, monkeypatch)


def test_each_event_is_a_line_until_it_is_ended(tail: Tails) -> None:
    told = events(
        "2:2:",
        an_event("signal.received", source="webhook"),
        an_event("signal.approved", rank=3, cutoff=15, gate_version=1),
        an_event("signal.rejected", "MSFT", reason="not_in_list"),
        an_event("trust.stale"),
    )
    code, out, said = tail(UPGRADED + frame(HELLO) + told + ENDED)
    assert code == 130
    assert [line[10:] for line in out.splitlines()] == [
        "AAPL     buy   Received from webhook",
        "AAPL     buy   Approved (rank 3, cutoff 15)",
        "MSFT     buy   Rejected: The ticker was not in the top of the list",
    ]
    assert said == "It hung up (1000). Waiting for it …\n\n"
    head = tail.feed.heads[0]
    assert head.startswith("GET /ws/live HTTP/1.1\r\n")
    assert f"authorization: Bearer {UPDATE_TOKEN}" in head
    key = next(line for line in head.splitlines() if line.startswith("sec-websocket-key: "))
    assert len(base64.b64decode(key.split(": ")[1])) == 16


def test_it_goes_on_where_it_was_when_the_relay_restarts(tail: Tails) -> None:
    code, out, said = tail(
        UPGRADED + frame(HELLO) + events("2:2:", an_event("signal.received")) + closing(1012),
        refused(503, "The relay is starting."),
        UPGRADED + frame(HELLO) + events("3:3:", an_event("signal.expired")),
        UPGRADED,
    )
    assert code == 130
    assert [head.split()[1] for head in tail.feed.heads] == [
        "/ws/live",
        *["/ws/live?cursor=2%3A2%3A"] * 2,
        "/ws/live?cursor=3%3A3%3A",
    ]
    assert len(out.splitlines()) == 2
    assert said.splitlines()[:3] == [
        "The relay restarts. Waiting for it …",
        "It is back.",
        "The relay restarts. Waiting for it …",
    ]


def test_json_lines_say_where_one_can_go_on(tail: Tails) -> None:
    told = events("2:2:", an_event("signal.received"), an_event("signal.approved"))
    arguments = ("--json", "--cursor", "1:1:")
    code, out, _ = tail(UPGRADED + frame(HELLO) + told, arguments=arguments)
    lines = [json.loads(line) for line in out.splitlines()]
    assert (code, [line["cursor"] for line in lines]) == (130, [None, "2:2:"])
    assert tail.feed.heads[0].startswith("GET /ws/live?cursor=1%3A1%3A ")


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (("--ticker", "msft"), 1),
        (("--source", "webhook"), 2),
        (("--source", "x"), 0),
        (("--all",), 3),
    ],
)
def test_filters(tail: Tails, arguments: Sequence[str], count: int) -> None:
    told = events(
        "2:2:",
        an_event("signal.received", source="webhook"),
        an_event("delivery.sending") | {"signal_id": None},
        an_event("signal.approved", "MSFT"),
    )
    assert len(tail(UPGRADED + frame(HELLO) + told, arguments=arguments)[1].splitlines()) == count


def test_parts_pings_and_what_was_left_out(tail: Tails) -> None:
    text = json.dumps({"type": "reread", "cursor": "9:9:", "why": "slow"}).encode()
    parts = frame(text[:9], 0x01) + frame(b"are you there", 0x89) + frame(text[9:], 0x80)
    _, out, said = tail(UPGRADED + parts + ENDED)
    assert out == ""
    assert said.startswith("Some events were left out: they were not taken fast enough.\n")
    pong, bye = tail.feed.answers[0][:19], tail.feed.answers[0][19:]
    assert pong[:2] == bytes((0x8A, 0x80 | 13))
    assert bytes(one ^ pong[2 + i % 4] for i, one in enumerate(pong[6:])) == b"are you there"
    assert bye[:2] == bytes((0x88, 0x80 | 2))


@pytest.mark.parametrize(
    "garbage", [b"\x81\xff" + b"x" * 20, b"\x81\x7f" + b"\x7f" * 8, frame(b"{"), b"\x81\x05ab"]
)
def test_what_is_no_message_ends_the_connection(tail: Tails, garbage: bytes) -> None:
    code, out, said = tail(UPGRADED + frame(HELLO) + garbage)
    assert (code, out) == (130, "")
    assert said.startswith("The relay restarts. Waiting for it …")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refused(401, "no"), "does not take this FINVIZ_UPDATE_TOKEN."),
        (refused(503, "The database does not answer."), "The database does not answer."),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "is not this relay (HTTP 200)."),
    ],
)
def test_what_cannot_begin_is_one_line(tail: Tails, answer: bytes, words: str) -> None:
    code, out, said = tail(answer)
    assert (code, out, said.count("\n")) == (1, "", 1)
    assert words in said
