"""Screens as files: exported, written, and imported all or none, as a preview says."""

import json
from pathlib import Path

import httpx
import pytest

from domain.screen import EXAMPLE_URL
from tests.web.operating import ask
from tests.web.screening import API, URL, active, ahead, asked, create, events, listed, tell
from tests.web.stage import Relay, cloned, relay, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("told_alone")]


async def imported(relay: Relay, *given: object, **how: bool) -> httpx.Response:
    return await ask(relay, "POST", f"{API}/import", {"screens": list(given)} | how)


async def test_what_is_exported_is_imported_elsewhere(template: str, tmp_path: Path) -> None:
    file = tmp_path / "finviz_config.json"
    async with cloned(template) as url, relay(url, finviz_config_file=str(file)) as it:
        await create(it, name="gainers", margin=5, note="mine")
        await create(it, name="typed", tickers=["AAPL"], valid_until=ahead(days=9))
        given = (await it.read(f"{API}/export"))["screens"]
        assert [one["name"] for one in given] == ["first screen", "gainers", "typed"]
        assert not {"id", "version"} & given[0].keys()
        answer = (await ask(it, "POST", f"{API}/export")).json()
        assert answer == {"file": "finviz_config.json", "screens": 3}
        wrote = json.loads(file.read_text())
        assert wrote["url"] == EXAMPLE_URL
        assert [one["name"] for one in wrote["screens"]] == ["first screen", "gainers", "typed"]
        again = (await imported(it, *wrote["screens"])).json()
        assert again["unchanged"] == ["first screen", "gainers", "typed"]
    async with cloned(template) as url, relay(url, finviz_config_file="/none/file.json") as it:
        elsewhere = [one for one in given if not one["active"]]
        answer = (await imported(it, *elsewhere)).json()
        assert (answer["created"], answer["changed"]) == (["gainers", "typed"], [])
        assert (await it.read(f"{API}/export"))["screens"][1:] == elsewhere
        refused = (await ask(it, "POST", f"{API}/export")).json()
        assert (refused["status"], refused["code"]) == (409, "not_written")
        assert "/none" not in refused["detail"]


async def test_all_of_an_import_is_checked_before_any_of_it_is_done(shared: Relay) -> None:
    names = set(await listed(shared, "?archived=true"))
    good = {"name": "never", "url": URL}
    wrong: list[tuple[object, str]] = [
        ({"name": "x", "url": "https://example.com/"}, "screens[1].url"),
        ({"name": "Never", "url": URL}, "screens[1].name"),
        ({"url": URL}, "screens[1].name"),
        ({"name": "x", "url": URL, "id": "y"}, "screens[1].id"),
        ({"name": "x", "tickers": "A", "valid_until": ahead(days=-1)}, "screens[1].valid_until"),
        (
            {"name": "first screen", "tickers": "A", "valid_until": ahead(days=1)},
            "screens[1].kind",
        ),
        (5, "screens[1]"),
    ]
    for bad, field in wrong:
        answer = await imported(shared, good, bad, replace=True)
        assert (answer.status_code, answer.json()["field"]) == (400, field), answer.text
    taken = await imported(shared, good, {"name": "First Screen", "url": URL})
    assert (taken.status_code, taken.json()["code"]) == (409, "name_taken")
    assert "First Screen" in taken.json()["detail"]
    assert set(await listed(shared, "?archived=true")) == names


async def test_an_import_says_first_what_it_would_do(shared: Relay) -> None:
    one = await create(shared, margin=5)
    new = f"new {one['name']}"
    given = [{"name": new, "url": URL, "active": True}, {"name": one["name"].upper(), "url": URL}]
    before = await listed(shared, "?archived=true")
    said = (await imported(shared, *given, preview=True)).json()
    wanted = {"created": [new], "changed": [one["name"].upper()], "unchanged": []}
    assert said == wanted | {"preview": True}
    assert await listed(shared, "?archived=true") == before
    done = (await imported(shared, *given, replace=True)).json()
    assert done == wanted | {"preview": False}
    found = await listed(shared)
    assert (found[new]["active"], found[one["name"].upper()]["margin"]) == (False, 0)
    assert await events(shared, one) == ["created", "changed"]
    again = (await imported(shared, *given)).json()
    assert again["unchanged"] == [new, one["name"].upper()]
    for kept in (one, found[new]):
        await tell(shared, kept, "archive")


async def test_an_import_that_changes_the_active_one_is_looked_at(shared: Relay) -> None:
    first = await active(shared)
    given = {"name": first["name"], "url": f"{URL}&ft=3", "top_n": first["top_n"]}
    assert (await imported(shared, given, replace=True)).status_code == 200
    await until(lambda: asked(shared, "ft=3"), "a look at the imported address")
    assert (await active(shared))["id"] == first["id"]
