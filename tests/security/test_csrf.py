"""H9: with the operator's cookie, another site's page changes nothing at any door.

In a real browser: `tests/pages/test_locked_pages.py`.
"""

from collections.abc import Iterator

import pytest

from tests.web import doors_original
from tests.web.operating import signed_in
from tests.web.stage import ADMIN_TOKEN, UPDATE_TOKEN, Relay
from tests.web.test_doors import DOORS, NOBODY

pytestmark = pytest.mark.asyncio(loop_scope="module")

OWN = "http://127.0.0.1:8000"
FOREIGN = [
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:9999"},
    {"origin": "https://evil.example"},
    {"origin": "null"},
]
ODD = [
    {"sec-fetch-site": "cross-site", "origin": OWN},
    {"sec-fetch-site": "something new"},
    {"sec-fetch-site": ""},
    {"sec-fetch-site": "same-origin", "origin": "https://evil.example"},
    {"origin": "http://127.0.0.1"},
    {"origin": "http://localhost:8000"},
    {"origin": f"{OWN}.evil.example"},
    {"origin": f"http://evil.example/{OWN}"},
    {"origin": "http://user@127.0.0.1:8000"},
    {"origin": f"{OWN}/"},
    {"origin": f"{OWN}, https://evil.example"},
    {"origin": ""},
]
KINDS = ["application/json", "text/plain", "application/x-www-form-urlencoded", None]
"""What a form or a fetch without a preflight may say it sends, and what ours do."""

FORM = b"token=x&version=1&tickers=AAPL&confirm=1&reason=x"
FILLED = {
    "/sell/all": b'{"reason": "x"}',
    "/finviz/config": b'{"top_n": 3}',
    "/api/buying/pause": b'{"reason": "x"}',
}
GIVEN: dict[str, object] = {
    "id": NOBODY,
    "delivery": NOBODY,
    "version": 0,
    "ticker": "NONE",
    "name": "0123456789ab",
}


def changing() -> Iterator[tuple[str, str, bool]]:
    """Every door behind which something changes, and whether it is a page's."""
    for method, path in DOORS:
        if method != "GET" and (method, path) not in doors_original.GONE_DOORS:
            numbered = {"id": 1} if "/attention/{id}" in path else {}
            of_page = path.startswith("/admin") and (method, path) not in doors_original.DOORS
            yield method, path.format(**GIVEN | numbered, order="pause", verb="drop"), of_page


async def effects(relay: Relay) -> list[object]:
    """What somebody did: what the relay does by itself meanwhile has no actor."""
    return await relay.rows(
        "SELECT (SELECT count(*) FROM events"
        " WHERE event <> 'session.begun' AND actor IS NOT NULL),"
        " (SELECT count(*) FROM signals), (SELECT count(*) FROM sessions)"
    )


@pytest.mark.parametrize("marks", FOREIGN, ids=lambda marks: str(marks)[1:-1])
async def test_every_change_is_refused_where_another_site_asks(
    shared: Relay, marks: dict[str, str]
) -> None:
    browser = await signed_in(shared)
    before, amiss = await effects(shared), list[str]()
    for number, (method, path, of_page) in enumerate(changing(), FOREIGN.index(marks)):
        kind = KINDS[number % len(KINDS)]
        headers = browser | marks | ({"content-type": kind} if kind else {})
        body = FORM if of_page else FILLED.get(path, b"{}")
        answer = await shared.http.request(method, path, headers=headers, content=body)
        if answer.status_code != 403 or '"cross_site"' not in answer.text:
            amiss.append(f"{method} {path}: {answer.status_code} {answer.text[:80]}")
    assert amiss == []
    assert await effects(shared) == before


@pytest.mark.parametrize("marks", ODD, ids=lambda marks: str(marks)[1:-1])
async def test_an_origin_is_ours_only_as_browsers_write_it(
    shared: Relay, marks: dict[str, str]
) -> None:
    headers = await signed_in(shared) | marks
    for path in ("/api/buying/pause", "/admin/settings/sessions/end-all", "/admin/logout"):
        answer = await shared.http.post(path, headers=headers, content=b"")
        assert answer.status_code == 403, path


async def test_our_own_page_and_a_program_with_a_token_are_not_refused_for_it(
    shared: Relay,
) -> None:
    own = await signed_in(shared) | {"origin": OWN, "sec-fetch-site": "same-origin"}
    program = {"authorization": f"Bearer {UPDATE_TOKEN}", "origin": "https://a-script.example"}
    for headers in (own, program):
        answer = await shared.http.post("/api/screens", json={}, headers=headers)
        assert answer.status_code == 400


async def test_no_other_site_may_read_or_ask_for_leave(shared: Relay) -> None:
    """No answer has a header of CORS, whoever asks and whatever for."""
    browser = await signed_in(shared)
    asks = {
        "origin": "https://evil.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,authorization",
    }
    for path in ("/api/signals", "/sell/all", "/admin", "/admin/login", "/webhook/in", "/status"):
        for method in ("OPTIONS", "GET", "POST"):
            answer = await shared.http.request(method, path, headers=browser | asks)
            assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_wrong_token_beside_a_cookie_is_no_way_around(shared: Relay) -> None:
    """A page cannot set the header without leave; and the cookie does not stand in for it."""
    browser = await signed_in(shared) | {"authorization": "Bearer wrong"}
    answer = await shared.http.post("/api/buying/pause", json={}, headers=browser)
    assert answer.status_code == 401
    assert ADMIN_TOKEN not in answer.text
