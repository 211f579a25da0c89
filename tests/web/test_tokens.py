"""/api/tokens: made once, shown once, revoked for good; what they allow, and who they are."""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from engines.clock import utc_now
from tests.web.operating import ask
from tests.web.stage import ADMIN_TOKEN, UPDATE_TOKEN, WEBHOOK_TOKEN, Relay, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

API = "/api/tokens"


async def create(
    relay: Relay, *scopes: str, by: str = ADMIN_TOKEN, **given: object
) -> dict[str, Any]:
    body = {"name": f"t-{uuid4().hex[:8]}", "scopes": scopes} | given
    answer = await ask(relay, "POST", API, body, token=by)
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


async def revoke(relay: Relay, id: str, reason: str | None = None) -> Any:
    body = None if reason is None else {"reason": reason}
    answer = await ask(relay, "POST", f"{API}/{id}/revoke", body, token=ADMIN_TOKEN)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def session_of(relay: Relay, token: str) -> dict[str, str] | None:
    """The header of a browser that signed in with a token; None when it could not."""
    answer = await relay.http.post("/admin/login", data={"token": token})
    relay.http.cookies.clear()
    assert answer.status_code in {303, 401}
    if answer.status_code == 401:
        return None
    return {"cookie": answer.headers["set-cookie"].partition(";")[0]}


async def test_a_token_is_shown_once(shared: Relay) -> None:
    made = await create(shared, "read", expires_in_days=90)
    assert made["token"].startswith("tsp_")
    assert len(made["token"]) == 47
    assert (made["hint"], made["scopes"]) == (made["token"][-4:], ["read"])
    assert (made["made_by"], made["of_settings"]) == ("admin token", False)
    listed = await shared.get(API)
    assert made["token"] not in listed.text
    (found,) = [one for one in listed.json()["items"] if one["id"] == made["id"]]
    assert found == {key: value for key, value in made.items() if key != "token"}


async def test_those_of_the_settings_are_listed_too(shared: Relay) -> None:
    items = (await shared.read(API))["items"]
    of_settings = {one["name"]: one for one in items if one["of_settings"]}
    assert {name: one["scopes"] for name, one in of_settings.items()} == {
        "webhook token": ["ingest"],
        "finviz update token": ["config", "read", "trade"],
        "admin token": ["admin"],
    }
    assert all(one["hint"] is one["id"] is None for one in of_settings.values())
    assert not any(token in str(items) for token in (ADMIN_TOKEN, UPDATE_TOKEN, WEBHOOK_TOKEN))


async def test_a_token_opens_the_doors_of_its_scopes(shared: Relay) -> None:
    reader, changer = await create(shared, "read"), await create(shared, "config", "read")
    assert (await shared.get("/status", reader["token"])).status_code == 200
    change = {"top_n": 50}
    for token, status in ((reader, 401), (changer, 200)):
        answer = await ask(shared, "POST", "/finviz/config", change, token=token["token"])
        assert answer.status_code == status
    assert (await shared.get(API, changer["token"])).status_code == 401
    alert = await shared.http.post(f"/webhook/in/{reader['token']}", json={})
    assert alert.status_code == 401


async def test_what_it_does_bears_its_name(shared: Relay) -> None:
    made = await create(shared, "config", name="my script")
    source = {"name": "by-my-script"}
    assert (
        await ask(shared, "POST", "/api/sources", source, token=made["token"])
    ).status_code == 201
    [row] = await shared.rows(
        "SELECT actor FROM events WHERE event = 'source.created'"
        " AND detail->>'source' = 'by-my-script'"
    )
    assert row.actor == "token my script"


async def test_a_revoked_token_is_refused_from_then_on(shared: Relay) -> None:
    made = await create(shared, "read")
    assert (await revoke(shared, made["id"], "lost"))["changed"] is True
    refused = await shared.get("/status", made["token"])
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    again = await revoke(shared, made["id"])
    assert again["changed"] is False
    assert again["revoked_by"] == "admin token"
    items = (await shared.read(API))["items"]
    assert made["id"] not in [one["id"] for one in items]
    items = (await shared.read(f"{API}?revoked=true"))["items"]
    assert made["id"] in [one["id"] for one in items]
    missing = await ask(shared, "POST", f"{API}/{uuid4()}/revoke", token=ADMIN_TOKEN)
    assert (missing.status_code, missing.json()["code"]) == (404, "no_such_token")


async def short_lived(relay: Relay) -> tuple[dict[str, Any], datetime]:
    """One that was good once, and when it ends. A slow machine may miss its life: then another."""
    for seconds in (1.5, 5, 15, 45):
        ends = utc_now() + timedelta(seconds=seconds)
        body = {"name": f"t-{seconds}", "scopes": ["read"], "expires_at": ends.isoformat()}
        made = await ask(relay, "POST", API, body, token=ADMIN_TOKEN)
        if made.is_success and (await relay.get("/status", made.json()["token"])).is_success:
            return made.json(), ends
        assert utc_now() >= ends, made.text
    raise AssertionError("never good")


