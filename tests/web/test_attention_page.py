"""The page of attention: what it says first, what can be done, and what its forms do."""

import re
from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from domain.attention import Cause
from tests.web.calm import alerts_at_rest, all_is_seen
from tests.web.operating import create, signed_in
from tests.web.stage import Relay, cloned, relay, until
from web.views.attention import ADVICE, LINKED

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(template: str) -> AsyncGenerator[Relay]:
    async with cloned(template) as url, relay(url) as one:
        yield one


@pytest_asyncio.fixture(loop_scope="module")
async def browser(house: Relay) -> dict[str, str]:
    return await signed_in(house)


async def look(house: Relay, browser: dict[str, str], query: str = "") -> str:
    answer = await house.http.get(f"/admin/attention{query}", headers=browser)
    assert answer.status_code == 200, answer.text
    return answer.text


async def submit(house: Relay, browser: dict[str, str], path: str, **fields: str) -> httpx.Response:
    return await house.http.post(f"/admin/attention{path}", data=fields, headers=browser)


async def raised(
    house: Relay, cause: str, severity: str = "warning", ticker: str | None = None
) -> int:
    (row,) = await house.rows(
        "INSERT INTO attention (cause, key, severity, text, first_at, last_at, ticker)"
        " VALUES (:cause, :key, :severity, 'text of ' || :key, now(), now(), :ticker)"
        " RETURNING id",
        cause=cause,
        key=f"key-{uuid4().hex[:6]}",
        severity=severity,
        ticker=ticker,
    )
    return row.id


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def nothing_open(house: Relay) -> None:
    """Nor will anything be, of what the test before has left."""
    await alerts_at_rest(house)
    await all_is_seen(house)
    await house.execute("DELETE FROM notices")
    await house.execute("DELETE FROM attention")


async def test_every_cause_says_what_it_means_and_what_can_be_done() -> None:
    assert set(ADVICE) == set(Cause)
    assert set(LINKED) <= set(Cause)
    for advice in ADVICE.values():
        assert advice.meaning.endswith(".")
        assert advice.remedy.endswith(".")
        assert len(advice.title) < 60
    assert len({advice.title for advice in ADVICE.values()}) == len(Cause)


async def test_nothing_open_says_what_would_come_here(
    house: Relay, browser: dict[str, str]
) -> None:
    page = await look(house, browser)
    assert "Nothing wants a look." in page
    assert "comes here by itself" in page


async def test_the_worst_comes_first_by_cause(house: Relay, browser: dict[str, str]) -> None:
    for cause, severity in (
        ("list_suspect", "info"),
        ("sell_undelivered", "info"),
        ("sell_undelivered", "urgent"),
        ("near_limit", "warning"),
    ):
        await raised(house, cause, severity)
    page = await look(house, browser)
    assert "1 urgent, 1 warning, 2 for information." in page
    causes = re.findall(r'id="cause-(\w+)"', page)
    assert causes == ["sell_undelivered", "near_limit", "list_suspect"]
    for cause in causes:
        assert ADVICE[Cause(cause)].title.replace("'", "&#39;") in page
    assert 'href="/admin/list"' in page
    only = await look(house, browser, "?severity=warning")
    assert re.findall(r'id="cause-(\w+)"', only) == ["near_limit"]


async def test_of_many_a_few_are_shown_and_the_rest_is_paged(
    house: Relay, browser: dict[str, str]
) -> None:
    ids = [await raised(house, "alert_invalid") for _ in range(60)]
    page = await look(house, browser)
    assert len(re.findall(r'id="item-\d+"', page)) == 5
    assert "All 60 of this cause" in page
    first = await look(house, browser, "?cause=alert_invalid")
    seen = re.findall(r'id="item-(\d+)"', first)
    more = re.search(r'href="(/admin/attention\?[^"]*after=[^"]*)" rel="next"', first)
    assert more
    answer = await house.http.get(more[1].replace("&amp;", "&"), headers=browser)
    seen += re.findall(r'id="item-(\d+)"', answer.text)
    assert list(map(int, seen)) == ids[::-1]
    assert "← The first" in answer.text


async def test_filters_are_in_the_address_and_a_wrong_one_is_said(
    house: Relay, browser: dict[str, str]
) -> None:
    await raised(house, "buy_dead", ticker="AAPL")
    await raised(house, "buy_dead", ticker="MSFT")
    page = await look(house, browser, "?ticker=aapl&cause=&severity=&destination=")
    assert len(re.findall(r'id="item-\d+"', page)) == 1
    assert 'value="aapl"' in page
    assert 'hx-get="/admin/partials/attention?ticker=aapl"' in page
    for query in ("?cause=none", "?ticker=%00", "?destination=x", "?after=1", "?dead=now~x"):
        wrong = await house.http.get(f"/admin/attention{query}", headers=browser)
        assert wrong.status_code == 400, query
        assert 'role="alert"' in wrong.text


