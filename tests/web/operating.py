"""An operator at work: what tests of destinations and deliveries ask of a relay."""

from collections.abc import Awaitable
from typing import Any
from uuid import uuid4

import httpx

from tests.web.stage import ADMIN_TOKEN, UPDATE_TOKEN, Relay, insisting

CANARY = "s3cret-canary"
HOOK = f"https://other.example/hook/{CANARY}"
HEADERS = {"X-Api-Key": f"{CANARY}-header"}
API = "/api/destinations"


async def ask(
    relay: Relay,
    method: str,
    path: str,
    body: object = None,
    token: str = UPDATE_TOKEN,
    **headers: str,
) -> httpx.Response:
    bearer = {"authorization": f"Bearer {token}"} | headers
    return await relay.http.request(method, path, json=body, headers=bearer)


async def create(relay: Relay, **given: object) -> dict[str, Any]:
    def once() -> Awaitable[httpx.Response]:
        name = f"d-{uuid4().hex[:8]}"
        return ask(relay, "POST", API, {"name": name, "url": HOOK} | given)

    answer = await insisting(once)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def change(relay: Relay, one: dict[str, Any], **given: object) -> httpx.Response:
    return await ask(relay, "PATCH", f"{API}/{one['id']}", given)


async def tell(relay: Relay, one: dict[str, Any], order: str, body: object = None) -> Any:
    answer = await insisting(lambda: ask(relay, "POST", f"{API}/{one['id']}/{order}", body))
    assert answer.status_code == 200, answer.text
    return answer.json()


async def signed_in(relay: Relay) -> dict[str, str]:
    """The header of a signed-in browser; the client itself forgets the cookie again."""
    answer = await relay.http.post("/admin/login", data={"token": ADMIN_TOKEN})
    relay.http.cookies.clear()
    return {"cookie": answer.headers["set-cookie"].partition(";")[0]}
