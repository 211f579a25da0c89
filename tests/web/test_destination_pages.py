"""The pages of destinations: what they say, what their forms do, and what they refuse."""

import json
import re
from collections.abc import AsyncGenerator
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio

from database.sealed import constants_of
from database.vault import Vault
from tests.conftest import KEY
from tests.database.left import Watch
from tests.web.operating import CANARY, HEADERS, HOOK, create, signed_in
from tests.web.stage import ADMIN_TOKEN, Relay, cloned, relay, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(template: str) -> AsyncGenerator[Relay]:
    async with cloned(template) as url, relay(url) as one:
        yield one


@pytest_asyncio.fixture(loop_scope="module")
async def browser(house: Relay) -> dict[str, str]:
    return await signed_in(house)


async def look(house: Relay, browser: dict[str, str], path: str = "") -> str:
    answer = await house.http.get(f"/admin/destinations{path}", headers=browser)
    assert answer.status_code == 200, answer.text
    assert CANARY not in answer.text
    return answer.text


def tells_left(page: str, pattern: str, since: Watch, seconds: int) -> bool:
    """Whether a page says what is left of so many seconds: in whole ones, by either rounding."""
    said = re.search(pattern, page)
    return said is not None and any(since.left(int(said[1]) + more, seconds) for more in (0, 1))


async def submit(house: Relay, browser: dict[str, str], path: str, **fields: str) -> httpx.Response:
    return await house.http.post(f"/admin/destinations{path}", data=fields, headers=browser)


async def one_of(house: Relay, id: str) -> dict[str, Any]:
    return await house.read(f"/api/destinations/{id}")


async def events(house: Relay, id: str) -> list[str]:
    return [
        row.event
        for row in await house.rows(
            "SELECT event FROM events WHERE detail->>'destination_id' = :id ORDER BY id", id=id
        )
    ]


async def test_every_destination_says_how_it_stands(house: Relay, browser: dict[str, str]) -> None:
    one = await create(house, windows="10/60s,50/3600s", headers=HEADERS)
    page = await look(house, browser)
    assert "Sending. Nothing waits." in page
    assert "https://other.example/•••" in page
    assert "0 of 10 in the last minute" in page
    assert "1 of 10 kept for sells" in page
    assert "5 of 50 kept for sells" in page
    assert "no request in 24 h" in page
    own = await look(house, browser, f"/{one['id']}")
    assert "x-api-key: •••" in own
    assert "Nothing was sent there yet." in own
    since = Watch()
    await house.execute(
        "UPDATE destinations SET breaker = 'open', breaker_since = now() - interval '5 min',"
        " breaker_until = now() + interval '30 s', breaker_cause = 'http 500' WHERE id = :id",
        id=one["id"],
    )
    own = await look(house, browser, f"/{one['id']}")
    assert "It fails, and is tried now and then." in own
    assert tells_left(own, r"for 5 min, cause: http 500, next try in (\d+) s", since, 30)
    closed = await submit(house, browser, f"/{one['id']}/close-breaker")
    assert closed.status_code == 303
    assert "Its breaker is closed." in await look(house, browser, f"/{one['id']}")


async def test_a_wait_can_be_ended_where_it_is_shown(house: Relay, browser: dict[str, str]) -> None:
    one = await create(house)
    assert "End its wait now" not in await look(house, browser, f"/{one['id']}")
    await house.execute(
        "UPDATE destinations SET hold_until = now() + interval '1 hour' WHERE id = :id",
        id=one["id"],
    )
    assert "End its wait now" in await look(house, browser, f"/{one['id']}")
    assert (await submit(house, browser, f"/{one['id']}/close-breaker")).status_code == 303
    own = await look(house, browser, f"/{one['id']}")
    assert "everything may leave" in own
    assert "End its wait now" not in own


async def test_what_was_answered_is_shown(house: Relay, browser: dict[str, str]) -> None:
    ticker = house.finviz.market[0].ticker
    answer = await house.post({"ticker": ticker, "action": "buy"})
    await house.settled(answer.json()["signal_id"])
    (main,) = [
        row for row in (await house.read("/api/destinations"))["items"] if row["name"] == "main"
    ]
    page = await look(house, browser, f"/{main['id']}")
    table = page.partition("Last answers")[2].partition("</table>")[0]
    assert f"/admin/signals/{answer.json()['signal_id']}" in table
    assert "{&#34;success&#34;:true}" in table
    assert re.search(r"100 % of \d+ in 24 h", page)


