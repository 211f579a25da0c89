import asyncio
import gzip
import ipaddress
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.delivery import Answer, Outcome
from domain.destination import DestinationUrlError, Network, check_destination_url
from domain.retry_after import retry_after
from engines.destinations.client import DestinationClient
from tests.domain.test_destination import ACCEPTED

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
EVERYTHING = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
BODY = b'{"ticker":"AAPL"}'
HEADERS = {"content-type": "application/json", "webhook-id": "one"}

Writer: TypeAlias = asyncio.StreamWriter
Behaviour: TypeAlias = Callable[[Writer], Awaitable[None]]


class Loopback:
    """A server that reads requests and answers them as ``behave`` does."""

    def __init__(self, behave: Behaviour) -> None:
        self._behave = behave
        self.connections = 0
        self.requests: list[bytes] = []
        self.writers: list[Writer] = []
        self.asked = asyncio.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def talk(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        self.connections += 1
        self.writers.append(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(head + await reader.readexactly(len(BODY)))
                self.asked.set()
                await self._behave(writer)
                await writer.drain()
        writer.close()

    async def close(self) -> None:
        for writer in self.writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)  # an aborted transport tells its protocol in the next round


@asynccontextmanager
async def loopback(behave: Behaviour) -> AsyncGenerator[Loopback]:
    there = Loopback(behave)
    async with await asyncio.start_server(there.talk, "127.0.0.1", 0) as server:
        there.port = server.sockets[0].getsockname()[1]
        try:
            yield there
        finally:
            await there.close()


def answering(head: str, body: bytes = b"ok", *, length: int | None = None) -> Behaviour:
    async def behave(writer: Writer) -> None:
        size = len(body) if length is None else length
        writer.write(f"HTTP/1.1 {head}\r\ncontent-length: {size}\r\n\r\n".encode() + body)
        await asyncio.sleep(0)

    return behave


@asynccontextmanager
async def client(
    url: str, deadline: float = 5, private: Collection[Network] = LOOPBACK
) -> AsyncGenerator[DestinationClient]:
    client = DestinationClient(url, private=private, deadline=timedelta(seconds=deadline))
    yield client
    await client.close()


async def posted(behave: Behaviour, deadline: float = 5) -> tuple[Answer, Loopback]:
    async with loopback(behave) as there, client(there.url, deadline) as ours:
        return await ours.post(BODY, HEADERS), there


async def test_the_very_bytes_arrive_and_the_answer_is_told() -> None:
    answer, there = await posted(answering("202 Accepted", b"all\0 \xffright"))
    assert (answer.outcome, answer.status) == (Outcome.DELIVERED, 202)
    assert answer.excerpt == "all \ufffdright"
    assert timedelta(0) < answer.duration < timedelta(seconds=5)
    (request,) = there.requests
    head, body = request.split(b"\r\n\r\n")
    assert body == BODY
    lines = head.decode().lower().split("\r\n")
    assert lines[0] == "post /hook http/1.1"
    assert "accept-encoding: identity" in lines
    assert "content-type: application/json" in lines
    assert "webhook-id: one" in lines
    assert not any(line.startswith("cookie") for line in lines)


async def test_connections_are_kept() -> None:
    async with loopback(answering("200 OK")) as there, client(there.url) as ours:
        for _ in range(5):
            assert (await ours.post(BODY, HEADERS)).outcome is Outcome.DELIVERED
    assert (len(there.requests), there.connections) == (5, 1)


async def test_a_kept_connection_that_died_meanwhile_is_not_used() -> None:
    async def once(writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with loopback(once) as there, client(there.url) as ours:
        for _ in range(3):
            assert (await ours.post(BODY, HEADERS)).outcome is Outcome.DELIVERED
            await asyncio.sleep(0.02)
    assert there.connections == 3


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
async def test_a_redirect_is_not_followed(status: str) -> None:
    async with loopback(answering("200 OK")) as elsewhere:
        head = f"{status}\r\nlocation: {elsewhere.url}"
        answer, there = await posted(answering(head))
    assert answer.outcome is Outcome.PERMANENT
    assert (len(there.requests), elsewhere.requests) == (1, [])


async def test_cookies_are_not_kept() -> None:
    head = "200 OK\r\nset-cookie: tracking=1"
    async with loopback(answering(head)) as there, client(there.url) as ours:
        for _ in range(2):
            await ours.post(BODY, HEADERS)
    assert b"cookie" not in b"".join(there.requests).lower()


async def test_a_huge_answer_is_left_unread() -> None:
    answer, there = await posted(answering("200 OK", b"x" * 200_000, length=10**12))
    assert answer.outcome is Outcome.DELIVERED
    assert answer.excerpt == "x" * 2_048
    assert there.connections == 1


async def test_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(b"0" * 5_000_000)
    answer, _ = await posted(answering("200 OK\r\ncontent-encoding: gzip", bomb))
    assert answer.outcome is Outcome.DELIVERED
    assert answer.excerpt
    assert len(answer.excerpt) <= 2_048


async def drip(writer: Writer) -> None:
    for letter in "x" * 1_000:
        writer.write(letter.encode())
        await writer.drain()
        await asyncio.sleep(0.01)


async def test_a_dripping_answer_meets_the_total_deadline() -> None:
    async def body(writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        await drip(writer)

    async def head(writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nx-")
        await drip(writer)

    for behave in (body, head):
        answer, _ = await posted(behave, deadline=0.2)
        assert answer.outcome is Outcome.AMBIGUOUS
        assert answer.error == "total deadline passed"
        assert timedelta(seconds=0.19) < answer.duration < timedelta(seconds=2)


async def test_an_answer_that_breaks_off_leaves_the_outcome_open() -> None:
    async def silent(writer: Writer) -> None:
        writer.close()
        await asyncio.sleep(0)

    async def half(writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        writer.close()
        await asyncio.sleep(0)

    async def nonsense(writer: Writer) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        await asyncio.sleep(0)

    for behave in (silent, half, nonsense):
        answer, _ = await posted(behave)
        assert (answer.outcome, answer.status) == (Outcome.AMBIGUOUS, None)
        assert answer.error == "RemoteProtocolError"


async def test_a_refused_connection_sent_nothing() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with client(f"http://127.0.0.1:{taken.getsockname()[1]}/") as ours:
            answer = await ours.post(BODY, HEADERS)
    assert (answer.outcome, answer.error) == (Outcome.NOT_SENT, "ConnectError")


async def test_a_name_that_does_not_resolve_sent_nothing() -> None:
    async with client("https://no-such-name.invalid/") as ours:
        answer = await ours.post(BODY, HEADERS)
    assert answer.outcome is Outcome.NOT_SENT
    assert "no-such-name" not in str(answer)


async def test_a_header_that_cannot_be_written_sent_nothing() -> None:
    async with loopback(answering("200 OK")) as there, client(there.url) as ours:
        answer = await ours.post(BODY, HEADERS | {"content-type": "text/plain\r\nx: y"})
    assert answer.outcome is Outcome.NOT_SENT
    assert there.requests == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "0x7f.1", "127.1"]
)
async def test_an_address_is_vetted_as_it_resolves_however_it_is_spelled(host: str) -> None:
    async with loopback(answering("200 OK")) as there:
        async with client(f"http://{host}:{there.port}/", private=()) as ours:
            answer = await ours.post(BODY, HEADERS)
        assert (answer.outcome, answer.error) == (Outcome.PERMANENT, "forbidden address")
        assert there.connections == 0
        async with client(f"http://{host}:{there.port}/") as ours:
            assert (await ours.post(BODY, HEADERS)).outcome is Outcome.DELIVERED


async def test_metadata_services_are_never_dialled() -> None:
    async with client("http://169.254.169.254/latest/", private=EVERYTHING[:1]) as ours:
        answer = await ours.post(BODY, HEADERS)
    assert (answer.outcome, answer.error) == (Outcome.PERMANENT, "forbidden address")


async def test_plain_http_to_a_public_address_is_never_dialled() -> None:
    async with client("http://93.184.216.34/hook") as ours:
        answer = await ours.post(BODY, HEADERS)
    assert (answer.outcome, answer.error) == (Outcome.PERMANENT, "forbidden address")


async def test_a_wish_to_wait_is_read_from_the_answer() -> None:
    answer, _ = await posted(answering("429 Too Many Requests\r\nretry-after: 17"))
    assert (answer.outcome, answer.retry_after) == (Outcome.NOT_PROCESSED, timedelta(seconds=17))


async def test_five_at_once_share_the_connections() -> None:
    async def slow(writer: Writer) -> None:
        await asyncio.sleep(0.05)
        await answering("200 OK")(writer)

    async with loopback(slow) as there, client(there.url) as ours:
        answers = await asyncio.gather(*(ours.post(BODY, HEADERS) for _ in range(10)))
    assert {answer.outcome for answer in answers} == {Outcome.DELIVERED}
    assert there.connections == 5


async def test_closing_ends_what_is_on_the_wire_as_ambiguous() -> None:
    async def never(_: Writer) -> None:
        await asyncio.sleep(3)

    async with loopback(never) as there, client(there.url) as ours:
        sending = asyncio.create_task(ours.post(BODY, HEADERS))
        await there.asked.wait()
        await ours.close()
        answer = await sending
    assert answer.outcome is Outcome.AMBIGUOUS


@pytest.mark.parametrize("url", ACCEPTED)
def test_what_may_be_a_destination_can_be_dialled(url: str) -> None:
    parsed = httpx.URL(check_destination_url(url))
    assert parsed.host
    assert parsed.scheme == "https"


@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40),
    st.sampled_from(["", "/", "?", "#", ":", ".", "@", "%", "[", "]"]),
)
def test_whatever_is_accepted_as_destination_can_be_dialled(text: str, sign: str) -> None:
    try:
        url = check_destination_url(f"https://example{sign}{text}")
    except DestinationUrlError:
        return
    assert httpx.URL(url).host


NOW = datetime(2030, 1, 2, 15, 4, 5, tzinfo=UTC)


@given(st.text(st.characters(codec="latin-1")) | st.from_regex(r"\w{3}, \d+ Jan \d+ \d\d:\d\d"))
def test_whatever_stands_there_is_read_or_left(value: str) -> None:
    wish = retry_after(value, NOW)
    assert wish is None or wish >= timedelta(0)
