"""POST /webhook/in against what no alert should be: never a server error, never a hang."""

import asyncio
import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.web.stage import WEBHOOK_TOKEN, Relay, call

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module", params=["asgi", "express"])
def route(request: pytest.FixtureRequest) -> str:
    return request.param


PATH = f"/webhook/in/{WEBHOOK_TOKEN}"
MOST = 65_536
few = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def alert(**more: object) -> bytes:
    return json.dumps({"ticker": "AAPL", "action": "buy"} | more).encode()


async def test_a_body_of_exactly_the_limit_is_read(shared: Relay) -> None:
    body = alert(test="limit").ljust(MOST)
    assert (await call(shared.app, "POST", PATH, chunks=[body])).status == 202


async def test_a_longer_body_is_refused_by_its_length_before_it_is_sent(shared: Relay) -> None:
    headers = [(b"content-length", str(MOST + 1).encode())]
    answer = await call(shared.app, "POST", PATH, headers, chunks=[])
    assert (answer.status, answer.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize("length", [b"9" * 5_000, b"18446744073709551616"])
async def test_an_absurd_length_is_too_long(shared: Relay, length: bytes) -> None:
    answer = await call(shared.app, "POST", PATH, [(b"content-length", length)], chunks=[])
    assert answer.status == 413


async def test_a_longer_body_is_refused_while_it_streams(shared: Relay) -> None:
    chunks = [alert(), *([b" " * 1_000] * 66), b"never read"]
    answer = await call(shared.app, "POST", PATH, chunks=chunks)
    assert (answer.status, answer.json()["code"]) == (413, "too_large")


async def test_a_body_in_single_bytes_is_read(shared: Relay) -> None:
    body = alert(test="bytes")
    answer = await call(shared.app, "POST", PATH, chunks=[bytes([one]) for one in body])
    assert answer.status == 202


async def test_a_sender_that_leaves_half_way_stores_nothing(shared: Relay) -> None:
    before = await shared.rows("SELECT count(*) AS signals FROM signals")
    answer = await call(shared.app, "POST", PATH, chunks=[])
    assert (answer.status, answer.json()["code"]) == (400, "incomplete")
    assert await shared.rows("SELECT count(*) AS signals FROM signals") == before


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "gzip, identity", "GZIP"])
async def test_a_compressed_body_is_refused(shared: Relay, encoding: str) -> None:
    answer = await shared.post(alert(), content_encoding=encoding)
    assert (answer.status_code, answer.json()["code"]) == (415, "content_encoding")


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
async def test_a_body_said_to_be_plain_is_read(shared: Relay, encoding: str) -> None:
    answer = await shared.post(alert(encoding=encoding), content_encoding=encoding)
    assert answer.status_code == 202