async def test_one_is_made_and_its_secret_is_shown_once(
    house: Relay, browser: dict[str, str]
) -> None:
    given = {"name": "by hand", "url": HOOK, "headers": f"X-Api-Key: {CANARY}", "mode": "dry_run"}
    made = await submit(house, browser, "", **given, add='account = paper\nn = 3\nzip = "01"')
    assert made.status_code == 200, made.text
    assert CANARY not in made.text
    assert "whsec_" in made.text
    (one,) = [
        row for row in (await house.read("/api/destinations"))["items"] if row["name"] == "by hand"
    ]
    assert (one["mode"], one["windows"], one["headers"]) == ("dry_run", "60/60s", ["x-api-key"])
    assert one["mapping"]["add"] == {"account": "paper", "n": 3, "zip": "01"}
    assert "whsec_" not in await look(house, browser, f"/{one['id']}")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"url": ""}, "url: an address is needed"),
        ({"url": f"http://other.example/{CANARY}"}, "url must be https"),
        ({"windows": "many"}, "is no window"),
        ({"timeout": "soon"}, "timeout: not a number"),
        ({"timeout": "99"}, "timeout must be 0.5 to 10 seconds"),
        ({"headers": CANARY}, "headers: line 1 is not"),
        ({"rename": "a ="}, "rename: line 1 is not"),
        ({"name": "main"}, "Another destination has this name."),
    ],
    ids=lambda one: str(one)[:30],
)
async def test_what_is_wrong_is_said_in_place_and_what_was_typed_stays(
    house: Relay, browser: dict[str, str], wrong: dict[str, str], words: str
) -> None:
    given = {"name": "typed name", "url": HOOK, "windows": "7/60s"} | wrong
    answer = await submit(house, browser, "", **given)
    assert answer.status_code in {400, 409}
    assert words in answer.text
    assert CANARY not in answer.text, "a secret is not shown again"
    assert f'value="{given["windows"]}"' in answer.text
    assert f'value="{given["name"]}"' in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert '<details class="card" id="create" open>' in answer.text


async def test_settings_change_at_once_and_masks_stay_what_they_hide(
    house: Relay, browser: dict[str, str]
) -> None:
    mapping = {"preset": "as_received", "add": {"password": CANARY, "account": "paper"}}
    one = await create(house, mapping=mapping, windows="10/60s")
    page = await look(house, browser, f"/{one['id']}")
    assert "password = •••" in page
    given = {
        "name": one["name"],
        "windows": "none",
        "version": "1",
        "add": "password = •••\naccount = live",
        "guarantee": "at_most_once",
    }
    saved = await submit(house, browser, f"/{one['id']}", **given)
    assert saved.status_code == 303, saved.text
    assert "Saved as version 2." in await look(house, browser, f"/{one['id']}")
    found = await one_of(house, one["id"])
    assert (found["windows"], found["guarantee"]) == ("", "at_most_once")
    (kept,) = await house.rows(
        "SELECT mapping, added_sealed FROM destination_versions"
        " WHERE destination_id = :id AND version = 2",
        id=one["id"],
    )
    assert "add" not in kept.mapping
    added = Vault.from_key(KEY).open(kept.added_sealed, constants_of(UUID(one["id"])))
    assert json.loads(added) == {"password": CANARY, "account": "live"}
    stale = await submit(house, browser, f"/{one['id']}", **given)
    assert stale.status_code == 409
    assert "Somebody has changed it" in stale.text


async def test_a_new_address_waits_and_is_cancelled(house: Relay, browser: dict[str, str]) -> None:
    one = await create(house)
    path, since = f"/{one['id']}", Watch()
    given = {"url": f"https://new.example/{CANARY}", "headers": f"Authorization: {CANARY}"}
    entered = await submit(house, browser, f"{path}/address", **given)
    assert entered.status_code == 303, entered.text
    page = await look(house, browser, path)
    assert "The new address counts in 60 s, unless it is cancelled." in page
    assert tells_left(page, r"A new address counts <time[^>]*>in (\d+) s</time>", since, 60)
    assert "https://new.example/•••" in page
    assert (await one_of(house, one["id"]))["url"] == "https://other.example/•••"
    second = await submit(house, browser, f"{path}/address", **given)
    assert second.status_code == 409
    assert "A new address waits already" in second.text
    assert (await submit(house, browser, f"{path}/cancel-address")).status_code == 303
    assert "The new address was cancelled" in await look(house, browser, path)
    late = await submit(house, browser, f"{path}/cancel-address")
    assert late.status_code == 409
    assert "No address waits any more" in late.text
    told = (await events(house, one["id"]))[1:]
    assert told == ["destination.address_pending", "destination.address_cancelled"]


