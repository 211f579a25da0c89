"""What can be read back: health, status, metrics, the list, signals by filter and page."""

from datetime import datetime
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from tests.web.stage import ADMIN_TOKEN, TOP_N, UPDATE_TOKEN, Relay, call

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADMIN = [(b"authorization", f"Bearer {ADMIN_TOKEN}".encode())]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def many(shared: Relay) -> list[dict[str, Any]]:
    """Sixty signals of every fate, newest first, and nothing moves any more."""
    one, two = (shared.finviz.market[place].ticker for place in (0, 1))
    alerts: list[dict[str, object]] = [
        *({"ticker": one, "action": "buy", "n": n} for n in range(20)),
        *({"ticker": two, "action": "buy", "n": n} for n in range(10)),
        *({"ticker": "GHOST", "action": "buy", "n": n} for n in range(10)),
        *({"ticker": "GHOST", "action": "sell", "n": n} for n in range(10)),
        *({"ticker": "NYSE:BRK.B", "action": "sell", "n": n} for n in range(5)),
        *({"ticker": one, "action": "up", "n": n} for n in range(5)),
    ]
    answers = [await shared.post(alert) for alert in alerts]
    return [await shared.settled(answer.json()["signal_id"]) for answer in reversed(answers)]


async def ids(relay: Relay, query: str) -> list[str]:
    return [item["id"] for item in (await relay.read(f"/api/signals?{query}"))["items"]]


async def test_health_is_open_and_small(shared: Relay) -> None:
    answer = await shared.http.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


async def test_ready_names_its_parts_to_anybody(shared: Relay) -> None:
    answer = await shared.http.get("/health/ready")
    assert answer.status_code == 200
    assert answer.json() == {
        "ready": True,
        "parts": {"database": "ok", "workers": "ok", "list": "fresh"},
    }


async def test_status_says_how_it_is_going(shared: Relay, many: list[dict[str, Any]]) -> None:
    status = await shared.read("/status")
    assert status["list"]["trust"] == "fresh"
    assert 0 <= status["list"]["age_sec"] < 60
    assert status["backlog"]["undecided"] == 0
    assert sum(count["signals"] for count in status["last_24h"]) == len(many)
    assert status["positions"] == {"open": 2}
    (destination,) = status["destinations"]
    assert (destination["name"], destination["waiting"]) == ("main", 0)
    assert "a-password" not in str(status)
    names = [worker["name"] for worker in status["workers"]]
    assert {"intake", "gatekeeper 1", "forwarder", "settler", "keeper", "sweeper"} <= set(names)
    assert all(worker["failures_in_row"] == 0 for worker in status["workers"])


async def test_metrics_are_prometheus_text_and_count(
    shared: Relay, many: list[dict[str, Any]]
) -> None:
    answer = await shared.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {f.name: f for f in text_string_to_metric_families(answer.text)}
    answers = {
        sample.labels["answer"]: sample.value
        for sample in families["relay_alerts"].samples
        if sample.name == "relay_alerts_total"
    }
    accepted = sum(life["status"] != "invalid" for life in many)
    assert answers == {"202": accepted, "422": len(many) - accepted}
    verdicts = sum(
        sample.value
        for sample in families["relay_verdicts"].samples
        if sample.name == "relay_verdicts_total"
    )
    assert verdicts == accepted
    assert all(family.documentation for family in families.values())


async def test_the_list_is_read_with_its_ranks(shared: Relay) -> None:
    universe = await shared.read("/api/universe")
    market = [listing.ticker for listing in shared.finviz.market]
    assert [one["ticker"] for one in universe["tickers"]] == market[: len(universe["tickers"])]
    assert [one["rank"] for one in universe["tickers"]] == list(
        range(1, len(universe["tickers"]) + 1)
    )
    assert len(universe["tickers"]) >= TOP_N
    assert universe["total"] == len(market)
    assert (universe["trust"], universe["last_fetch"]["outcome"]) == ("fresh", "ok")
    fetched, following = (
        datetime.fromisoformat(universe[name]) for name in ("fetched_at", "next_fetch_at")
    )
    assert fetched < following


async def test_signals_are_listed_newest_first(shared: Relay, many: list[dict[str, Any]]) -> None:
    assert await ids(shared, "limit=500") == [life["id"] for life in many]
    page = await shared.read("/api/signals?limit=500")
    assert page["next"] is None
    assert "body" not in page["items"][0]


