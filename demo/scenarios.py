"""The four scenarios of the demo: a burst, Finviz gone, the destination gone, everything sold."""

import asyncio
from math import ceil

from demo.alerts import BREAKOUT, HOURLY, NONSENSE, SCANNER, STRANGERS, SWING
from demo.chance import drawn
from demo.clock import OPENS
from demo.defaults import SPEED
from demo.scenario import Scenario, Theatre
from demo.world import World


def lasting(seconds: float, speed: float, least: float = 1) -> int:
    """Seconds at the default speed, at this one."""
    return max(ceil(least), ceil(seconds * SPEED / speed))


def windows(speed: float) -> tuple[tuple[int, float], ...]:
    """TradersPost's limits at the default speed."""
    return (60, lasting(60, speed, 2)), (500, lasting(3600, speed, 60))


def _settings(speed: float, **more: object) -> dict[str, object]:
    told = ",".join(f"{most}/{seconds}s" for most, seconds in windows(speed))
    refresh = lasting(10, speed)
    return {"dest_webhook_rate_limits": told, "finviz_refresh_sec": refresh, **more}


def _calm(world: World) -> None:
    """Nothing goes wrong but what the story says, and the list stays as it is."""
    world.stands_at = OPENS + 5.0
    world.fault, world.down = lambda _: None, lambda _: ""
    world.destination.troubled = False
    world.destination.limits = windows(world.clock.speed)


# ── bar-close ───────────────────────────────────────────────────────────────────────────────


async def _bar_close(stage: Theatre) -> None:
    world = stage.world
    listed, below = world.listed(1, 20), world.listed(21, 35)
    orders = [(source, ticker) for source in (BREAKOUT, HOURLY, SWING) for ticker in listed]
    orders += [(BREAKOUT, ticker) for ticker in below]
    orders += [(SCANNER, ticker) for ticker in STRANGERS]
    bodies = [(source, stage.body(ticker, "buy", source)) for source, ticker in orders]
    nonsense = [(SCANNER, body) for body in NONSENSE]
    repeats = bodies[:5]
    everything = [*bodies, *nonsense, *repeats]
    drawn(world.seed, "bar-close").shuffle(everything)
    stage.tell(f"Five-minute bars close: {len(everything)} alerts at the same moment.")
    posted = await asyncio.gather(*(stage.hands.post(*one) for one in everything))
    stage.tell("Every one is answered. Their verdicts follow, and orders leave within the limits.")
    await stage.settled()
    stage.tell("Nothing is on its way any more.")
    became = await stage.became()
    stage.check("alerts answered", sum(one.heard for one in posted), len(everything))
    stage.check("repeats folded", sum(one.duplicate for one in posted), len(repeats))
    stage.check("signals undecided", became["buy received"], 0)
    stage.check("buys of listed tickers delivered", became["buy delivered"], 3 * len(listed))
    turned = len(below) + len(STRANGERS)
    stage.check("buys of others rejected", became["buy rejected not_in_list"], turned)
    invalid = sum(count for words, count in became.items() if words.startswith("invalid"))
    stage.check("alerts that are no signal", invalid, len(NONSENSE))
    stage.check("orders that the destination took", _taken(stage, "buy"), 3 * len(listed))
    await stage.check_arrivals()


def _taken(stage: Theatre, action: str) -> int:
    return sum(parcel.taken and parcel.order["action"] == action for parcel in stage.parcels)


# ── finviz-blocked ──────────────────────────────────────────────────────────────────────────


async def _finviz_blocked(stage: Theatre) -> None:
    world = stage.world
    before, during, later = world.listed(1, 5), world.listed(6, 10), world.listed(11, 13)
    stage.tell("The list is fresh. Five buys of listed tickers come.")
    await stage.all_of(before, "buy")
    await stage.settled()
    opened = await stage.positions("open")
    await stage.wait(1)
    world.fault = lambda _: "blocked"
    stage.tell("Finviz answers 403 from now on. The last good list stays in force while it may.")
    await stage.trusted("stale")
    stage.tell("The list is too old: buys stop, exits go on. Five buys and five sells come.")
    await stage.all_of(during, "buy")
    await stage.all_of(before, "sell", market_position="flat")
    await stage.settled()
    turned = (await stage.became())["buy rejected list_stale"]
    stage.check("positions opened before", opened, len(before))
    stage.check("buys rejected while the list was stale", turned, len(during))
    stage.check("positions closed meanwhile", await stage.positions("closed"), len(before))
    await _finviz_back(stage, before, later)


async def _finviz_back(stage: Theatre, before: list[str], later: list[str]) -> None:
    stage.world.fault = lambda _: None
    stage.tell("Finviz is back. Ola has it asked at once instead of waiting for the next look.")
    await stage.night_desk.order("/api/universe/refresh")
    await stage.trusted("fresh")
    stage.tell("The list is fresh again. Three buys come.")
    await stage.all_of(later, "buy")
    await stage.settled()
    became = await stage.became()
    stage.check("sells delivered", became["sell delivered"], len(before))
    await stage.over("list_stale")
    stage.check("buys delivered, before and after", became["buy delivered"], len(before + later))
    stage.check("notices that the list is stale", await stage.attention("list_stale"), 1)
    await stage.check_arrivals()


