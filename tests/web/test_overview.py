"""The overview: the day in numbers that lead on, what is at work, the pause, first steps."""

import re
from collections.abc import AsyncGenerator

import httpx
import pytest
import pytest_asyncio

from tests.web.operating import ask, create, signed_in, tell
from tests.web.stage import Relay, cloned, relay, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(template: str) -> AsyncGenerator[Relay]:
    async with cloned(template) as url, relay(url) as one:
        yield one


@pytest_asyncio.fixture(loop_scope="module")
async def browser(house: Relay) -> dict[str, str]:
    return await signed_in(house)


async def get(house: Relay, path: str, browser: dict[str, str]) -> str:
    answer = await house.http.get(path, headers=browser)
    assert answer.status_code == 200, answer.text
    return answer.text


async def pause(house: Relay, browser: dict[str, str], **fields: str) -> httpx.Response:
    return await house.http.post("/admin/buying/pause", data=fields, headers=browser)


async def settle(house: Relay, *alerts: dict[str, object]) -> None:
    for alert in alerts:
        await house.settled((await house.post(alert)).json()["signal_id"])


def numbers(page: str) -> dict[str, str]:
    """The numbers of the day by the address that each leads to, without its time."""
    found = re.findall(r'href="/admin/signals\?since=[^"&]*([^"]*)"><b>([\d,]+)</b>', page)
    return {query.replace("&amp;", "&"): number for query, number in found}


async def test_the_day_leads_from_received_to_delivered_and_to_the_rest(template: str) -> None:
    async with cloned(template) as url, relay(url) as one:
        first, second = (one.finviz.market[place].ticker for place in (0, 1))
        await settle(
            one,
            {"ticker": first, "action": "buy"},
            {"ticker": second, "action": "buy"},
            {"ticker": "GHOST", "action": "buy"},
            {"ticker": "PHANTOM", "action": "buy"},
            {"ticker": first, "action": "up"},
        )
        page = await get(one, "/admin/partials/overview", await signed_in(one))
    assert "The last 24 hours" in page
    assert numbers(page) == {
        "": "5",
        "&status=approved": "2",
        "&status=delivered": "2",
        "&status=invalid&reason=unknown_action": "1",
        "&status=rejected&reason=not_in_list": "2",
    }
    assert '<a class="pill open" href="/admin/positions"><b>2</b> open</a>' in page


async def test_what_is_at_work_is_named(house: Relay, browser: dict[str, str]) -> None:
    page = await get(house, "/admin/partials/work", browser)
    names = [worker["name"] for worker in (await house.read("/status"))["workers"]]
    assert f"{len(names)} of {len(names)} at work" in page
    for name in names:
        assert f"<b>{name}</b>" in page
    assert "Undecided" in page
    assert "Waiting for the list" in page
    assert "No rate limit." in page


async def test_a_worker_that_fails_is_told_above_and_outside(
    house: Relay, browser: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_given: object, **_more: object) -> None:
        raise RuntimeError("the disk is full")

    async def is_told() -> bool:
        return "The worker sweeper fails" in await get(house, "/admin/partials/overview", browser)

    async def is_well() -> bool:
        return not await is_told()

    monkeypatch.setattr("database.endings.expire", fail)
    await until(is_told, "a sick sweeper")
    above = await get(house, "/admin/partials/overview", browser)
    assert "times in a row): RuntimeError: the disk is full." in above
    assert '<a href="#workers">See the workers</a>' in above
    beside = await get(house, "/admin/partials/work", browser)
    outside = beside.partition('id="workers"')[2].partition("<details")[0]
    assert "<b>sweeper</b>" in outside
    assert "RuntimeError: the disk is full" in outside
    monkeypatch.undo()
    await until(is_well, "a sweeper that is well again")
    inside = (await get(house, "/admin/partials/work", browser)).partition("<details")[2]
    assert "RuntimeError: the disk is full" in inside, "the last error stays to be read"


async def test_a_budget_is_told_by_window(house: Relay, browser: dict[str, str]) -> None:
    made = await create(house, windows="60/60s,500/3600s")
    try:
        page = await get(house, "/admin/partials/work", browser)
        assert "0 of 60 in the last minute" in page
        assert "0 of 500 in the last hour" in page
        await tell(house, made, "pause")
        above = await get(house, "/admin/partials/overview", browser)
        assert f"{made['name']} is paused" in above
        assert f'<a href="/admin/destinations/{made["id"]}">Resume {made["name"]}</a>' in above
    finally:
        await tell(house, made, "disable")


async def test_a_destination_that_fails_is_an_alarm_until_it_is_disabled(
    house: Relay, browser: dict[str, str]
) -> None:
    made = await create(house)
    await house.execute(
        "UPDATE destinations SET breaker = 'open', breaker_since = now() - interval '5 min',"
        " breaker_until = now(), breaker_cause = 'ConnectError' WHERE id = :id",
        id=made["id"],
    )
    above = await get(house, "/admin/partials/overview", browser)
    assert f"{made['name']}: breaker open for 5 min: ConnectError. It is tried now" in above
    assert '<p class="sentence warn">' in above
    assert "breaker open for 5 min" in await get(house, "/admin/partials/work", browser)
    await tell(house, made, "disable")
    above = await get(house, "/admin/partials/overview", browser)
    assert made["name"] not in above
    assert '<p class="sentence good">' in above
    assert "breaker open" not in await get(house, "/admin/partials/work", browser)
    own = await get(house, f"/admin/destinations/{made['id']}", browser)
    assert "for 5 min, cause: ConnectError, not tried while it is disabled" in own


