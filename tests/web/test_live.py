"""The live feed at its door and on the wire: who may listen, what is heard, when it ends."""

import asyncio
from contextlib import AsyncExitStack
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio

from tests.web.calm import alerts_at_rest, list_at_rest
from tests.web.sockets import OWN, connected
from tests.web.stage import ADMIN_TOKEN, UPDATE_TOKEN, WEBHOOK_TOKEN, Relay, cloned, relay, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

READER = {"authorization": f"Bearer {UPDATE_TOKEN}"}
AT_HOME, ABROAD = {"origin": OWN}, {"origin": "https://elsewhere.example"}


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def calm(shared: Relay) -> None:
    """What comes of the test before is no news to the sockets of this one."""
    await list_at_rest(shared)
    await alerts_at_rest(shared)


async def sign_in(one: Relay) -> str:
    answer = await one.http.post("/admin/login", data={"token": ADMIN_TOKEN})
    one.http.cookies.clear()
    return answer.cookies["session"]


async def sign_out(one: Relay, session: str) -> None:
    answer = await one.http.post("/admin/logout", headers={"cookie": f"session={session}"})
    assert answer.status_code == 303


def cookie(session: str) -> dict[str, str]:
    return {"cookie": f"session={session}", **AT_HOME}


async def make_token(one: Relay, name: str, *scopes: str) -> tuple[str, str]:
    """A new token and its id."""
    answer: httpx.Response = await one.http.post(
        "/api/tokens",
        json={"name": name, "scopes": list(scopes)},
        headers={"authorization": f"Bearer {ADMIN_TOKEN}"},
    )
    assert answer.status_code == 201, answer.text
    return answer.json()["token"], answer.json()["id"]


# ── The door ────────────────────────────────────────────────────────────────────────────────

ORIGINS: dict[str, dict[str, str]] = {
    "ours": AT_HOME,
    "none": {},
    "another site": ABROAD,
    "another port": {"origin": "http://127.0.0.1:9000"},
    "null": {"origin": "null"},
    "ours, says a foreign page": {**AT_HOME, "sec-fetch-site": "cross-site"},
}
DOORS = {
    #            nothing ingest update admin session ended
    "ours": (401, 401, 101, 101, 101, 401),
    "none": (401, 401, 101, 101, 403, 403),
    "another site": (403,) * 6,
    "another port": (403,) * 6,
    "null": (403,) * 6,
    "ours, says a foreign page": (403,) * 6,
}
WHO = ("nothing", "ingest", "update", "admin", "session", "ended")


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("origin", ORIGINS)
async def test_who_may_listen_is_settled_before_the_socket_is_accepted(
    shared: Relay, origin: str, who: str
) -> None:
    headers: dict[str, str] = {}
    if who in {"session", "ended"}:
        session = await sign_in(shared)
        headers = {"cookie": f"session={session}"}
        if who == "ended":
            await sign_out(shared, session)
    elif who != "nothing":
        tokens = {"ingest": WEBHOOK_TOKEN, "update": UPDATE_TOKEN, "admin": ADMIN_TOKEN}
        headers = {"authorization": f"Bearer {tokens[who]}"}
    async with connected(shared.app, headers | ORIGINS[origin]) as socket:
        assert socket.status == DOORS[origin][WHO.index(who)]
        if socket.status == 101:
            await socket.hear("hello")
        else:
            assert socket.headers["content-type"] == "application/problem+json"
            assert "content-security-policy" in socket.headers
            assert socket.frames.empty()


async def test_a_foreign_page_with_the_cookie_of_an_operator_is_told_nothing(
    shared: Relay,
) -> None:
    """Cross-site WebSocket hijacking (OWASP ASVS 5.0, 4.4.2)."""
    session = await sign_in(shared)
    async with connected(shared.app, cookie(session) | ABROAD) as socket:
        assert socket.status == 403
        await shared.post({"ticker": "HIJACK", "action": "buy"})
        assert socket.frames.empty()


# ── What is heard ───────────────────────────────────────────────────────────────────────────


async def test_what_happens_is_told_as_it_happens(shared: Relay) -> None:
    async with connected(shared.app, READER) as socket:
        hello = await socket.hear("hello")
        assert set(hello) == {"type", "cursor", "version"}
        id = (await shared.post({"ticker": "NASDAQ:HEARD", "action": "buy"})).json()["signal_id"]
        event = await socket.happened("signal.received")
        assert (event["signal_id"], event["ticker"], event["side"]) == (id, "HEARD", "buy")
        rejected = await socket.happened("signal.rejected")
        assert (rejected["signal_id"], rejected["detail"]["reason"]) == (id, "not_in_list")
        assert event["id"] < rejected["id"]


async def test_nothing_secret_is_told(shared: Relay) -> None:
    async with connected(shared.app, READER) as socket:
        await socket.hear("hello")
        secret = "the-password-of-my-broker"
        await shared.post({"ticker": "QUIET", "action": "buy", "password": secret})
        token, _ = await make_token(shared, "never told", "read")
        told: list[object] = []
        while "token.created" not in str(told):
            told.append(await socket.hear("events"))
        assert secret not in str(told)
        assert token not in str(told)
        assert "hook/a-password" not in str(told)


