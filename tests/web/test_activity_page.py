"""The page of what people did: rows, filters, both ways through the pages, export, empty states."""

import re
from html import unescape
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from tests.web.operating import CANARY, HEADERS, HOOK, ask, change, create, signed_in, tell
from tests.web.stage import Relay, cloned, relay
from web.views.activity import Difference, differences
from web.views.words import NOTHING

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def browser(shared: Relay) -> dict[str, str]:
    return await signed_in(shared)


async def page(house: Relay, browser: dict[str, str], **given: str) -> httpx.Response:
    return await house.http.get("/admin/activity", params=given, headers=browser)


async def act(house: Relay, number: int, reason: str) -> None:
    body = {"every": {"max_positions": number}, "reason": reason}
    answer = await ask(house, "PATCH", "/api/rules", body)
    assert answer.status_code == 200, answer.text


def ids(answer: httpx.Response) -> list[int]:
    return [int(id) for id in re.findall(r'id="event-(\d+)"', answer.text)]


def link(answer: httpx.Response, rel: str) -> str | None:
    found = re.search(rf'href="([^"]+)" rel="{rel}"', answer.text)
    return found and unescape(found[1])


async def test_a_change_tells_who_from_where_what_it_was_and_why(
    shared: Relay, browser: dict[str, str]
) -> None:
    one = await create(shared, headers=HEADERS)
    await change(shared, one, windows="9/60s", url=f"{HOOK}-another")
    await tell(shared, one, "pause")
    await act(shared, 17, "<i>fewer</i>")
    answer = await page(shared, browser)
    assert answer.status_code == 200
    words = " ".join(unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())
    for part in (
        "finviz update token",
        "from 127.0.0.1",
        "destination changed",
        "windows 60/60s becomes 9/60s",
        "enabled becomes paused",
        "every.max_positions",
        "“<i>fewer</i>”",
    ):
        assert part in words, part
    assert f"/admin/destinations/{one['id']}" in answer.text
    assert CANARY not in answer.text


async def test_it_is_filtered_and_the_filter_goes_into_the_export(
    shared: Relay, browser: dict[str, str]
) -> None:
    word = uuid4().hex
    await act(shared, 21, word)
    await act(shared, 22, "another")
    answer = await page(shared, browser, text=word, action="rules", since="2020-01-01T00:00")
    assert len(ids(answer)) == 1
    found = re.search(r'href="(/api/activity/export\?[^"]+format=jsonl)"', answer.text)
    assert found
    export = await shared.http.get(unescape(found[1]), headers=browser)
    assert [word in line for line in export.text.splitlines()] == [True]
    nothing = await page(shared, browser, text=word, who="nobody at all")
    assert "Nothing of this filter." in nothing.text
    later = await page(shared, browser, text=word, since="2999-01-01T00:00")
    assert ids(later) == []


async def test_typing_into_a_filter_changes_the_address(
    shared: Relay, browser: dict[str, str]
) -> None:
    by_form = browser | {"hx-request": "true", "hx-trigger": "sieve"}
    part = "/admin/partials/activity"
    answer = await shared.http.get(f"{part}?text=a&who=&action=rules", headers=by_form)
    assert answer.headers["hx-replace-url"] == "/admin/activity?text=a&action=rules"
    live = await shared.http.get(part, headers=browser | {"hx-trigger": "live"})
    assert "hx-replace-url" not in live.headers


async def test_its_pages_lead_both_ways(
    shared: Relay, browser: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.pages.activity.A_PAGE", 3)
    word = uuid4().hex
    for number in range(8):
        await act(shared, 40 + number, word)
    first = await page(shared, browser, text=word)
    down = [first]
    while older := link(down[-1], "next"):
        down.append(await shared.http.get(older, headers=browser))
    assert [len(ids(one)) for one in down] == [3, 3, 2]
    assert link(first, "prev") is None
    every = [id for one in down for id in ids(one)]
    assert every == sorted(every, reverse=True)
    up = [down[-1]]
    while newer := link(up[-1], "prev"):
        up.append(await shared.http.get(newer, headers=browser))
    assert [ids(one) for one in up] == [ids(one) for one in reversed(down)]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"since": "yesterday"}, "from: write a time in UTC"),
        ({"subject": "five"}, "subject: it is no id"),
        ({"ticker": "no ticker"}, "ticker:"),
        ({"before": "!"}, "cursor is not one of ours"),
    ],
)
async def test_what_is_no_filter_is_said_in_place(
    shared: Relay, browser: dict[str, str], given: dict[str, str], words: str
) -> None:
    answer = await page(shared, browser, **given)
    assert answer.status_code == 400
    assert words in answer.text
    assert ids(answer) == []


async def test_an_empty_log_teaches(template: str) -> None:
    async with cloned(template) as url, relay(url) as one:
        cookie = await signed_in(one)
        await one.execute("ALTER TABLE events DISABLE TRIGGER ALL")
        await one.execute("DELETE FROM events WHERE actor IS NOT NULL")
        answer = await page(one, cookie)
    assert "Nothing yet. Whatever somebody changes here" in answer.text


async def test_what_differs_is_told_line_by_line() -> None:
    was = {"a": 1, "same": True, "deep": {"x": [1], "y": 2}}
    becomes = {"a": None, "same": True, "deep": {"x": [1, 2], "y": 2}, "new": "b"}
    assert differences(was, becomes) == [
        Difference(name="a", was="1", becomes=NOTHING),
        Difference(name="deep.x", was="[1]", becomes="[1, 2]"),
        Difference(name="new", was=NOTHING, becomes="b"),
    ]
    assert differences("enabled", "paused") == [
        Difference(name="", was="enabled", becomes="paused")
    ]
    assert differences("asking", {"reason": "a"}) == [
        Difference(name="", was="asking", becomes=NOTHING),
        Difference(name="reason", was=NOTHING, becomes="a"),
    ]
    assert differences(None, None) == []
    assert differences({"a": 1}, {"a": 1}) == []