# ── destination-down ────────────────────────────────────────────────────────────────────────


async def _destination_down(stage: Theatre) -> None:
    world = stage.world
    held, others = world.listed(1, 8), world.listed(9, 14)
    stage.tell("Eight buys come and are delivered.")
    await stage.all_of(held, "buy")
    await stage.settled()
    await stage.wait(1)
    world.down = lambda _: "failing"
    stage.tell("The destination begins to answer 500: what it was sent may count, or not.")
    await stage.all_of(held[:4], "sell", market_position="flat")
    await stage.all_of(held[4:6], "sell", market_position="long")
    await stage.until(lambda: _breaker(stage, "open"), "the breaker opens")
    world.down = lambda _: "down"
    stage.tell("Its breaker is open: nothing but a probe leaves. Six buys come, and four sells.")
    await stage.all_of(others, "buy")
    await stage.all_of(held[4:], "sell", market_position="flat")
    await stage.until(lambda: _ended(stage, len(others)), "the buys expire")
    stage.tell("The buys have expired: nobody wants them that late. The sells wait.")
    await _destination_back(stage, held, others)


async def _destination_back(stage: Theatre, held: list[str], others: list[str]) -> None:
    back = len(stage.parcels)
    stage.world.down = lambda _: ""
    stage.tell("The destination is back.")
    await stage.settled()
    stage.tell("The sells are delivered, each behind what came before it of its ticker.")
    became = await stage.became()
    stage.check("buys expired", became["buy expired"], len(others))
    bought = sum(one.order["action"] == "buy" for one in stage.parcels[back:])
    stage.check("buys that left after the outage", bought, 0)
    stage.check("sells delivered", became["sell delivered"], 10)
    stage.check("positions closed", await stage.positions("closed"), len(held))
    await stage.over("breaker_open")
    stage.check("notices that it fails", await stage.attention("breaker_open"), 1)
    marked = sum(one.marked for one in stage.parcels)
    stage.check_least("orders sent again with the mark", marked, 1)
    await stage.check_arrivals()


async def _breaker(stage: Theatre, state: str) -> bool:
    (main,) = await stage.hands.items("/api/destinations")
    return main["breaker"] == state


async def _ended(stage: Theatre, count: int) -> bool:
    return (await stage.became())["buy expired"] == count


# ── sell-all ────────────────────────────────────────────────────────────────────────────────


async def _sell_all(stage: Theatre) -> None:
    world = stage.world
    held, late = world.listed(1, 40), world.listed(41, 45)
    stage.tell("Forty buys come.")
    await stage.all_of(held, "buy")
    await stage.settled()
    opened = await stage.positions("open")
    stage.tell(f"{opened} positions are open. Ola sells everything.")
    batch = await stage.night_desk.order("/sell/all", reason="leaving the desk")
    stage.tell("Buying is paused with it. Five more buys come.")
    await stage.all_of(late, "buy")
    place = f"/api/batches/{batch['batch_id']}"

    async def done() -> bool:
        return (await stage.hands.read(place))["done"]

    await stage.until(done, "everything is sold")
    await stage.settled()
    stage.tell("The last exit has arrived.")
    became = await stage.became()
    stage.check("positions that were open", opened, len(held))
    stage.check("exits of the command", len(batch["signals"]), len(held))
    stage.check("exits delivered", became["sell delivered"], len(held))
    stage.check("positions closed", await stage.positions("closed"), len(held))
    paused = (await stage.hands.read("/api/buying"))["paused"]
    stage.check("buying is paused", paused is not None, expected=True)
    stage.check("buys rejected", became["buy rejected buying_paused"], len(late))
    stage.check("buys that came after an exit", _buys_after_exit(stage), 0)
    await stage.check_arrivals()


def _buys_after_exit(stage: Theatre) -> int:
    actions = [parcel.order["action"] for parcel in stage.parcels]
    return actions[actions.index("sell") :].count("buy") if "sell" in actions else 0


SCENARIOS = {
    one.name: one
    for one in (
        Scenario(
            "bar-close",
            "ninety-one alerts at the same moment; 60 orders a minute may leave.",
            lambda speed: _settings(speed, top_n=20, buy_ttl_sec=lasting(240, speed, 12)),
            _calm,
            _bar_close,
        ),
        Scenario(
            "finviz-blocked",
            "Finviz refuses us until the list is too old to buy by, then it is back.",
            lambda speed: _settings(speed, list_max_age_sec=lasting(60, speed, 4)),
            _calm,
            _finviz_blocked,
        ),
        Scenario(
            "destination-down",
            "the destination fails: buys expire, sells wait and arrive.",
            lambda speed: _settings(speed, buy_ttl_sec=lasting(20, speed, 3)),
            _calm,
            _destination_down,
        ),
        Scenario(
            "sell-all",
            "forty positions, and one command that ends them all.",
            lambda speed: _settings(speed, top_n=50, buy_ttl_sec=lasting(120, speed, 12)),
            _calm,
            _sell_all,
        ),
    )
}
