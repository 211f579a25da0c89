"""The list's pages: what is true now and was then, what can be done about it, what is refused."""

import re
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio

from demo.finviz import made_up_market
from domain.universe import FetchOutcome
from engines.clock import utc_now
from tests.web.calm import list_at_rest
from tests.web.operating import signed_in
from tests.web.stage import Relay, cloned, relay, until
from web.pages import whatif
from web.views.list_now import OUTCOMES

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOP = 10


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(template: str) -> AsyncGenerator[Relay]:
    async with cloned(template) as url, relay(url, top_n=TOP) as one:
        yield one


@pytest_asyncio.fixture(loop_scope="module")
async def browser(house: Relay) -> dict[str, str]:
    await house.execute("UPDATE lookout SET by_hand_at = NULL, paused_at = NULL")
    await list_at_rest(house)
    return await signed_in(house)


async def page(house: Relay, browser: dict[str, str], path: str = "", status: int = 200) -> str:
    answer = await house.http.get(f"/admin/list{path}", headers=browser)
    assert answer.status_code == status, answer.text
    return answer.text


async def submit(house: Relay, browser: dict[str, str], path: str, **fields: str) -> httpx.Response:
    return await house.http.post(f"/admin/list{path}", data=fields, headers=browser)


async def universe(house: Relay) -> Any:
    return await house.read("/api/universe")


async def looked(house: Relay, browser: dict[str, str]) -> None:
    """Have Finviz asked by the page, and wait for the answer."""
    before = (await universe(house))["last_fetch"]["at"]
    await house.execute("UPDATE lookout SET by_hand_at = NULL")
    answer = await submit(house, browser, "/refresh")
    assert answer.status_code == 303, answer.text

    async def ended() -> bool:
        return (await universe(house))["last_fetch"]["at"] != before

    await until(ended, "the look that was asked for")
    # No second look by itself, which would believe what the first one doubted.
    await house.execute("UPDATE watches SET due_at = clock_timestamp() + interval '1 h'")


async def changed(house: Relay, browser: dict[str, str]) -> int:
    """A new version of the list: another one leads, the first has gone to the end."""
    first, *others = house.finviz.market
    house.finviz.market = [*others, first]
    await looked(house, browser)
    return (await universe(house))["version"]


# ── Now ─────────────────────────────────────────────────────────────────────────────────────


async def test_the_list_is_shown_with_its_trust_and_what_is_below(
    house: Relay, browser: dict[str, str]
) -> None:
    shown = await page(house, browser)
    assert f'<p class="sentence good">The list is fresh: {TOP} tickers may be bought.' in shown
    counting, below = shown.split('<tbody class="below">')
    first, last = house.finviz.market[0], house.finviz.market[TOP]
    assert f'id="rank-{first.ticker}"' in counting
    assert f'id="rank-{last.ticker}"' not in counting
    assert f'id="rank-{last.ticker}"' in below
    assert f"{first.price:,.2f}" in counting
    assert f"{first.volume:,}" in counting
    assert "fresh</span> for" in shown
    assert "delayed: free pages" in shown
    partial = await house.http.get("/admin/partials/list", headers=browser)
    assert f'id="rank-{first.ticker}"' in partial.text


async def test_what_moved_is_marked_and_who_came_and_went_is_told(
    house: Relay, browser: dict[str, str]
) -> None:
    gone, came = house.finviz.market[0].ticker, house.finviz.market[TOP].ticker
    second = house.finviz.market[1].ticker
    version = await changed(house, browser)
    shown = await page(house, browser)
    row = shown.partition(f'id="rank-{second}"')[2].partition("</tr>")[0]
    assert "up by </span>1" in row
    moves = shown.partition(f'id="move-{version}"')[2].partition("</li>")[0]
    assert re.search(rf"in</span> {came}\b", moves)
    assert re.search(rf"out</span> {gone}\b", moves)


async def test_a_look_is_asked_for_and_not_twice_at_once(
    house: Relay, browser: dict[str, str]
) -> None:
    answer = await submit(house, browser, "/refresh")
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/list")
    shown = await page(house, browser)
    assert "Finviz is asked now" in shown
    assert "May be asked again in" in shown
    again = await submit(house, browser, "/refresh")
    assert again.status_code == 429
    assert re.search(
        r'role="alert">The last look by hand was less than 10 s ago: wait \d', again.text
    )


async def test_looking_is_paused_with_a_reason_and_goes_on(
    house: Relay, browser: dict[str, str]
) -> None:
    silent = await submit(house, browser, "/pause")
    assert silent.status_code == 400
    assert "reason" in silent.text.partition('role="alert">')[2]
    answer = await submit(house, browser, "/pause", reason="a new layout")
    assert answer.status_code == 303
    shown = await page(house, browser)
    assert "Finviz is not asked: paused by admin session" in shown
    assert "a new layout" in shown
    assert "then every buy is rejected" in shown
    assert "Resume looking" in shown
    refused = await submit(house, browser, "/refresh")
    assert refused.status_code == 409
    assert "Resume first." in refused.text
    assert (await submit(house, browser, "/resume")).status_code == 303
    assert "Looking goes on." in await page(house, browser)
    assert (await universe(house))["paused"] is None


