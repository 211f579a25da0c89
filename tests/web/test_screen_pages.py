"""Screens on their pages: made, tried before saving, changed, put in force, put away, as a file."""

import json
import re
from collections.abc import AsyncGenerator
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from tests.web.operating import signed_in
from tests.web.screening import API, URL, active, ahead, create, tell
from tests.web.stage import Relay, cloned, relay, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

TERMS = {"kind": "finviz", "url": URL, "top_n": "5", "refresh": "180", "margin": "2", "wait": "0"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Relay]:
    file = tmp_path_factory.mktemp("screens") / "finviz_config.json"
    async with cloned(template) as url, relay(url, finviz_config_file=str(file)) as one:
        yield one


@pytest_asyncio.fixture(loop_scope="module")
async def browser(house: Relay) -> dict[str, str]:
    await house.execute("UPDATE lookout SET by_hand_at = NULL, paused_at = NULL")
    await house.execute("UPDATE watches SET asked_until = NULL")
    return await signed_in(house)


async def page(house: Relay, browser: dict[str, str], path: str = "", status: int = 200) -> str:
    answer = await house.http.get(f"/admin/list/screens{path}", headers=browser)
    assert answer.status_code == status, answer.text
    return answer.text


async def submit(house: Relay, browser: dict[str, str], path: str, **fields: str) -> httpx.Response:
    return await house.http.post(f"/admin/list/screens{path}", data=fields, headers=browser)


def fresh_name() -> str:
    return f"s {uuid4().hex[:8]}"


async def test_a_screen_is_made_and_told(house: Relay, browser: dict[str, str]) -> None:
    form = await page(house, browser, "/new")
    assert 'name="slow_when_closed" checked' in form
    assert 'name="whole_market">' in form
    name = fresh_name()
    made = await submit(house, browser, "", name=name, **TERMS, whole_market="on", note="a try")
    assert made.status_code == 303, made.text
    id = made.headers["location"].rpartition("/")[2]
    kept = await house.read(f"{API}/{id}")
    assert (kept["top_n"], kept["margin"], kept["note"]) == (5, 2, "a try")
    assert (kept["whole_market"], kept["slow_when_closed"]) == (True, False)
    shown = await page(house, browser, f"/{id}")
    assert "It is not in force until you put it in force." in shown
    assert f"“{name}” has no list yet" in shown
    table = await page(house, browser)
    row = table.partition(f'href="/admin/list/screens/{id}"')[2].partition("</tr>")[0]
    assert "5 + 2" in row
    assert "kept" in row


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({"url": "https://example.com/"}, "url", "url must be on"),
        ({"top_n": "many"}, "top_n", "top_n is not a whole number"),
        ({"top_n": "0"}, "top_n", "top_n must be a whole number from 1"),
        ({"refresh": "0.1"}, "refresh", "refresh must be from 1 second"),
        ({"margin": "1000"}, "margin", "margin must be 0 or more"),
        ({"wait": "nan"}, "wait", "wait"),
        ({"name": "x" * 90}, "name", "name must be 1 to 80"),
    ],
)
async def test_what_is_wrong_is_said_beside_its_field(
    house: Relay, browser: dict[str, str], given: dict[str, str], field: str, words: str
) -> None:
    answer = await submit(house, browser, "", **({"name": "typed by hand"} | TERMS | given))
    assert answer.status_code == 400
    said = answer.text.partition(f'id="{field}-wrong" role="alert">')[2].partition("</p>")[0]
    assert said.startswith(words)
    assert answer.text.count('role="alert"') == 1
    assert f'aria-describedby="{field}-wrong"' in answer.text
    kept = "typed by hand" if field != "name" else URL.replace("&", "&amp;")
    assert kept in answer.text, "what was typed is kept"
    assert given[field] in answer.text


async def test_a_try_shows_what_would_be_read_and_keeps_nothing(
    house: Relay, browser: dict[str, str]
) -> None:
    before = (await house.read(API))["items"]
    given = {"name": "not yet", **TERMS, "refresh": "20", "top_n": "3"}
    answer = await submit(house, browser, "/try", **given)
    assert answer.status_code == 200, answer.text
    assert "60 rows read; 3 would be in, and 2 more could stay in." in answer.text
    first, fourth = house.finviz.market[0], house.finviz.market[3]
    counting, below = answer.text.split('<tbody class="below">')
    assert f'id="tried-{first.ticker}"' in counting
    assert f"{first.price:,.2f}" in counting
    assert f'id="tried-{fourth.ticker}"' in below
    assert "180 s or more is safe" in answer.text
    assert 'value="not yet"' in answer.text
    assert (await house.read(API))["items"] == before
    soon = await submit(house, browser, "/try", **given)
    assert soon.status_code == 429
    assert "wait" in soon.text.partition('role="alert">')[2].partition("</p>")[0]
    assert 'value="not yet"' in soon.text