async def test_buying_is_paused_and_goes_on_from_where_one_is(
    house: Relay, browser: dict[str, str]
) -> None:
    wrong = await pause(house, browser, to="/admin", reason="lunch", minutes="soon")
    assert wrong.status_code == 400
    assert '<dialog id="pause-buying" aria-labelledby="pause-buying-title" data-open>' in wrong.text
    assert "minutes: not a number" in wrong.text
    assert 'value="lunch"' in wrong.text
    assert 'value="soon"' in wrong.text
    right = await pause(house, browser, to="/admin", reason="lunch", minutes="30")
    assert (right.status_code, right.headers["location"]) == (303, "/admin")
    page = await get(house, "/admin", browser)
    assert "Buying is paused by admin session" in page
    assert '<input type="hidden" name="to" value="/admin">' in page
    resumed = await house.http.post(
        "/admin/buying/resume", data={"to": "/admin/list"}, headers=browser
    )
    assert resumed.headers["location"] == "/admin/list"
    assert (await house.read("/api/buying"))["paused"] is None


@pytest.mark.parametrize(
    "to",
    ["https://evil.example/admin", "//evil.example", "/admin/../x", "/webhook/in", "/admin?x=1"],
)
async def test_a_form_leads_to_no_page_but_ours(
    house: Relay, browser: dict[str, str], to: str
) -> None:
    answer = await house.http.post("/admin/buying/resume", data={"to": to}, headers=browser)
    assert answer.headers["location"] == "/admin/positions"


async def test_the_charts_go_back_as_far_as_the_address_says(
    house: Relay, browser: dict[str, str]
) -> None:
    page = await get(house, "/admin?minutes=360", browser)
    assert page.count('minutes=360" data-kind') == 4
    assert '<a href="/admin?minutes=360#charts-title" aria-current="true">6 h</a>' in page
    wrong = await house.http.get("/admin?minutes=never", headers=browser)
    assert wrong.status_code == 400


# ── First steps ─────────────────────────────────────────────────────────────────────────────


def ticked(page: str) -> dict[str, bool]:
    return {
        name: state == "done" for name, state in re.findall(r'id="step-(\w+)" class="(\w+)"', page)
    }


async def test_a_new_relay_is_a_list_of_first_steps_that_ticks_itself(template: str) -> None:
    async with (
        cloned(template) as url,
        relay(url, dest_webhook_url=None) as one,
    ):
        browser = await signed_in(one)
        page = await get(one, "/admin", browser)
        expected = {"connect": False, "destination": False, "list": True, "told": False}
        assert ticked(page) == expected
        assert "http://127.0.0.1:8000/webhook/in/YOUR_WEBHOOK_TOKEN</code>" in page
        assert "this one is none until <code>PUBLIC_URL</code> names it" in page
        assert "This is the example screen" in page
        assert "with a wrong token" not in page
        await one.execute(
            "INSERT INTO events (event, actor, origin, detail) VALUES ('access.refused', 'nobody',"
            " '192.0.2.7', '{\"door\"\\: \"POST /webhook/in\"}')"
        )
        page = await get(one, "/admin/partials/first-steps", browser)
        assert "Somebody knocked with a wrong token" in page
        assert "from 192.0.2.7" in page
        await create(one)
        page = await get(one, "/admin/partials/overview", browser)
        assert ticked(page) == expected | {"destination": True}
        await one.post({"ticker": "GHOST", "action": "buy"})
        page = await get(one, "/admin/partials/overview", browser)
        assert ticked(page) == {}, "all that must be is done: it is gone"
        again = await get(one, "/admin/first-steps", browser)
        assert ticked(again) == {"connect": True, "destination": True, "list": True, "told": False}
        assert "Everything is connected." in again
        assert "with a wrong token" not in again
        assert 'href="/admin/first-steps"' in await get(one, "/admin", browser)


async def test_the_first_step_has_the_public_address(template: str) -> None:
    name = "https://relay.example"
    async with cloned(template) as url, relay(url, wait=False, public_url=name) as one:
        page = await get(one, "/admin/first-steps", await signed_in(one))
    assert f"{name}/webhook/in/YOUR_WEBHOOK_TOKEN</code>" in page
    assert "TradingView posts to public addresses" not in page


async def test_a_list_that_cannot_be_had_is_told_in_its_step(template: str) -> None:
    async with cloned(template) as url, relay(url, wait=False) as one:
        one.finviz.answer_with("blocked")
        await one.execute("DELETE FROM fetches")
        await one.execute("DELETE FROM universes")
        await one.execute("UPDATE watches SET due_at = now(), outcome = NULL")
        await ask(one, "POST", "/api/universe/refresh")
        browser = await signed_in(one)

        async def is_told() -> bool:
            return "No list yet: blocked" in await get(one, "/admin/first-steps", browser)

        await until(is_told, "the outcome in its step")
        page = await get(one, "/admin/first-steps", browser)
        assert re.search(r"No list yet: blocked(: [^.]+)?\. This is the example screen", page), page
        assert not ticked(await get(one, "/admin", browser))["list"]


async def test_a_relay_that_has_begun_keeps_its_overview(
    house: Relay, browser: dict[str, str]
) -> None:
    """What is missing again later is a problem of the overview, and no reason to begin anew."""
    await settle(house, {"ticker": "BEGUN", "action": "buy"})
    await house.execute("UPDATE destinations SET state = 'disabled'")
    try:
        page = await get(house, "/admin", browser)
        assert ticked(page) == {}
        assert "Not forwarding: no destination is in use." in page
        assert "Every destination is disabled" in page
        assert not ticked(await get(house, "/admin/first-steps", browser))["destination"]
    finally:
        await house.execute("UPDATE destinations SET state = 'enabled' WHERE name = 'main'")
