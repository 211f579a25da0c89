"""/finviz/config: who may read and change the screen, what is refused, and that it takes effect."""

import math
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from tests.web.stage import ADMIN_TOKEN, UPDATE_TOKEN, WEBHOOK_TOKEN, Relay, call, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("told_alone")]

URL = "https://finviz.com/screener.ashx?v=111&f=ta_gap_u5&o=-change"
BEARER = {"authorization": f"Bearer {UPDATE_TOKEN}"}


async def change(relay: Relay, **body: object) -> httpx.Response:
    return await relay.http.post("/finviz/config", json=body, headers=BEARER)


async def test_it_says_what_is_asked_and_how_it_goes(shared: Relay) -> None:
    await until(lambda: listed(shared, ""), "a list of the screen now asked for")
    answer = await shared.get("/finviz/config", UPDATE_TOKEN)
    assert answer.status_code == 200
    assert answer.json().keys() == {
        "url",
        "top_n",
        "refresh",
        "trust",
        "last_fetch",
        "warnings",
    }
    assert answer.json()["trust"] == "fresh"
    assert answer.json()["last_fetch"]["outcome"] == "ok"


async def test_the_update_token_changes_it_as_bearer_or_in_the_body(shared: Relay) -> None:
    by_bearer = await change(shared, top_n=41)
    assert (by_bearer.status_code, by_bearer.json()["top_n"]) == (200, 41)
    by_body = await shared.http.post("/finviz/config", json={"top_n": 42, "token": UPDATE_TOKEN})
    assert (by_body.status_code, by_body.json()["top_n"]) == (200, 42)
    assert (await shared.read("/finviz/config"))["top_n"] == 42
    assert UPDATE_TOKEN not in by_body.text
    assert (await shared.get("/finviz/config")).status_code == 200
    told = await shared.rows("SELECT actor, detail FROM events WHERE event = 'screen.changed'")
    assert {row.actor for row in told} >= {"finviz update token"}
    assert UPDATE_TOKEN not in str([row.detail for row in told])


@pytest.mark.parametrize(
    ("headers", "more"),
    [
        ({}, {}),
        ({"authorization": f"Bearer {WEBHOOK_TOKEN}"}, {}),
        ({"authorization": f"Bearer {WEBHOOK_TOKEN}"}, {"token": UPDATE_TOKEN}),
        ({}, {"token": WEBHOOK_TOKEN}),
        ({}, {"token": UPDATE_TOKEN + "x"}),
        ({}, {"token": ""}),
        ({"cookie": "session=somebody"}, {}),
    ],
)
async def test_others_change_nothing(
    shared: Relay, headers: dict[str, str], more: dict[str, str]
) -> None:
    before = await shared.rows("SELECT version FROM screens")
    answer = await shared.http.post("/finviz/config", json={"top_n": 7} | more, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert await shared.rows("SELECT version FROM screens") == before


REFUSED: list[tuple[str, object]] = [
    ("url", "javascript:alert(1)"),
    ("url", "http://finviz.com/screener.ashx?v=111"),
    ("url", "https://finviz.example/screener.ashx?v=111"),
    ("url", "https://finviz.com.evil.example/screener.ashx"),
    ("url", "https://user:password@finviz.com/screener.ashx"),
    ("url", "https://evil.example@finviz.com/screener.ashx"),
    ("url", "https://finviz.com:8443/screener.ashx"),
    ("url", "https://finviz.com:99999/screener.ashx"),
    ("url", "https://finviz.com/quote.ashx?t=AAPL"),
    ("url", "https://[finviz.com/screener.ashx"),
    ("url", ""),
    ("url", "https://finviz.com/screener.ashx?x=" + "y" * 2_000),
    ("url", "https://finviz.com/screener.ashx?x=\u0000"),
    ("url", 5),
    ("top_n", 0),
    ("top_n", 1_001),
    ("top_n", -1),
    ("top_n", "5"),
    ("top_n", 5.5),
    ("top_n", True),
    ("top_n", 10**400),
    ("refresh", 0),
    ("refresh", -1),
    ("refresh", 86_401),
    ("refresh", "180"),
    ("refresh", 10**400),
    ("unknown", 1),
]


@pytest.mark.parametrize(("field", "value"), REFUSED, ids=lambda part: repr(part)[:40])
async def test_a_bad_value_is_refused_by_the_name_of_its_field(
    shared: Relay, field: str, value: object
) -> None:
    before = await shared.read("/finviz/config")
    answer = await change(shared, **{field: value})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json()["code"], answer.json()["field"]) == ("invalid_field", field)
    assert field in answer.json()["detail"]
    after = await shared.read("/finviz/config")
    assert (after["url"], after["top_n"], after["refresh"]) == (
        before["url"],
        before["top_n"],
        before["refresh"],
    )


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
@pytest.mark.parametrize("field", ["refresh", "top_n"])
async def test_a_number_that_is_none_is_refused(shared: Relay, field: str, number: str) -> None:
    content = f'{{"{field}":{number}}}'
    headers = BEARER | {"content-type": "application/json"}
    answer = await shared.http.post("/finviz/config", content=content, headers=headers)
    assert (answer.status_code, answer.json().get("field")) == (400, field)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"url":"\\ud800"}',
        b'{"\\ud800":1}',
        b'{"token":"\\ud800"}',
        b'{"top_n":' + b"9" * 5_000 + b"}",
    ],
)
async def test_what_is_no_change_is_refused(shared: Relay, content: bytes) -> None:
    headers = BEARER | {"content-type": "application/json"}
    answer = await shared.http.post("/finviz/config", content=content, headers=headers)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_body_without_end_is_not_read_to_it(shared: Relay) -> None:
    """Also not by somebody without a token: memory is everybody's."""
    pieces = [b'{"url":"', *([b"x" * 65_536] * 64), b'"}']
    kind = [(b"content-type", b"application/json")]
    streamed = await call(shared.app, "POST", "/finviz/config", kind, pieces)
    length = (b"content-length", b"9999999")
    announced = await call(shared.app, "POST", "/finviz/config", [*kind, length], [])
    for answer in (streamed, announced):
        assert answer.status == 413
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_change_is_fetched_at_once_and_judged_by(shared: Relay) -> None:
    ticker = shared.finviz.market[29].ticker
    await change(shared, url=URL, top_n=30)
    await until(lambda: listed(shared, "ta_gap_u5"), "a fetch of the new address")
    assert shared.finviz.arrivals[-1].query == "v=111&f=ta_gap_u5&o=-change"
    alert = {"ticker": ticker, "action": "buy"}
    first = await shared.post(alert | {"n": 1})
    assert (await shared.settled(first.json()["signal_id"]))["verdict"]["rank"] == 30
    await change(shared, top_n=29)
    await until(lambda: judged_by(shared, 29), "a gate that judges by the new number")
    second = await shared.post(alert | {"n": 2})
    life = await shared.settled(second.json()["signal_id"])
    assert (life["reason"], life["verdict"]["rank"]) == ("not_in_list", 30)


