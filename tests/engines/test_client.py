import asyncio
import gzip
import ipaddress
import socket
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.address import DestinationUrlError, check_destination_url
from domain.delivery import Answer, Outcome
from domain.retry_after import retry_after
from engines.destinations.client import DestinationClient, Limits
from engines.failpoints import Point
from tests.domain.test_address import ACCEPTED
from tests.engines.conditions import until_rows
from tests.engines.loopback import (
    BODY,
    HEADERS,
    LOOPBACK,
    Writer,
    answering,
    client,
    leaves,
    loopback,
    posted,
)
from tests.stalls import stalls

EVERYTHING = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))


async def test_the_very_bytes_arrive_and_the_answer_is_told() -> None:
    answer, there = await posted(answering("202 Accepted", b"all\0 \xffright"))
    assert (answer.outcome, answer.status) == (Outcome.DELIVERED, 202)
    assert answer.excerpt == "all \ufffdright"
    assert timedelta(0) < answer.duration < timedelta(seconds=30)
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
            assert (await ours.post(BODY, HEADERS, leaves)).outcome is Outcome.DELIVERED
    assert (len(there.requests), there.connections) == (5, 1)


async def test_a_kept_connection_that_died_meanwhile_is_not_used() -> None:
    async def once(writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with loopback(once) as there, client(there.url) as ours:
        for _ in range(3):
            assert (await ours.post(BODY, HEADERS, leaves)).outcome is Outcome.DELIVERED
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
            await ours.post(BODY, HEADERS, leaves)
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
    """For ten seconds at least."""
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
        for deadline in (0.2, 1, 4):  # on a slow machine nothing may be sent within the first
            began = time.monotonic()
            with stalls() as stalled:
                answer, there = await posted(behave, deadline)
            if there.requests:
                break
        assert answer.outcome is Outcome.AMBIGUOUS
        assert answer.error == "total deadline passed"
        stood = 2 * stalled.seconds(began, time.monotonic())
        assert deadline - 0.01 < answer.duration.total_seconds() < deadline + 1.8 + stood


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
            answer = await ours.post(BODY, HEADERS, leaves)
    assert (answer.outcome, answer.error) == (Outcome.NOT_SENT, "ConnectError")


async def test_a_name_that_does_not_resolve_sent_nothing() -> None:
    async with client("https://no-such-name.invalid/") as ours:
        answer = await ours.post(BODY, HEADERS, leaves)
    assert (answer.outcome, answer.error) == (Outcome.NOT_SENT, "name not resolved")
    assert "no-such-name" not in str(answer)


async def test_a_silent_name_server_is_asked_once_at_a_time_and_waited_for_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    heard = asyncio.Event()

    async def getaddrinfo(_: object, host: str, port: int, **__: object) -> object:
        asked.append(host)
        await heard.wait()
        return socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM)

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    async with loopback(answering("200 OK")) as there:
        limits = Limits(connecting=timedelta(seconds=0.3))
        url = f"http://silent.example:{there.port}/"
        ours = DestinationClient(url, private=LOOPBACK, limits=limits)
        answers = await asyncio.gather(*(ours.post(BODY, HEADERS, leaves) for _ in range(5)))
        assert {(one.outcome, one.error) for one in answers} == {
            (Outcome.NOT_SENT, "name not resolved")
        }
        assert len(asked) == 1
        heard.set()

        async def is_delivered() -> bool:
            return (await ours.post(BODY, HEADERS, leaves)).outcome is Outcome.DELIVERED

        await until_rows(is_delivered)  # once the name is known, connecting has 0.3 s as well
        await ours.close()


async def test_a_header_that_cannot_be_written_sent_nothing() -> None:
    async with loopback(answering("200 OK")) as there, client(there.url) as ours:
        answer = await ours.post(BODY, HEADERS | {"content-type": "text/plain\r\nx: y"}, leaves)
    assert answer.outcome is Outcome.NOT_SENT
    assert there.requests == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "0x7f.1", "127.1"]
)
async def test_an_address_is_vetted_as_it_resolves_however_it_is_spelled(host: str) -> None:
    async with loopback(answering("200 OK")) as there:
        async with client(f"http://{host}:{there.port}/", private=()) as ours:
            answer = await ours.post(BODY, HEADERS, leaves)
        assert (answer.outcome, answer.error) == (Outcome.PERMANENT, "forbidden address")
        assert there.connections == 0
        async with client(f"http://{host}:{there.port}/") as ours:
            assert (await ours.post(BODY, HEADERS, leaves)).outcome is Outcome.DELIVERED


async def test_metadata_services_are_never_dialled() -> None:
    async with client("http://169.254.169.254/latest/", private=EVERYTHING[:1]) as ours:
        answer = await ours.post(BODY, HEADERS, leaves)
    assert (answer.outcome, answer.error) == (Outcome.PERMANENT, "forbidden address")


