"""The main job inside one process: alert, verdict by the list, delivery, all of it read back."""

import json

import pytest

from tests.web.stage import TOP_N, Relay, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_buy_in_the_list_is_delivered_and_explained(shared: Relay, listed: str) -> None:
    sent = {"ticker": f"NASDAQ:{listed}", "action": "buy", "price": 187.12, "own": [1, {"x": "y"}]}
    answer = await shared.post(sent)
    assert answer.status_code == 202
    life = await shared.settled(answer.json()["signal_id"])
    rank = [one.ticker for one in shared.finviz.market].index(listed) + 1
    assert (life["status"], life["ticker"], life["side"]) == ("delivered", listed, "buy")
    assert (life["verdict"]["status"], life["verdict"]["rank"]) == ("approved", rank)
    assert life["verdict"]["cutoff"] == TOP_N
    assert life["verdict"]["list_age_ms"] >= 0
    assert life["why"].startswith(f"Approved. Rank {rank} of {TOP_N}.")
    assert json.loads(life["body"]) == sent
    (parcel,) = [one for one in shared.destination.parcels if one.id == life["id"]]
    received = json.loads(parcel.body)
    assert {name: received[name] for name in sent} == sent
    assert received.keys() - sent.keys() == {"signal_id", "received_at"}
    assert received["signal_id"] == life["id"]


async def test_every_step_of_a_life_is_told_in_order(shared: Relay, listed: str) -> None:
    answer = await shared.post({"ticker": listed, "action": "buy", "test": "steps"})
    life = await shared.settled(answer.json()["signal_id"])
    told = [event["event"] for event in life["events"]]
    assert [event for event in told if not event.startswith("position.")] == [
        "signal.received",
        "signal.approved",
        "delivery.queued",
        "delivery.sending",
        "delivery.delivered",
    ]
    assert [event["at"] for event in life["events"]] == sorted(e["at"] for e in life["events"])
    (delivery,) = life["deliveries"]
    assert (delivery["state"], delivery["destination"], delivery["attempts"][0]["number"]) == (
        "delivered",
        "main",
        1,
    )
    (attempt,) = delivery["attempts"]
    assert (attempt["outcome"], attempt["status"]) == ("delivered", 200)
    assert attempt["answer"] == '{"success":true}'


async def test_a_buy_outside_the_list_is_rejected(shared: Relay) -> None:
    answer = await shared.post({"ticker": "NYSE:GHOST", "action": "buy"})
    life = await shared.settled(answer.json()["signal_id"])
    assert (life["status"], life["reason"]) == ("rejected", "not_in_list")
    assert life["verdict"]["rank"] is None
    assert life["deliveries"] == []


async def test_a_buy_just_below_the_cut_is_rejected_with_its_rank(shared: Relay) -> None:
    below = shared.finviz.market[TOP_N].ticker
    answer = await shared.post({"ticker": below, "action": "buy"})
    life = await shared.settled(answer.json()["signal_id"])
    assert (life["reason"], life["verdict"]["rank"]) == ("not_in_list", TOP_N + 1)
    assert f"Rank {TOP_N + 1} of {TOP_N}." in life["why"]


async def test_a_sell_without_a_position_is_rejected(shared: Relay, listed: str) -> None:
    answer = await shared.post({"ticker": listed, "action": "sell", "sentiment": "flat"})
    life = await shared.settled(answer.json()["signal_id"])
    assert (life["status"], life["reason"]) == ("rejected", "no_position")


async def test_a_sell_after_a_buy_is_delivered_and_closes_the_position(
    shared: Relay, listed: str
) -> None:
    buy = await shared.post({"ticker": listed, "action": "buy", "test": "closes"})
    await shared.settled(buy.json()["signal_id"])
    opened = (await shared.read("/status"))["positions"].get("open", 0)
    assert opened >= 1
    sell = await shared.post({"ticker": listed, "action": "sell", "sentiment": "flat"})
    life = await shared.settled(sell.json()["signal_id"])
    assert life["status"] == "delivered"

    async def closed() -> bool:
        positions = (await shared.read("/status"))["positions"]
        return positions.get("open", 0) == opened - 1 and not positions.get("closing")

    await until(closed, "a closed position")


async def test_a_buy_and_a_part_sale_in_the_same_instant_keep_their_order(
    shared: Relay, listed: str
) -> None:
    buy = await shared.post({"ticker": listed, "action": "buy", "test": "order"})
    part = await shared.post({"ticker": listed, "action": "trim", "test": "order"})
    ids = [answer.json()["signal_id"] for answer in (buy, part)]
    for id in ids:
        assert (await shared.settled(id))["status"] == "delivered"
    assert [one.id for one in shared.destination.parcels if one.id in ids] == ids


async def test_a_buy_and_its_sell_in_the_same_instant_arrive_in_order_or_not_at_all(
    shared: Relay, listed: str
) -> None:
    """What is sold before it left is not bought first."""
    for round_ in range(5):
        buy = await shared.post({"ticker": listed, "action": "buy", "test": f"both {round_}"})
        sell = await shared.post({"ticker": listed, "action": "sell", "test": f"both {round_}"})
        ids = [answer.json()["signal_id"] for answer in (buy, sell)]
        ends = [(await shared.settled(id))["status"] for id in ids]
        arrived = [one.id for one in shared.destination.parcels if one.id in ids]
        assert (ends, arrived) in (
            (["delivered", "delivered"], ids),
            (["superseded", "superseded"], []),
        )


async def test_form_labelled_json_leaves_as_json(shared: Relay, listed: str) -> None:
    """What `curl -d` sends without a content type."""
    answer = await shared.post(
        {"ticker": listed, "action": "buy", "test": "curl"},
        content_type="application/x-www-form-urlencoded",
    )
    life = await shared.settled(answer.json()["signal_id"])
    assert life["status"] == "delivered"
    (parcel,) = [one for one in shared.destination.parcels if one.id == life["id"]]
    assert parcel.headers["content-type"] == "application/json"
    json.loads(parcel.body)