async def test_a_refusal_of_finviz_is_shown_as_what_it_is(
    house: Relay, browser: dict[str, str]
) -> None:
    house.finviz.answer_with("throttled_429")
    one = await create(house)
    answer = await submit(house, browser, f"/{one['id']}/try", **TERMS)
    house.finviz.answer_with(None)
    assert answer.status_code == 200
    assert "No list could be read" in answer.text
    assert 'pill throttled">throttled' in answer.text


async def test_a_change_makes_a_version_and_not_over_anothers(
    house: Relay, browser: dict[str, str]
) -> None:
    one = await create(house)
    given = TERMS | {"name": one["name"], "version": "1", "top_n": "7"}
    changed = await submit(house, browser, f"/{one['id']}", **given)
    assert changed.status_code == 303, changed.text
    shown = await page(house, browser, f"/{one['id']}")
    assert "is at version 2 now." in shown
    assert "top 7 + 2, every 180 s" in shown
    late = await submit(house, browser, f"/{one['id']}", **given, note="late")
    assert late.status_code == 409
    assert "Somebody has changed it: it is at version 2 now." in late.text
    assert ">late</textarea>" in late.text
    same = await submit(house, browser, f"/{one['id']}", **(given | {"version": "2"}))
    assert same.status_code == 303
    assert "nothing was changed" in await page(house, browser, f"/{one['id']}")


async def test_a_fixed_list_is_made_of_tickers_with_an_end(
    house: Relay, browser: dict[str, str]
) -> None:
    form = await page(house, browser, "/new?kind=fixed")
    until_ = re.search(r'name="valid_until" type="datetime-local" step="1" value="([^"]+)"', form)
    assert until_
    name = fresh_name()
    given = {"kind": "fixed", "name": name, "valid_until": until_[1], "wait": "0"}
    empty = await submit(house, browser, "", **given)
    assert "tickers are missing" in empty.text.partition('id="tickers-wrong"')[2]
    over = await submit(
        house, browser, "", **given | {"tickers": "A", "valid_until": "2020-01-01T00:00:00"}
    )
    assert "must be ahead" in over.text.partition('id="valid_until-wrong"')[2]
    tried = await submit(house, browser, "/try", **given, tickers="AAPL, MSFT")
    assert 'id="tried-MSFT"' in tried.text
    made = await submit(house, browser, "", **given, tickers="AAPL, msft brk.b")
    assert made.status_code == 303, made.text
    id = made.headers["location"].rpartition("/")[2]
    kept = await house.read(f"{API}/{id}")
    assert kept["tickers"] == ["AAPL", "MSFT", "BRK-B"]
    assert kept["valid_until"].startswith(until_[1])
    shown = await page(house, browser, f"/{id}")
    assert ">AAPL, MSFT, BRK-B</textarea>" in shown


async def test_a_fixed_list_is_not_said_to_be_asked_for(
    house: Relay, browser: dict[str, str]
) -> None:
    was = await active(house)
    fixed = await create(house, tickers=["AAPL", "MSFT"], valid_until=ahead(days=3))
    shown = await page(house, browser, f"/{fixed['id']}")
    dialog = shown.partition('<dialog id="activate"')[2].partition("</dialog>")[0]
    assert "Nobody is asked for it: its 2 tickers count within seconds, for 3 d." in dialog
    assert "Finviz" not in dialog
    assert "every buy is rejected" not in dialog
    assert "A try asks nobody and keeps nothing." in shown
    await submit(house, browser, f"/{fixed['id']}/activate")
    answer = await house.http.get("/admin/list", headers=browser)
    assert f"“{fixed['name']}” is in force. Nobody is asked for it" in answer.text

    async def counts() -> bool:
        found = await house.read("/api/universe")
        return (found["screen"], found["trust"]) == (fixed["name"], "fresh")

    await until(counts, "the fixed list")
    answer = await house.http.get("/admin/list", headers=browser)
    content = answer.text.partition("<h1>")[2]
    assert "A fixed list asks nobody, and counts until its end." in content
    assert "<dt>Tickers typed</dt><dd>2</dd>" in content
    for words in ("Rows on Finviz", "Asked every", "Quotes", "next look", "Refresh now"):
        assert words not in content
    refreshed = await house.http.post("/admin/list/refresh", headers=browser)
    assert refreshed.status_code == 303
    again = await house.http.get("/admin/list", headers=browser)
    assert "Nobody is asked: a fixed list counts as it is." in again.text
    for order, words in (("pause", "A fixed list goes on meanwhile."), ("resume", "goes on")):
        given = {"reason": "a test"}
        await house.http.post(f"/admin/list/{order}", data=given, headers=browser)
        again = await house.http.get("/admin/list", headers=browser)
        assert words in again.text
        assert "every buy is rejected" not in again.text
    await tell(house, was, "activate")