@pytest.fixture
def restored(house: Relay) -> Any:
    market = house.finviz.market
    yield
    house.finviz.market = market
    house.finviz.answer_with(None)


async def test_a_suspect_list_waits_for_a_word(house: Relay, browser: dict[str, str]) -> None:
    house.finviz.market = made_up_market(91, 60)
    await looked(house, browser)
    shown = await page(house, browser)
    assert "A surprising list waits to be believed" in shown
    assert "0 of the 60 in force are among them" in shown
    tickers = re.search(r'name="tickers" value="([^"]*)"', shown)
    assert tickers
    other = await submit(house, browser, "/accept", tickers="AAPL", reason="sure")
    assert other.status_code == 409
    assert 'value="sure"' in other.text, "what was typed is kept"
    taken = await submit(house, browser, "/accept", tickers=tickers[1], reason="seen it")
    assert taken.status_code == 303, taken.text
    shown = await page(house, browser)
    assert "is in force: 60 tickers on the list now." in shown
    assert f'id="rank-{house.finviz.market[0].ticker}"' in shown
    house.finviz.market = made_up_market(92, 60)
    await looked(house, browser)
    pending = (await universe(house))["pending"]["tickers"]
    refused = await submit(house, browser, "/refuse", tickers=" ".join(pending))
    assert refused.status_code == 303
    assert (await universe(house))["pending"] is None
    house.finviz.market = made_up_market(91, 60)
    await looked(house, browser)


async def test_buys_that_wait_for_their_ticker_are_shown(
    house: Relay, browser: dict[str, str]
) -> None:
    id = (await house.post({"ticker": "LATER", "action": "buy"})).json()["signal_id"]
    await house.settled(id)
    await house.execute(
        "UPDATE signals SET status = 'received', reason = NULL, judged_at = NULL,"
        " waits_since = clock_timestamp(), waits_until = clock_timestamp() + interval '40 s'"
        " WHERE id = :id",
        id=id,
    )
    shown = await page(house, browser)
    row = shown.partition(f'id="waiting-{id}"')[2].partition("</li>")[0]
    assert "LATER" in row
    assert re.search(r'data-ticks="down" data-seconds="(3\d|40)', row)
    await house.execute("UPDATE signals SET waits_until = clock_timestamp() WHERE id = :id", id=id)
    await house.settled(id)


# ── Looks ───────────────────────────────────────────────────────────────────────────────────


async def test_every_outcome_is_worded() -> None:
    assert set(OUTCOMES) == set(FetchOutcome)


@pytest.mark.usefixtures("restored")
async def test_looks_are_logged_and_filtered_by_outcome(
    house: Relay, browser: dict[str, str]
) -> None:
    house.finviz.answer_with("blocked")
    await looked(house, browser)
    house.finviz.answer_with(None)
    await looked(house, browser)
    every = await page(house, browser, "/looks")
    assert every.count('id="look-') >= 2
    assert re.search(r'id="outcome-blocked"[^>]*>blocked <b>[1-9]', every)
    blocked = await page(house, browser, "/looks?outcome=blocked")
    assert OUTCOMES[FetchOutcome.BLOCKED] in blocked
    assert '<span class="pill ok">' not in blocked
    assert 'hx-get="/admin/partials/list/looks?outcome=blocked"' in blocked
    assert "No look ended login." in await page(house, browser, "/looks?outcome=login")
    assert "look-" in await page(house, browser, "/looks?outcome=nonsense&cursor=%27")


async def test_the_log_is_paged_by_its_key(house: Relay, browser: dict[str, str]) -> None:
    await house.execute(
        "INSERT INTO fetches (screen_id, at, outcome, detail, pages, duration_ms, next_at)"
        " SELECT id, clock_timestamp() - interval '3 days', 'unreachable', 'no answer', 1, 9,"
        " clock_timestamp() FROM screens, generate_series(1, 70) WHERE active"
    )
    first = await page(house, browser, "/looks?outcome=unreachable")
    older = re.search(r'href="/admin(/list/looks\?outcome=unreachable&amp;cursor=\w+)"', first)
    assert older
    assert first.count('id="look-') == 50
    second = await page(house, browser, older[1].removeprefix("/list").replace("&amp;", "&"))
    assert second.count('id="look-') == 20
    assert "← Newer" in second
    await house.execute("DELETE FROM fetches WHERE outcome = 'unreachable'")


# ── Then ────────────────────────────────────────────────────────────────────────────────────


