"""What people at the desk do during a day, and at which minute after the open."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from demo.desk import DAY_DESK, JOURNAL, NIGHT_DESK, PAPER, Desk
from demo.hands import Hands
from demo.world import World

Act: TypeAlias = Callable[[Desk, World], Awaitable[str]]
"""Does something and says what; "" when there was nothing to do."""


async def sell_one(desk: Desk, _world: World) -> str:
    held = await _held(desk[DAY_DESK])
    if not held:
        return ""
    await desk[DAY_DESK].order("/sell/individual", ticker=held[0], reason="too far, too fast")
    return f"Dana sells {held[0]} by hand"


async def pause_buying(desk: Desk, world: World) -> str:
    seconds = max(5.0, 8 * 60 / world.clock.speed)
    reason = "a halt in the sector"
    await desk[NIGHT_DESK].order("/api/buying/pause", reason=reason, for_sec=seconds)
    return "Ola pauses buying for eight minutes"


async def sell_some(desk: Desk, _world: World) -> str:
    held = (await _held(desk[DAY_DESK]))[:2]
    if not held:
        return ""
    await desk[DAY_DESK].order("/api/sell-list", tickers=held, note="weak")
    await desk[DAY_DESK].order("/sell/list", reason="these are weak")
    return f"Dana sells what stands on the sell list: {', '.join(held)}"


async def draft(desk: Desk, _world: World) -> str:
    held = (await _held(desk[DAY_DESK]))[-2:]
    if not held:
        return ""
    await desk[DAY_DESK].order("/api/sell-list", tickers=held, note="before the close, perhaps")
    return f"Dana puts {' and '.join(held)} on the sell list"


async def see_to_held(desk: Desk, _world: World) -> str:
    """Of what is held one waits for somebody who looks at this demo."""
    dana = desk[DAY_DESK]
    held = (await dana.items("/api/deliveries?state=held"))[1:]
    words = {"as": "delivered", "reason": "seen in the account"}
    done = [await dana.done(f"/api/deliveries/{one['id']}/resolve", **words) for one in held]
    return f"Dana finds {len(done)} held orders in the account" if done else ""


async def see_to_attention(desk: Desk, _world: World) -> str:
    dana, done = desk[DAY_DESK], 0
    for cause in ("near_limit", "sell_refused", "buy_dead", "alert_invalid", "buy_after_buy"):
        items = (await dana.items(f"/api/attention?cause={cause}"))[2:]
        if items:
            given = {"ids": [one["id"] for one in items], "reason": "seen"}
            await dana.order("/api/attention/resolve", **given)
            done += len(items)
    return f"Dana goes through {done} items of attention" if done else ""


async def sell_again(desk: Desk, _world: World) -> str:
    dana = desk[DAY_DESK]
    dead = await dana.items("/api/deliveries?state=dead&limit=1")
    if not dead:
        return ""
    words = {"force": True, "reason": "the ticker is right: try it again"}
    again = await dana.done(f"/api/deliveries/{dead[0]['id']}/resend", **words)
    return f"Dana resends {dead[0]['ticker']}" if again else ""


async def tighten(desk: Desk, _world: World) -> str:
    change = {"every": {"max_positions": 40, "cooldown_sec": 30}, "reason": "thin volume"}
    await desk[NIGHT_DESK].ask("PATCH", "/api/rules", change)
    return "Ola lowers the number of positions to 40"


async def loosen(desk: Desk, _world: World) -> str:
    change = {"every": {"max_positions": 60, "cooldown_sec": 20}, "reason": "as before"}
    await desk[NIGHT_DESK].ask("PATCH", "/api/rules", change)
    return "Ola sets it to 60 again"


async def bring_along(desk: Desk, _world: World) -> str:
    given = {"ticker": "BRK.B", "price": "471.20", "reason": "held since last year"}
    return (
        "Dana enters BRK-B by hand" if await desk[DAY_DESK].done("/api/positions", **given) else ""
    )


async def widen(desk: Desk, _world: World) -> str:
    return await _margin(desk[NIGHT_DESK], 3, "lets tickers stay until rank 18")


async def narrow(desk: Desk, _world: World) -> str:
    return await _margin(desk[NIGHT_DESK], 0, "lets only the top 15 stay")


async def pause_paper(desk: Desk, _world: World) -> str:
    await _destination(desk[NIGHT_DESK], PAPER, "pause")
    return "Ola pauses the paper account"


async def resume_paper(desk: Desk, _world: World) -> str:
    await _destination(desk[NIGHT_DESK], PAPER, "resume")
    return "Ola resumes the paper account"


async def new_key(desk: Desk, _world: World) -> str:
    await _destination(desk[NIGHT_DESK], JOURNAL, "rotate-secret")
    return "Ola gives the trade journal another signing key"


async def _margin(night: Hands, margin: int, words: str) -> str:
    active = next(one for one in await night.items("/api/screens") if one["active"])
    await night.ask("PATCH", f"/api/screens/{active['id']}", {"margin": margin})
    return f"Ola {words}"


async def _destination(night: Hands, name: str, verb: str) -> None:
    every = await night.items("/api/destinations")
    one = next(one for one in every if one["name"] == name)
    await night.order(f"/api/destinations/{one['id']}/{verb}")


async def _held(hands: Hands) -> list[str]:
    return [one["ticker"] for one in await hands.items("/api/positions?state=open&limit=20")]


ACTS: tuple[tuple[float, Act], ...] = (
    (9, sell_one),
    (26, sell_some),
    (31, pause_buying),
    (38, see_to_held),
    (41, tighten),
    (46, bring_along),
    (52, widen),
    (58, draft),
    (64, see_to_attention),
    (95, sell_one),
    (110, pause_paper),
    (118, resume_paper),
    (140, sell_again),
    (150, see_to_attention),
    (170, see_to_held),
    (200, loosen),
    (230, pause_buying),
    (255, see_to_attention),
    (280, narrow),
    (300, new_key),
    (330, sell_some),
    (365, see_to_held),
    (378, see_to_attention),
)
