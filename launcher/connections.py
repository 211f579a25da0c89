"""uvicorn's HTTP connections as we need them: who is slow, too many or unclear is cut off."""

import asyncio
import json
import logging
import resource
import socket
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from launcher.clarity import MOST_HEAD, TOO_LARGE, UNCLEAR, Head, UnclearError, refusal_of
from launcher.deadline import Deadline
from launcher.exchange import Exchange
from launcher.known_heads import KnownHead, KnownHeads, said
from launcher.outflow import LEAST, Outflow

PATIENCE, STALLED = 5.0, 10.0
"""Seconds in which a request must be whole, or LEAST more of it be there; in which LEAST more of
an answer must have left."""

LAST_LOOK, LATE = 0.05, 0.5
"""Seconds for what has arrived and was not read yet; from which on it was us who were slow."""

KEEP_ALIVE = 5
MOST_OPEN, FILES_FOR_OTHERS = 4_096, 256
UNSENT = 131_072
"""Bytes of an answer that the system keeps for a slow reader."""

GIVE_WAY = 1e-6
"""Seconds; the least that a system sleeps is some 60 µs, enough for another process to wake."""

HEADS = KnownHeads()
"""Of all connections: a head means the same on each."""

RETRY_AFTER = b"2"
LOG = logging.getLogger("uvicorn.requests")
LOG.setLevel(logging.ERROR)  # a line for each unclear request would be a way to fill the disk


