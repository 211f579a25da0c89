"""The pages of settings: what their forms do, what they refuse and keep, what they show once."""

import re
from collections.abc import AsyncGenerator
from datetime import timedelta

import httpx
import pytest
import pytest_asyncio

from database.migrate import head
from tests.web.operating import signed_in
from tests.web.stage import UPDATE_TOKEN, Relay, cloned, relay
from version import VERSION, revision

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGES = ("", "/sources", "/tokens", "/channels", "/files", "/sessions", "/environment")
HERE = "/admin/settings"


def nobody_answers(request: httpx.Request) -> httpx.Response:
    """No network: a search for a name that is none may take longer than two tests are apart."""
    raise httpx.ConnectError("nobody answers", request=request)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(template: str) -> AsyncGenerator[Relay]:
    away = httpx.MockTransport(nobody_answers)
    async with cloned(template) as url, relay(url, notices=away) as one:
        yield one


@pytest_asyncio.fixture(loop_scope="module")
async def browser(house: Relay) -> dict[str, str]:
    return await signed_in(house)


async def see(house: Relay, browser: dict[str, str], path: str) -> str:
    answer = await house.http.get(f"{HERE}{path}", headers=browser)
    assert answer.status_code == 200, answer.text
    return answer.text


async def submit(
    house: Relay, browser: dict[str, str], path: str, fields: dict[str, str | list[str]]
) -> httpx.Response:
    return await house.http.post(f"{HERE}{path}", data=fields, headers=browser)


def hidden(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found
    return found[1]


async def ruled(house: Relay, browser: dict[str, str], **rules: str) -> httpx.Response:
    version = hidden(await see(house, browser, ""), "version")
    given: dict[str, str | list[str]] = {"version": version, "of": ["every", "webhook"]}
    return await submit(house, browser, "/rules", {**given, **rules})


# ── Rules ───────────────────────────────────────────────────────────────────────────────────


async def test_rules_are_saved_shown_and_used_again(house: Relay, browser: dict[str, str]) -> None:
    first = {"every-refused": "gme, NYSE:BRK.B", "every-cooldown_sec": "90", "reason": "earnings"}
    done = await ruled(house, browser, **first, **{"source-webhook-max_positions": "3"})
    assert done.status_code == 303, done.text
    kept = await house.read("/api/rules")
    assert (kept["every"]["refused"], kept["every"]["cooldown_sec"]) == (["BRK-B", "GME"], 90)
    assert kept["sources"]["webhook"]["max_positions"] == 3
    page = await see(house, browser, "")
    assert "BRK-B\nGME</textarea>" in page
    assert "Source webhook, in addition: Most positions: none → 3" in page
    await ruled(house, browser)
    assert (await house.read("/api/rules"))["sources"] == {}
    old = await see(house, browser, f"?version={kept['version']}")
    assert f"The form holds the rules of version {kept['version']}." in old
    assert "BRK-B\nGME</textarea>" in old
    assert (await house.read("/api/rules"))["every"]["refused"] == [], "looking changes nothing"
    assert (await house.http.get(f"{HERE}?version=999", headers=browser)).status_code == 404


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("every-cooldown_sec", "soon", "Cooldown in seconds: not a number"),
        ("every-cooldown_sec", "-1", "Cooldown in seconds: "),
        ("every-max_positions", "1.5", "Most positions: not a whole number"),
        ("every-min_price", "cheap", "Lowest price: "),
        ("every-refused", "<b>", "Never buy: "),
    ],
)
async def test_a_rule_that_cannot_be_is_refused_and_kept_as_typed(
    house: Relay, browser: dict[str, str], field: str, value: str, words: str
) -> None:
    answer = await ruled(house, browser, **{field: value, "reason": "a try"})
    assert answer.status_code == 400
    assert words in answer.text
    assert value.replace("<b>", "&lt;b&gt;") in answer.text
    assert 'value="a try"' in answer.text


async def test_who_was_overtaken_is_told_and_may_save_on_purpose(
    house: Relay, browser: dict[str, str]
) -> None:
    old = hidden(await see(house, browser, ""), "version")
    await ruled(house, browser, **{"every-max_positions": "7"})
    fields: dict[str, str | list[str]] = {"version": old, "of": ["every"], "every-refused": "GME"}
    answer = await submit(house, browser, "/rules", fields)
    assert answer.status_code == 409
    assert "Somebody has changed the gate" in answer.text
    fields["version"] = hidden(answer.text, "version")
    assert (await submit(house, browser, "/rules", fields)).status_code == 303
    await ruled(house, browser)


async def test_rules_are_tried_on_the_last_day_before_they_are_saved(
    house: Relay, browser: dict[str, str]
) -> None:
    ticker = house.finviz.market[0].ticker
    answer = await house.post({"ticker": ticker, "action": "buy", "price": "10"})
    await house.settled(answer.json()["signal_id"])
    before = await house.read("/api/rules")
    fields: dict[str, str | list[str]] = {"of": ["every"], "every-refused": ticker}
    tried = await submit(house, browser, "/rules/try", fields)
    assert tried.status_code == 200, tried.text
    assert "would have turned away 1 buy that passed" in tried.text
    assert f">{ticker}</textarea>" in tried.text
    assert answer.json()["signal_id"] in tried.text
    assert await house.read("/api/rules") == before


