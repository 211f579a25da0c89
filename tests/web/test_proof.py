"""What is sensitive asks for a token again; what was done is told once, on a whole page."""

from uuid import UUID

import httpx
import pytest

from tests.web.operating import signed_in
from tests.web.stage import ADMIN_TOKEN, UPDATE_TOKEN, Relay

pytestmark = pytest.mark.asyncio(loop_scope="module")

FORM = "/admin/settings/tokens"
NEW = {"name": "a colleague", "scopes": "read"}


async def grown_old(relay: Relay) -> dict[str, str]:
    """A browser whose owner has shown no token for six minutes."""
    browser = await signed_in(relay)
    await relay.execute("UPDATE sessions SET proved_at = proved_at - interval '6 minutes'")
    return browser


async def submit(relay: Relay, browser: dict[str, str], **fields: str) -> httpx.Response:
    return await relay.http.post(FORM, data={**NEW, **fields}, headers=browser)


async def tokens(relay: Relay) -> list[str]:
    return [one["name"] for one in (await relay.read("/api/tokens"))["items"] if one["id"]]


async def test_nothing_is_done_before_a_proof_and_what_was_typed_stays(shared: Relay) -> None:
    browser, before = await grown_old(shared), await tokens(shared)
    page = await shared.http.get(FORM, headers=browser)
    assert 'name="proof"' in page.text
    for proof in ({}, {"proof": "wrong"}, {"proof": UPDATE_TOKEN}):
        answer = await submit(shared, browser, **proof)
        assert answer.status_code == 403
        assert "Nothing was done." in answer.text
        assert 'value="a colleague"' in answer.text
        assert 'value="read" checked' in answer.text
        assert not proof or proof["proof"] not in answer.text
        assert await tokens(shared) == before
    answer = await submit(shared, browser, proof=ADMIN_TOKEN)
    assert answer.status_code == 200
    assert sorted(await tokens(shared)) == sorted([*before, "a colleague"])
    assert ADMIN_TOKEN not in answer.text
    again = await submit(shared, browser, name="another")
    assert again.status_code == 200, "for five minutes it is not asked for again"
    assert 'name="proof"' not in (await shared.http.get(FORM, headers=browser)).text


SENSITIVE = (
    "POST /api/tokens",
    "POST /api/sources",
    "POST /api/sources/webhook/tokens",
    "POST /api/destinations",
    f"PATCH /api/destinations/{UUID(int=0)}",
    f"POST /api/destinations/{UUID(int=0)}/rotate-secret",
    "POST /api/channels",
    f"PATCH /api/channels/{UUID(int=0)}",
    "POST /api/config/import",
    "POST /sell/all",
)


@pytest.mark.parametrize("call", SENSITIVE)
async def test_the_api_asks_a_session_for_a_proof_as_pages_do(shared: Relay, call: str) -> None:
    """H12: a stolen session makes itself no lasting token, and sells nothing."""
    browser = await grown_old(shared)
    method, path = call.split()
    answer = await shared.http.request(method, path, json={}, headers=browser)
    assert (answer.status_code, answer.json()["code"]) == (403, "proof_needed")
    bearer = {**browser, "authorization": f"Bearer {ADMIN_TOKEN}"}
    answer = await shared.http.request(method, path, json={}, headers=bearer)
    assert answer.status_code != 403, "a token is proof in itself"


async def test_a_wrong_proof_is_told_like_a_wrong_sign_in(shared: Relay) -> None:
    browser = await grown_old(shared)
    transport = httpx.ASGITransport(shared.app, client=("127.0.0.9", 40_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http:
        await http.post(FORM, data={**NEW, "proof": "wrong"}, headers=browser)
    told = await shared.rows(
        "SELECT detail FROM events WHERE event = 'access.refused' AND origin = '127.0.0.9'"
    )
    assert [row.detail for row in told] == [{"door": f"POST {FORM}"}]


async def test_a_token_that_an_operator_made_proves_too(shared: Relay) -> None:
    browser = await signed_in(shared)
    made = await shared.http.post(
        "/api/tokens", json={"name": "spare", "scopes": ["admin"]}, headers=browser
    )
    await shared.execute("UPDATE sessions SET proved_at = proved_at - interval '6 minutes'")
    answer = await submit(shared, browser, name="by the spare", proof=made.json()["token"])
    assert answer.status_code == 200


async def test_what_was_done_is_told_once_and_on_a_whole_page_only(shared: Relay) -> None:
    browser = await signed_in(shared)
    page = await shared.http.get("/admin/settings", headers=browser)
    version = page.text.partition('name="version" value="')[2].partition('"')[0]
    fields = {"version": version, "of": "every", "every-refused": "GME"}
    done = await shared.http.post("/admin/settings/rules", data=fields, headers=browser)
    assert done.headers["location"] == "/admin/settings"
    words = "Never buy: + GME"
    part = await shared.http.get("/admin/partials/shell?here=settings", headers=browser)
    assert words not in part.text
    asked = {**browser, "hx-request": "true"}
    said = 'class="said"'
    assert said not in (await shared.http.get("/admin/settings", headers=asked)).text
    first = await shared.http.get("/admin/settings", headers=browser)
    assert said in first.text
    assert words in first.text
    assert said not in (await shared.http.get("/admin/settings", headers=browser)).text