def most_open(clients: int) -> int:
    """How many connections may be open beside so many clients of the live feed."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_OPEN + clients
    if files == resource.RLIM_INFINITY:
        return wanted
    return max(16, min(wanted, files - FILES_FOR_OTHERS))


class Connection(HttpToolsProtocol):
    """A connection whose other side has to be quick, plain, and one of a bounded number.

    uvicorn itself waits for ever for a request that never ends, or a reader that never reads, and
    takes headers of any size. A slow handler, and what we are too slow to read, harm nobody.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.logger = LOG
        # Ours says when to come again, and counts connections when they come.
        self._most, self.limit_concurrency = self.limit_concurrency, None
        self._full = False
        self._express: Any = getattr(self.app, "express", None)
        self._arrived: Exchange | None = None
        self._current: Any = None
        self._deadline, self._stalling, self._idle = (Deadline(self.loop) for _ in range(3))
        self._got = self._piece = self._head = self._framing = 0
        self._due = 0.0
        self._in_head = self._between = True
        self._is_behind = False
        self._status = UNCLEAR

    # ── How many ────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._outflow = self.flow = Outflow(transport, self._stalling, STALLED)
        if connection := transport.get_extra_info("socket"):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNSENT)
        if self._most and len(self.connections) > self._most:
            self._full = True
            self.app, self._express = _full, None
            if len(self.connections) > self._most + self._most // 4:
                transport.abort()
        self._await()

    def handle_websocket_upgrade(self) -> None:
        for each in (self._deadline, self._stalling, self._idle):
            each.clear()
        if self._full:
            self._status = 503
            self.send_400_response("Too many connections.")
        else:
            super().handle_websocket_upgrade()

    # ── How quick they send ─────────────────────────────────────────────────────────────────

    def _await(self) -> None:
        if not self._deadline.is_set:
            self._got, self._due = 0, self._deadline.set(PATIENCE, self._expire)

    def _expire(self) -> None:
        """Look once more at what has arrived: after a pause of ours it is read only now."""
        late = self.loop.time() - self._due > LATE
        self._deadline.set(PATIENCE if late else LAST_LOOK, self._cut_off)

    def _cut_off(self) -> None:
        if self.transport.is_closing():
            return
        if self._is_answering() or self.flow.read_paused or (self._got >= LEAST and self._wanted()):
            self._await()
        elif self._got:
            self.transport.abort()
        else:
            self._hang_up()

    def _is_answering(self) -> bool:
        """Whether a whole request is being answered: stray bytes behind it must not end that."""
        return self._wanted() and not self.cycle.more_body

    def _wanted(self) -> bool:
        """Whether what comes is still for somebody: an early answer has closed the matter."""
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete

    # ── What they send ──────────────────────────────────────────────────────────────────────

    def data_received(self, data: bytes) -> None:
        begins = self._between and not self._wanted()
        known = HEADS.of(data) if begins else None
        if known:
            self._repeat(known, data)
        else:
            self._read(data, begins=begins)

    def _repeat(self, known: KnownHead, data: bytes) -> None:
        """Do what the parser's events would, without the parser."""
        self._deadline.clear()
        self._idle.clear()
        self._head, self.expect_100_continue = 0, False
        self.scope = self._scope(known)
        self.cycle = self._arrived = self._exchange(lasts=True)
        self.cycle.body += data[known.size :]
        self.cycle.more_body = False
        self.cycle.message_event.set()
        self._start()

    def _scope(self, known: KnownHead) -> Any:
        """That of a request with such a head on this connection."""
        self.headers = list(known.headers)
        return {
            **known.scope,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "headers": self.headers,
            "state": self.app_state.copy(),
        }

    def _read(self, data: bytes, *, begins: bool) -> None:
        """``begins``: nothing of a message came before this; else it is but the rest of a head."""
        self._await()
        self._piece = len(data)
        self._got += self._piece
        super().data_received(data)
        if self._arrived:
            exchange, head, lasts = self._arrived, said(self.scope), self._arrived.keep_alive
            if self._start() and begins and lasts and self._between:
                HEADS.remember(data, head, exchange.body)
        if not self.transport.is_closing():
            self._count()

    def _count(self) -> None:
        """Refuse a head, or what stands around chunks of a body, that does not end."""
        if self._in_head:
            self._head += self._piece
            if self._head > MOST_HEAD:
                self._status = TOO_LARGE
                self.send_400_response("Request header fields too large.")
        else:
            self._framing += self._piece
            if self._framing > MOST_HEAD:
                self.send_400_response("Invalid HTTP request received.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._between, self._is_behind = False, not self._piece
        self._await()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a line of the head. Raises UnclearError for one behind the body (a trailer).

        uvicorn would add it to the head that the application is reading meanwhile.
        """
        if not self._in_head:
            raise UnclearError
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        parser = self.parser
        assert parser
        method, version = parser.get_method(), parser.get_http_version()
        self._check_head(method, version)
        self._describe(method, version)
        self._in_head, self._framing = False, -self._piece
        if parser.should_upgrade() and self._should_upgrade():
            return
        is_pipelined = self._wanted()
        self.cycle = self._exchange(lasts=version != "1.0" and parser.should_keep_alive())
        if is_pipelined:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))
        else:
            self._arrived = self.cycle

    def _start(self) -> bool:
        """Have what has arrived answered: its body is there by now, or comes in pieces.

        Return whether it goes by express.
        """
        exchange, self._arrived = self._arrived, None
        self._current = exchange or self._current
        if exchange is None or self.transport.is_closing():
            return False
        try:
            if taken := self._takes(exchange):
                return taken
            self._start_asgi_task(exchange, self.app)
        except Exception as error:  # noqa: BLE001  whatever it is, who asked is told
            exchange.fail(error)
        return False

    def _takes(self, exchange: Exchange) -> bool:
        """Whether the application takes it by express; it would not wait for who does not read."""
        waits = exchange.waiting_for_100_continue or self.flow.write_paused
        return (
            not (exchange.more_body or waits)
            and self._express
            and self._express(exchange.scope, exchange)
        )

    def _describe(self, method: bytes, version: str) -> None:
        """Add to the scope what is known now, as uvicorn does."""
        scope, url = self.scope, httptools.parse_url(self.url)
        scope["method"], scope["http_version"] = method.decode("ascii"), version
        path = url.path.decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"], scope["query_string"] = url.path, url.query or b""

    def _exchange(self, *, lasts: bool) -> Exchange:
        return Exchange(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=lasts,
            on_response=self.on_response_complete,
        )

    def on_body(self, body: bytes) -> None:
        self._framing = -self._piece
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take the end of one. The piece that it is in counts for no head: most is of this one."""
        parser = self.parser
        assert parser
        self._in_head, self._between, self._piece = True, not parser.should_upgrade(), 0
        self._deadline.clear()
        super().on_message_complete()
        if not (self._wanted() or self.transport.is_closing()):
            self._idle.set(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _check_head(self, method: bytes, version: str) -> None:
        """Raises UnclearError, and HttpParserError, for one that is not plain."""
        may_be_large = self._is_behind or self._head + self._piece > MOST_HEAD
        self._head = 0
        if status := refusal_of(Head(method, version, self.url, self.headers, may_be_large)):
            self._status = status
            raise UnclearError

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be read, once. A whole request before it gets its own answer alone.

        So does one whose answer has begun before its body could not be read: a second one would
        be taken for that of the next.
        """
        self._deadline.clear()
        if not self._in_head and self.cycle and self.cycle.response_started:
            self._hang_up()
            return
        if self._is_answering() or self.pipeline:
            self.cycle.keep_alive = False
            self.pipeline.clear()
            self.flow.pause_reading()
            return
        more = b"retry-after: " + RETRY_AFTER + b"\r\n" if self._status == 503 else b""
        body = _words(self._status, msg)
        self.transport.write(
            STATUS_LINE[self._status]
            + b"content-type: application/json\r\nx-content-type-options: nosniff\r\n"
            + b"cache-control: no-store\r\n"
            + more
            + b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            + body
        )
        self._hang_up()

    # ── How quick they read ─────────────────────────────────────────────────────────────────

    def pause_writing(self) -> None:
        super().pause_writing()
        self._outflow.watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._outflow.watch()

    def on_response_complete(self) -> None:
        """As uvicorn does, but for the timer it makes and cancels between two requests."""
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()
            if self.pipeline:
                self._current, app = self.pipeline.pop()
                self._start_asgi_task(self._current, app)
            else:
                self._idle.set(self.timeout_keep_alive, self.timeout_keep_alive_handler)
        self._outflow.watch()

    def _unset_keepalive_if_required(self) -> None:
        self._idle.clear()

    def _hang_up(self) -> None:
        """Close once what was written has left; who does not take it is not waited for."""
        self.transport.close()
        self._outflow.watch()

    def connection_lost(self, exc: Exception | None) -> None:
        for each in (self._deadline, self._stalling, self._idle):
            each.close()
        if self._current:  # uvicorn tells the last that came; it may be another's turn
            self._current.disconnected = True
            self._current.message_event.set()
        super().connection_lost(exc)


def _words(status: int, detail: str) -> bytes:
    code = HTTPStatus(status).phrase.lower().replace(" ", "_")
    return json.dumps({"error": detail, "code": code, "detail": detail}).encode()


async def _full(_scope: Any, _receive: Any, send: Any) -> None:
    """What a connection beyond the most is answered, whatever it asks for."""
    body = _words(503, "Too many connections.")
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", RETRY_AFTER),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class SharedConnection(Connection):
    """A connection at a port that other processes listen at, too: they get a turn before our next.

    Whoever is awake would take all that come at once, while the others are still being woken.
    """

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        time.sleep(GIVE_WAY)


CONNECTIONS: Mapping[str, Any] = {"http": Connection, "timeout_keep_alive": KEEP_ALIVE}
SHARED = {**CONNECTIONS, "http": SharedConnection}
