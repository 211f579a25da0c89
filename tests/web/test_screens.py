"""/api/screens: what an operator sees, what he may change, and what is refused."""

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from tests.web.calm import list_at_rest
from tests.web.operating import ask, signed_in
from tests.web.screening import API, URL, active, ahead, asked, change, create, events, listed, tell
from tests.web.stage import WEBHOOK_TOKEN, Relay, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("told_alone")]

SHAPE = {
    *("id", "name", "note", "version", "active", "archived_at", "kind", "url", "top_n", "refresh"),
    *("margin", "wait", "tickers", "valid_until", "whole_market", "slow_when_closed"),
    *("updated_at", "warnings"),
}


@pytest_asyncio.fixture(loop_scope="module")
async def one(shared: Relay) -> AsyncGenerator[dict[str, Any]]:
    """A screen that is not in force; put away when the test is over."""
    made = await create(shared, note="a note", margin=5, wait=2.5)
    yield made
    await ask(shared, "POST", f"{API}/{made['id']}/archive")


# ── Seen ────────────────────────────────────────────────────────────────────────────────────


async def test_a_new_screen_is_shown_and_not_in_force(shared: Relay, one: dict[str, Any]) -> None:
    assert one.keys() == SHAPE
    assert (one["kind"], one["url"], one["top_n"], one["refresh"]) == ("finviz", URL, 15, 180)
    assert (one["margin"], one["wait"], one["version"]) == (5, 2.5, 1)
    assert (one["active"], one["archived_at"], one["warnings"]) == (False, None, [])
    assert (one["tickers"], one["valid_until"]) == (None, None)
    answer = await ask(shared, "GET", f"{API}/{one['id']}")
    assert answer.headers["etag"] == '"1"'
    found = answer.json()
    (version,) = found.pop("versions")
    assert found == one == (await listed(shared))[one["name"]]
    assert (version["version"], version["made_by"]) == (1, "finviz update token")
    assert (version["url"], version["active"]) == (URL, False)
    assert await events(shared, one) == ["created"]


async def test_the_active_one_warns_of_what_its_list_told(shared: Relay) -> None:
    await list_at_rest(shared)  # what a look brings says how many rows there were
    before = await active(shared)
    await shared.execute("UPDATE universes SET total = 9000")
    said = (await active(shared))["warnings"]
    assert before["warnings"] == []
    assert len(said) == 1
    assert "9000 rows" in said[0]
    await shared.execute("UPDATE universes SET total = 60")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/{id}"),
        ("POST", ""),
        ("PATCH", "/{id}"),
        ("GET", "/export"),
        ("POST", "/export"),
        ("POST", "/import"),
        *(("POST", f"/{{id}}/{o}") for o in ("duplicate", "activate", "archive", "restore")),
    ],
)
async def test_who_may_not_is_told_nothing(
    shared: Relay, one: dict[str, Any], method: str, path: str
) -> None:
    where = API + path.format(id=one["id"])
    for token in (WEBHOOK_TOKEN, "", "wrong"):
        answer = await ask(shared, method, where, {"name": "x", "url": URL}, token)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), answer.text
    if "{id}" in path:
        missing = API + path.format(id=uuid4())
        answer = await ask(shared, method, missing, None if method == "GET" else {})
        assert (answer.status_code, answer.json()["code"]) == (404, "no_such_screen")
    assert await events(shared, one) == ["created"]


# ── Refused ─────────────────────────────────────────────────────────────────────────────────

WRONG: list[tuple[str, object]] = [
    ("name", ""),
    ("name", "a\u0000b"),
    ("name", "x" * 81),
    ("name", 5),
    ("note", "x" * 501),
    ("note", "\u0000"),
    ("kind", "csv"),
    ("kind", "fixed"),
    ("url", ""),
    ("url", "https://finviz.example/screener.ashx"),
    ("url", "https://user:password@finviz.com/screener.ashx"),
    ("url", 5),
    ("top_n", 0),
    ("top_n", 10**400),
    ("top_n", 1.5),
    ("refresh", 0.5),
    ("refresh", 10**400),
    ("margin", 1_000),
    ("margin", -1),
    ("wait", 3_601),
    ("tickers", ["AAPL"]),
    ("tickers", 5),
    ("valid_until", "2030-01-01T00:00:00Z"),
    ("whole_market", "yes"),
    ("slow_when_closed", 1),
    ("active", True),
]


