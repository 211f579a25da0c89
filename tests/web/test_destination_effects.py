"""A changed destination: in effect within two seconds, nothing sent elsewhere, no secret shown."""

import time
from typing import Any

import pytest

from domain.signature import key_of, sign
from tests.stalls import stalls
from tests.web.operating import API, CANARY, HEADERS, HOOK, ask, change, create, tell
from tests.web.stage import Relay, cloned, relay, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

EFFECT = 2.0
"""Seconds within which a change must take effect."""


async def posted(relay: Relay, ticker: str, note: str) -> str:
    answer = await relay.post({"ticker": ticker, "action": "buy", "note": note})
    assert answer.status_code == 202
    return answer.json()["signal_id"]


async def parcels(relay: Relay, id: str) -> list[Any]:
    return [parcel for parcel in relay.destination.parcels if parcel.id == id]


async def arrived(relay: Relay, id: str) -> Any:
    async def is_there() -> bool:
        return bool(await parcels(relay, id))

    await until(is_there, "a delivery")
    return (await parcels(relay, id))[0]


async def are_queued(relay: Relay, number: int) -> bool:
    return len(await relay.rows("SELECT id FROM deliveries WHERE state = 'queued'")) == number


async def test_changes_take_effect_within_two_seconds(template: str) -> None:
    async with cloned(template) as url, relay(url) as it:
        (main,) = (await ask(it, "GET", API)).json()["items"]
        tickers = iter([listing.ticker for listing in it.finviz.market])
        await arrived(it, await posted(it, next(tickers), "before"))

        await tell(it, main, "pause")
        kept = await posted(it, next(tickers), "kept while it is paused")
        await until(lambda: are_queued(it, 1), "a queued delivery")
        mapping = {"preset": "traderspost", "add": {"test": True}}
        assert (await change(it, main, mapping=mapping)).json()["queued_older"] == 1

        await tell(it, main, "resume")
        began = time.monotonic()
        with stalls() as stood:
            parcel = await arrived(it, kept)
            assert stood.at_work(began) < EFFECT
        assert b'"note"' in parcel.body, "it keeps the mapping it was approved under"

        parcel = await arrived(it, await posted(it, next(tickers), "mapped"))
        assert b'"test":true' in parcel.body
        assert b'"note"' not in parcel.body

        rotated = await tell(it, main, "rotate-secret", {"overlap": 3600})
        began = time.monotonic()
        with stalls() as stood:
            while True:
                parcel = await arrived(it, await posted(it, next(tickers), "rotated"))
                signatures = parcel.headers["webhook-signature"].split()
                if len(signatures) == 2:
                    break
                assert stood.at_work(began) < EFFECT, "a new key signs within two seconds"
        expected = sign(
            key_of(rotated["signing_secret"]),
            id=parcel.id,
            timestamp=int(parcel.headers["webhook-timestamp"]),
            body=parcel.body,
        )
        assert signatures[0] == expected
        assert rotated["previous_key_until"] is not None


async def test_what_waits_for_an_older_version_is_the_operators_to_decide(template: str) -> None:
    async with cloned(template) as url, relay(url) as it:
        (main,) = (await ask(it, "GET", API)).json()["items"]
        await tell(it, main, "pause")
        first, second = (listing.ticker for listing in it.finviz.market[:2])
        for ticker in (first, second):
            await posted(it, ticker, "waits")
        await until(lambda: are_queued(it, 2), "two queued deliveries")
        moved = (await change(it, main, url=HOOK)).json()
        assert moved["queued_older"] == 2
        assert moved["advice"].startswith("2 queued for older versions")
        deliveries = (await ask(it, "GET", "/api/deliveries?state=queued")).json()["items"]
        (one,) = [delivery for delivery in deliveries if delivery["ticker"] == second]
        answer = await ask(it, "POST", f"/api/deliveries/{one['id']}/cancel")
        assert answer.json()["state"] == "cancelled"
        retargeted = await tell(it, main, "retarget")
        assert (retargeted["retargeted"], retargeted["advice"]) == (1, None)
        await change(it, main, url=HOOK + "2")
        assert (await tell(it, main, "cancel-queued"))["cancelled"] == 1
        await tell(it, main, "resume")
        assert (await it.read("/status"))["backlog"]["unfinished"] == 0
        told = await it.rows("SELECT event, actor FROM events WHERE event LIKE 'delivery.%'")
        assert [row.event for row in told if row.actor] == [
            *("delivery.cancelled", "delivery.retargeted", "delivery.cancelled"),
        ]


# ── Secrets ─────────────────────────────────────────────────────────────────────────────────


async def test_no_secret_is_in_an_answer_an_event_or_the_log(
    template: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What httpx would log of our requests, the launcher keeps it from (launcher/logs.py)."""
    caplog.set_level("DEBUG")
    async with cloned(template) as url, relay(url) as it:
        added = {"add": {"password": f"{CANARY}-add", "note": "plain"}}
        made = await create(it, headers=HEADERS, mapping=added)
        answers = [(await change(it, made, url=HOOK + "2", headers={"x-b": f"{CANARY}-b"})).text]
        secrets = [made.pop("signing_secret")]
        secrets.append((rotated := await tell(it, made, "rotate-secret")).pop("signing_secret"))
        answers += [str(made), str(rotated)]
        answers += [
            (
                await ask(it, "POST", API, {"name": made["name"], "url": HOOK, "headers": HEADERS})
            ).text,
            (await change(it, made, name="main", url=HOOK + "3")).text,
        ]
        ticker = it.finviz.market[0].ticker
        await it.settled(await posted(it, ticker, "delivered"))
        for order in ("pause", "resume", "retarget", "cancel-queued", "close-breaker", "disable"):
            answers.append(str(await tell(it, made, order)))
        for path in (API, f"{API}/{made['id']}", "/api/deliveries", "/status", "/openapi.json"):
            answers.append((await it.get(path)).text)
        rows = await it.rows("SELECT CAST(events AS text) AS event FROM events")
        answers += [row.event for row in rows]
        said = [record for record in caplog.records if record.name != "httpx"]
        answers += [f"{record.getMessage()} {record.__dict__}" for record in said]
        assert len(secrets) == 2
        for answer in answers:
            assert CANARY not in answer
            assert not [secret for secret in secrets if secret.removeprefix("whsec_") in answer]
        assert "plain" in "".join(answers)
