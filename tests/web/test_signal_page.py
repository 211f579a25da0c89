"""A signal's page: its life, its relatives, and what can be done about it, with refusals."""

import html
import re
import shlex
from collections.abc import AsyncGenerator

import httpx
import pytest
import pytest_asyncio

from tests.web.operating import ask, create, signed_in
from tests.web.stage import Relay, cloned, relay, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(template: str) -> AsyncGenerator[Relay]:
    async with cloned(template) as url, relay(url) as one:
        yield one


@pytest_asyncio.fixture(loop_scope="module")
async def browser(house: Relay) -> dict[str, str]:
    return await signed_in(house)


async def arrived(house: Relay, body: dict[str, object]) -> str:
    answer = await house.post(body)
    return (await house.settled(answer.json()["signal_id"]))["id"]


async def page(house: Relay, browser: dict[str, str], id: str) -> str:
    answer = await house.http.get(f"/admin/signals/{id}", headers=browser)
    assert answer.status_code == 200, answer.text
    return html.unescape(answer.text)


async def submit(house: Relay, browser: dict[str, str], path: str, **fields: str) -> httpx.Response:
    return await house.http.post(f"/admin/signals/{path}", data=fields, headers=browser)


async def delivery(house: Relay, id: str) -> dict[str, str]:
    return (await house.read(f"/api/signals/{id}"))["deliveries"][0]


async def in_state(house: Relay, id: str, state: str) -> None:
    async def is_so() -> bool:
        found = (await house.read(f"/api/signals/{id}"))["deliveries"]
        return bool(found) and found[0]["state"] == state

    await until(is_so, f"a delivery that is {state}")


async def test_a_life_is_told_in_words_with_its_relatives(
    house: Relay, browser: dict[str, str]
) -> None:
    ticker = house.finviz.market[0].ticker
    first = await arrived(house, {"ticker": ticker, "action": "buy", "price": "10", "it's": 1})
    second = await arrived(house, {"ticker": ticker, "action": "buy", "price": "11"})
    text = await page(house, browser, first)
    for words in (
        "Received from webhook",
        "Queued for main",
        "On its way to main, attempt 1",
        "Delivered to main",
        "Its position is open",
    ):
        assert f"<b>{words}</b>" in text
    assert f'href="/admin/signals/{second}" rel="next"' in text
    assert f'href="/admin/signals/{first}" rel="prev"' in await page(house, browser, second)
    assert re.search(r'href="/admin/list\?version=\d+"', text)
    assert re.search(r'href="/admin/positions/[0-9a-f-]{36}">Its position', text)
    assert 'data-live="signal' not in text, "it is over"
    body = f'{{"ticker": "{ticker}", "action": "buy", "price": "10", "it\'s": 1}}'
    assert shlex.quote(body) in text
    assert '"Authorization: Bearer $WEBHOOK_TOKEN"' in text


async def test_a_delivered_buy_is_replayed_only_with_a_reason(
    house: Relay, browser: dict[str, str]
) -> None:
    id = await arrived(house, {"ticker": house.finviz.market[1].ticker, "action": "buy"})
    text = await page(house, browser, id)
    assert "It was delivered: once more would do it twice." in text
    assert "Replay it all the same" in text
    plain = await submit(house, browser, f"{id}/replay")
    assert plain.status_code == 409
    assert "once more would do it twice" in plain.text
    silent = await submit(house, browser, f"{id}/replay", force="1")
    assert silent.status_code == 400
    assert "reason is needed with force" in silent.text
    forced = await submit(house, browser, f"{id}/replay", force="1", reason="the broker lost it")
    assert forced.status_code == 303, forced.text
    new = forced.headers["location"].rpartition("/")[2]
    text = await page(house, browser, new)
    assert "Replayed as this new signal: approved." in text
    assert f'href="/admin/signals/{id}">The signal it is a replay of' in text
    assert "The command that made it" in text
    assert "by admin session" in await page(house, browser, id)


async def test_a_rejected_sell_is_replayed_without_force(
    house: Relay, browser: dict[str, str]
) -> None:
    id = await arrived(house, {"ticker": "NOBODY", "action": "sell"})
    text = await page(house, browser, id)
    assert "Replay it now" in text
    assert "all the same" not in text
    done = await submit(house, browser, f"{id}/replay", reason="held since")
    assert done.status_code == 303
    new = done.headers["location"].rpartition("/")[2]
    assert "Replayed as this new signal: rejected, no position." in await page(house, browser, new)


async def test_what_is_no_signal_can_only_be_mended(house: Relay, browser: dict[str, str]) -> None:
    answer = await house.post({"ticker": "", "action": "buy"})
    id = answer.json()["signal_id"]
    text = await page(house, browser, id)
    assert "No signal could be read from it: no_ticker" in text
    assert "Mend the alert and send it again." in text
    assert '<form method="post" action="/admin/signals' not in text
    refused = await submit(house, browser, f"{id}/replay")
    assert refused.status_code == 409