# ── Sources and tokens ──────────────────────────────────────────────────────────────────────


async def test_a_source_lives_from_its_first_token_to_its_end(
    house: Relay, browser: dict[str, str]
) -> None:
    typed: dict[str, str | list[str]] = {"name": "momentum", "direction": "buy", "buy_ttl_sec": "x"}
    refused = await submit(house, browser, "/sources", typed)
    assert refused.status_code == 400
    assert "A buy lives: not a number" in refused.text
    assert 'value="momentum"' in refused.text
    made = await submit(house, browser, "/sources", {**typed, "buy_ttl_sec": "20"})
    assert made.status_code == 200, made.text
    webhook = re.search(r'id="made-webhook">([^<]+)<', made.text)
    assert webhook
    path = webhook[1].removeprefix("http://127.0.0.1:8000")
    posted = await house.http.post(path, json={"ticker": "AAPL", "action": "buy", "n": 1})
    assert posted.status_code == 202, "it counts at once"
    page = await see(house, browser, "/sources/momentum")
    assert path.rpartition("/")[2] not in page, "shown once"
    assert "buys only" in await see(house, browser, "/sources")
    version = hidden(page, "version")
    fields: dict[str, str | list[str]] = {"version": version, "direction": "sell", "note": "slow"}
    assert (await submit(house, browser, "/sources/momentum", fields)).status_code == 303
    stale = await submit(house, browser, "/sources/momentum", {**fields, "note": "fast"})
    assert stale.status_code == 409
    assert 'value="fast"' in stale.text
    gone = await submit(house, browser, "/sources/momentum/archive", {"reason": "over"})
    assert gone.status_code == 303
    assert "1 token of it is revoked" in await see(house, browser, "/sources")
    answer = await house.http.post(path, json={"ticker": "AAPL", "action": "buy", "n": 2})
    assert answer.status_code == 401
    assert "momentum" in await see(house, browser, "/sources?archived=true")


async def test_a_token_is_shown_once_does_what_it_may_and_ends(
    house: Relay, browser: dict[str, str]
) -> None:
    fields: dict[str, str | list[str]] = {"name": "dashboard", "scopes": ["read", "trade"]}
    wrong = await submit(house, browser, "/tokens", {**fields, "ends": "2020-01-01"})
    assert wrong.status_code == 400
    assert 'value="trade" checked' in wrong.text
    nothing = await submit(house, browser, "/tokens", {"name": "idle"})
    assert nothing.status_code == 400
    made = await submit(house, browser, "/tokens", {**fields, "ends": "2029-12-31"})
    found = re.search(r'id="made-token">(tsp_[^<]{43})<', made.text)
    assert found, made.text
    assert (await house.get("/api/signals", found[1])).status_code == 200
    assert (await house.get("/api/tokens", found[1])).status_code == 401
    page = await see(house, browser, "/tokens")
    assert found[1] not in page
    assert f"…{found[1][-4:]}" in page
    [one] = [
        one for one in (await house.read("/api/tokens"))["items"] if one["name"] == "dashboard"
    ]
    assert one["expires_at"].startswith("2029-12-31T23:59:59")
    revoked = await submit(house, browser, f"/tokens/{one['id']}/revoke", {"reason": "enough"})
    assert revoked.status_code == 303
    assert (await house.get("/api/signals", found[1])).status_code == 401
    assert "The token dashboard is revoked" in await see(house, browser, "/tokens")


# ── Channels ────────────────────────────────────────────────────────────────────────────────


async def test_a_channel_of_each_kind_asks_for_its_own_fields(
    house: Relay, browser: dict[str, str]
) -> None:
    fields = {"telegram": {"token", "chat_id"}, "email": {"to", "sender"}, "slack": {"url"}}
    for kind, names in fields.items():
        page = await see(house, browser, f"/channels?kind={kind}")
        for name in {one for some in fields.values() for one in some}:
            assert (f'id="channel-{name}"' in page) is (name in names), (kind, name)


async def test_a_channel_is_made_changed_tested_and_put_away(
    house: Relay, browser: dict[str, str]
) -> None:
    secret = "https://hooks.example/hook/a-secret-part"
    typed: dict[str, str | list[str]] = {
        "kind": "webhook",
        "name": "my hook",
        "severity": "info",
        "window": "600",
        "enabled": "yes",
        "url": "gopher://hooks.example",
    }
    wrong = await submit(house, browser, "/channels", typed)
    assert wrong.status_code == 400
    assert 'value="my hook"' in wrong.text
    assert "gopher" not in wrong.text.partition("<form")[2]
    made = await submit(house, browser, "/channels", {**typed, "url": secret})
    assert made.status_code == 200, made.text
    assert re.search(r'id="signing-secret">whsec_', made.text)
    [one] = (await house.read("/api/channels"))["items"]
    page = await see(house, browser, f"/channels/{one['id']}")
    assert "a-secret-part" not in made.text + page
    assert "whsec_" not in page
    change: dict[str, str | list[str]] = {
        "kind": "webhook",
        "name": "my hook",
        "severity": "urgent",
        "window": "600",
        "version": hidden(page, "version"),
    }
    assert (await submit(house, browser, f"/channels/{one['id']}", change)).status_code == 303
    [now] = (await house.read("/api/channels"))["items"]
    assert (now["severity"], now["enabled"], now["shown"]) == ("urgent", False, one["shown"])
    tested = await submit(house, browser, f"/channels/{one['id']}/test", {})
    assert tested.status_code == 502
    assert "The test did not arrive" in tested.text
    again = await submit(house, browser, f"/channels/{one['id']}/test", {})
    assert again.status_code == 429
    assert "wait" in again.text
    gone = await submit(house, browser, f"/channels/{one['id']}/archive", {})
    assert gone.status_code == 303
    assert "my hook is archived" in await see(house, browser, "/channels")