@pytest.mark.parametrize(("field", "value"), WRONG, ids=lambda part: repr(part)[:40])
async def test_what_cannot_be_is_refused_by_the_name_of_its_field(
    shared: Relay, one: dict[str, Any], field: str, value: object
) -> None:
    """Kind decides what else must be there: a new fixed list misses its tickers first."""
    answers = [await change(shared, one, **{field: value})]
    if (field, value) != ("kind", "fixed"):
        given = {"name": "never", "url": URL, "kind": "finviz"} | {field: value}
        answers.append(await ask(shared, "POST", API, given))
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_field"), answer.text
        assert answer.json()["field"] == field
        assert field in answer.json()["detail"]
    assert await events(shared, one) == ["created"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("url", URL),
        ("tickers", []),
        ("tickers", "AAPL $$$"),
        ("tickers", " ".join(f"T{n}" for n in range(1_001))),
        ("valid_until", None),
        ("valid_until", "2020-01-01T00:00:00Z"),
        ("valid_until", "2999-01-01T00:00:00Z"),
        ("valid_until", "2030-01-01T00:00:00"),
        ("valid_until", 1_900_000_000),
    ],
)
async def test_a_fixed_list_that_cannot_be_is_refused(
    shared: Relay, field: str, value: object
) -> None:
    given = {"name": "never", "kind": "fixed", "tickers": "A", "valid_until": ahead(days=1)}
    answer = await ask(shared, "POST", API, given | {field: value})
    assert (answer.status_code, answer.json().get("field")) == (400, field), answer.text


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[]", b"\xff", b'{"name":"\\ud800"}'])
async def test_what_is_no_screen_is_refused(shared: Relay, content: bytes) -> None:
    headers = {"content-type": "application/json"}
    bearer = (await ask(shared, "GET", API)).request.headers["authorization"]
    for path in ("", "/import", "/try"):
        answer = await shared.http.post(
            API + path, content=content, headers=headers | {"authorization": bearer}
        )
        assert answer.status_code == 400
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_name_is_taken_once(shared: Relay, one: dict[str, Any]) -> None:
    other = await create(shared)
    name = one["name"].upper()
    copy = f"{API}/{other['id']}/duplicate"
    for answer in (
        await ask(shared, "POST", API, {"name": name, "url": URL}),
        await change(shared, other, name=name),
        await ask(shared, "POST", copy, {"name": name}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "name_taken")
        assert answer.json()["field"] == "name"
    await tell(shared, other, "archive")


# ── Changed ─────────────────────────────────────────────────────────────────────────────────


async def test_a_change_is_a_version_and_no_change_is_none(
    shared: Relay, one: dict[str, Any]
) -> None:
    found = (await change(shared, one, top_n=7, note="", slow_when_closed=False)).json()
    assert (found["version"], found["changed"]) == (2, True)
    assert (found["top_n"], found["note"], found["slow_when_closed"]) == (7, "", False)
    assert (found["margin"], found["wait"], found["url"]) == (5, 2.5, URL)
    same = (await change(shared, one, top_n=7, margin=None, url=f"{URL}&r=21")).json()
    assert (same["version"], same["changed"]) == (2, False)
    versions = (await shared.read(f"{API}/{one['id']}"))["versions"]
    assert [(version["version"], version["top_n"]) for version in versions] == [(2, 7), (1, 15)]
    assert await events(shared, one) == ["created", "changed"]


async def test_a_change_of_another_version_is_refused(shared: Relay, one: dict[str, Any]) -> None:
    path = f"{API}/{one['id']}"
    assert (await change(shared, one, top_n=7, version=1)).status_code == 200
    for answer in (
        await change(shared, one, top_n=8, version=1),
        await ask(shared, "PATCH", path, {"top_n": 8}, **{"if-match": '"1"'}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "changed_meanwhile")
    fresh = await ask(shared, "PATCH", path, {"top_n": 8}, **{"if-match": '"2"'})
    assert fresh.json()["version"] == 3
    answer = await ask(shared, "PATCH", path, {}, **{"if-match": "x"})
    assert (answer.status_code, answer.json()["field"]) == (400, "if-match")


async def test_a_fixed_list_is_typed_or_uploaded_and_grows(shared: Relay) -> None:
    end = ahead(days=30)
    made = await create(shared, tickers="Ticker,Price\nAAPL,1\nBRK.B,2\n", valid_until=end)
    assert (made["kind"], made["url"], made["top_n"]) == ("fixed", None, 2)
    assert made["tickers"] == ["AAPL", "BRK-B"]
    assert datetime.fromisoformat(made["valid_until"]) == datetime.fromisoformat(end)
    found = (await change(shared, made, tickers=["MSFT", "NYSE:A", "B"])).json()
    assert (found["tickers"], found["top_n"]) == (["MSFT", "A", "B"], 3)
    assert (await change(shared, made, url=URL)).json()["field"] == "url"
    await shared.execute(
        "UPDATE screens SET valid_until = now() - interval '1 hour' WHERE id = :id", id=made["id"]
    )
    assert "has ended" in (await change(shared, made, note="late")).json()["warnings"][0]
    assert (await change(shared, made, valid_until=ahead(days=1))).json()["warnings"] == []
    await tell(shared, made, "archive")


async def test_a_copy_has_the_terms_and_another_name(shared: Relay, one: dict[str, Any]) -> None:
    copies = [await tell(shared, one, "duplicate", 201) for _ in range(2)]
    assert [copy["name"] for copy in copies] == [f"{one['name']} copy", f"{one['name']} copy 2"]
    path = f"{API}/{one['id']}/duplicate"
    copies.append((await ask(shared, "POST", path, {"name": f"other {one['name']}"})).json())
    same = SHAPE - {"id", "name", "updated_at"}
    for copy in copies:
        assert {key: copy[key] for key in same} == {key: one[key] for key in same}
        assert await events(shared, copy) == ["created"]
        await tell(shared, copy, "archive")


async def test_one_takes_over_from_another_and_is_looked_at(
    shared: Relay, one: dict[str, Any]
) -> None:
    first = await active(shared)
    answer = await tell(shared, one, "activate")
    assert (answer["active"], answer["changed"]) == (True, True)
    assert (await tell(shared, one, "activate"))["changed"] is False
    assert (await active(shared))["id"] == one["id"]
    await until(lambda: asked(shared, "f=ta_gap_u5"), "a look at the new address")
    await change(shared, one, url=f"{URL}&ft=4")
    await until(lambda: asked(shared, "ft=4"), "a look at the changed address")
    cookie = await signed_in(shared) | {"sec-fetch-site": "same-origin"}
    back = await shared.http.post(f"{API}/{first['id']}/activate", headers=cookie)
    assert back.json()["active"] is True
    assert await events(shared, one) == ["created", "activated", "changed"]
    versions = (await shared.read(f"{API}/{one['id']}"))["versions"]
    assert [version["active"] for version in versions] == [False, True, True, False]


async def test_what_does_not_apply_is_refused_and_said_twice_is_once(
    shared: Relay, one: dict[str, Any]
) -> None:
    first = await active(shared)
    refused = await tell(shared, first, "archive", 409)
    assert refused["code"] == "wrong_state"
    assert "activate another" in refused["detail"]
    assert (await tell(shared, first, "restore"))["changed"] is False
    assert [(await tell(shared, one, "archive"))["changed"] for _ in range(2)] == [True, False]
    assert one["name"] not in await listed(shared)
    assert (await listed(shared, "?archived=true"))[one["name"]]["archived_at"]
    assert (await tell(shared, one, "activate", 409))["code"] == "wrong_state"
    assert (await change(shared, one, top_n=3)).json()["code"] == "wrong_state"
    other = await create(shared, name=one["name"])
    assert (await tell(shared, one, "restore", 409))["code"] == "name_taken"
    await tell(shared, other, "archive")
    assert [(await tell(shared, one, "restore"))["changed"] for _ in range(2)] == [True, False]
    assert await events(shared, one) == ["created", "archived", "restored"]
