"""A head that was read before means the same when it is not read again."""

import asyncio
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from demo.asgi import answer, body_of
from launcher import connections
from launcher.connections import Connection
from launcher.known_heads import LONGEST, KnownHead, KnownHeads, said
from launcher.serve import _uvicorn  # pyright: ignore[reportPrivateUsage]  the very server
from tests.web.stage import settings

HEAD = b"POST /%b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%b\r\n"
SAID: dict[str, Any] = {
    "method": "POST",
    "path": "/a",
    "headers": [(b"host", b"x"), (b"content-length", b"2")],
}
CONNECTED = {"client": ("203.0.113.7", 1), "server": ("x", 2), "scheme": "http", "state": {"a": 1}}
BODIES = (b"", b"hi", b"ho", b"h\r\n\r\nh")
ODD = (
    b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    b"POST /a HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi",
    b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 02\r\n\r\nhi",
    b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    b"\r\n",
    b"nonsense\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
    b"POST /a HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",
    HEAD % (b"a", 2, b"Upgrade: h2c\r\nConnection: upgrade\r\n") + b"hi",
    b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n\r\n\r\nhi",
    b"POST /early HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    b"\r",
    b"\n",
    b"\r\n\r\n",
)
MORE = (
    *(b"", b"", b"", b"X-A: b\r\n", b"Expect: 100-continue\r\n", b"Connection: close\r\n"),
    *(b"Proxy-Connection: close\r\n", b"Upgrade: h2c\r\n", b"X-A: %b\r\n" % (b"a" * LONGEST)),
)
STRAY = (b"", b"", b"", b"\r\n", b"h")
"""What stands behind a whole request."""


def whole(body: bytes = b"hi", path: bytes = b"a", more: bytes = b"") -> bytes:
    return HEAD % (path, len(body), more) + body


class Forgetful(KnownHeads):
    """Remembers nothing: everything goes through the parser."""

    def of(self, data: bytes) -> KnownHead | None:  # noqa: ARG002  as it is called
        return None


class Counting(KnownHeads):
    """Counts what did not go through the parser."""

    spared = 0

    def of(self, data: bytes) -> KnownHead | None:
        known = super().of(data)
        self.spared += known is not None
        return known


@dataclass(slots=True)
class Application:
    """Notes what it is asked; answers /later when told to, and takes no /asgi by express.

    It answers /early before it has read the body.
    """

    asked: list[tuple[str, Scope, bytes]] = field(default_factory=list[tuple[str, Scope, bytes]])
    waiting: list[Any] = field(default_factory=list[Any])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/early":
            self.asked.append(("early", _noted(scope), b""))
            await answer(send, 413, b"early")
            return
        self.asked.append(("asgi", _noted(scope), await body_of(receive)))
        await answer(send, 200, b"asgi")

    def express(self, scope: Scope, exchange: Any) -> bool:
        if scope["path"] in {"/asgi", "/early"}:
            return False
        self.asked.append(("express", _noted(scope), bytes(exchange.body)))
        scope["headers"].append((b"x-mine", b"added by the application"))
        if scope["path"] == "/later":
            self.waiting.append(exchange)
        else:
            exchange.answer(200, ((b"content-length", b"2"),), b"ok")
        return True


def _noted(scope: Scope) -> Scope:
    return {**scope, "headers": list(scope["headers"])}


@dataclass(slots=True)
class Transport:
    """As much of one as a connection uses."""

    written: bytes = b""
    closed: bool = False

    def get_extra_info(self, _name: str, default: Any = None) -> Any:
        return default

    def write(self, data: bytes) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


@dataclass(slots=True)
class Talk:
    """What came of pieces that one connection received."""

    asked: list[tuple[str, Scope, bytes]]
    written: bytes
    closed: bool
    spared: int


def talked(pieces: Sequence[bytes], heads: KnownHeads) -> Talk:
    return asyncio.run(_talked(pieces, heads))