# ── Files ───────────────────────────────────────────────────────────────────────────────────


async def test_a_configuration_is_looked_at_before_it_is_applied(
    house: Relay, browser: dict[str, str]
) -> None:
    file = """{"format": "trading-signal-processor/config", "version": 1,
               "sources": [{"name": "from-file", "direction": "sell"}]}"""
    broken = await submit(house, browser, "/files/look", {"file": "{"})
    assert broken.status_code == 400
    looked = await submit(house, browser, "/files/look", {"file": file})
    assert "1 thing would change." in looked.text
    assert "from-file" in looked.text
    digest = hidden(looked.text, "digest")
    assert "from-file" not in {one["name"] for one in (await house.read("/api/sources"))["items"]}
    other = await submit(house, browser, "/files/apply", {"file": file, "digest": "0" * 64})
    assert other.status_code == 409
    assert hidden(other.text, "digest") == digest
    done = await submit(house, browser, "/files/apply", {"file": file, "digest": digest})
    assert "Applied: 1 thing made, 0 changed." in done.text
    assert "from-file" in {one["name"] for one in (await house.read("/api/sources"))["items"]}


# ── Sessions and the environment ────────────────────────────────────────────────────────────


async def test_sessions_are_told_apart_ended_and_ended_all(house: Relay) -> None:
    agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    first, second = await signed_in(house), await signed_in(house)
    await house.execute("UPDATE sessions SET agent = :agent", agent=agent)
    page = await see(house, first, "/sessions")
    assert page.count(">this one<") == 1
    assert "Firefox on Linux" in page
    assert "30 min without use" in page
    for name in re.findall(r"/sessions/([0-9a-f]{12})/end", page):
        await submit(house, first, f"/sessions/{name}/end", {})
    assert (await house.http.get(HERE, headers=second)).status_code == 303
    assert (await house.http.get(HERE, headers=first)).status_code == 200
    third = await signed_in(house)
    everywhere = await submit(house, first, "/sessions/end-all", {})
    assert everywhere.headers["location"] == "/admin/login?ended=all"
    assert "Max-Age=0" in everywhere.headers["set-cookie"]
    for browser in (first, third):
        assert (await house.http.get(HERE, headers=browser)).status_code == 303
    assert "Every session was ended." in (await house.http.get("/admin/login?ended=all")).text
    told = await house.rows(
        "SELECT DISTINCT detail->>'reason' AS why FROM events WHERE event = 'session.ended'"
    )
    assert {row.why for row in told} >= {"ended from the list", "signed out everywhere"}


async def test_what_the_environment_says_is_shown_without_its_secrets(
    house: Relay, browser: dict[str, str]
) -> None:
    page = await see(house, browser, "/environment")
    for words in ("BUY_TTL_SEC", "900", "RETENTION_DAYS", "set, not shown", "signals"):
        assert words in page, words
    known = await house.rows("SELECT pg_database_size(current_database()) AS bytes")
    assert known[0].bytes > 0
    assert "in-process-" not in page


async def test_the_version_is_shown_wherever_one_looks_for_it(
    house: Relay, browser: dict[str, str]
) -> None:
    bearer = {"authorization": f"Bearer {UPDATE_TOKEN}"}
    status = (await house.http.get("/status", headers=bearer)).json()
    assert (status["version"], status["revision"]) == (VERSION, revision())
    described = (await house.http.get("/openapi.json", headers=bearer)).json()
    assert described["info"]["version"] == VERSION
    assert f"Version {VERSION}" in await see(house, browser, "")
    assert f"has schema <code>{head()}</code>, the newest" in await see(
        house, browser, "/environment"
    )
    assert VERSION not in (await house.http.get("/admin/login")).text  # no stranger learns it


@pytest.mark.parametrize("page", PAGES)
async def test_without_fresh_use_a_page_leads_to_the_door_and_back(house: Relay, page: str) -> None:
    browser = await signed_in(house)
    idle = timedelta(minutes=31)
    await house.execute(
        "UPDATE sessions SET seen_at = seen_at - CAST(:idle AS interval)", idle=idle
    )
    answer = await house.http.get(f"{HERE}{page}", headers=browser)
    assert answer.headers["location"] == f"/admin/login?to={HERE}{page}"
