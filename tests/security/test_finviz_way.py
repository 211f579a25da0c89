"""H6 and H23: Finviz is asked at its own hosts alone, and its answers are bounded in size and time.

A name of Finviz that leads into a network of ours is not followed there.
"""

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import urlsplit

import httpx
import pytest
from aiolimiter import AsyncLimiter
from hypothesis import given
from hypothesis import strategies as st

from domain.screen import HOSTS, ScreenError, export_url, page_url, parse_screen_url
from domain.universe import FetchOutcome
from engines.clock import utc_now
from engines.universe.finviz import ELITE, FREE
from engines.universe.finviz_http import SIZE_MAX, FetchError, Reply, Visitor, asking
from tests.security.canary import Canary, resolve, share_context, watch

PAGE = b"<html>a page</html>"
OK = "200 OK"


@dataclass(slots=True)
class Server:
    """Answers the next of ``answers``, the last of them for ever, and notes what was asked."""

    answers: list[bytes]
    port: int = 0
    drip: float = 0
    asked: list[str] = field(default_factory=list[str])
    talking: set[asyncio.Task[None] | None] = field(default_factory=set[asyncio.Task[None] | None])

    @property
    def url(self) -> str:
        return f"http://finviz.example:{self.port}"

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.talking.add(asyncio.current_task())
        with suppress(ConnectionError, asyncio.IncompleteReadError), closing(writer):
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head.decode().split(" ")[1])
            answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
            pieces = [answer[n : n + 1] for n in range(len(answer))] if self.drip else [answer]
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(self.drip)