async def test_a_token_that_has_ended_is_as_unknown_as_any(shared: Relay) -> None:
    made, ends = await short_lived(shared)

    async def is_over() -> bool:
        return (await shared.get("/status", made["token"])).status_code == 401

    await until(is_over, "the end of the token")
    assert utc_now() >= ends
    forged = await shared.get("/status", "tsp_" + "x" * 43)
    assert (await shared.get("/status", made["token"])).json() == forged.json()


async def test_the_last_use_is_told(shared: Relay) -> None:
    made = await create(shared, "read")
    assert made["last_used_at"] is None
    began = utc_now()
    assert (await shared.get("/status", made["token"])).status_code == 200

    async def is_told() -> bool:
        [row] = await shared.rows(
            "SELECT last_used_at FROM tokens WHERE id = CAST(:id AS uuid)", id=made["id"]
        )
        return row.last_used_at is not None and row.last_used_at >= began

    await until(is_told, "the use to be written")


async def test_whoever_signs_in_with_a_token_leaves_with_it(shared: Relay) -> None:
    made = await create(shared, "admin", name="colleague")
    cookie = await session_of(shared, made["token"])
    assert cookie
    answer = await shared.http.post("/finviz/config", json={"top_n": 49}, headers=cookie)
    assert answer.status_code == 200
    [row] = await shared.rows(
        "SELECT actor FROM events WHERE event = 'screen.changed' ORDER BY id DESC LIMIT 1"
    )
    assert row.actor == "session of token colleague"
    await revoke(shared, made["id"])
    assert (await shared.http.get("/admin", headers=cookie)).status_code == 303
    assert (await shared.http.get(API, headers=cookie)).status_code == 401
    assert await session_of(shared, made["token"]) is None


@pytest.mark.parametrize("scope", ["read", "ingest", "trade", "config"])
async def test_nobody_signs_in_with_less_than_admin(shared: Relay, scope: str) -> None:
    assert await session_of(shared, (await create(shared, scope))["token"]) is None


async def test_a_token_makes_none_that_lasts_longer(shared: Relay) -> None:
    maker = (await create(shared, "admin", expires_in_days=2))["token"]
    shorter = await create(shared, "admin", by=maker, expires_in_days=1)
    assert shorter["made_by"].startswith("token t-")
    cookie = await session_of(shared, maker)
    assert cookie
    for headers in ({"authorization": f"Bearer {maker}"}, cookie):
        for ends in ({}, {"expires_in_days": 3}):
            body = {"name": "longer", "scopes": ["read"]} | ends
            refused = await shared.http.post(API, json=body, headers=headers)
            assert (refused.status_code, refused.json()["field"]) == (400, "expires_at")


@pytest.mark.parametrize(
    ("given", "status", "field"),
    [
        ({}, 400, "name"),
        ({"name": "a"}, 400, "scopes"),
        ({"name": "a", "scopes": []}, 400, "scopes"),
        ({"name": "a", "scopes": ["root"]}, 400, "scopes.0"),
        ({"name": " ", "scopes": ["read"]}, 400, "name"),
        ({"name": "a\nb", "scopes": ["read"]}, 400, "name"),
        ({"name": "a", "scopes": ["read"], "expires_in_days": 0}, 400, "expires_in_days"),
        ({"name": "a", "scopes": ["read"], "expires_in_days": "1"}, 400, "expires_in_days"),
        (
            {"name": "a", "scopes": ["read"], "expires_at": "2020-01-01T00:00:00Z"},
            400,
            "expires_at",
        ),
        (
            {"name": "a", "scopes": ["read"], "expires_at": "2999-01-01T00:00:00Z"},
            400,
            "expires_at",
        ),
        ({"name": "a", "scopes": ["read"], "expires_at": "2030-01-01T00:00:00"}, 400, "expires_at"),
        ({"name": "a", "scopes": ["read"], "source": "webhook"}, 400, "scopes"),
        ({"name": "a", "scopes": ["ingest"], "source": "Nobody"}, 400, "source"),
        ({"name": "a", "scopes": ["ingest"], "source": "nobody"}, 404, None),
        ({"name": "a", "scopes": ["read"], "token": "mine"}, 400, "token"),
    ],
)
async def test_what_cannot_be_is_named(
    shared: Relay, given: object, status: int, field: str | None
) -> None:
    refused = await ask(shared, "POST", API, given, token=ADMIN_TOKEN)
    assert (refused.status_code, refused.json().get("field")) == (status, field), refused.text


async def test_a_name_is_of_one_token_at_a_time(shared: Relay) -> None:
    first = await create(shared, "read", name="Twice")
    again = {"name": "twice", "scopes": ["read"]}
    refused = await ask(shared, "POST", API, again, token=ADMIN_TOKEN)
    assert (refused.status_code, refused.json()["code"]) == (409, "name_taken")
    await revoke(shared, first["id"])
    assert (await create(shared, "read", name="twice"))["id"] != first["id"]
