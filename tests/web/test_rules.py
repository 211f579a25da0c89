"""/api/rules: read, replaced, changed in part, refused by the name of the field, and obeyed."""

from collections.abc import AsyncGenerator
from itertools import count
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.web.operating import ask
from tests.web.stage import UPDATE_TOKEN, WEBHOOK_TOKEN, Relay

pytestmark = pytest.mark.asyncio(loop_scope="module")

API = "/api/rules"
NUMBERS = count()
NO_RULES: dict[str, object] = {
    "refused": [],
    "allowed": [],
    "cooldown_sec": 0,
    "max_positions": None,
    "market_hours": False,
    "min_price": None,
    "max_price": None,
}


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def free(shared: Relay) -> AsyncGenerator[None]:
    """No rules before, and none after; no version is the first one, which has nothing in it."""
    await put(shared, {"every": {"cooldown_sec": 1}})
    await put(shared, {})
    yield
    await put(shared, {})


async def put(relay: Relay, body: object, **headers: str) -> httpx.Response:
    return await ask(relay, "PUT", API, body, **headers)


async def patch(relay: Relay, body: object, **headers: str) -> httpx.Response:
    return await ask(relay, "PATCH", API, body, **headers)


async def told(relay: Relay) -> list[Any]:
    return await relay.rows("SELECT * FROM events WHERE event = 'rules.changed' ORDER BY id")


async def judged(relay: Relay, ticker: str, **given: object) -> dict[str, Any]:
    answer = await relay.post({"ticker": ticker, "action": "buy", "n": next(NUMBERS)} | given)
    return await relay.settled(answer.json()["signal_id"])


async def test_rules_are_read_replaced_and_read_again(shared: Relay) -> None:
    before = await shared.read(API)
    assert before["every"] == NO_RULES
    body = {
        "every": {"refused": ["nyse:brk.b"], "cooldown_sec": 90, "min_price": 4.5},
        "sources": {"webhook": {"max_positions": 3, "market_hours": False}},
        "reason": "earnings",
    }
    answer = await put(shared, body)
    assert answer.status_code == 200, answer.text
    found = await shared.read(API)
    assert answer.json() == found
    assert answer.headers["etag"] == f'"{found["version"]}"'
    assert found["version"] == before["version"] + 1
    assert found["every"] == NO_RULES | {
        "refused": ["BRK-B"],
        "cooldown_sec": 90,
        "min_price": "4.5",
    }
    assert found["sources"] == {"webhook": NO_RULES | {"max_positions": 3}}
    assert (found["changed_by"], found["directions"]) == ("finviz update token", {})
    event = (await told(shared))[-1]
    assert event.actor == "finviz update token"
    assert event.detail["was"] == {"every": NO_RULES, "sources": {}}
    assert event.detail["becomes"] == {"every": found["every"], "sources": found["sources"]}
    assert (event.detail["reason"], event.detail["version"]) == ("earnings", found["version"])


async def test_a_part_is_changed_and_the_rest_stays(shared: Relay) -> None:
    await put(shared, {"every": {"refused": ["A", "B"], "max_positions": 5}})
    answer = await patch(
        shared, {"every": {"max_positions": 7}, "sources": {"webhook": {"cooldown_sec": 5}}}
    )
    assert answer.status_code == 200, answer.text
    every = answer.json()["every"]
    assert (every["refused"], every["max_positions"]) == (["A", "B"], 7)
    assert answer.json()["sources"]["webhook"]["cooldown_sec"] == 5
    gone = await patch(shared, {"every": {"max_positions": None}, "sources": {"webhook": None}})
    assert (gone.json()["every"]["max_positions"], gone.json()["sources"]) == (None, {})
    assert gone.json()["every"]["refused"] == ["A", "B"]


async def test_what_changes_nothing_makes_no_version(shared: Relay) -> None:
    before = len(await told(shared))
    one = (await put(shared, {"every": {"cooldown_sec": 60}})).json()
    again = (await patch(shared, {"every": {"cooldown_sec": 60.0}})).json()
    assert again == one
    assert len(await told(shared)) == before + 1