async def test_who_comes_back_is_told_what_it_missed_and_nothing_twice(shared: Relay) -> None:
    async with connected(shared.app, READER) as socket:
        await socket.hear("hello")
        await shared.post({"ticker": "BEFORE", "action": "buy"})
        cursor = (await socket.happened("signal.rejected"))["cursor"]
    id = (await shared.post({"ticker": "MISSED", "action": "buy"})).json()["signal_id"]
    await shared.settled(id)
    async with connected(shared.app, READER, f"cursor={quote(cursor)}") as socket:
        assert (await socket.hear("hello"))["cursor"] == cursor
        missed = await socket.hear("events")
        mine = [one for one in missed["events"] if one["signal_id"] == id]
        assert [one["event"] for one in mine] == ["signal.received", "signal.rejected"]
        assert "BEFORE" not in str(missed)
        later = (await shared.post({"ticker": "LATER", "action": "buy"})).json()["signal_id"]
        assert (await socket.happened("signal.received"))["signal_id"] == later


@pytest.mark.parametrize(
    "cursor",
    [
        *("", "x", "0:0:", "9:1:", "1:999999999999999:", "1:5:4,3", "1:2:'; --", "9" * 5_000),
        *("%00", "é"),
    ],
)
async def test_a_cursor_that_is_none_of_ours_is_told_to_read_everything(
    shared: Relay, cursor: str
) -> None:
    async with connected(shared.app, READER, f"cursor={quote(cursor)}") as socket:
        hello = await socket.hear("hello")
        again = await socket.hear("reread")
        assert (again["cursor"], again["why"]) == (hello["cursor"], "cursor")


async def test_who_is_far_behind_is_told_to_read_everything(shared: Relay) -> None:
    async with connected(shared.app, READER) as socket:
        cursor = (await socket.hear("hello"))["cursor"]
        await shared.execute(
            "INSERT INTO events (event) SELECT 'signal.received' FROM generate_series(1, 501)"
        )
        again = await socket.hear("reread")
        assert again["why"] == "many"
    async with connected(shared.app, READER, f"cursor={quote(cursor)}") as socket:
        await socket.hear("hello")
        assert (await socket.hear("reread"))["why"] == "behind"


async def test_nothing_is_missed_while_a_server_is_away(template: str) -> None:
    async with cloned(template) as url:
        async with relay(url) as one, connected(one.app, READER) as socket:
            cursor = (await socket.hear("hello"))["cursor"]
        async with relay(url) as other:
            ids = [
                (await other.post({"ticker": f"AWAY{number}", "action": "buy"})).json()["signal_id"]
                for number in range(5)
            ]
        async with relay(url) as again:
            query = f"cursor={quote(cursor)}"
            async with connected(again.app, READER, query) as socket:
                told: list[str] = []
                while not set(ids) <= set(told):
                    frame = await socket.frames.get()
                    events = [e for e in frame.get("events", ()) if e["event"] == "signal.received"]
                    told += [one["signal_id"] for one in events]
                assert told == ids


async def test_a_slow_reader_is_told_to_read_again_and_delays_nobody(shared: Relay) -> None:
    async with (
        connected(shared.app, READER) as slow,
        connected(shared.app, READER) as quick,
    ):
        await slow.hear("hello")
        await quick.hear("hello")
        slow.taking.clear()
        for number in range(4):
            await shared.execute(
                "INSERT INTO events (event, detail) VALUES ('signal.received',"
                " jsonb_build_object('note', CAST(:text AS text)))",
                text=f"{number}{'x' * 100_000}",
            )
            await quick.happened("signal.received")
        dropped = (await shared.get("/metrics")).text
        assert 'relay_live_rereads_total{why="slow"} 1.0' in dropped
        slow.taking.set()
        while (frame := await slow.frames.get())["type"] == "events":
            pass
        assert (frame["type"], frame["why"]) == ("reread", "slow")
        await shared.post({"ticker": "AFTER", "action": "buy"})
        assert (await slow.happened("signal.received"))["ticker"] == "AFTER"


# ── What a client may say ───────────────────────────────────────────────────────────────────


async def test_a_ping_is_answered(shared: Relay) -> None:
    async with connected(shared.app, READER) as socket:
        await socket.hear("hello")
        socket.say('{"type": "ping"}')
        await socket.hear("ping")


@pytest.mark.parametrize(
    ("text", "raw", "code"),
    [
        ("", None, 1008),
        ("ping", None, 1008),
        ('{"type": "subscribe"}', None, 1008),
        ('{"type": "ping", "and": 1}', None, 1008),
        ("[" * 1_000, None, 1008),
        ("NaN", None, 1008),
        (None, b'{"type": "ping"}', 1008),
        ('{"type": "ping"}' + " " * 1_020, None, 1009),
        (None, b"x" * 1_025, 1009),
    ],
)
async def test_anything_else_ends_it(
    shared: Relay, text: str | None, raw: bytes | None, code: int
) -> None:
    async with connected(shared.app, READER) as socket:
        await socket.hear("hello")
        socket.say(text, raw)
        assert await socket.over() == code