async def test_one_is_resolved_with_a_reason_and_shown_as_such(
    house: Relay, browser: dict[str, str]
) -> None:
    id = await raised(house, "near_limit", ticker="AAPL")
    done = await submit(house, browser, f"/{id}/resolve", reason="a test", back="ticker=AAPL&x=1")
    assert done.status_code == 303, done.text
    assert done.headers["location"] == "/admin/attention?ticker=AAPL"
    page = await look(house, browser)
    assert "Resolved lately" in page
    assert "Too many alerts of one ticker · admin session" in page
    assert ": a test" in page
    twice = await submit(house, browser, f"/{id}/resolve")
    assert twice.status_code == 303
    assert "It was resolved already." in await look(house, browser)
    gone = await submit(house, browser, f"/{2**62}/resolve")
    assert gone.status_code == 404
    assert "There is no attention item with this id." in gone.text


async def test_all_of_a_cause_are_resolved_when_they_are_as_many_as_was_seen(
    house: Relay, browser: dict[str, str]
) -> None:
    for _ in range(3):
        await raised(house, "near_limit")
    other = await raised(house, "buy_dead")
    assert "Resolve all 3…" in await look(house, browser)
    fewer = await submit(house, browser, "/resolve", cause="near_limit", expect="2")
    assert fewer.status_code == 409
    assert "3 are open now, not 2: look again. Nothing was done." in fewer.text
    assert "1 urgent" not in fewer.text
    done = await submit(house, browser, "/resolve", cause="near_limit", expect="3", reason="seen")
    assert done.status_code == 303, done.text
    page = await look(house, browser)
    assert "3 resolved: Too many alerts of one ticker." in page
    assert re.findall(r'id="item-(\d+)"', page) == [str(other)]
    for fields in ({"cause": "none", "expect": "1"}, {"cause": "near_limit"}, {"expect": "1"}):
        assert (await submit(house, browser, "/resolve", **fields)).status_code == 400


# ── Deliveries that went wrong ──────────────────────────────────────────────────────────────


async def failed(house: Relay, place: int, status: int, **given: Any) -> tuple[str, str]:
    """A destination that answers so, and the id of the one delivery it got; the others get none."""
    one = await create(house, **given)
    await house.execute("UPDATE destinations SET state = 'disabled' WHERE id <> :id", id=one["id"])
    house.destination.status = status
    try:
        ticker = house.finviz.market[place].ticker
        body = {"ticker": ticker, "action": "buy", "n": uuid4().hex}
        answer = await house.post(body)
        found: list[Any] = []

        async def ended() -> bool:
            found[:] = await house.rows(
                "SELECT id FROM deliveries WHERE signal_id = :id AND state IN ('dead', 'held')",
                id=answer.json()["signal_id"],
            )
            return bool(found)

        await until(ended, "a delivery that went wrong")
        return one["id"], str(found[0].id)
    finally:
        house.destination.status = 200


async def test_a_dead_letter_is_resent_and_says_so(house: Relay, browser: dict[str, str]) -> None:
    _, id = await failed(house, 0, 422)
    page = await look(house, browser)
    row = page.partition(f'id="dead-{id}"')[2].partition("</tr>")[0]
    assert "http 422" in row or "answered 422" in row
    assert "1 attempt" in row
    sent = await submit(house, browser, f"/deliveries/{id}/resend", key="k")
    assert sent.status_code == 303, sent.text
    assert sent.headers["location"].startswith("/admin/batches/")
    again = await submit(house, browser, f"/deliveries/{id}/resend", key="k")
    assert again.headers["location"] == sent.headers["location"], "a double click is one command"
    page = await look(house, browser)
    row = page.partition(f'id="dead-{id}"')[2].partition("</tr>")[0]
    assert ">resent</a>" in row
    third = await submit(house, browser, f"/deliveries/{id}/resend", key="other")
    assert third.status_code == 409
    assert "It was replayed already" in third.text


async def test_what_is_refused_is_done_all_the_same_with_a_reason(
    house: Relay, browser: dict[str, str]
) -> None:
    _, id = await failed(house, 1, 422)
    await house.execute(
        "UPDATE signals SET expires_at = received_at + interval '1 ms'"
        " WHERE id = (SELECT signal_id FROM deliveries WHERE id = :id)",
        id=id,
    )
    stale = await submit(house, browser, f"/deliveries/{id}/resend")
    assert stale.status_code == 409
    assert "This buy is too old" in stale.text
    assert f'<details id="force-{id}" open>' in stale.text
    silent = await submit(house, browser, f"/deliveries/{id}/resend", force="1")
    assert silent.status_code == 400
    assert "reason is needed with force" in silent.text
    done = await submit(house, browser, f"/deliveries/{id}/resend", force="1", reason="wanted")
    assert done.status_code == 303, done.text