async def listed(relay: Relay, part: str) -> bool:
    universe = await relay.read("/api/universe")
    return part in relay.finviz.arrivals[-1].query and universe["trust"] == "fresh"


async def judged_by(relay: Relay, cutoff: int) -> bool:
    answer = await relay.post({"ticker": "GHOST", "action": "buy", "n": len(relay.finviz.arrivals)})
    life = await relay.settled(answer.json()["signal_id"])
    if life["verdict"]["cutoff"] != cutoff:
        await relay.execute("DELETE FROM dedupe_keys")
    return life["verdict"]["cutoff"] == cutoff


async def test_warnings_come_with_what_is_accepted(shared: Relay) -> None:
    answer = await change(shared, url="https://finviz.com/screener.ashx?v=111", refresh=30)
    assert answer.status_code == 200
    said = " ".join(answer.json()["warnings"])
    assert "180 s" in said
    assert "order" in said
    assert (await change(shared, url=URL, refresh=180)).json()["warnings"] == []


async def test_the_address_is_kept_without_what_is_ours(shared: Relay) -> None:
    answer = await change(shared, url=URL + "&r=21&auth=a-token&ar=10")
    assert answer.json()["url"] == URL


@profile(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    body=st.dictionaries(
        st.sampled_from(["url", "top_n", "refresh", "token"]) | st.text(max_size=5),
        st.none() | st.integers() | st.floats() | st.text(max_size=30) | st.lists(st.integers()),
        max_size=4,
    )
)
async def test_no_change_is_a_server_error(shared: Relay, body: dict[str, Any]) -> None:
    safe = {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in body.items()}
    content = str(safe).replace("'", '"').replace("None", "null").encode("utf-8", "replace")
    headers = [(b"authorization", f"Bearer {ADMIN_TOKEN}".encode())]
    for kind in (b"application/json", b"text/plain", b""):
        answer = await call(
            shared.app, "POST", "/finviz/config", [*headers, (b"content-type", kind)], [content]
        )
        assert answer.status < 500, answer.body
