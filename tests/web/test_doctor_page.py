"""The doctor's page: what it reads, rehearses, sends and finds; and what it refuses."""

import json
import re
from collections.abc import AsyncGenerator
from html import unescape

import httpx
import pytest
import pytest_asyncio

from tests.web.operating import CANARY, HEADERS, ask, create, signed_in, tell
from tests.web.stage import ADMIN_TOKEN, WEBHOOK_TOKEN, Relay, cloned, relay

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(template: str) -> AsyncGenerator[Relay]:
    """As any module's, with as many rehearsals as its tests like."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("engines.relay.rehearsal.A_MINUTE", 10_000)
        async with cloned(template) as url, relay(url) as one:
            yield one


@pytest_asyncio.fixture(loop_scope="module")
async def browser(shared: Relay) -> dict[str, str]:
    return await signed_in(shared)


async def play(house: Relay, browser: dict[str, str], **fields: str) -> httpx.Response:
    return await house.http.post("/admin/doctor", data=fields, headers=browser)


def text_of(answer: httpx.Response) -> str:
    """The words of a page, as they are read."""
    plain = re.sub(r"<[^>]+>", " ", answer.text.partition("<main")[2])
    return " ".join(unescape(plain).split())


async def signals(house: Relay) -> int:
    return (await house.rows("SELECT count(*) FROM signals"))[0][0]


async def test_a_pasted_message_is_read_judged_and_shown_as_it_would_leave(
    shared: Relay, browser: dict[str, str], listed: str
) -> None:
    one = await create(shared, headers=HEADERS)
    before = await signals(shared)
    body = {"ticker": f"NASDAQ:{listed}", "action": "buy", "close": "12.5", "token": WEBHOOK_TOKEN}
    answer = await play(shared, browser, body=json.dumps(body | {"comment": "<b>hi</b>"}))
    assert answer.status_code == 200, answer.text
    words = text_of(answer)
    for part in (
        f"It buys {listed}.",
        "NASDAQ before the colon is the exchange",
        "our own token: cut out",
        "changes nothing here, passed on",
        "It would be approved.",
        "Rank",
        "opens one",
        "POST https://other.example/•••",
        "x-api-key: •••",
        "webhook-signature: •••",
        "As soon as its rate windows have room.",
        "nothing was sent, nothing was kept",
    ):
        assert part in words, part
    assert "<b>hi</b>" not in answer.text
    shown = answer.text.replace(f"{WEBHOOK_TOKEN}&#34;", "", 1)  # in the field it was typed into
    assert WEBHOOK_TOKEN not in shown
    assert CANARY not in answer.text
    assert await signals(shared) == before
    await tell(shared, one, "disable")


async def test_what_cannot_be_read_says_what_to_change_and_keeps_what_was_typed(
    shared: Relay, browser: dict[str, str]
) -> None:
    typed = "{“ticker”: “AAPL”,\n“action”: “buy”}"
    answer = await play(shared, browser, body=typed)
    assert answer.status_code == 200
    words = text_of(answer)
    assert "It cannot be read:" in words
    assert "Code invalid_json, answered 400." in words
    assert "Type the quotes again" in words
    assert "What would be decided now" not in words
    assert typed in unescape(answer.text)


async def test_placeholders_are_filled_in_where_that_is_asked(
    shared: Relay, browser: dict[str, str]
) -> None:
    template = '{"ticker": "{{ticker}}", "action": "{{strategy.order.action}}"}'
    first = await play(shared, browser, body=template)
    assert "Fill them in and read it again" in first.text
    assert "TradingView fills in {{ticker}}, {{strategy.order.action}}" in text_of(first)
    answer = await play(shared, browser, body=template, fill="1")
    assert f"It buys {shared.finviz.market[0].ticker}." in text_of(answer)
    assert "It would be approved." in text_of(answer)


async def test_every_ready_message_can_be_tried(shared: Relay, browser: dict[str, str]) -> None:
    page = await shared.http.get("/admin/doctor", headers=browser)
    names = re.findall(r'data-copies="message-([\w-]+)"', page.text)
    assert len(names) == 6
    for name in names:
        ready = await shared.http.get(f"/admin/doctor?message={name}", headers=browser)
        held = re.search(r"<textarea[^>]*>\n?(.*?)</textarea>", ready.text, re.DOTALL)
        assert held
        answer = await play(shared, browser, body=unescape(held[1]))
        assert "It buys" in answer.text or "It sells all of" in answer.text, name
    assert "{{timenow}}" in page.text
    assert "/webhook/in/•••" in page.text
    assert "52.89.214.238" in page.text
    assert WEBHOOK_TOKEN not in page.text


async def test_a_source_has_its_own_messages(shared: Relay, browser: dict[str, str]) -> None:
    given = {"name": "pine", "time_field": "fired_at"}
    made = await ask(shared, "POST", "/api/sources", given, token=ADMIN_TOKEN)
    assert made.status_code == 201, made.text
    page = await shared.http.get("/admin/doctor?source=pine", headers=browser)
    assert '"fired_at": "{{timenow}}"' in unescape(page.text)
    assert "a token of the source pine" in page.text
    answer = await play(
        shared,
        browser,
        source="pine",
        body='{"ticker":"AAPL","action":"buy","fired_at":"2026-01-05T15:30:00Z"}',
    )
    assert "It would be expired on arrival." in text_of(answer)


async def test_a_test_alert_is_a_dry_run_first_and_then_real_with_its_sender_on_record(
    shared: Relay, browser: dict[str, str], listed: str
) -> None:
    before = await signals(shared)
    dry = await play(shared, browser, side="buy", ticker=listed, price="10")
    words = text_of(dry)
    assert "The dry run: nothing was sent, nothing was kept" in words
    assert "It opens a position here. 1 request leaves, to main" in words
    assert await signals(shared) == before
    found = re.search(r'name="body" value="([^"]+)"', dry.text)
    assert found
    body = unescape(found[1])
    sent = await shared.http.post("/admin/doctor/send", data={"body": body}, headers=browser)
    assert sent.status_code == 303, sent.text
    where = sent.headers["location"]
    life = await shared.settled(where.rpartition("/")[2])
    assert (life["status"], life["source"]) == ("delivered", "webhook")
    tested = [one for one in life["events"] if one["event"] == "signal.tested"]
    assert [one["actor"] for one in tested] == ["admin session"]
    assert "The test alert was sent." in text_of(await shared.http.get(where, headers=browser))
    (logged,) = (await shared.read("/api/activity?action=signal.tested&limit=1"))["items"]
    assert (logged["who"], logged["from"]) == ("admin session", "127.0.0.1")
    assert logged["subject"]["ticker"] == listed
    again = await shared.http.post("/admin/doctor/send", data={"body": body}, headers=browser)
    assert again.headers["location"] == where, "the same form sent twice is one alert"


async def test_a_test_of_a_sell_says_that_it_ends_the_position(
    shared: Relay, browser: dict[str, str], listed: str
) -> None:
    answer = await shared.post({"ticker": listed, "action": "buy"})
    await shared.settled(answer.json()["signal_id"])
    words = text_of(await play(shared, browser, side="sell", ticker=listed))
    assert "It sells the whole position there is." in words
    assert f"It sells all of {listed}." in words


async def test_who_has_not_shown_a_token_lately_is_asked_again(
    shared: Relay, browser: dict[str, str], listed: str
) -> None:
    await shared.execute("UPDATE sessions SET proved_at = now() - interval '1 day'")
    body = json.dumps({"ticker": listed, "action": "buy", "id": "again"})
    before = await signals(shared)
    refused = await shared.http.post("/admin/doctor/send", data={"body": body}, headers=browser)
    assert refused.status_code == 403
    assert "This asks for your token again. Nothing was done." in refused.text
    assert await signals(shared) == before
    given = {"body": body, "proof": ADMIN_TOKEN}
    sent = await shared.http.post("/admin/doctor/send", data=given, headers=browser)
    assert sent.status_code == 303
    await shared.settled(sent.headers["location"].rpartition("/")[2])


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"side": "buy", "ticker": " "}, 400, "ticker: it is empty"),
        ({"body": "{}", "source": "nobody"}, 400, "source: there is none"),
        ({"body": "x" * 70_000}, 413, "Large"),
    ],
)
async def test_what_is_wrong_is_said_in_place(
    shared: Relay, browser: dict[str, str], fields: dict[str, str], status: int, words: str
) -> None:
    answer = await play(shared, browser, **fields)
    assert answer.status_code == status
    assert words in answer.text


async def test_what_is_no_alert_is_not_sent(shared: Relay, browser: dict[str, str]) -> None:
    before = await signals(shared)
    answer = await shared.http.post("/admin/doctor/send", data={"body": "{}"}, headers=browser)
    assert answer.status_code == 400
    assert "no ticker" in answer.text
    assert await signals(shared) == before


async def test_another_site_gets_nothing_done(shared: Relay, browser: dict[str, str]) -> None:
    foreign = browser | {"origin": "https://evil.example"}
    for path in ("/admin/doctor", "/admin/doctor/send"):
        answer = await shared.http.post(path, data={"body": "{}"}, headers=foreign)
        assert answer.status_code == 403


async def test_the_installation_is_checked_in_words(shared: Relay, browser: dict[str, str]) -> None:
    words = text_of(await shared.http.get("/admin/doctor", headers=browser))
    assert "PUBLIC_URL is not set" in words
    assert "This machine and the database agree" in words
    assert "Destination main" in words
    assert "All of them work." in words