async def _talked(pieces: Sequence[bytes], heads: KnownHeads) -> Talk:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "HEADS", heads)
        application, transport = Application(), Transport()
        config = _config()
        config.loaded_app = application
        one = Connection(config, ServerState(), {"a": 1})
        one.connection_made(transport)
        for piece in pieces:
            if not transport.closed:
                one.data_received(piece)
                await _settled()
        for exchange in application.waiting:
            exchange.answer(200, ((b"content-length", b"4"),), b"late")
        await _settled()
        closed = transport.closed
        one.connection_lost(None)
        await _settled()
    spared = heads.spared if isinstance(heads, Counting) else 0
    return Talk(application.asked, transport.written, closed, spared)


async def _settled() -> None:
    """All that can run has run: nothing here waits for anything but its turn."""
    for _ in range(8):
        await asyncio.sleep(0)


@cache
def _config() -> Config:
    config = _uvicorn(cast("Any", Application()), settings())
    config.log_level = "critical"
    config.load()
    return config


@st.composite
def conversations(draw: st.DrawFn) -> list[bytes]:
    """Requests of few kinds, and where what is sent is torn apart."""
    ordinary = st.builds(
        whole,
        st.sampled_from(BODIES),
        st.sampled_from([b"a", b"a", b"asgi", b"later", b"early"]),
        st.sampled_from(MORE),
    )
    stray = st.builds(operator.add, ordinary, st.sampled_from(STRAY))
    requests = draw(st.lists(stray | st.sampled_from(ODD), min_size=1, max_size=6))
    pieces: list[bytes] = []
    for request in requests:
        at = draw(st.just(0) | st.integers(0, len(request)))
        pieces += [piece for piece in (request[:at], request[at:]) if piece]
    if draw(st.booleans()):
        at = draw(st.integers(0, len(pieces) - 1))
        pieces[at : at + 2] = [b"".join(pieces[at : at + 2])]
    return pieces


def same_both_ways(pieces: Sequence[bytes], heads: KnownHeads) -> None:
    told, expected = talked(pieces, heads), talked(pieces, Forgetful())
    assert told.asked == expected.asked
    assert (told.written, told.closed) == (expected.written, expected.closed)


@given(st.lists(conversations(), min_size=1, max_size=2))
def test_every_conversation_is_what_the_parser_alone_makes_of_it(torn: list[list[bytes]]) -> None:
    """One memory for all of them, and for strangers who send no more than a later piece."""
    heads = Counting()
    talked([whole(body) for body in BODIES], heads)  # which are known from here on
    for pieces in torn:
        same_both_ways(pieces, heads)
    for piece in dict.fromkeys(piece for pieces in torn for piece in pieces[1:]):
        same_both_ways([piece], heads)


TAIL = b"Host: x\r\nContent-Length: 2\r\n\r\n"


def test_a_tail_is_no_head() -> None:
    """Or it would stand for the token in the path of whoever sent the head before it."""
    heads = Counting()
    talked([b"POST /a-token HTTP/1.1\r\n", TAIL + b"hi"], heads)
    same_both_ways([TAIL + b"yo"], heads)


def test_a_head_within_a_header_of_somebody_is_no_head() -> None:
    heads = Counting()
    talked([b"POST /wrong HTTP/1.1\r\nX-A: ", whole()], heads)
    same_both_ways([whole(b"yo")], heads)


@pytest.mark.parametrize("rest", [1, 2, 3])
def test_a_piece_of_the_blank_line_is_no_head(rest: int) -> None:
    heads, at = Counting(), len(whole()) - len(b"hi") - rest
    talked([whole()[:at], whole()[at:]], heads)
    assert talked([whole()[at:]], heads).spared == 0
    same_both_ways([whole()[at:]], heads)


def test_a_head_behind_blank_lines_is_what_it_is_without_them() -> None:
    heads = Counting()
    for lines in (b"\r\n", b"\r", b"\n", b"\r\n\r\n"):
        for pieces in ([lines, whole()], [lines + whole()], [lines + whole()]):
            same_both_ways(pieces, heads)
    same_both_ways([whole()] * 3, heads)


def test_blank_lines_between_messages_do_not_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_HEAD", 100)
    same_both_ways([whole(), *[b"\r\n", whole()] * 60], Counting())