@pytest.mark.parametrize("size", [1, 7, 20, 59, 60, 61])
async def test_pages_follow_one_another_without_gap_or_repeat(
    shared: Relay, many: list[dict[str, Any]], size: int
) -> None:
    seen: list[str] = []
    cursor, pages = "", 0
    while pages == 0 or cursor:
        after = f"&cursor={cursor}" if cursor else ""
        page = await shared.read(f"/api/signals?limit={size}{after}")
        seen += [item["id"] for item in page["items"]]
        cursor, pages = page["next"], pages + 1
        assert len(page["items"]) == size or cursor is None
    assert seen == [life["id"] for life in many]
    assert pages == -(-len(many) // size)


@pytest.mark.parametrize(
    ("query", "field", "value", "count"),
    [
        ("side=sell", "side", "sell", 15),
        ("status=invalid", "status", "invalid", 5),
        ("status=rejected", "status", "rejected", 25),
        ("status=approved", "status", "delivered", 30),
        ("reason=not_in_list", "reason", "not_in_list", 10),
        ("reason=unknown_action", "reason", "unknown_action", 5),
        ("ticker=GHOST", "ticker", "GHOST", 20),
        ("ticker=ghost", "ticker", "GHOST", 20),
        ("ticker=NASDAQ:GHOST&side=sell", "ticker", "GHOST", 10),
        ("ticker=BRK-B", "ticker", "BRK-B", 5),
        ("ticker=NYSE:BRK.B", "ticker", "BRK-B", 5),
        ("ticker=brk.b", "ticker", "BRK-B", 5),
        ("ticker=NOBODY", "ticker", "", 0),
        ("reason=cooldown", "reason", "", 0),
    ],
)
async def test_a_filter_finds_all_and_only(
    shared: Relay, many: list[dict[str, Any]], query: str, field: str, value: str, count: int
) -> None:
    page = await shared.read(f"/api/signals?limit=500&{query}")
    assert [item[field] for item in page["items"]] == [value] * count
    assert {item["id"] for item in page["items"]} <= {life["id"] for life in many}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=x", "limit"),
        ("side=up", "side"),
        ("status=delivering", "status"),
        ("cursor=%21%21", "cursor"),
        ("cursor=bm8", "cursor"),
        ("cursor=LTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5", "cursor"),
        ("cursor=LTE", "cursor"),
        ("cursor=" + "x" * 41, "cursor"),
        ("cursor=%C3%A9", "cursor"),
        ("cursor=", "cursor"),
        ("ticker=%00", "ticker"),
        ("ticker=%3Cb%3E", "ticker"),
        ("ticker=" + "x" * 41, "ticker"),
        ("reason=%00", "reason"),
    ],
)
async def test_a_bad_question_is_refused_by_its_field(
    shared: Relay, query: str, field: str
) -> None:
    answer = await shared.get(f"/api/signals?{query}")
    assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_cursor_of_long_ago_ends_the_list(shared: Relay) -> None:
    assert await shared.read("/api/signals?cursor=MA") == {"items": [], "next": None}


@pytest.mark.parametrize(
    ("id", "status", "code"),
    [
        ("01a1fc35-dcd6-7c32-b2ed-b8c505011327", 404, "no_such_signal"),
        ("not-a-uuid", 400, "invalid_field"),
        ("%00", 400, "invalid_field"),
        ("1", 400, "invalid_field"),
    ],
)
async def test_an_unknown_signal_is_a_problem(
    shared: Relay, id: str, status: int, code: str
) -> None:
    answer = await shared.get(f"/api/signals/{id}")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_unknown_page_is_a_problem(shared: Relay) -> None:
    answer = await shared.get("/no/such/page")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_wrong_method_is_told_the_right_one(shared: Relay) -> None:
    answer = await shared.http.delete("/health")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


async def test_the_interface_describes_itself(shared: Relay) -> None:
    document = (await shared.get("/openapi.json", UPDATE_TOKEN)).json()
    assert document["openapi"].startswith("3.")
    assert {"/api/signals", "/api/signals/{id}", "/api/universe", "/finviz/config", "/status"} <= (
        document["paths"].keys()
    )
    assert not any(path.startswith("/admin") for path in document["paths"])


@profile(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    name=st.sampled_from(["ticker", "side", "status", "reason", "limit", "cursor", "x"]),
    value=st.text(max_size=30) | st.integers().map(str),
)
async def test_no_question_is_a_server_error(shared: Relay, name: str, value: str) -> None:
    quoted = "".join(f"%{byte:02X}" for byte in value.encode("utf-8", "replace"))
    answer = await call(shared.app, "GET", f"/api/signals?{name}={quoted}", ADMIN)
    assert answer.status < 500, answer.body
