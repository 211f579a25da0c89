"""Signing in and out: what it says, the cookie it sets, and when a session ends."""

import base64
import hashlib
from uuid import uuid4

import httpx
import pytest

from tests.web.operating import signed_in
from tests.web.stage import ADMIN_TOKEN, UPDATE_TOKEN, WEBHOOK_TOKEN, Relay, call

pytestmark = pytest.mark.asyncio(loop_scope="module")

OWN = "http://127.0.0.1:8000"


async def submit(relay: Relay, token: str = ADMIN_TOKEN, **headers: str) -> httpx.Response:
    """Post the form as a browser would, without keeping its cookie."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await relay.http.post("/admin/login", data={"token": token}, headers=given)
    relay.http.cookies.clear()
    return answer


async def session(relay: Relay) -> str:
    return (await submit(relay)).cookies["session"]


async def is_in(relay: Relay, session: str) -> bool:
    answer = await relay.http.get("/admin", headers={"cookie": f"session={session}"})
    assert answer.status_code in {200, 303}
    return answer.status_code == 200


def cookie_of(answer: httpx.Response) -> tuple[str, set[str]]:
    """Name and attributes of the one cookie that is set."""
    (line,) = answer.headers.get_list("set-cookie")
    first, *rest = (part.strip() for part in line.split(";"))
    return first.partition("=")[0], {part.lower() for part in rest}


@pytest.mark.parametrize(
    "token", ["", " ", "wrong", ADMIN_TOKEN[:-1], UPDATE_TOKEN, WEBHOOK_TOKEN, "é\0", "x" * 3_000]
)
async def test_a_wrong_token_is_told_nothing(shared: Relay, token: str) -> None:
    answer = await submit(shared, token)
    assert answer.status_code == 401
    assert "That did not work." in answer.text
    assert "set-cookie" not in answer.headers
    assert not token.strip() or token not in answer.text
    assert answer.text == (await submit(shared, "another wrong one")).text


async def test_the_right_token_begins_a_session(shared: Relay) -> None:
    answer = await submit(shared, f" {ADMIN_TOKEN} ", origin=OWN, sec_fetch_site="same-origin")
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin")
    name, attributes = cookie_of(answer)
    assert name == "session"
    assert attributes == {"httponly", "samesite=strict", "path=/"}
    assert ADMIN_TOKEN not in answer.headers["set-cookie"]
    assert await is_in(shared, answer.cookies["session"])


async def test_over_https_the_cookie_is_bound_to_the_host(shared: Relay) -> None:
    transport = httpx.ASGITransport(shared.app, client=("203.0.113.9", 40_000))
    async with httpx.AsyncClient(transport=transport, base_url="https://relay.example") as http:
        answer = await http.post("/admin/login", data={"token": ADMIN_TOKEN})
        assert answer.status_code == 303
        name, attributes = cookie_of(answer)
        assert name == "__Host-session"
        assert attributes == {"httponly", "samesite=strict", "path=/", "secure"}
        assert (await http.get("/admin")).status_code == 200
        await http.post("/admin/logout")
        assert (await http.get("/admin")).status_code == 303


@pytest.mark.parametrize(
    ("client", "base"),
    [
        ("203.0.113.9", "http://relay.example"),
        ("203.0.113.9", "http://127.0.0.1:8000"),
        ("127.0.0.1", "http://relay.example"),
        ("127.0.0.1", "http://127.0.0.1.relay.example"),
        ("192.168.1.5", "http://192.168.1.2:8000"),
    ],
)
async def test_over_plain_http_from_elsewhere_it_is_explained_and_refused(
    shared: Relay, client: str, base: str
) -> None:
    transport = httpx.ASGITransport(shared.app, client=(client, 40_000))
    async with httpx.AsyncClient(transport=transport, base_url=base) as http:
        page = await http.get("/admin/login")
        answer = await http.post("/admin/login", data={"token": ADMIN_TOKEN})
    assert "needs https" in page.text
    assert "<input" not in page.text
    assert answer.status_code == 403
    assert "needs https" in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("base", ["http://127.0.0.1:8000", "http://localhost", "http://[::1]:8000"])
async def test_this_machines_own_addresses_will_do(shared: Relay, base: str) -> None:
    transport = httpx.ASGITransport(shared.app, client=("::1", 40_000))
    async with httpx.AsyncClient(transport=transport, base_url=base) as http:
        assert "<input" in (await http.get("/admin/login")).text
        answer = await http.post("/admin/login", data={"token": ADMIN_TOKEN})
    assert answer.status_code == 303


@pytest.mark.parametrize("path", ["/admin/login", "/admin/logout"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
        ("origin", "http://127.0.0.1:9999"),
        ("origin", "null"),
        ("origin", "http://["),
        ("origin", ""),
    ],
)
async def test_another_site_can_neither_sign_in_nor_out(
    shared: Relay, path: str, name: str, value: str
) -> None:
    one = await session(shared)
    headers = {name: value, "cookie": f"session={one}"}
    answer = await shared.http.post(path, data={"token": ADMIN_TOKEN}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")
    assert "set-cookie" not in answer.headers
    assert await is_in(shared, one)


async def test_signing_out_ends_the_session_everywhere(shared: Relay) -> None:
    one, other = await session(shared), await session(shared)
    cookie = {"cookie": f"session={one}"}
    answer = await shared.http.post("/admin/logout", headers=cookie)
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/login")
    assert not await is_in(shared, one)
    assert await is_in(shared, other)
    assert all("max-age=0" in line.lower() for line in answer.headers.get_list("set-cookie"))


async def test_signing_in_again_ends_the_session_this_browser_had(shared: Relay) -> None:
    old, others = await session(shared), await session(shared)
    refused = await submit(shared, "wrong", cookie=f"session={old}")
    assert refused.status_code == 401
    assert await is_in(shared, old), "a refused sign-in ends nothing"
    answer = await submit(shared, cookie=f"session={old}")
    new = answer.cookies["session"]
    assert new not in {old, others}
    assert not await is_in(shared, old)
    assert await is_in(shared, new)
    assert await is_in(shared, others)


# ── Where a sign-in leads ───────────────────────────────────────────────────────────────────

OUR_PAGES = [
    "/admin",
    "/admin/signals",
    "/admin/settings/sources/tv-1_b",
    "/admin/list/BRK.B",
    "/admin/signals?ticker=AAPL&since=2026-01-01T00%3A00%3A00Z",
    "/admin?to=//evil.example",
]
ELSEWHERE = [
    "//evil.example",
    "///evil.example",
    "https://evil.example/admin",
    "http:/admin",
    "javascript:alert(1)",
    "data:text/html,x",
    "/\\evil.example",
    "\\\\evil.example/admin",
    "/admin\\..\\..",
    "/admin/../x",
    "/admin/..",
    "/admin/./x",
    "/admin/%2e%2e/x",
    "/admin/%2e%2e%2fx",
    "/admin/..%2fx",
    "/admin//evil.example",
    "/admin/%2f%2fevil.example",
    "/adminevil",
    "/admin.evil.example",
    "/admin@evil.example",
    "/webhook/in",
    "/api/config/export",
    " /admin",
    "/admin\n//evil.example",
    "/admin\r\nlocation: https://evil.example",
    "/admin?x=\x00",
    "/admin?x=\\evil",
    "/admin/\u2215evil",
    "/ADMIN",
    "",
]


async def led_to(relay: Relay, to: str) -> str:
    given = {"token": ADMIN_TOKEN, "to": to}
    answer = await relay.http.post("/admin/login", data=given)
    relay.http.cookies.clear()
    assert answer.status_code == 303
    return answer.headers["location"]


@pytest.mark.parametrize("to", OUR_PAGES)
async def test_a_sign_in_leads_back_to_the_page_it_was_wanted_for(shared: Relay, to: str) -> None:
    assert await led_to(shared, to) == to
    page = await shared.http.get("/admin/login", params={"to": to})
    assert 'name="to"' in page.text


@pytest.mark.parametrize(
    ("to", "page"),
    [
        ("/admin/sell/all", "/admin"),
        ("/admin/sell/all?x=1", "/admin"),
        ("/admin/positions/01a1fc1f-5153-7df5-b339-8fdd5b624d57/close", None),
        ("/admin/list/screens/try", "/admin/list/screens"),
        ("/admin/attention/resolve", "/admin/attention"),
    ],
)
async def test_a_sign_in_leads_to_no_place_for_forms_alone(
    shared: Relay, to: str, page: str | None
) -> None:
    """A page that refused a form has its address; a browser that looks there gets a 405."""
    wanted = page or to.rpartition("/")[0]
    assert await led_to(shared, to) == wanted
    door = await shared.http.get("/admin/login", params={"to": to})
    assert f'name="to" value="{wanted}"' in door.text


@pytest.mark.parametrize("to", ELSEWHERE)
async def test_a_sign_in_never_leads_elsewhere(shared: Relay, to: str) -> None:
    page = await shared.http.get("/admin/login", params={"to": to})
    assert 'name="to"' not in page.text
    location = await led_to(shared, to)
    assert location == "/admin"


async def test_who_was_sent_to_sign_in_comes_back(shared: Relay) -> None:
    sent = await shared.http.get("/admin/positions?x=1%202")
    assert sent.headers["location"] == "/admin/login?to=/admin/positions%3Fx%3D1%25202"
    page = await shared.http.get(sent.headers["location"])
    assert 'name="to" value="/admin/positions?x=1%202"' in page.text
    posted = await shared.http.post("/admin/sell")
    assert posted.headers["location"] == "/admin/login?ended=undone", "not sent again by itself"


@pytest.mark.parametrize(
    ("ages", "alive"),
    [
        ("seen_at = seen_at - interval '29 minutes'", True),
        ("seen_at = seen_at - interval '31 minutes'", False),
        ("created_at = created_at - interval '11 hours 59 minutes'", True),
        ("created_at = created_at - interval '12 hours 1 minute'", False),
    ],
)
async def test_a_session_ends_unused_and_at_last_in_any_case(
    shared: Relay, ages: str, *, alive: bool
) -> None:
    one = await session(shared)
    assert await is_in(shared, one)
    digest = hashlib.sha256(one.encode()).digest()
    await shared.execute(f"UPDATE sessions SET {ages} WHERE id_hash = :id", id=digest)
    assert await is_in(shared, one) is alive


async def test_being_used_keeps_a_session_alive(shared: Relay) -> None:
    one = await session(shared)
    digest = hashlib.sha256(one.encode()).digest()
    for _ in range(3):
        await shared.execute(
            "UPDATE sessions SET seen_at = seen_at - interval '20 minutes' WHERE id_hash = :id",
            id=digest,
        )
        assert await is_in(shared, one)


async def test_no_session_is_kept_in_clear(shared: Relay) -> None:
    one = await session(shared)
    assert len(base64.urlsafe_b64decode(one + "=")) == 32
    rows = await shared.rows("SELECT CAST(sessions AS text) AS words FROM sessions")
    raw = base64.urlsafe_b64decode(one + "=").hex()
    assert rows
    assert all(one not in row.words and raw not in row.words for row in rows)
    told = await shared.rows("SELECT CAST(events AS text) AS words FROM events")
    assert all(one not in row.words and ADMIN_TOKEN not in row.words for row in told)
    [last] = await shared.rows(
        "SELECT actor, detail FROM events WHERE event = 'session.begun' ORDER BY id DESC LIMIT 1"
    )
    name = hashlib.sha256(one.encode()).hexdigest()[:12]
    assert (last.actor, last.detail) == ("admin token", {"from": "127.0.0.1", "session": name})


@pytest.mark.parametrize(
    "cookie",
    ["session=", "session=x", "session=\xff", "session", "=;;;=", "session=" + "x" * 9_000],
)
async def test_a_made_up_cookie_is_nobodys(shared: Relay, cookie: str) -> None:
    headers = [(b"cookie", cookie.encode("latin-1"))]
    assert (await call(shared.app, "GET", "/admin", headers)).status == 303
    assert (await call(shared.app, "GET", "/status", headers)).status == 401


@pytest.mark.parametrize("host", [b"", b"[", b"[::1", b"a b", b"\xff", b"127.0.0.1:x", b"evil/x?y"])
async def test_an_odd_host_is_no_server_error(shared: Relay, host: bytes) -> None:
    answer = await call(shared.app, "GET", "/admin/login", [(b"host", host)])
    assert answer.status < 500


async def test_a_form_that_is_none_is_refused(shared: Relay) -> None:
    too_large = await call(shared.app, "POST", "/admin/login", chunks=[b"token=" + b"x" * 5_000])
    assert too_large.status == 413
    odd = await call(shared.app, "POST", "/admin/login", chunks=[b"\xff&=&token&%00=%ff"])
    assert odd.status in {401, 403}


async def test_a_person_at_a_wrong_address_is_told_so_on_a_page(shared: Relay) -> None:
    """A program is told as JSON, a browser as a page with a way on."""
    headers = await signed_in(shared)
    for path, status in (("nowhere", 404), ("signals/nonsense", 400), (f"signals/{uuid4()}", 404)):
        told = await shared.http.get(f"/admin/{path}", headers=headers)
        seen = await shared.http.get(f"/admin/{path}", headers=headers | {"accept": "text/html"})
        assert (told.status_code, seen.status_code) == (status, status)
        assert told.headers["content-type"] == "application/problem+json"
        assert seen.headers["content-type"] == "text/html; charset=utf-8"
        assert 'role="alert"' in seen.text
        assert 'href="/admin"' in seen.text