def test_what_is_known_is_not_read_again() -> None:
    told = talked([whole(), whole(b"ho"), whole(b"hello"), whole(b"world")], Counting())
    assert [body for _, _, body in told.asked] == [b"hi", b"ho", b"hello", b"world"]
    assert {way for way, _, _ in told.asked} == {"express"}
    assert told.spared == 2


def test_it_is_known_on_other_connections() -> None:
    heads = Counting()
    talked([whole()], heads)
    assert talked([whole()], heads).spared == 1


@pytest.mark.parametrize("more", [b"Connection: close\r\n", b"Expect: 100-continue\r\n"])
def test_what_needs_the_parser_is_not_remembered(more: bytes) -> None:
    heads = Counting()
    talked([whole(more=more)], heads)
    assert talked([whole(more=more)], heads).spared == 0


@pytest.mark.parametrize("request_", ODD, ids=range(len(ODD)))
def test_what_is_odd_is_not_remembered(request_: bytes) -> None:
    heads = Counting()
    talked([request_], heads)
    assert talked([request_], heads).spared == 0


def test_what_goes_the_usual_way_is_not_remembered() -> None:
    assert talked([whole(path=b"asgi")] * 2, Counting()).spared == 0


def test_what_comes_in_pieces_goes_through_the_parser() -> None:
    request = whole()
    told = talked([request, request[:-1], request[-1:], request], Counting())
    assert told.spared == 1
    assert [body for _, _, body in told.asked] == [b"hi"] * 3


def test_the_next_waits_for_the_answer_before_it() -> None:
    told = talked([whole(), whole(path=b"later"), whole(), whole()], Counting())
    bodies = [one.partition(b"HTTP")[0] for one in told.written.split(b"\r\n\r\n")[1:]]
    assert bodies == [b"ok", b"late", b"asgi", b"asgi"]
    assert told.spared == 0


# ── What is remembered ──────────────────────────────────────────────────────────────────────


def test_a_head_has_nothing_of_the_connection() -> None:
    heads = KnownHeads()
    heads.remember(whole(), said(SAID | CONNECTED), b"hi")
    known = heads.of(whole(b"ho"))
    assert known
    assert {**known.scope, "headers": list(known.headers)} == SAID
    assert known.length == 2
    assert whole(b"ho")[known.size :] == b"ho"


@pytest.mark.parametrize("data", [whole(b"hello"), whole()[:-1], whole() + b"\0", b"", b"\r\n\r\n"])
def test_only_a_whole_message_with_its_very_head_is_known(data: bytes) -> None:
    heads = KnownHeads()
    heads.remember(whole(), said(SAID), b"hi")
    assert heads.of(data) is None


@pytest.mark.parametrize(
    ("data", "headers", "body"),
    [
        (b"\n\r\nhi", SAID["headers"], b"hi"),
        (whole(), SAID["headers"], b"ho"),
        (b"\r\n\r\n" + whole(), SAID["headers"], b"hi"),
        (whole(), SAID["headers"][:1], b"hi"),
        (whole(), [*SAID["headers"], SAID["headers"][1]], b"hi"),
        (whole(), [(b"content-length", b"02")], b"hi"),
        (whole(), [*SAID["headers"], (b"transfer-encoding", b"chunked")], b"hi"),
        (whole(more=b"X: %b\r\n" % bytes(LONGEST)), SAID["headers"], b"hi"),
    ],
)
def test_whatever_leaves_a_doubt_is_not_remembered(
    data: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes
) -> None:
    heads = KnownHeads()
    heads.remember(data, said(SAID | {"headers": headers}), body)
    assert heads.of(data) is None


def test_so_many_are_remembered_and_then_it_begins_anew() -> None:
    heads = KnownHeads(most=2)
    requests = [whole(path=b"%d" % number) for number in range(3)]
    for request in requests:
        heads.remember(request, said(SAID), b"hi")
    assert [heads.of(request) is not None for request in requests] == [False, False, True]


def test_a_token_is_not_shown() -> None:
    heads = KnownHeads()
    heads.remember(whole(path=b"in/a-token"), said(SAID | {"path": "/in/a-token"}), b"hi")
    assert "a-token" not in repr(heads.of(whole(path=b"in/a-token")))
