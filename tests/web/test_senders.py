"""H1: a source may say where it posts from; a right token from elsewhere is as a wrong one."""

import json
from typing import Any

import httpx
import pytest

from domain.messages import SENDERS
from tests.web.operating import ask
from tests.web.stage import ADMIN_TOKEN, WEBHOOK_TOKEN, Relay, cloned, relay

pytestmark = pytest.mark.asyncio(loop_scope="module")

ELSEWHERE = "203.0.113.9"


async def source(relay: Relay, name: str, senders: list[str] | None) -> dict[str, Any]:
    answer = await ask(relay, "POST", "/api/sources", {"name": name, "senders": senders})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def post(relay: Relay, token: str, origin: str, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(relay.app, client=(origin, 40_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        body = {"ticker": "AAPL", "action": "buy", "from": origin}
        return await http.post(f"/webhook/in/{token}", json=body, headers=given)


@pytest.mark.parametrize(
    ("senders", "origin", "taken"),
    [
        (None, ELSEWHERE, True),
        ([], ELSEWHERE, True),
        (["203.0.113.9"], ELSEWHERE, True),
        (["203.0.113.0/24"], ELSEWHERE, True),
        (["192.0.2.1", "203.0.113.0/24"], ELSEWHERE, True),
        (["203.0.113.0/29"], ELSEWHERE, False),
        (["2001:db8::/32"], "2001:db8::5", True),
        (["2001:db8::/32"], "2001:db9::5", False),
        (["203.0.113.9"], f"::ffff:{ELSEWHERE}", True),
        (["tradingview"], ELSEWHERE, False),
        *((["tradingview"], one, True) for one in SENDERS),
        (["TradingView", "203.0.113.9"], ELSEWHERE, True),
        (["203.0.113.9"], "unknown", False),
    ],
)
async def test_alerts_are_taken_from_senders_alone(
    shared: Relay, senders: list[str] | None, origin: str, *, taken: bool
) -> None:
    name = f"s{abs(hash((tuple(senders or ['-']), origin))) % 10**12}-{senders is None:d}"
    made = await source(shared, name, senders)
    answer = await post(shared, made["token"], origin)
    assert answer.status_code == (202 if taken else 401)


async def test_nobody_learns_that_the_token_was_right(shared: Relay) -> None:
    """The operator does: once a minute, with the address and the reason."""
    made = await source(shared, "told", ["192.0.2.1"])
    right, wrong = [
        await post(shared, token, "203.0.113.77") for token in (made["token"], "not-the-token")
    ]
    await post(shared, made["token"], "203.0.113.77")
    assert (right.status_code, right.content) == (wrong.status_code, wrong.content)
    assert right.headers == wrong.headers
    rows = await shared.rows(
        "SELECT origin, detail FROM events WHERE event = 'source.refused'"
        " AND detail->>'source' = 'told'"
    )
    assert {row.origin for row in rows} == {"203.0.113.77"}
    assert len(rows) <= 2, "two where a minute ended meanwhile"
    assert made["token"] not in json.dumps(rows[0].detail)


async def test_a_proxy_that_is_not_trusted_is_named_as_the_cause(shared: Relay) -> None:
    made = await source(shared, "proxied", list(SENDERS))
    answer = await post(shared, made["token"], "10.1.2.3", x_forwarded_for=SENDERS[0])
    assert answer.status_code == 401
    [row] = await shared.rows(
        "SELECT detail->>'reason' AS reason FROM events"
        " WHERE event = 'source.refused' AND origin = '10.1.2.3'"
    )
    assert "TRUSTED_PROXIES" in row.reason


async def test_behind_a_trusted_proxy_the_sender_counts(template: str) -> None:
    async with (
        cloned(template) as url,
        relay(url, trusted_proxies="10.0.0.0/8", wait=False) as one,
    ):
        made = await source(one, "proxied", ["tradingview"])
        for forwarded, taken in [
            (SENDERS[0], True),
            (f"6.6.6.6, {SENDERS[1]}", True),
            (f"{SENDERS[0]}, {ELSEWHERE}", False),
            (f"{SENDERS[0]}, unknown", False),
        ]:
            answer = await post(one, made["token"], "10.1.2.3", x_forwarded_for=forwarded)
            assert (answer.status_code != 401) is taken, forwarded
        spoofed = await post(one, made["token"], ELSEWHERE, x_forwarded_for=SENDERS[0])
        assert spoofed.status_code == 401


async def test_the_settings_source_has_senders_too(template: str) -> None:
    async with cloned(template) as url, relay(url, wait=False) as one:
        changed = await ask(one, "PATCH", "/api/sources/webhook", {"senders": ["192.0.2.1"]})
        assert changed.json()["senders"] == ["192.0.2.1/32"]
        assert (await post(one, WEBHOOK_TOKEN, ELSEWHERE)).status_code == 401
        assert (await post(one, WEBHOOK_TOKEN, "192.0.2.1")).status_code == 202
        back = await ask(one, "PATCH", "/api/sources/webhook", {"senders": None})
        assert back.json()["senders"] is None
        assert (await post(one, WEBHOOK_TOKEN, ELSEWHERE)).status_code in {200, 202}


@pytest.mark.parametrize(
    "senders", [["0.0.0.0/0"], ["::/0"], ["example.com"], ["1.2.3"], ["10.0.0.1/8"], [""], "x", [1]]
)
async def test_what_is_no_network_is_refused_by_name(shared: Relay, senders: object) -> None:
    answer = await ask(shared, "POST", "/api/sources", {"name": "never", "senders": senders})
    assert answer.status_code == 400
    assert answer.json()["field"].startswith("senders")


async def test_the_page_shows_and_changes_them(shared: Relay) -> None:
    into = await shared.http.post("/admin/login", data={"token": ADMIN_TOKEN})
    assert into.status_code == 303
    await source(shared, "paged", ["tradingview"])
    page = "/admin/settings/sources/paged"
    assert 'value="tradingview"' in (await shared.http.get(page)).text
    origin = {"origin": "http://127.0.0.1:8000"}
    given = {"version": "1", "senders": "tradingview, 192.0.2.0/24 2001:db8::/32"}
    assert (await shared.http.post(page, data=given, headers=origin)).status_code == 303
    assert 'value="tradingview, 192.0.2.0/24, 2001:db8::/32"' in (await shared.http.get(page)).text
    wrong = {"version": "2", "senders": "everybody"}
    refused = await shared.http.post(page, data=wrong, headers=origin)
    assert refused.status_code == 400
    assert 'value="everybody"' in refused.text
    shared.http.cookies.clear()