async def test_a_version_is_shown_with_its_neighbours(
    house: Relay, browser: dict[str, str]
) -> None:
    first = await changed(house, browser)
    second = await changed(house, browser)
    shown = await page(house, browser, f"?version={first}")
    assert f"<h1>Version {first}</h1>" in shown
    assert f'href="/admin/list?version={second}" rel="next"' in shown
    assert 'rel="prev"' in shown
    assert "10 tickers were in, of 20 rows" in shown or "10 tickers were in, of 60 rows" in shown
    assert 'rel="next"' not in await page(house, browser, f"?version={second}")
    versions = await page(house, browser, "/history")
    assert f'href="/admin/list?version={first}"' in versions


async def test_the_list_at_a_moment(house: Relay, browser: dict[str, str]) -> None:
    then = utc_now()
    version = (await universe(house))["version"]
    await changed(house, browser)
    shown = await page(house, browser, f"?at={then:%Y-%m-%dT%H:%M:%S.%f}")
    assert f"The list at {then:%Y-%m-%d %H:%M:%S} UTC" in shown
    assert "The list was fresh" in shown
    assert f'<a href="/admin/list?version={version}">{version}</a>' in shown
    early = await page(house, browser, "?at=2020-01-01T00:00", 404)
    assert "There was no screen yet at this time." in early


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("?version=x", 400, "A version of the list is a whole number."),
        ("?version=999999999", 404, "There is no list of this version."),
        ("?at=yesterday", 400, "at is not a time"),
        ("?ticker=%F0%9F%98%80", 400, "ticker:"),
        ("?ticker=AAPL&from=2030-01-01", 400, "from must be before to"),
        ("?ticker=AAPL&to=soon", 400, "to is not a time"),
    ],
)
async def test_what_cannot_be_is_said_on_the_page(
    house: Relay, browser: dict[str, str], query: str, status: int, words: str
) -> None:
    shown = await page(house, browser, query, status)
    assert words in shown.partition('role="alert">')[2]


async def test_the_ranks_of_a_ticker_with_its_signals(
    house: Relay, browser: dict[str, str]
) -> None:
    ticker = house.finviz.market[3].ticker
    id = (await house.post({"ticker": ticker, "action": "buy", "n": 9})).json()["signal_id"]
    await house.settled(id)
    since = (utc_now() - timedelta(hours=1)).isoformat()
    shown = await page(house, browser, f"?ticker={ticker.lower()}&from={since}".replace("+", "%2B"))
    assert re.search(rf"{ticker} was in the list \d+ times?, for", shown)
    assert f'href="/admin/signals/{id}"' in shown
    assert "still in at its end" in shown
    chart = re.search(r'data-chart="([^"]+)"', shown)
    assert chart
    drawn = await house.read(chart[1].replace("&amp;", "&"))
    rank, inside = drawn["series"]
    assert len(drawn["x"]) == len(rank["values"]) == len(inside["values"])
    assert drawn["x"] == sorted(drawn["x"])
    assert (rank["values"][0], rank["values"][-1]) == (None, 4)
    (mark,) = (one for one in rank["marks"] if one["y"] == 4)
    assert mark["label"] == "buy delivered"
    assert mark["tone"] == "good"
    assert "Name a ticker" in await page(house, browser, "?ticker=")


# ── What if ─────────────────────────────────────────────────────────────────────────────────


async def test_what_would_have_changed(house: Relay, browser: dict[str, str]) -> None:
    ticker = house.finviz.market[TOP + 2].ticker
    id = (await house.post({"ticker": ticker, "action": "buy", "n": 10})).json()["signal_id"]
    assert (await house.settled(id))["status"] == "rejected"
    assert "Name what should have been otherwise" in await page(house, browser, "/whatif")
    shown = await page(house, browser, "/whatif?hours=1&top_n=20")
    assert f'href="/admin/signals/{id}"' in shown
    assert "would have been decided otherwise." in shown
    assert 'value="20"' in shown
    same = await page(house, browser, f"/whatif?top_n={TOP}")
    assert f'href="/admin/signals/{id}"' not in same
    assert "top_n is not a number" in await page(house, browser, "/whatif?top_n=many", 400)
    assert "top_n:" in await page(house, browser, "/whatif?top_n=0", 400)


async def test_a_what_if_that_takes_long_is_left_alone(
    house: Relay, browser: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whatif, "PATIENCE", 0.0)
    shown = await page(house, browser, "/whatif?top_n=20", 503)
    assert "This takes longer than" in shown
    monkeypatch.undo()

    async def over() -> bool:
        answer = await house.http.get("/admin/list/whatif?top_n=20", headers=browser)
        return answer.status_code == 200

    await until(over, "the end of what was begun")


async def test_another_site_can_order_nothing(house: Relay, browser: dict[str, str]) -> None:
    foreign = browser | {"sec-fetch-site": "cross-site"}
    assert (await submit(house, foreign, "/pause", reason="x")).status_code == 403
    assert (await universe(house))["paused"] is None