async def test_who_says_too_much_is_cut_off(shared: Relay) -> None:
    async with connected(shared.app, READER) as socket:
        await socket.hear("hello")
        for _ in range(20):
            socket.say('{"type": "ping"}')
        assert await socket.over() == 1008


# ── When it ends ────────────────────────────────────────────────────────────────────────────


async def test_signing_out_closes_what_the_session_holds_and_nothing_else(shared: Relay) -> None:
    mine, others = await sign_in(shared), await sign_in(shared)
    async with (
        connected(shared.app, cookie(mine)) as one,
        connected(shared.app, cookie(mine)) as two,
        connected(shared.app, cookie(others)) as other,
    ):
        for socket in (one, two, other):
            await socket.hear("hello")
        await sign_out(shared, mine)
        assert [await one.over(within=2), await two.over(within=2)] == [4401, 4401]
        assert not other.ended.is_set()


async def test_signing_out_at_another_replica_closes_it_too(template: str) -> None:
    async with cloned(template) as url, relay(url) as here, relay(url, wait=False) as there:
        session = await sign_in(here)
        async with connected(here.app, cookie(session)) as socket:
            await socket.hear("hello")
            await sign_out(there, session)
            assert await socket.over(within=5) == 4401


async def test_what_happens_at_another_replica_is_told_here(template: str) -> None:
    async with (
        cloned(template) as url,
        relay(url) as here,
        relay(url, wait=False) as there,
        connected(here.app, READER) as socket,
    ):
        await socket.hear("hello")
        id = (await there.post({"ticker": "THERE", "action": "buy"})).json()["signal_id"]
        assert (await socket.happened("signal.received"))["signal_id"] == id


@pytest.mark.parametrize(
    "end",
    [
        "UPDATE sessions SET seen_at = now() - interval '1 hour'",
        "UPDATE sessions SET created_at = now() - interval '1 day'",
        "DELETE FROM sessions",
    ],
)
async def test_a_session_that_ends_in_silence_is_missed_within_5_s(shared: Relay, end: str) -> None:
    session = await sign_in(shared)
    async with connected(shared.app, cookie(session)) as socket:
        await socket.hear("hello")
        await shared.execute(end)
        assert await socket.over(within=5) == 4401


async def test_a_revoked_token_ends_what_it_holds(shared: Relay) -> None:
    token, id = await make_token(shared, "to be revoked", "read")
    async with connected(shared.app, {"authorization": f"Bearer {token}"}) as socket:
        await socket.hear("hello")
        answer = await shared.http.post(
            f"/api/tokens/{id}/revoke", headers={"authorization": f"Bearer {ADMIN_TOKEN}"}
        )
        assert answer.status_code == 200
        assert await socket.over(within=5) == 4401


async def test_an_open_socket_is_no_use_of_a_session(shared: Relay) -> None:
    session = await sign_in(shared)
    await shared.execute("UPDATE sessions SET seen_at = seen_at - interval '10 minutes'")
    before = await shared.rows("SELECT seen_at FROM sessions ORDER BY 1")
    async with connected(shared.app, cookie(session)) as socket:
        await socket.hear("hello")
        await shared.post({"ticker": "USE", "action": "buy"})
        await socket.happened("signal.received")
    assert await shared.rows("SELECT seen_at FROM sessions ORDER BY 1") == before


# ── How many ────────────────────────────────────────────────────────────────────────────────


async def test_beyond_the_limit_they_are_told_to_come_later(template: str) -> None:
    async with cloned(template) as url, relay(url, live_clients_max=2) as one:
        async with connected(one.app, READER) as first:
            await first.hear("hello")
            async with connected(one.app, READER), connected(one.app, READER) as third:
                assert await third.over() == 1013
        async with connected(one.app, READER) as again:
            await again.hear("hello")


async def test_one_session_has_only_so_many(shared: Relay) -> None:
    session = await sign_in(shared)
    async with AsyncExitStack() as stack:
        for _ in range(20):
            opened = connected(shared.app, cookie(session))
            await (await stack.enter_async_context(opened)).hear("hello")
        async with connected(shared.app, cookie(session)) as one_more:
            assert await one_more.over() == 1013
        async with connected(shared.app, cookie(await sign_in(shared))) as another:
            await another.hear("hello")


async def test_with_nobody_connected_nothing_is_asked(template: str) -> None:
    async with cloned(template) as url, relay(url) as one:

        async def workers() -> dict[str, str | None]:
            found = (await one.read("/status"))["workers"]
            live = ("announcer", "listener", "usher")
            return {w["name"]: w["stepped_at"] for w in found if w["name"] in live}

        async with connected(one.app, READER) as socket:
            await socket.hear("hello")
        assert len(await workers()) == 3

        async def at_rest() -> bool:
            listening = await one.rows(
                "SELECT 1 FROM pg_stat_activity WHERE application_name = 'relay live'"
                " AND datname = current_database()"
            )
            return not listening

        await until(at_rest, "the listener to hang up")
        before = await workers()
        await asyncio.sleep(1.5)  # longer than any poll
        after = await workers()
        assert after["usher"] == before["usher"]
