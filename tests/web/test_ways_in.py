"""H1: every way to give a token, against every token there can be; none is ever kept."""

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
import pytest_asyncio

from tests.web.operating import ask
from tests.web.stage import ADMIN_TOKEN, WEBHOOK_TOKEN, Answer, Relay, call, cloned
from tests.web.stage import relay as relaying

pytestmark = pytest.mark.asyncio(loop_scope="module")

WAYS = ("path", "bearer", "token", "secret")
GOOD = ("of the settings", "first", "second", "webhook's own", "of the operator")
BAD = ("missing", "empty", "wrong", "old", "other scope", "expired", "archived", "half", "twice")
NUMBERS = count()


@dataclass(frozen=True, slots=True)
class Door:
    """A relay with a source in rotation, and tokens of every kind."""

    relay: Relay
    tokens: dict[str, str]


async def made(relay: Relay, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await ask(relay, "POST", path, body, token=ADMIN_TOKEN)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def tokens_of(relay: Relay) -> dict[str, str]:
    first = await made(relay, "/api/sources", {"name": "rotating"})
    second = await made(relay, "/api/sources/rotating/tokens", {})
    old = await made(relay, "/api/sources/rotating/tokens", {})
    await ask(relay, "POST", f"/api/tokens/{old['token_id']}/revoke", token=ADMIN_TOKEN)
    expired = await made(relay, "/api/sources/rotating/tokens", {"expires_in_days": 1})
    await relay.execute(
        "UPDATE tokens SET made_at = made_at - interval '9 days',"
        " expires_at = now() - interval '1 hour' WHERE id = CAST(:id AS uuid)",
        id=expired["token_id"],
    )
    archived = await made(relay, "/api/sources", {"name": "archived"})
    reader = await made(relay, "/api/tokens", {"name": "reader", "scopes": ["read"]})
    own = await made(relay, "/api/sources/webhook/tokens", {})
    await ask(relay, "POST", "/api/sources/archived/archive", token=ADMIN_TOKEN)
    return {
        "of the settings": WEBHOOK_TOKEN,
        "first": first["token"],
        "second": second["token"],
        "webhook's own": own["token"],
        "of the operator": ADMIN_TOKEN,
        "empty": "",
        "wrong": f"{first['token'][:-1]}_",
        "old": old["token"],
        "other scope": reader["token"],
        "expired": expired["token"],
        "archived": archived["token"],
        "half": first["token"][:20],
        "twice": first["token"] * 2,
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(template: str) -> AsyncGenerator[Door]:
    async with cloned(template) as url, relaying(url) as one:
        yield Door(one, await tokens_of(one))


async def post(door: Door, way: str, token: str | None) -> Answer:
    alert: dict[str, object] = {
        "ticker": door.relay.finviz.market[0].ticker,
        "action": "buy",
        "n": next(NUMBERS),
    }
    path, headers = "/webhook/in", []
    if token is not None:
        match way:
            case "path":
                path = f"{path}/{token}"
            case "bearer":
                headers = [(b"authorization", f"Bearer {token}".encode())]
            case _:
                alert[way] = token
    return await call(door.relay.app, "POST", path, headers, [json.dumps(alert).encode()])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", GOOD)
async def test_a_right_token_is_taken_by_every_way(door: Door, way: str, kind: str) -> None:
    """Two of a source at once, too: that is how one is replaced without a gap."""
    answer = await post(door, way, door.tokens[kind])
    assert answer.status == 202
    assert door.tokens[kind].encode() not in answer.body


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", BAD)
async def test_every_other_one_is_told_the_same(door: Door, way: str, kind: str) -> None:
    answer = await post(door, way, door.tokens.get(kind))
    usual = await post(door, "path", "never-a-token")
    assert answer.status == 401
    assert (answer.body, answer.headers) == (usual.body, usual.headers)


async def test_the_first_way_decides(door: Door) -> None:
    """A wrong one in front is not made good by a right one behind it."""
    body = json.dumps({"ticker": "A", "action": "buy", "secret": WEBHOOK_TOKEN}).encode()
    answer = await call(door.relay.app, "POST", "/webhook/in/not-the-token", (), [body])
    assert answer.status == 401
    wrong = [(b"authorization", b"Bearer not-the-token")]
    assert (await call(door.relay.app, "POST", "/webhook/in", wrong, [body])).status == 401


async def test_no_token_is_stored_forwarded_or_echoed(door: Door) -> None:
    """By every way, right or wrong: no column of any table has one, and no parcel."""
    for way in WAYS:
        for token in door.tokens.values():
            answer = await post(door, way, token)
            assert not token or token.encode() not in answer.body
    tables = await door.relay.rows(
        "SELECT table_name AS name FROM information_schema.tables"
        " WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
    )
    whole = ""
    for table in tables:
        found = await door.relay.rows(f'SELECT CAST(t AS text) AS row FROM "{table.name}" AS t')
        whole += "\n".join(row.row for row in found)
    parcels = b"".join(
        parcel.body + repr(parcel.headers).encode() for parcel in door.relay.destination.parcels
    )
    for token in door.tokens.values():
        if len(token) > 8:
            assert token not in whole
            assert token.encode().hex() not in whole, "in no bytea either"
            assert token.encode() not in parcels