def answer(body: bytes = PAGE, *headers: str, status: str = OK) -> bytes:
    lines = (f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close", *headers)
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode() + body


def led(to: str) -> bytes:
    return answer(b"", f"location: {to}", status="302 Found")


@asynccontextmanager
async def serving(*answers: bytes, drip: float = 0) -> AsyncGenerator[Server]:
    there = Server([*answers], drip=drip)
    async with await asyncio.start_server(there.talk, "127.0.0.1", 0) as server:
        there.port = server.sockets[0].getsockname()[1]
        yield there
    for task in there.talking:
        if task is not None:
            await task


async def ask(url: str, base_url: str | None = None, deadline: float = 15) -> Reply:
    async with asking(base_url) as http:
        visitor = Visitor(
            http=http,
            spacing=AsyncLimiter(100, 0.01),
            user_agent="a test",
            deadline=timedelta(seconds=deadline),
            clock=utc_now,
            answered=lambda: None,
        )
        return await visitor.get(url)


async def refused(url: str, base_url: str | None = None, deadline: float = 15) -> FetchError:
    with pytest.raises(FetchError) as error:
        await ask(url, base_url, deadline)
    return error.value


@pytest.fixture
def canary(monkeypatch: pytest.MonkeyPatch) -> Canary:
    share_context(monkeypatch)
    one = Canary()
    watch(monkeypatch, one)
    return one


# ── Where ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("base", [FREE, ELITE])
@pytest.mark.parametrize(
    "answers",
    [["127.0.0.1"], ["93.184.216.34", "10.0.0.1"], ["0.0.0.0"], ["169.254.169.254"], ["::1"]],
    ids=" ".join,
)
async def test_a_name_of_finviz_that_leads_home_is_not_followed(
    base: str, answers: list[str], canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a name server that filters answers, or one that somebody else has taken over."""
    resolve(monkeypatch, answers)
    error = await refused(f"{base}/screener.ashx")
    assert error.outcome is FetchOutcome.UNREACHABLE
    assert error.detail == "not asked: its name leads to a private or special address"
    assert canary.dialled == []


async def test_each_request_is_vetted_anew(canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve(monkeypatch, ["127.0.0.1"], ["169.254.169.254"])
    async with serving(led("/screener.ashx?v=2")) as there:
        error = await refused(f"{there.url}/screener.ashx", there.url)
    assert "private or special" in error.detail
    assert (there.asked, canary.dialled) == (["/screener.ashx"], ["127.0.0.1"])


async def test_the_environment_may_name_another_finviz_but_no_metadata_service(
    canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve(monkeypatch, ["127.0.0.1"])
    async with serving(answer()) as there:
        assert (await ask(f"{there.url}/screener.ashx", there.url)).body == PAGE
        await refused(f"{there.url}/screener.ashx")
    assert canary.dialled == ["127.0.0.1"]
    for host in ("169.254.169.254", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]"):
        error = await refused(f"http://{host}/", f"http://{host}")
        assert "private or special" in error.detail
    assert canary.dialled == ["127.0.0.1"]


@pytest.mark.parametrize(
    "location",
    [
        *("http://169.254.169.254/latest/", "//169.254.169.254/", "https://finviz.example/"),
        *("http://finviz.example@169.254.169.254/", "http://127.0.0.1:{port}/", "ftp://{host}/"),
        *("http://finviz.example:1/", "http://sub.finviz.example:{port}/", "\\\\10.0.0.1\\x"),
        *("https://xn--zzzz99/", "http://[::1", "http://finviz.example:{port}@10.0.0.1/", "//"),
    ],
)
async def test_a_redirect_leads_to_no_other_host(
    location: str, canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve(monkeypatch, ["127.0.0.1"])
    async with serving(answer()) as there:
        host = f"finviz.example:{there.port}"
        there.answers[:0] = [led(location.format(port=there.port, host=host))]
        with suppress(FetchError):  # what is not a host of another is a path of this one
            await ask(f"{there.url}/screener.ashx", there.url)
    assert set(canary.dialled) == {"127.0.0.1"}
    assert there.asked[0] == "/screener.ashx"
    assert len(there.asked) == 1 or location in {"//", "\\\\10.0.0.1\\x"}


@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30),
    st.sampled_from(["https://finviz.com", "https://elite.finviz.com", "https://"]),
    st.sampled_from(
        ["/screener.ashx", "/screener.ashx?", "/screener?v=1&", ".finviz.com/screener"]
    ),
    st.sampled_from(["", "@", ":443", "#", "\\", "?", "/..", ";", "%2f", "[", ".", "//"]),
)
def test_whatever_is_accepted_as_a_screen_is_asked_of_finviz_by_either_parser(
    text: str, head: str, path: str, sign: str
) -> None:
    for typed in (f"{head}{sign}{text}{path}", f"{head}{sign}{path}{text}", f"{head}{path}{text}"):
        try:
            url = parse_screen_url(typed)
        except ScreenError:
            continue
        for asked in (url, page_url(url, FREE, 21), export_url(url, ELITE)):
            one, other = urlsplit(asked), httpx.URL(asked)
            assert one.hostname == other.host
            assert other.host in HOSTS
            assert (one.scheme, other.scheme, other.port) == ("https", "https", None)
            assert (one.username, other.userinfo) == (None, b"")
            assert other.path in {"/screener", "/screener.ashx", "/export.ashx"}
            assert not set(other.raw_path) & set(b" \r\n\t\0")


# ── How much, and how long ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("packed", "encoding"),
    [
        *((PAGE, ""), (PAGE, "identity"), (gzip.compress(PAGE), "gzip")),
        *((gzip.compress(PAGE), "X-GZip"), (zlib.compress(PAGE), "deflate")),
    ],
    ids=["as it is", "identity", "gzip", "X-GZip", "deflate"],
)
async def test_what_is_packed_as_asked_for_is_read(
    packed: bytes, encoding: str, canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve(monkeypatch, ["127.0.0.1"])
    async with serving(answer(packed, f"content-encoding: {encoding}")) as there:
        assert (await ask(there.url, there.url)).body == PAGE
    assert canary.dialled == ["127.0.0.1"]


BOMB = gzip.compress(bytes(100_000_000))
"""100 MB in 100 kB; within itself it would be 100 GB in as much again."""


@pytest.mark.parametrize(
    ("body", "encoding", "words"),
    [
        (bytes(SIZE_MAX + 1), "", f"larger than {SIZE_MAX} bytes"),
        (BOMB, "gzip", f"larger than {SIZE_MAX} bytes"),
        (gzip.compress(BOMB), "gzip, gzip", "packed as nobody asked for"),
        (PAGE, "br", "packed as nobody asked for"),
        (PAGE, "gzip", "packed wrongly"),
    ],
    ids=["large", "bomb", "bomb in a bomb", "brotli", "wrong"],
)
async def test_a_large_answer_takes_little_memory_and_is_none(
    body: bytes, encoding: str, words: str, canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve(monkeypatch, ["127.0.0.1"])
    async with serving(answer(body, f"content-encoding: {encoding}")) as there:
        tracemalloc.start()
        error = await refused(there.url, there.url)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert (error.outcome, words in error.detail) == (FetchOutcome.BROKEN, True)
    assert peak < 4 * SIZE_MAX
    assert canary.dialled == ["127.0.0.1"]


async def test_an_answer_that_drips_is_cut_at_the_deadline(
    canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve(monkeypatch, ["127.0.0.1"])
    for packed in (answer(bytes(10_000)), b"HTTP/1.1 200 OK\r\nx-a: " + bytes(b"a" * 10_000)):
        async with serving(packed, drip=0.01) as there:
            error = await refused(there.url, there.url, deadline=0.3)
        assert (error.outcome, error.detail) == (
            FetchOutcome.UNREACHABLE,
            "no whole answer within 0.3 s",
        )
    assert canary.met == 0