HOSTILE = {
    "nul": (b'{"ticker":"AAPL","action":"buy","x":"\x00"}', 422),
    "escaped nul": (b'{"ticker":"AAPL","action":"buy","x":"\\u0000"}', 422),
    "nul in a name": (b'{"ticker":"AAPL","action":"buy","\\u0000":1}', 422),
    "lone surrogate": (b'{"ticker":"AAPL","action":"buy","x":"\\ud800"}', 422),
    "surrogate in a nested message": (
        b'{"message":"{\\"ticker\\":\\"A\\\\ud800\\",\\"action\\":\\"buy\\"}"}',
        422,
    ),
    "encoded surrogate": (b'{"ticker":"\xed\xa0\x80","action":"buy"}', 400),
    "nan": (b'{"ticker":"AAPL","action":"buy","price":NaN}', 400),
    "infinity": (b'{"ticker":"AAPL","action":"buy","price":-Infinity}', 400),
    "overflow": (b'{"ticker":"AAPL","action":"buy","price":1e999}', 422),
    "deep arrays": (b"[" * 65_000, 422),
    "deep objects": (b'{"a":' * 13_000, 422),
    "deep and closed": (
        b'{"ticker":"AAPL","action":"buy","x":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        422,
    ),
    "many keys": (json.dumps({f"k{n}": n for n in range(4_000)}).encode(), 422),
    "one long key": (b'{"' + b"k" * 65_000 + b'":1}', 422),
    "one long text": (b"a" * 65_000, 400),
    "backslashes": (b'{"ticker":"' + b"\\\\" * 30_000 + b'","action":"buy"}', 422),
    "many tokens": (b"token=" * 10_000, 400),
    "many openings": (b'token:"' * 9_000, 400),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_bodies_are_refused_quickly(shared: Relay, name: str) -> None:
    body, status = HOSTILE[name]
    began = time.process_time()
    answer = await shared.post(body)
    assert time.process_time() - began < 1  # of work: others may have this machine meanwhile
    assert answer.status_code == status, answer.text


async def test_a_huge_integer_is_only_digits(shared: Relay) -> None:
    """5,000 digits are more than Python turns into a number; nobody asked it to."""
    answer = await shared.post(b'{"ticker":"AAPL","action":"buy","quantity":' + b"7" * 5_000 + b"}")
    assert answer.status_code == 202


@pytest.mark.parametrize(
    "price",
    [
        "1e99",
        "1e-99",
        "9" * 20,
        ".00000000000000000001",
        "-0",
        "٣",
        "1_000",
        "0x10",
        "a" * 5_000,
        "<b>",
        {"a": 1},
    ],
)
async def test_an_odd_price_stops_nothing(shared: Relay, price: object) -> None:
    assert (await shared.post(alert(price=price))).status_code == 202


@pytest.mark.parametrize(
    "time",
    [
        "0001-01-01T00:00:00+00:00",
        "9999-12-31T23:59:59-23:59",
        "9" * 19,
        "-1",
        "2024-02-30T00:00:00Z",
        253_402_300_800_000,
        1e300,
    ],
)
async def test_an_odd_time_stops_nothing(shared: Relay, time: object) -> None:
    answer = await shared.post(alert(time=time, sent=time))
    assert answer.status_code in {202, 422}, answer.text


@pytest.mark.parametrize("action", ["buy", "sell"])
async def test_one_odd_alert_does_not_spoil_its_neighbours(shared: Relay, action: str) -> None:
    """Those that wait together share one statement."""
    bodies = [alert(action=action, n=n, time="0001-01-01T00:00:00Z") for n in range(30)]
    answers = await asyncio.gather(*(shared.post(body) for body in bodies))
    assert {answer.status_code for answer in answers} == {202}


words = st.binary(max_size=300)
jsonish = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["ticker", "action", "price", "time", "sent", "id", "strategy", "message"]
            )
            | st.text(max_size=8),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
).map(lambda value: json.dumps(value).encode())
near = st.dictionaries(
    st.sampled_from(
        ["price", "close", "time", "timenow", "sent", "id", "exchange", "order", "quantity"]
    ),
    st.text(max_size=40) | st.integers() | st.floats() | st.none(),
    max_size=4,
).map(lambda more: alert(**more))


@few
@given(body=words | jsonish | near, content_type=st.binary(max_size=60))
async def test_no_bytes_are_a_server_error(shared: Relay, body: bytes, content_type: bytes) -> None:
    for kind in (content_type, b"application/x-www-form-urlencoded", b"application/json"):
        answer = await call(shared.app, "POST", PATH, [(b"content-type", kind)], [body])
        assert answer.status < 500, answer.body


@few
@given(
    headers=st.lists(
        st.tuples(
            st.sampled_from(
                [
                    b"authorization",
                    b"content-length",
                    b"content-encoding",
                    b"content-type",
                    b"idempotency-key",
                    b"host",
                    b"cookie",
                    b"origin",
                ]
            ),
            st.binary(max_size=60),
        ),
        max_size=8,
    ),
    token=st.sampled_from(["", f"/{WEBHOOK_TOKEN}"]) | st.text(max_size=12).map(lambda t: f"/{t}"),
)
async def test_no_headers_are_a_server_error(
    shared: Relay, headers: list[tuple[bytes, bytes]], token: str
) -> None:
    path = f"/webhook/in{token}".replace("?", "")
    answer = await call(shared.app, "POST", path, headers, [alert(headers=len(headers))])
    assert answer.status < 500, answer.body
