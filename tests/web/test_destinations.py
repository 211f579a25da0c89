"""/api/destinations: what an operator sees, what he may change, and what is refused."""

from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from domain.signature import key_of
from tests.web.operating import API, CANARY, HEADERS, HOOK, ask, change, create, signed_in, tell
from tests.web.stage import WEBHOOK_TOKEN, Relay, cloned, relay

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def events(relay: Relay, one: dict[str, Any]) -> list[str]:
    rows = await relay.rows(
        "SELECT event FROM events WHERE detail->>'destination_id' = :id ORDER BY id", id=one["id"]
    )
    return [row.event for row in rows if row.event.startswith("destination.")]


@pytest_asyncio.fixture(loop_scope="module")
async def one(shared: Relay) -> AsyncGenerator[dict[str, Any]]:
    """A destination beside the first; out of use when the test is over."""
    made = await create(shared, headers=HEADERS)
    yield made
    await ask(shared, "POST", f"{API}/{made['id']}/disable")


# ── Seen ────────────────────────────────────────────────────────────────────────────────────


async def test_a_new_destination_is_shown_masked(shared: Relay, one: dict[str, Any]) -> None:
    assert one["signing_secret"].startswith("whsec_")
    assert len(key_of(one["signing_secret"])) == 32
    answer = await ask(shared, "GET", f"{API}/{one['id']}")
    found = answer.json()
    assert answer.headers["etag"] == '"1"'
    assert (found["url"], found["headers"]) == ("https://other.example/•••", ["x-api-key"])
    assert (found["state"], found["mode"], found["version"]) == ("enabled", "live", 1)
    assert found["windows_used"] == [{"limit": 60, "seconds": 60, "used": 0}]
    assert (found["breaker"], found["advice"], found["queued_older"]) == ("closed", None, 0)
    assert [version["made_by"] for version in found["versions"]] == ["finviz update token"]
    listed = (await ask(shared, "GET", API)).json()
    assert found["name"] in [item["name"] for item in listed["items"]]
    assert listed["next"] is None
    assert await events(shared, one) == ["destination.created"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/{id}"),
        ("POST", ""),
        ("PATCH", "/{id}"),
        *(
            ("POST", f"/{{id}}/{order}")
            for order in (
                *("pause", "resume", "disable", "enable", "rotate-secret"),
                *("retarget", "cancel-queued", "close-breaker"),
            )
        ),
    ],
)
async def test_who_may_not_is_told_nothing(
    shared: Relay, one: dict[str, Any], method: str, path: str
) -> None:
    before = await events(shared, one)
    where = API + path.format(id=one["id"])
    for token in (WEBHOOK_TOKEN, "", "wrong"):
        answer = await ask(shared, method, where, {"name": "x", "url": HOOK}, token)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), answer.text
    missing = API + path.format(id=uuid4())
    if "{id}" in path:
        answer = await ask(shared, method, missing, None if method == "GET" else {})
        assert (answer.status_code, answer.json()["code"]) == (404, "no_such_destination")
    assert await events(shared, one) == before


async def test_a_signed_in_browser_may_from_its_own_page(
    shared: Relay, one: dict[str, Any]
) -> None:
    cookie = await signed_in(shared)
    path = f"{API}/{one['id']}/pause"
    foreign = await shared.http.post(path, headers=cookie | {"sec-fetch-site": "cross-site"})
    assert (foreign.status_code, foreign.json()["code"]) == (403, "cross_site")
    own = await shared.http.post(path, headers=cookie | {"sec-fetch-site": "same-origin"})
    assert (own.status_code, own.json()["state"]) == (200, "paused")
    (row,) = await shared.rows(
        "SELECT actor FROM events WHERE event = 'destination.paused'"
        " AND detail->>'destination_id' = :id",
        id=one["id"],
    )
    assert row.actor == "admin session"


# ── Refused ─────────────────────────────────────────────────────────────────────────────────

WRONG: list[tuple[str, object]] = [
    ("name", ""),
    ("name", "Upper Case"),
    ("name", "x" * 65),
    ("name", 5),
    *(("url", url) for url in ("", "ftp://x.example/", "http://other.example/", "https://x:22/")),
    *(("url", f"https://{CANARY}:pw@x.example/{port}") for port in ("", "8443")),
    *(("url", f"https://{host}/{CANARY}") for host in ("127.0.0.1", "10.1.2.3", "[::1]")),
    ("windows", "60"),
    ("windows", "0/60s"),
    ("concurrency", 0),
    ("concurrency", 65),
    ("concurrency", 1.5),
    ("timeout", 0.4),
    ("timeout", 11),
    ("connect_timeout", 6),
    ("mode", "test"),
    ("guarantee", "exactly_once"),
    ("headers", {"Host": CANARY}),
    ("headers", {"x-key": f"{CANARY}\r\nx: y"}),
    ("headers", {"webhook-signature": CANARY}),
    ("headers", {f"x-{n}": CANARY for n in range(21)}),
    ("mapping", {"rename": {"a": "x", "b": "x"}}),
    ("mapping", {"add": {"a": "x" * 2_000}}),
    ("signing_secret", CANARY),
]


@pytest.mark.parametrize(("field", "value"), WRONG, ids=lambda part: repr(part)[:40])
async def test_what_cannot_be_is_refused_by_the_name_of_its_field(
    shared: Relay, one: dict[str, Any], field: str, value: object
) -> None:
    changed = await change(shared, one, **{field: value})
    given = {"name": "never", "url": HOOK} | {field: value}
    made = await ask(shared, "POST", API, given)
    for answer in (changed, made):
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_field")
        assert answer.json()["field"].partition(".")[0] == field
        assert CANARY not in answer.text
    assert await events(shared, one) == ["destination.created"]