async def test_another_is_put_in_force_and_what_that_means_is_said(
    house: Relay, browser: dict[str, str]
) -> None:
    first, other = await active(house), await create(house)
    shown = await page(house, browser, f"/{other['id']}")
    dialog = shown.partition('<dialog id="activate"')[2].partition("</dialog>")[0]
    assert f"It replaces “{first['name']}”, whose list has 50 tickers." in dialog
    assert "until its first look has ended well, every buy is rejected" in dialog
    answer = await submit(house, browser, f"/{other['id']}/activate")
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/list")

    async def has_list() -> bool:
        return (await house.read("/api/universe"))["trust"] == "fresh"

    await until(has_list, "the list of the other screen")
    assert (await active(house))["id"] == other["id"]
    back = await page(house, browser, f"/{first['id']}")
    assert "50 tickers, 15 of them also in the other" in back
    assert "It can be archived when another one is." not in back
    refused = await submit(house, browser, f"/{other['id']}/archive")
    assert refused.status_code == 409
    assert "It is in force: activate another one first." in refused.text
    assert (await submit(house, browser, f"/{first['id']}/activate")).status_code == 303
    assert (await active(house))["id"] == first["id"]


async def test_one_is_copied_put_away_and_taken_out(house: Relay, browser: dict[str, str]) -> None:
    one = await create(house)
    copied = await submit(house, browser, f"/{one['id']}/duplicate")
    assert f"“{one['name']} copy” is the copy" in await page(
        house, browser, f"/{copied.headers['location'].rpartition('/')[2]}"
    )
    assert (await submit(house, browser, f"/{one['id']}/archive")).status_code == 303
    shown = await page(house, browser, f"/{one['id']}")
    assert "Restore" in shown
    assert "Save as the next version" not in shown
    assert one["id"] not in await page(house, browser)
    assert one["id"] in await page(house, browser, "?archived=true")
    again = await create(house, name=one["name"])
    taken = await submit(house, browser, f"/{one['id']}/restore")
    assert taken.status_code == 409
    assert "Another screen has this name." in taken.text
    await tell(house, again, "archive")
    assert (await submit(house, browser, f"/{one['id']}/restore")).status_code == 303


async def test_screens_go_out_and_come_in_as_a_file(house: Relay, browser: dict[str, str]) -> None:
    assert (await submit(house, browser, "/export")).status_code == 303
    assert "written into finviz_config.json." in await page(house, browser)
    name = fresh_name()
    file = json.dumps({"screens": [{"name": name, "url": URL}]})
    shown = await submit(house, browser, "/import", file=file, preview="1")
    assert shown.status_code == 200
    assert f"Would be created: {name}" in shown.text
    assert name not in (await house.get(API)).text
    assert (await submit(house, browser, "/import", file=file)).status_code == 303
    assert f"Imported. created: {name}." in await page(house, browser)
    other = json.dumps({"screens": [{"name": name, "url": URL, "top_n": 3}]})
    taken = await submit(house, browser, "/import", file=other)
    assert taken.status_code == 409
    assert "With replace they are changed." in taken.text
    assert (await submit(house, browser, "/import", file=other, replace="on")).status_code == 303
    for wrong in ("{", "[]", '{"screens": 3}', '{"screens": [{"name": "x"}]}'):
        answer = await submit(house, browser, "/import", file=wrong)
        assert answer.status_code == 400, wrong
        assert 'role="alert"' in answer.text