async def test_what_is_held_gets_its_word(house: Relay, browser: dict[str, str]) -> None:
    for place, verb, words, state in (
        (2, "delivered", "Noted: it arrived.", "delivered"),
        (3, "drop", "Dropped: it ended", "cancelled"),
    ):
        _, id = await failed(house, place, 500, guarantee="at_most_once")
        page = await look(house, browser)
        assert "Held: outcome unknown (1)" in page
        row = page.partition(f'id="held-{id}"')[2].partition("</tr>")[0]
        assert re.search(r">in (23|24) h</time>", row), "when it is given up by itself"
        done = await submit(house, browser, f"/deliveries/{id}/{verb}")
        assert done.status_code == 303, done.text
        assert words in await look(house, browser)
        (found,) = await house.rows("SELECT state FROM deliveries WHERE id = :id", id=id)
        assert found.state == state
        twice = await submit(house, browser, f"/deliveries/{id}/{verb}")
        assert twice.status_code == 409
        assert "It is not held: there is nothing to resolve." in twice.text


async def test_many_are_seen_before_anything_is_done(house: Relay, browser: dict[str, str]) -> None:
    destination, _ = await failed(house, 4, 422)
    chosen = {"does": "resend", "destination": destination, "side": "buy", "hours": "1"}
    answer = await house.http.get("/admin/attention/bulk", params=chosen, headers=browser)
    assert answer.status_code == 200, answer.text
    assert "1 match, 1 would be done." in answer.text
    hidden = dict(re.findall(r'name="(\w+)" value="([^"]*)"', answer.text))
    assert hidden["expect"] == "1"
    wrong = await submit(house, browser, "/bulk", **(hidden | {"expect": "2", "key": "w"}))
    assert wrong.status_code == 409
    assert "There are not as many any more as you saw" in wrong.text
    done = await submit(house, browser, "/bulk", **hidden, reason="the broker was down")
    assert done.status_code == 303, done.text
    assert done.headers["location"].startswith("/admin/batches/")
    assert (
        "the broker was down"
        in (await house.http.get(done.headers["location"], headers=browser)).text
    )
    after = await house.http.get("/admin/attention/bulk", params=chosen, headers=browser)
    assert "0 would be done." in after.text
    assert "1: It was replayed already" in after.text


async def test_many_held_are_dropped_and_counted(house: Relay, browser: dict[str, str]) -> None:
    destination, id = await failed(house, 5, 500, guarantee="at_most_once")
    chosen = {"does": "drop", "destination": destination}
    answer = await house.http.get("/admin/attention/bulk", params=chosen, headers=browser)
    hidden = dict(re.findall(r'name="(\w+)" value="([^"]*)"', answer.text))
    done = await submit(house, browser, "/bulk", **hidden)
    assert done.status_code == 303, done.text
    assert "1 delivery was dropped." in await look(house, browser)
    (found,) = await house.rows("SELECT state FROM deliveries WHERE id = :id", id=id)
    assert found.state == "cancelled"
    for wrong in (
        {"does": "nothing"},
        {"does": "drop", "hours": "x"},
        {"does": "drop", "side": "x"},
    ):
        refused = await house.http.get("/admin/attention/bulk", params=wrong, headers=browser)
        assert refused.status_code == 400


async def test_an_item_is_told_once_when_it_is_raised_and_when_it_is_settled(
    house: Relay, browser: dict[str, str]
) -> None:
    """So that the live page learns of it."""
    destination, _ = await failed(house, 6, 422)

    async def told(event: str) -> int:
        found = await house.rows(
            "SELECT 1 FROM events JOIN attention ON attention.id = (detail->>'attention_id')::int"
            " WHERE event = :event AND detail->>'cause' = 'buy_dead'"
            " AND destination_id = :destination",
            event=event,
            destination=destination,
        )
        return len(found)

    async def is_raised() -> bool:
        return await told("attention.raised") == 1

    await until(is_raised, "an item told of")
    page = await look(house, browser, f"?destination={destination}")
    assert "A buy was refused for good" in page
    ticker = house.finviz.market[6].ticker
    await house.post({"ticker": ticker, "action": "buy", "n": "later"})

    async def is_settled() -> bool:
        return await told("attention.settled") == 1

    await until(is_settled, "its end told of")
    assert await told("attention.raised") == 1


async def test_another_site_says_nothing(house: Relay, browser: dict[str, str]) -> None:
    id = await raised(house, "near_limit")
    foreign = browser | {"sec-fetch-site": "cross-site"}
    answer = await submit(house, foreign, f"/{id}/resolve")
    assert answer.status_code == 403
    assert (await house.rows("SELECT resolved_at FROM attention WHERE id = :id", id=id))[
        0
    ].resolved_at is None