async def test_an_address_is_judged_without_being_looked_up(shared: Relay) -> None:
    """Whatever a name leads to, the answer is the same; who it really is, is seen when dialled."""
    made = [
        await create(shared, url=f"https://{host}/hook", mode="dry_run")
        for host in ("localhost", "metadata.google.internal", "no-such-host.invalid")
    ]
    for one in made:
        assert one["state"] == "enabled"
        await tell(shared, one, "disable")


async def test_a_name_is_taken_once(shared: Relay, one: dict[str, Any]) -> None:
    given = {"name": one["name"], "url": HOOK}
    for answer in (await ask(shared, "POST", API, given), await change(shared, one, name="main")):
        assert (answer.status_code, answer.json()["code"]) == (409, "name_taken")


async def test_the_relay_itself_and_foreign_networks_are_no_destination(template: str) -> None:
    own: dict[str, Any] = {
        "public_url": "https://relay.example.com",
        "private_destinations": "192.168.7.0/24",
    }
    async with cloned(template) as url, relay(url, wait=False, **own) as it:
        for address, status in (
            ("https://relay.example.com/webhook/in", 400),
            ("http://192.168.7.9:8080/hook", 201),
            ("http://192.168.8.9:8080/hook", 400),
        ):
            given = {"name": f"d{status}", "url": address}
            assert (await ask(it, "POST", API, given)).status_code == status, address


# ── Changed ─────────────────────────────────────────────────────────────────────────────────


async def test_a_change_is_a_version_and_no_change_is_none(
    shared: Relay, one: dict[str, Any]
) -> None:
    answer = await change(shared, one, windows="5/10s", timeout=2, concurrency=3)
    found = answer.json()
    assert (found["version"], found["changed"]) == (2, True)
    assert (found["windows"], found["timeout"], found["concurrency"]) == ("5/10s", 2.0, 3)
    same = (await change(shared, one, windows="5/10s", url=HOOK, headers=HEADERS)).json()
    assert (same["version"], same["changed"]) == (2, False)
    free = (await change(shared, one, windows="", concurrency=None, name=None)).json()
    assert (free["windows"], free["concurrency"], free["name"]) == ("", None, one["name"])
    assert await events(shared, one) == ["destination.created", *["destination.changed"] * 2]


async def test_headers_change_one_by_one(shared: Relay, one: dict[str, Any]) -> None:
    found = (await change(shared, one, headers={"X-More": "1"})).json()
    assert found["headers"] == ["x-api-key", "x-more"]
    found = (await change(shared, one, headers={"X-API-KEY": None, "x-none": None})).json()
    assert found["headers"] == ["x-more"]


async def test_a_change_of_another_version_is_refused(shared: Relay, one: dict[str, Any]) -> None:
    path = f"{API}/{one['id']}"
    assert (await change(shared, one, windows="1/1s", version=1)).status_code == 200
    stale = [
        await change(shared, one, windows="2/1s", version=1),
        await ask(shared, "PATCH", path, {"windows": "2/1s"}, **{"if-match": '"1"'}),
    ]
    for answer in stale:
        assert (answer.status_code, answer.json()["code"]) == (409, "changed_meanwhile")
    fresh = await ask(shared, "PATCH", path, {"windows": "2/1s"}, **{"if-match": '"2"'})
    assert fresh.json()["version"] == 3
    for tag in ("W/x", '"x"', "9" * 30):
        answer = await ask(shared, "PATCH", path, {}, **{"if-match": tag})
        assert (answer.status_code, answer.json()["field"]) == (400, "if-match")


async def test_orders_are_idempotent_and_wrong_ones_refused(
    shared: Relay, one: dict[str, Any]
) -> None:
    for order, state in (("pause", "paused"), ("pause", "paused"), ("resume", "enabled")):
        assert (await tell(shared, one, order))["state"] == state
    await tell(shared, one, "disable")
    for order in ("pause", "resume"):
        answer = await ask(shared, "POST", f"{API}/{one['id']}/{order}")
        assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state")
    assert (await tell(shared, one, "enable"))["state"] == "enabled"
    assert await events(shared, one) == [
        f"destination.{word}" for word in ("created", "paused", "resumed", "disabled", "enabled")
    ]


async def test_a_breaker_is_closed_by_hand(shared: Relay, one: dict[str, Any]) -> None:
    await shared.execute(
        "UPDATE destinations SET breaker = 'open', breaker_since = now(), breaker_trips = 3,"
        " breaker_until = now() + interval '1 hour', breaker_cause = 'http 500' WHERE id = :id",
        id=one["id"],
    )
    assert (await ask(shared, "GET", f"{API}/{one['id']}")).json()["breaker_cause"] == "http 500"
    closed = await tell(shared, one, "close-breaker")
    assert (closed["breaker"], closed["closed"]) == ("closed", True)
    assert (await tell(shared, one, "close-breaker"))["closed"] is False
    assert (await events(shared, one))[1:] == ["destination.breaker_closed"]
    await shared.execute(
        "UPDATE destinations SET hold_until = now() + interval '1 hour' WHERE id = :id",
        id=one["id"],
    )
    assert (await tell(shared, one, "close-breaker"))["closed"] is True
    assert (await ask(shared, "GET", f"{API}/{one['id']}")).json()["hold_until"] is None
    assert (await events(shared, one))[2:] == ["destination.wait_ended"]
