"""H21: bytes that two readers might read in two ways, against the server and the relay as run."""

from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from main import build
from tests.launcher.wire import Wire, serving
from tests.web.stage import LEISURE, WEBHOOK_TOKEN, cloned, settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOST = b"Host: 127.0.0.1\r\n"
POST = b"POST /webhook/in HTTP/1.1\r\n" + HOST
GET = b"GET /health HTTP/1.1\r\n" + HOST
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
INNER = b"GET /health HTTP/1.1\r\nHost: inner\r\n\r\n"

# Refused: one answer of the 400s, and the connection is closed.
UNCLEAR: dict[str, bytes] = {
    "CL.TE": POST + b"Content-Length: 6\r\n" + CHUNKED + b"0\r\n\r\nG",
    "TE.CL": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n" + INNER,
    "TE.TE": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n" + INNER,
    "TE of another kind": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "TE: identity": POST + b"Transfer-Encoding: identity\r\n\r\nxx",
    "TE with a blank": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "TE folded": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "TE in HTTP/1.0": b"POST / HTTP/1.0\r\n" + HOST + CHUNKED + b"0\r\n\r\n",
    "2 x CL": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nokk",
    "2 x CL, the same": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "CL as a list": POST + b"Content-Length: 2, 2\r\n\r\nok",
    "CL negative": POST + b"Content-Length: -1\r\n\r\n",
    "CL with a sign": POST + b"Content-Length: +2\r\n\r\nok",
    "CL in hex": POST + b"Content-Length: 0x2\r\n\r\nok",
    "CL without end": POST + b"Content-Length: 99999999999999999999999\r\n\r\nok",
    "a folded header": GET + b"X-A: b\r\n c\r\n\r\n",
    "a chunk of no size": POST + CHUNKED + b"zz\r\nxx\r\n0\r\n\r\n",
    "a chunk of negative size": POST + CHUNKED + b"-1\r\nxx\r\n0\r\n\r\n",
    "a chunk of endless size": POST + CHUNKED + b"fffffffffffffffff\r\nxx\r\n0\r\n\r\n",
    "chunks by bare LF": POST + CHUNKED + b"2\nok\n0\n\n",
    "a chunk too long": POST + CHUNKED + b"2\r\nokk\r\n0\r\n\r\n",
    "a chunk with an extension without end": POST + CHUNKED + b"2;" + b"a" * 300_000,
    "a trailer": POST + CHUNKED + b"2\r\n{}\r\n0\r\nX-Forwarded-For: 198.51.100.7\r\n\r\n",
    "a trailer without a body": POST + CHUNKED + b"0\r\nX-A: b\r\n\r\n",
    "a trailer without end": POST + CHUNKED + b"2\r\n{}\r\n0\r\nX-A: " + b"a" * 300_000,
    "trailers without end": POST + CHUNKED + b"0\r\n" + b"a:\r\n" * 100_000,
    "NUL in a value": GET + b"X-A: a\0b\r\n\r\n",
    "NUL in a name": GET + b"X\0A: ab\r\n\r\n",
    "NUL in the path": b"GET /\0 HTTP/1.1\r\n" + HOST + b"\r\n",
    "bare CR": GET + b"X-A: a\rb\r\n\r\n",
    "bare LF": b"GET /health HTTP/1.1\nHost: 127.0.0.1\n\n",
    "bare LF in a header": GET + b"X-A: b\nX-B: c\r\n\r\n",
    "HTTP/0.9": b"GET /health\r\n\r\n",
    "HTTP/2 by its preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/2.0": b"GET /health HTTP/2.0\r\n" + HOST + b"\r\n",
    "HTTP/1.9": b"GET /health HTTP/1.9\r\n" + HOST + b"\r\n",
    "HTTP/1.1 in small": b"GET /health http/1.1\r\n" + HOST + b"\r\n",
    "another's absolute form": b"GET http://evil.example/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "absolute form, no path": b"GET http://127.0.0.1 HTTP/1.1\r\n" + HOST + b"\r\n",
    "TRACE": b"TRACE /health HTTP/1.1\r\n" + HOST + b"\r\n",
    "CONNECT": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
    "CONNECT with a path": b"CONNECT /health HTTP/1.1\r\n" + HOST + b"\r\n",
    "a verb of nobody's": b"FOO /health HTTP/1.1\r\n" + HOST + b"\r\n",
    "a verb in small": b"get /health HTTP/1.1\r\n" + HOST + b"\r\n",
    "a huge header": GET + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
    "a header without end": GET + b"X: " + b"a" * 300_000,
    "a huge path": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "many headers": GET + b"".join(b"X-%d: a\r\n" % n for n in range(200)) + b"\r\n",
    "no Host": b"GET /health HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET /health HTTP/1.1\r\n" + HOST + b"Host: evil.example\r\n\r\n",
    "two Hosts, the same": b"GET /health HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "a header without a colon": GET + b"Foo\r\n\r\n",
    "a header without a name": GET + b": x\r\n\r\n",
    "a blank before the first": b"GET /health HTTP/1.1\r\n " + HOST + b"\r\n",
    "a path in UTF-8": "GET /é HTTP/1.1\r\n".encode() + HOST + b"\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "garbage": bytes(range(256)),
}
# Plain enough to be answered: how many answers, and their statuses.
CLEAR: dict[str, tuple[bytes, list[int]]] = {
    "a request": (GET + b"\r\n", [200]),
    "two of them": (GET + b"\r\n" + GET + b"\r\n", [200, 200]),
    "blank lines before": (b"\r\n\r\n" + GET + b"\r\n", [200]),
    "its own absolute form": (
        b"GET http://127.0.0.1/health HTTP/1.1\r\n" + HOST + b"\r\n",
        [200],
    ),
    "HTTP/1.0": (b"GET /health HTTP/1.0\r\n\r\n", [200]),
    "a request in the body of one": (
        GET + b"Content-Length: %d\r\n\r\n" % len(INNER) + INNER,
        [200],
    ),
    "an extension of a chunk": (POST + CHUNKED + b"2;a=b\r\n{}\r\n0\r\n\r\n", [401]),
    "garbage behind a request": (POST + b"Content-Length: 2\r\n\r\n{}<garbage>\r\n\r\n", [401]),
    "more behind the last": (GET + b"Connection: close\r\n\r\n" + GET + b"\r\n", [200]),
    "an upgrade to h2c": (
        GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n\r\n",
        [200],
    ),
    "a path of dots": (b"GET /static/..%2f..%2fmain.py HTTP/1.1\r\n" + HOST + b"\r\n", [404]),
    "odd bytes in the path": (b"GET /%ff%00%0d%0a HTTP/1.1\r\n" + HOST + b"\r\n", [404]),
    "OPTIONS *": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", [404]),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wire(template: str) -> AsyncGenerator[Wire]:
    quick = [("timeout_keep_alive", 0.3)]
    async with (
        cloned(template) as url,
        serving(build(settings(), url, check_durability=False, leisure=LEISURE), quick) as one,
    ):
        yield one


def statuses(said: bytes) -> list[int]:
    return [int(part[:3]) for part in said.split(b"HTTP/1.1 ")[1:] if part[:3] != b"100"]


@pytest.mark.parametrize("name", UNCLEAR)
async def test_what_is_unclear_is_refused_once_and_the_connection_closed(
    wire: Wire, name: str
) -> None:
    said = await wire.say(UNCLEAR[name])
    [status] = statuses(said)
    assert 400 <= status < 500
    assert b"\r\nconnection: close\r\n" in said.lower()
    assert b"evil" not in said
    assert b"inner" not in said


@pytest.mark.parametrize("name", CLEAR)
async def test_what_is_clear_is_answered_once_for_each_request(wire: Wire, name: str) -> None:
    asked, expected = CLEAR[name]
    assert statuses(await wire.say(asked)) == expected


async def test_stray_bytes_behind_an_alert_do_not_cost_its_receipt(wire: Wire) -> None:
    """Whoever is told 400 sends again; this one was taken, and hears so."""
    body = b'{"ticker": "AAPL", "action": "buy"}'
    head = b"POST /webhook/in/%b HTTP/1.1\r\n" % WEBHOOK_TOKEN.encode() + HOST
    said = await wire.say(head + b"Content-Length: %d\r\n\r\n" % len(body) + body + b"}}\r\n\r\n")
    assert statuses(said) == [202]