async def test_of_two_who_change_one_version_the_second_is_told(shared: Relay) -> None:
    version = (await shared.read(API))["version"]
    assert (await put(shared, {"every": {"max_positions": 1}, "version": version})).is_success
    late = await patch(shared, {"every": {"max_positions": 2}, "version": version})
    assert (late.status_code, late.json()["code"]) == (409, "changed_meanwhile")
    assert late.json()["version"] == str(version + 1)
    tagged = {"if-match": f'"{version}"'}
    assert (await put(shared, {}, **tagged)).status_code == 409
    assert (await shared.read(API))["every"]["max_positions"] == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"every": {"refused": ["not a ticker"]}}, "every.refused.0"),
        ({"every": {"allowed": ["A", ""]}}, "every.allowed.1"),
        ({"every": {"refused": "AAPL"}}, "every.refused"),
        ({"every": {"refused": ["AAPL"], "allowed": ["nasdaq:aapl"]}}, "every.allowed"),
        ({"every": {"cooldown_sec": -1}}, "every.cooldown_sec"),
        ({"every": {"cooldown_sec": 604_801}}, "every.cooldown_sec"),
        ({"every": {"cooldown_sec": "60"}}, "every.cooldown_sec"),
        ({"every": {"max_positions": -1}}, "every.max_positions"),
        ({"every": {"max_positions": 1.5}}, "every.max_positions"),
        ({"every": {"market_hours": 1}}, "every.market_hours"),
        ({"every": {"min_price": 0}}, "every.min_price"),
        ({"every": {"min_price": "NaN"}}, "every.min_price"),
        ({"every": {"min_price": "five"}}, "every.min_price"),
        ({"every": {"min_price": "5.01", "max_price": "5"}}, "every.min_price"),
        ({"every": {"maximum": 5}}, "every.maximum"),
        ({"sources": {"tv": {}}}, "sources.tv"),
        ({"sources": {"webhook": {"cooldown_sec": -1}}}, "sources.webhook.cooldown_sec"),
        ({"sources": {"webhook": 5}}, "sources.webhook"),
        ({"all": {}}, "all"),
    ],
)
async def test_what_cannot_be_a_rule_is_refused_by_its_name(
    shared: Relay, body: dict[str, Any], field: str
) -> None:
    before = await shared.read(API)
    for method in (put, patch):
        answer = await method(shared, body)
        assert (answer.status_code, answer.json().get("field")) == (400, field), answer.text
    assert await shared.read(API) == before


async def test_a_rule_counts_at_once_and_the_signal_says_which(shared: Relay, listed: str) -> None:
    await put(shared, {"every": {"refused": [listed]}})
    refused = await judged(shared, listed)
    assert (refused["status"], refused["reason"]) == ("rejected", "refused_ticker")
    assert refused["why"] == "A rule refuses this ticker."
    detail = refused["events"][-1]["detail"]
    assert detail["gate_version"] == (await shared.read(API))["version"]
    assert detail["rule"] == {"of": "every"}
    await put(shared, {})
    assert (await judged(shared, listed))["status"] == "delivered"
    await put(shared, {"sources": {"webhook": {"cooldown_sec": 600}}})
    cooling = await judged(shared, listed)
    assert cooling["reason"] == "cooldown"
    rule = cooling["events"][-1]["detail"]["rule"]
    assert rule["of"] == "sources.webhook"
    assert cooling["why"] == (
        f"The ticker was in its cooldown until {rule['until'][11:19]} UTC, by a rule of its source."
    )


@pytest.mark.parametrize(
    ("rules", "given", "why"),
    [
        ({"min_price": 5}, {"price": "4.99"}, "The price was outside the limits: at least 5."),
        ({"max_price": 5}, {"price": "5.01"}, "The price was outside the limits: at most 5."),
        ({"max_price": 5}, {}, "The price was outside the limits: it names none."),
        ({"max_positions": 0}, {}, "The most positions allowed (0) were already open."),
    ],
)
async def test_a_limit_is_named(
    shared: Relay, listed: str, rules: dict[str, Any], given: dict[str, Any], why: str
) -> None:
    await put(shared, {"every": rules})
    assert (await judged(shared, listed, **given))["why"] == why


async def test_an_allowed_ticker_needs_no_place_in_the_list(shared: Relay) -> None:
    assert (await judged(shared, "NOTLISTED"))["reason"] == "not_in_list"
    await put(shared, {"every": {"allowed": ["NOTLISTED"]}})
    assert (await judged(shared, "NOTLISTED"))["status"] == "delivered"


async def test_an_exit_breaks_no_rule(shared: Relay, listed: str) -> None:
    assert (await judged(shared, listed))["status"] == "delivered"
    await put(shared, {"every": {"refused": [listed], "max_positions": 0, "min_price": 1_000_000}})
    assert (await judged(shared, listed, action="sell"))["status"] == "delivered"


async def test_versions_are_kept_the_newest_first(shared: Relay) -> None:
    await put(shared, {"every": {"max_positions": 1}})
    await put(shared, {"every": {"max_positions": 2}})
    first = await shared.read(f"{API}/versions?limit=1")
    (newest,) = first["items"]
    assert newest["rules"]["every"]["max_positions"] == 2
    assert (newest["by"], newest["paused"]) == ("finviz update token", False)
    after = await shared.read(f"{API}/versions?limit=500&cursor={first['next']}")
    assert after["items"][0]["rules"]["every"]["max_positions"] == 1
    assert after["items"][-1]["rules"] == {"every": {}, "sources": {}}
    assert after["items"][-1]["by"] is None
    assert after["next"] is None


async def test_who_may_only_send_alerts_sees_no_rules(shared: Relay) -> None:
    for method in ("GET", "PUT", "PATCH"):
        assert (await ask(shared, method, API, {}, WEBHOOK_TOKEN)).status_code == 401
    assert (await ask(shared, "GET", API, token=UPDATE_TOKEN)).status_code == 200
