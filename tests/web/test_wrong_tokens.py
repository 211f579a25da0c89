"""H13: a flood of wrong tokens costs little and keeps nobody out who has the right one."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import httpx
import pytest

from engines.access.refusals import MOST, MOST_TOGETHER
from tests.web.sockets import connected
from tests.web.stage import ADMIN_TOKEN, UPDATE_TOKEN, WEBHOOK_TOKEN, Relay, cloned, relay

SHORT, LONG = 320, 10_000
AT_ONCE = 20
WRITES = """
    SELECT (SELECT count(*) FROM events
            WHERE event IN ('access.refused', 'access.limited')) AS told,
           (SELECT coalesce(max(failures), 0) FROM wrong_tokens WHERE origin = '') AS together,
           (SELECT coalesce(max(failures), 0) FROM wrong_tokens WHERE origin <> '') AS own,
           (SELECT count(DISTINCT date_trunc('minute', at)) FROM events
            WHERE event IN ('access.refused', 'access.limited')) AS minutes
"""


def client(relay: Relay, origin: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(relay.app, client=(origin, 40_000))
    return httpx.AsyncClient(transport=transport, base_url="https://127.0.0.1:8000")


async def guess(http: httpx.AsyncClient, number: int) -> httpx.Response:
    """At each door in turn."""
    token = f"tsp_a-wrong-token-of-a-usual-length-{number:08}"
    bearer = {"authorization": f"Bearer {token}"}
    match number % 5:
        case 0:
            return await http.post("/admin/login", data={"token": token})
        case 1:
            return await http.get("/api/signals", headers=bearer)
        case 2:
            return await http.post(f"/webhook/in/{token}", json={"ticker": "AAPL"})
        case 3:
            return await http.post("/webhook/in", json={"ticker": "AAPL", "secret": token})
        case _:
            return await http.get("/status", headers=bearer)


async def flood(relay: Relay, origins: list[str], guesses: int) -> Counter[int]:
    statuses = Counter[int]()
    callers = [client(relay, origin) for origin in origins]
    for begun in range(0, guesses, AT_ONCE):
        answers = await asyncio.gather(
            *(guess(callers[n % len(callers)], n) for n in range(begun, begun + AT_ONCE))
        )
        for answer in answers:
            statuses[answer.status_code] += 1
            if answer.status_code == 429:
                assert 1 <= int(answer.headers["retry-after"]) <= 60
    for caller in callers:
        await caller.aclose()
    return statuses


async def right_ones(relay: Relay, origin: str, number: int) -> None:
    """The operator signs in, programs ask, alerts are taken."""
    async with client(relay, origin) as http:
        into = await http.post("/admin/login", data={"token": ADMIN_TOKEN})
        assert into.status_code == 303
        bearer = {"authorization": f"Bearer {UPDATE_TOKEN}"}
        assert (await http.get("/api/universe", headers=bearer)).status_code == 200
        alert = {"ticker": "AAPL", "action": "buy", "n": number, "from": origin}
        answer = await http.post(f"/webhook/in/{WEBHOOK_TOKEN}", json=alert)
        assert answer.status_code == 202


async def during(
    flooding: "asyncio.Task[Counter[int]]", work: Callable[[int], Awaitable[None]]
) -> int:
    """Work again and again until the flood is over, and once behind it."""
    number = 0
    while not flooding.done():
        await work(number)
        number += 1
    await work(number)
    return number


@pytest.mark.parametrize("origins", [["192.0.2.9"], [f"198.51.100.{n}" for n in range(200)]])
async def test_a_flood_keeps_nobody_out(
    template: str, request: pytest.FixtureRequest, origins: list[str]
) -> None:
    """From one address and from many, at two replicas."""
    guesses = LONG if request.config.getoption("--long") else SHORT
    async with (
        cloned(template) as url,
        relay(url, strict=True, wait=False) as one,
        relay(url, strict=True, wait=False) as other,
    ):
        floods = asyncio.gather(*(flood(it, origins, guesses // 2) for it in (one, other)))
        flooding = asyncio.ensure_future(floods)

        async def work(number: int) -> None:
            await right_ones(one, origins[0], number)
            await right_ones(other, "203.0.113.5", number)

        assert await during(flooding, work) > 0  # pyright: ignore[reportArgumentType]  a future is as good
        statuses = sum(flooding.result(), Counter[int]())
        [found] = await one.rows(WRITES)
        minutes = found.minutes + 1  # one may have begun without anything told
        assert set(statuses) == {401, 429}
        assert statuses[401] <= 2 * minutes * min(MOST_TOGETHER, MOST * len(origins)) + 2 * AT_ONCE
        assert found.together <= MOST_TOGETHER
        assert found.own <= MOST
        assert found.told <= minutes * (MOST_TOGETHER + MOST_TOGETHER // MOST + 1)
        assert statuses[429] > 0


async def test_a_proof_is_a_door_too(template: str) -> None:
    async with cloned(template) as url, relay(url, strict=True, wait=False) as one:
        http = client(one, "192.0.2.9")
        into = await http.post("/admin/login", data={"token": ADMIN_TOKEN})
        assert into.status_code == 303
        await one.execute("UPDATE sessions SET proved_at = now() - interval '1 hour'")
        fields = {"name": "swing", "proof": "not-the-token"}
        origin = {"origin": "https://127.0.0.1:8000"}
        path = "/admin/settings/sources"
        statuses = [
            (await http.post(path, data=fields, headers=origin)).status_code
            for _ in range(2 * MOST + 1)  # also when a minute begins meanwhile
        ]
        assert set(statuses) == {403, 429}
        fields["proof"] = ADMIN_TOKEN
        assert (await http.post(path, data=fields, headers=origin)).status_code == 200
        assert (await one.rows("SELECT name FROM sources WHERE name = 'swing'")) != []
        await http.aclose()


async def test_a_socket_is_a_door_too(template: str) -> None:
    async with cloned(template) as url, relay(url, strict=True, wait=False) as one:
        statuses: dict[int, str | None] = {}
        for number in range(2 * MOST + 1):
            wrong = {"authorization": f"Bearer tsp_a-wrong-token-of-a-usual-length-{number:08}"}
            async with connected(one.app, wrong) as socket:
                statuses[socket.status] = socket.headers.get("retry-after")
        assert set(statuses) == {401, 429}
        assert int(statuses[429] or 0) > 0
        right = {"authorization": f"Bearer {UPDATE_TOKEN}"}
        async with connected(one.app, right) as socket:
            assert socket.status == 101