async def test_a_dead_delivery_is_resent(house: Relay, browser: dict[str, str]) -> None:
    house.destination.status = 404
    try:
        id = await arrived(house, {"ticker": house.finviz.market[2].ticker, "action": "buy"})
    finally:
        house.destination.status = 200
    text = await page(house, browser, id)
    assert "Given up at main" in text
    assert "Resend it to main…" in text
    sent = await submit(
        house, browser, f"{id}/deliveries/{(await delivery(house, id))['id']}/resend"
    )
    assert sent.status_code == 303, sent.text
    new = sent.headers["location"].rpartition("/")[2]
    assert (await house.settled(new))["status"] == "delivered"
    assert "for main alone" in await page(house, browser, id)


async def test_what_waits_is_live_and_can_be_cancelled(
    house: Relay, browser: dict[str, str]
) -> None:
    places = (await house.read("/api/destinations"))["items"]
    (main,) = [one for one in places if one["name"] == "main"]
    await ask(house, "POST", f"/api/destinations/{main['id']}/pause")
    try:
        answer = await house.post({"ticker": house.finviz.market[3].ticker, "action": "buy"})
        id = answer.json()["signal_id"]
        await in_state(house, id, "queued")
        text = await page(house, browser, id)
        assert f'hx-get="/admin/partials/signals/{id}/life"' in text
        part = await house.http.get(f"/admin/partials/signals/{id}/life", headers=browser)
        assert "Cancel the delivery to main…" in part.text
        assert "<html" not in part.text
        early = await submit(house, browser, f"{id}/replay")
        assert "It is still on its way" in early.text
        sent = (await delivery(house, id))["id"]
        held = await submit(house, browser, f"{id}/deliveries/{sent}/resolve", **{"as": "drop"})
        assert held.status_code == 409
        assert "It is not held: there is nothing to resolve." in held.text
        done = await submit(house, browser, f"{id}/deliveries/{sent}/cancel", reason="not today")
        assert done.status_code == 303
    finally:
        await ask(house, "POST", f"/api/destinations/{main['id']}/resume")
    text = await page(house, browser, id)
    assert "The delivery is cancelled: nothing is sent." in text
    assert "Cancelled at main by an operator" in text
    assert "not today" in text
    again = await submit(house, browser, f"{id}/deliveries/{sent}/cancel")
    assert "only what waits to be sent can be cancelled" in again.text


@pytest.mark.parametrize(
    ("word", "state", "said"),
    [("delivered", "delivered", "resolved as delivered"), ("drop", "cancelled", "It is dropped")],
)
async def test_what_is_held_is_resolved(
    house: Relay, browser: dict[str, str], word: str, state: str, said: str
) -> None:
    other = await create(house, guarantee="at_most_once")
    ticker = house.finviz.market[{"delivered": 4, "drop": 5}[word]].ticker
    house.destination.status = 500
    try:
        answer = await house.post({"ticker": ticker, "action": "buy"})
        id = answer.json()["signal_id"]

        async def held() -> bool:
            found = (await house.read(f"/api/signals/{id}"))["deliveries"]
            return any(one["state"] == "held" for one in found)

        await until(held, "a held delivery")
    finally:
        house.destination.status = 200
        await ask(house, "POST", f"/api/destinations/{other['id']}/disable")
    text = await page(house, browser, id)
    assert f"Say what became of it at {other['name']}…" in text
    assert 'class="tag"' in text, "two destinations are told apart"
    sent = next(
        one
        for one in (await house.read(f"/api/signals/{id}"))["deliveries"]
        if one["destination"] == other["name"]
    )
    wrong = await submit(house, browser, f"{id}/deliveries/{sent['id']}/resolve", **{"as": "what"})
    assert wrong.status_code == 400
    done = await submit(house, browser, f"{id}/deliveries/{sent['id']}/resolve", **{"as": word})
    assert done.status_code == 303, done.text
    assert said in await page(house, browser, id)
    (now,) = [
        one["state"]
        for one in (await house.read(f"/api/signals/{id}"))["deliveries"]
        if one["id"] == sent["id"]
    ]
    assert now == state


async def test_secrets_are_masked_and_another_site_does_nothing(
    house: Relay, browser: dict[str, str]
) -> None:
    id = await arrived(house, {"ticker": "SECRET", "action": "buy", "api_key": "hush-hush"})
    text = await page(house, browser, id)
    assert "hush-hush" not in text
    assert "Secrets are masked here" in text
    foreign = browser | {"sec-fetch-site": "cross-site"}
    answer = await submit(house, foreign, f"{id}/replay")
    assert answer.status_code == 403
    assert (await house.read(f"/api/signals/{id}"))["replays"] == []
    nobody = await house.http.get("/admin/signals/not-an-id", headers=browser)
    assert nobody.status_code == 400