async def test_a_new_address_counts_when_its_minute_is_over(
    house: Relay, browser: dict[str, str]
) -> None:
    one = await create(house)
    await submit(house, browser, f"/{one['id']}/address", url="https://new.example/x")
    await house.execute("UPDATE pending_addresses SET due_at = now()")

    async def counts() -> bool:
        return (await one_of(house, one["id"]))["url"] == "https://new.example/•••"

    await until(counts, "the new address")
    assert "A new address counts" not in await look(house, browser, f"/{one['id']}")


async def test_headers_alone_count_at_once(house: Relay, browser: dict[str, str]) -> None:
    one = await create(house, headers=HEADERS | {"X-Old": CANARY})
    given = {"headers": f"X-New: {CANARY}", "drop": "x-old"}
    answer = await submit(house, browser, f"/{one['id']}/address", **given)
    assert answer.status_code == 303, answer.text
    assert (await one_of(house, one["id"]))["headers"] == ["x-api-key", "x-new"]
    same = await submit(house, browser, f"/{one['id']}/address")
    assert same.status_code == 400
    assert "that changes nothing" in same.text


async def test_a_while_after_signing_in_secrets_ask_for_the_token_again(
    house: Relay, browser: dict[str, str]
) -> None:
    one = await create(house)
    await house.execute("UPDATE sessions SET proved_at = now() - interval '1 day'")
    for path, fields in (
        (f"/{one['id']}/address", {"url": "https://new.example/x"}),
        (f"/{one['id']}/rotate-secret", {}),
        ("", {"name": "unproved", "url": HOOK}),
    ):
        refused = await submit(house, browser, path, **fields)
        assert refused.status_code == 403, path
        assert "This asks for your token again. Nothing was done." in refused.text
        assert 'name="proof"' in refused.text
    assert await events(house, one["id"]) == ["destination.created"]
    proved = await submit(house, browser, f"/{one['id']}/rotate-secret", proof=ADMIN_TOKEN)
    assert proved.status_code == 200
    assert "whsec_" in proved.text
    assert "The one before signs too, for 24 h more." in proved.text


async def test_pausing_keeps_and_resuming_drains(house: Relay, browser: dict[str, str]) -> None:
    (main,) = [
        row for row in (await house.read("/api/destinations"))["items"] if row["name"] == "main"
    ]
    path = f"/{main['id']}"
    assert (await submit(house, browser, f"{path}/pause")).status_code == 303
    ticker = house.finviz.market[1].ticker
    answer = await house.post({"ticker": ticker, "action": "buy"})

    async def waits() -> bool:
        return bool((await one_of(house, main["id"]))["queued"])

    await until(waits, "a delivery that waits")
    page = await look(house, browser, path)
    assert "Paused: nothing is sent; what is approved is kept. 1 delivery waiting." in page
    assert "1 delivery waits here: they leave as fast" in page
    resumed = await submit(house, browser, f"{path}/resume")
    assert resumed.status_code == 303
    assert (await house.settled(answer.json()["signal_id"]))["status"] in {
        "delivered",
        "approved",
    }
    twice = await submit(house, browser, f"{path}/enable")
    assert twice.status_code == 303, "said twice changes nothing"


async def test_what_waits_is_cancelled_with_its_number(
    house: Relay, browser: dict[str, str]
) -> None:
    one = await create(house)
    path = f"/{one['id']}"
    await submit(house, browser, f"{path}/pause")
    ticker = house.finviz.market[2].ticker
    answer = await house.post({"ticker": ticker, "action": "buy"})

    async def waits() -> bool:
        return bool((await one_of(house, one["id"]))["queued"])

    await until(waits, "a delivery that waits")
    assert "everything that is queued (1)" in await look(house, browser, path)
    given = {"which": "all", "reason": "changed my mind"}
    assert (await submit(house, browser, f"{path}/cancel-queued", **given)).status_code == 303
    assert "1 delivery was cancelled; positions follow." in await look(house, browser, path)
    disabled = await submit(house, browser, f"{path}/disable")
    assert disabled.status_code == 303
    assert "Disabled: it gets no new buys." in await look(house, browser, path)
    await house.settled(answer.json()["signal_id"])  # the others got it


async def test_another_site_orders_nothing(house: Relay, browser: dict[str, str]) -> None:
    one = await create(house)
    foreign = browser | {"sec-fetch-site": "cross-site"}
    for order in ("pause", "address", "test", "rotate-secret"):
        answer = await submit(house, foreign, f"/{one['id']}/{order}", url=HOOK)
        assert answer.status_code == 403
    assert await events(house, one["id"]) == ["destination.created"]
