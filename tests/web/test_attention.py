"""What an operator must not miss: exits that went nowhere, holds, loops; and what counts them."""

import pytest

from tests.web.stage import ADMIN_TOKEN, Relay, cloned, relay, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def page(relay: Relay) -> str:
    """The overview as a signed-in browser gets it."""
    form = {"token": ADMIN_TOKEN}
    answer = await relay.http.post("/admin/login", data=form)
    cookie = answer.headers["set-cookie"].partition(";")[0]
    found = await relay.http.get("/admin", headers={"cookie": cookie})
    assert found.status_code == 200
    return found.text


async def test_a_relayed_alert_counts_its_relays(shared: Relay, listed: str) -> None:
    alert = {"ticker": listed, "action": "buy", "test": "hop"}
    answer = await shared.post(alert, **{"relay-hop": "1"})
    assert answer.status_code == 202
    life = await shared.settled(answer.json()["signal_id"])
    (parcel,) = [one for one in shared.destination.parcels if one.id == life["id"]]
    assert parcel.headers["relay-hop"] == "2"


async def test_an_alert_that_goes_round_in_circles_is_refused(shared: Relay) -> None:
    body = {"ticker": "ROUND", "action": "buy"}
    answer = await shared.post(body, **{"relay-hop": "2"})
    assert (answer.status_code, answer.json()["code"]) == (422, "loop")
    assert not await shared.rows("SELECT id FROM signals WHERE ticker = 'ROUND'")


def wants(shown: str) -> str:
    """What the overview says under "Wants a look"."""
    return shown.partition("Wants a look")[2].partition("The last 24 hours")[0]


async def noticed(relay: Relay, ticker: str) -> str:
    async def is_there() -> bool:
        return ticker in wants(await page(relay))

    await until(is_there, f"an item about {ticker} on the overview")
    return wants(await page(relay))


async def test_a_sell_without_a_position_is_shown_until_somebody_looks(shared: Relay) -> None:
    answer = await shared.post({"ticker": "LONESOME", "action": "sell"})
    life = await shared.settled(answer.json()["signal_id"])
    shown = await noticed(shared, "LONESOME")
    assert f'href="/admin/signals/{life["id"]}"' in shown
    assert 'href="/admin/attention"' in shown
    items = (await shared.read("/api/attention?ticker=LONESOME"))["items"]
    bearer = {"authorization": f"Bearer {ADMIN_TOKEN}"}
    for item in items:
        await shared.http.post(f"/api/attention/{item['id']}/resolve", headers=bearer)
    assert "LONESOME" not in wants(await page(shared))


async def test_a_delivery_given_up_is_shown_and_counted(shared: Relay, listed: str) -> None:
    shared.destination.status = 404
    try:
        answer = await shared.post({"ticker": listed, "action": "buy", "test": "dead"})
        life = await shared.settled(answer.json()["signal_id"])
    finally:
        shared.destination.status = 200
    assert life["status"] == "dead"
    assert (await shared.read("/status"))["dead_24h"] == 1
    shown = await noticed(shared, listed)
    assert "is dead" in shown
    assert life["id"] in shown
    assert "<b>1</b> dead</a>" in await page(shared)


async def test_a_destination_that_asked_us_to_wait_is_named(shared: Relay) -> None:
    await shared.execute("UPDATE destinations SET hold_until = now() + interval '5 minutes'")
    try:
        shown = await page(shared)
        assert "Waiting for main." in shown
        assert "main asked us to wait: nothing more goes there for 5 min." in shown
        (main,) = (await shared.read("/status"))["destinations"]
        assert 290 < main["held_for"] <= 300
    finally:
        await shared.execute("UPDATE destinations SET hold_until = NULL")


async def was_in_time(relay: Relay, id: str) -> bool:
    """Whether a signal was judged within its life: a second is soon over on a slow machine."""
    found: list[str] = []

    async def is_judged() -> bool:
        found[:] = [(await relay.read(f"/api/signals/{id}"))["status"]]
        return found != ["received"]

    await until(is_judged, "a verdict")
    return found != ["expired"]


async def test_the_sweeper_ends_counts_and_measures(template: str) -> None:
    """A sell nobody can send ends dead in its own time, and the metrics know."""
    async with cloned(template) as url, relay(url, sell_ttl_sec=1, sell_policy="always") as one:
        await one.execute("UPDATE destinations SET state = 'paused'")
        for number in range(20):
            answer = await one.post({"ticker": "LATE", "action": "sell", "n": number})
            if await was_in_time(one, answer.json()["signal_id"]):
                break

        async def is_dead() -> bool:
            return bool(await one.rows("SELECT id FROM deliveries WHERE state = 'dead'"))

        await until(is_dead, "the end of a sell")

        async def is_counted() -> bool:
            told = (await one.get("/metrics")).text
            return 'relay_deliveries_ended_total{state="dead"} 1.0' in told

        await until(is_counted, "its count")
        told = (await one.get("/metrics")).text
        (age,) = [line for line in told.splitlines() if line.startswith("relay_list_age_seconds ")]
        assert 0 < float(age.split()[1]) < 60
        assert "relay_deliveries_unfinished 0.0" in told


async def test_the_page_may_be_reached_by_the_public_address(template: str) -> None:
    """A proxy that rewrites Host must not make our own page a foreign one."""
    public = "https://relay.example.com"
    async with cloned(template) as url, relay(url, public_url=public) as one:
        headers = {"origin": public}
        answer = await one.http.post("/admin/login", data={"token": ADMIN_TOKEN}, headers=headers)
        assert answer.status_code == 303
        headers = {"origin": "https://relay.example.org"}
        answer = await one.http.post("/admin/login", data={"token": ADMIN_TOKEN}, headers=headers)
        assert answer.status_code == 403
