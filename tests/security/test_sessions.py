"""H10, H11: what a session or a socket was opened with ends, and then they do.

Copies of ended sessions in any order of events: tests/engines/test_sessions.py. Sockets at the
door, their frames and their number: tests/web/test_live.py. Signing in: tests/web/test_login.py.
"""

import pytest

from tests.web.operating import create, signed_in
from tests.web.sockets import OWN, connected
from tests.web.stage import ADMIN_TOKEN, Relay, cloned, relay, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

OTHER = "another-operator-token-0123456789abcdefghi"


async def is_in(one: Relay, browser: dict[str, str]) -> bool:
    return (await one.http.get("/admin", headers=browser)).status_code == 200


async def make_token(one: Relay, name: str, **given: object) -> str:
    admin = {"authorization": f"Bearer {ADMIN_TOKEN}"}
    body = {"name": name, "scopes": ["admin"]} | given
    answer = await one.http.post("/api/tokens", json=body, headers=admin)
    assert answer.status_code == 201, answer.text
    return answer.json()["token"]


async def test_a_changed_admin_token_ends_the_sessions_begun_with_the_old_one(
    template: str,
) -> None:
    async with cloned(template) as url:
        async with relay(url, wait=False) as one:
            of_settings = await signed_in(one)
            token = await make_token(one, "a colleague")
            answer = await one.http.post("/admin/login", data={"token": token})
            one.http.cookies.clear()
            colleague = {"cookie": answer.headers["set-cookie"].partition(";")[0]}
        async with relay(url, wait=False) as again:
            assert await is_in(again, of_settings), "a restart alone ends nothing"
        async with relay(url, wait=False, admin_token=OTHER) as changed:
            assert not await is_in(changed, of_settings)
            assert await is_in(changed, colleague), "his token is what it was"
            [told] = await changed.rows(
                "SELECT actor, detail FROM events WHERE event = 'session.ended'"
            )
            assert (told.actor, told.detail["reason"]) == ("its end", "ADMIN_TOKEN was changed")
        async with relay(url, wait=False) as back:
            assert not await is_in(back, of_settings), "it does not come back with the token"


SOON_OVER = """
    UPDATE tokens SET expires_at = clock_timestamp() + interval '1 s' WHERE name = 'soon over'
"""


async def test_a_token_that_expires_ends_the_socket_it_opened(shared: Relay) -> None:
    token = await make_token(shared, "soon over", scopes=["read"], expires_in_days=1)
    async with connected(shared.app, {"authorization": f"Bearer {token}"}) as socket:
        await socket.hear("hello")
        await shared.execute(SOON_OVER)  # not before somebody came in, however slow that was
        await make_token(shared, "another")  # at which the relay reads all of them again
        assert await socket.over() == 4401
    async with connected(shared.app, {"authorization": f"Bearer {token}"}) as again:
        assert again.status == 401


@pytest.mark.parametrize("how", ["end-all", "end"])
async def test_ending_sessions_closes_their_sockets(shared: Relay, how: str) -> None:
    mine, his = await signed_in(shared), await signed_in(shared)
    async with connected(shared.app, his | {"origin": OWN}) as socket:
        await socket.hear("hello")
        rows = await shared.rows(
            "SELECT encode(substring(id_hash FOR 6), 'hex') AS name FROM sessions"
            " ORDER BY created_at DESC LIMIT 1"
        )
        path = f"sessions/{rows[0].name}/end" if how == "end" else "sessions/end-all"
        done = await shared.http.post(f"/admin/settings/{path}", headers=mine)
        assert done.status_code == 303
        assert await socket.over() == 4401
    assert not await is_in(shared, his)
    assert await is_in(shared, mine) is (how == "end")


async def test_a_cookie_that_somebody_planted_is_never_taken_for_a_session(shared: Relay) -> None:
    """Fixation: what a browser brings along is not what it is signed in with afterwards."""
    planted = "A" * 43
    for name in ("session", "__Host-session"):
        answer = await shared.http.post(
            "/admin/login", data={"token": ADMIN_TOKEN}, headers={"cookie": f"{name}={planted}"}
        )
        shared.http.cookies.clear()
        assert answer.cookies["session"] != planted
        assert not await is_in(shared, {"cookie": f"{name}={planted}"})


async def test_where_there_is_https_a_cookie_of_another_scheme_does_not_come_first(
    shared: Relay,
) -> None:
    """`__Host-` cannot be planted from a subdomain or by http; the plain name can."""
    mine = (await signed_in(shared))["cookie"].partition("=")[2]
    both = {"cookie": f"session=planted; __Host-session={mine}"}
    assert await is_in(shared, both)


async def test_a_session_is_used_by_pages_and_not_by_who_watches(shared: Relay) -> None:
    """An open page on a locked screen is no use: idle, it ends, and its socket with it."""
    browser = await signed_in(shared)
    async with connected(shared.app, browser | {"origin": OWN}) as socket:
        await socket.hear("hello")
        await shared.execute("UPDATE sessions SET seen_at = seen_at - interval '31 minutes'")
        await socket.over()

    async def is_out() -> bool:
        return not await is_in(shared, browser)

    await until(is_out, "the end of an idle session")


SENSITIVE = [
    "sell/all",
    "destinations",
    "destinations/{id}/address",
    "destinations/{id}/rotate-secret",
    "settings/tokens",
    "settings/sessions/end-all",
]


@pytest.mark.parametrize("path", SENSITIVE)
async def test_what_hurts_asks_for_a_token_again_after_five_minutes(
    shared: Relay, path: str
) -> None:
    """H12: and a wrong one does nothing either. A sell of one position never asks."""
    path = path.format(id=(await create(shared))["id"])
    browser = await signed_in(shared)
    await shared.execute("UPDATE sessions SET proved_at = proved_at - interval '301 s'")
    for proof in ({}, {"proof": "wrong"}):
        answer = await shared.http.post(f"/admin/{path}", data={"x": "y"} | proof, headers=browser)
        assert answer.status_code == 403
        assert "Nothing was done." in answer.text
    assert await is_in(shared, browser)
