"""What a desk has set up before the day begins: strategies, colleagues, rules, another account."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from demo.alerts import BREAKOUT, BY_HAND, HOURLY, SCALPER, SCANNER, STRATEGIES, SWING
from demo.hands import Hands
from engines.clock import utc_now

NOTES: Mapping[str, dict[str, object]] = {
    BREAKOUT: {"note": "Breakouts on closes of five-minute bars. Some exits come in halves."},
    HOURLY: {"note": "Buys on closes of hours, out before the close.", "pairs": True},
    SWING: {"note": "Bought before the close, sold after the open.", "buy_ttl_sec": 60},
    SCALPER: {"note": "An experiment that sometimes flickers."},
    SCANNER: {"note": "Buys only. Knows more tickers than the list.", "direction": "buy"},
}
DAY_DESK, NIGHT_DESK = "Dana, day desk", "Ola, night desk"
COLLEAGUES: Mapping[str, list[str]] = {
    DAY_DESK: ["read", "trade"],
    NIGHT_DESK: ["read", "trade", "config"],
}
PAPER = "paper account"
JOURNAL = "trade journal"
OTHERS: Mapping[str, dict[str, object]] = {
    PAPER: {
        "url": "https://paper.example/hook/made-up-password",
        "guarantee": "at_most_once",
        "mapping": {"preset": "traderspost"},
        "windows": "60/60s,500/3600s",
    },
    JOURNAL: {"url": "https://journal.example/hook/made-up-password", "mode": "dry_run"},
}
RULES = {
    "every": {"refused": ["GME", "AMC"], "cooldown_sec": 20, "max_positions": 60},
    "sources": {SCANNER: {"max_positions": 10}},
}
WATCHLIST = "own watchlist"


@dataclass(frozen=True, slots=True)
class Desk:
    """Who can do what: the hands of the operators, by name, and of the strategies."""

    hands: Hands
    people: Mapping[str, Hands] = field(repr=False)

    def __getitem__(self, name: str) -> Hands:
        return self.people[name]


async def strategies(hands: Hands, webhook_token: str) -> Hands:
    """Sources with a token each, made anew at every start: nobody can read an old one."""
    known = {one["name"]: one for one in await hands.items("/api/sources")}
    doors = {BY_HAND: webhook_token}
    for name in STRATEGIES:
        if name in known:
            doors[name] = (await hands.order(f"/api/sources/{name}/tokens"))["token"]
            await _revoke(hands, known[name]["tokens"])
        else:
            made = await hands.order("/api/sources", name=name, **NOTES[name])
            doors[name] = made["token"]
    return Hands(hands.client, hands.token, doors)


async def colleagues(hands: Hands) -> dict[str, Hands]:
    """People with tokens of their own, so that the activity says who it was."""
    old = [one for one in await hands.items("/api/tokens") if one["name"] in COLLEAGUES]
    await _revoke(hands, old)
    found: dict[str, Hands] = {}
    for name, scopes in COLLEAGUES.items():
        made = await hands.order("/api/tokens", name=name, scopes=scopes, expires_in_days=30)
        found[name] = hands.of(made["token"])
    return found


async def _revoke(hands: Hands, tokens: list[dict[str, Any]]) -> None:
    for one in tokens:
        if one["revoked_at"] is None:
            await hands.order(f"/api/tokens/{one['id']}/revoke", reason="the demo began anew")


async def furnish(hands: Hands, desk: Desk) -> bool:
    """Everything else, once in a database; whether this was the first time."""
    if any(one["name"] == WATCHLIST for one in await hands.items("/api/screens")):
        return False
    night = desk[NIGHT_DESK]
    (main,) = await hands.items("/api/destinations")
    place = f"/api/destinations/{main['id']}"
    await hands.ask("PATCH", place, {"mapping": {"preset": "traderspost"}})
    for name, terms in OTHERS.items():
        await night.order("/api/destinations", name=name, **terms)
    await night.ask("PUT", "/api/rules", RULES | {"reason": "how we trade this month"})
    await night.order(
        "/api/channels",
        name="desk phone",
        kind="webhook",
        url="https://phone.example/hook/made-up-password",
        severity="warning",
        window=300,
    )
    await _screens(night)
    return True


async def _screens(night: Hands) -> None:
    address = "https://finviz.com/screener.ashx?v=111&f=cap_largeover&o=-volume"
    await night.order("/api/screens", name="large and busy", url=address, top_n=30, margin=5)
    await night.order(
        "/api/screens",
        name=WATCHLIST,
        note="For days without Finviz.",
        tickers=["AAPL", "MSFT", "NVDA", "BRK.B"],
        valid_until=(utc_now() + timedelta(days=90)).isoformat(),
    )