async def test_plain_http_to_a_public_address_is_never_dialled() -> None:
    async with client("http://93.184.216.34/hook") as ours:
        answer = await ours.post(BODY, HEADERS, leaves)
    assert (answer.outcome, answer.error) == (Outcome.PERMANENT, "forbidden address")


async def test_a_wish_to_wait_is_read_from_the_answer() -> None:
    answer, _ = await posted(answering("429 Too Many Requests\r\nretry-after: 17"))
    assert (answer.outcome, answer.retry_after) == (Outcome.NOT_PROCESSED, timedelta(seconds=17))


async def test_what_may_not_leave_any_more_is_withheld_and_the_next_one_leaves() -> None:
    """Asked after connecting, before the first byte, each time."""
    asked: list[int] = []

    async with loopback(answering("200 OK")) as there, client(there.url) as ours:

        def too_late() -> bool:
            asked.append(there.connections)
            return False

        for _ in range(7):  # more often than there are connections: none is lost
            answer = await ours.post(BODY, HEADERS, too_late)
            assert answer == Answer(outcome=Outcome.WITHHELD)
        assert there.requests == []
        assert (await ours.post(BODY, HEADERS, leaves)).outcome is Outcome.DELIVERED
        answer = await ours.post(BODY, HEADERS, too_late)
        assert answer.outcome is Outcome.WITHHELD
        assert (await ours.post(BODY, HEADERS, leaves)).outcome is Outcome.DELIVERED
    assert len(asked) == 8
    assert len(there.requests) == 2


async def test_nobody_is_asked_whether_it_may_leave_while_there_is_no_connection() -> None:
    asked: list[None] = []

    def ask() -> bool:
        asked.append(None)
        return True

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with client(f"http://127.0.0.1:{taken.getsockname()[1]}/") as ours:
            assert (await ours.post(BODY, HEADERS, ask)).outcome is Outcome.NOT_SENT
    assert asked == []


@pytest.mark.parametrize(
    ("status", "outcome", "fatal", "gone"),
    [
        ("401 Unauthorized", Outcome.PERMANENT, True, False),
        ("403 Forbidden", Outcome.PERMANENT, True, False),
        ("404 Not Found", Outcome.PERMANENT, True, False),
        ("410 Gone", Outcome.PERMANENT, True, True),
        ("400 Bad Request", Outcome.PERMANENT, False, False),
        ("422 Unprocessable", Outcome.PERMANENT, False, False),
        ("503 Busy", Outcome.NOT_PROCESSED, False, False),
        ("500 Broken", Outcome.AMBIGUOUS, False, False),
    ],
)
async def test_what_an_answer_says_of_its_destination(
    status: str, outcome: Outcome, *, fatal: bool, gone: bool
) -> None:
    answer, _ = await posted(answering(status))
    assert (answer.outcome, answer.fatal, answer.gone) == (outcome, fatal, gone)


async def test_a_destination_that_does_not_speak_tls_is_fatal_and_was_sent_nothing() -> None:
    async def plain(writer: Writer) -> None:
        writer.write(b"HTTP/1.1 400 this is http")
        writer.close()
        await asyncio.sleep(0)

    async def talk(reader: asyncio.StreamReader, writer: Writer) -> None:
        await reader.read(5)
        await plain(writer)

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with client(f"https://127.0.0.1:{port}/") as ours:
            answer = await ours.post(BODY, HEADERS, leaves)
    assert (answer.outcome, answer.error, answer.fatal) == (Outcome.NOT_SENT, "TLS refused", True)


async def test_an_address_that_is_forbidden_is_fatal() -> None:
    async with client("https://127.0.0.1/hook", private=()) as ours:
        answer = await ours.post(BODY, HEADERS, leaves)
    assert (answer.error, answer.fatal) == ("forbidden address", True)


async def test_failpoints_are_before_the_first_byte_and_after_the_last() -> None:
    reached: list[tuple[Point, int]] = []
    async with loopback(answering("200 OK")) as there:

        def reach(point: Point) -> None:
            reached.append((point, len(there.requests)))

        ours = DestinationClient(there.url, private=LOOPBACK, reach=reach)
        await ours.post(BODY, HEADERS, leaves)
        await ours.close()
    assert [point for point, _ in reached] == [Point.SEND_BEFORE_WRITE, Point.SEND_AFTER_WRITE]
    assert reached[0][1] == 0


async def test_five_at_once_share_the_connections() -> None:
    async def slow(writer: Writer) -> None:
        await asyncio.sleep(0.05)
        await answering("200 OK")(writer)

    async with loopback(slow) as there, client(there.url) as ours:
        answers = await asyncio.gather(*(ours.post(BODY, HEADERS, leaves) for _ in range(10)))
    assert {answer.outcome for answer in answers} == {Outcome.DELIVERED}
    assert there.connections == 5


async def test_closing_ends_what_is_on_the_wire_as_ambiguous() -> None:
    async def never(_: Writer) -> None:
        await asyncio.sleep(3)

    async with loopback(never) as there, client(there.url) as ours:
        sending = asyncio.create_task(ours.post(BODY, HEADERS, leaves))
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
