"""The day before the demo began, made up: history as another relay would have exported it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from demo.alerts import Alert, alerts_of
from demo.chance import drawn
from demo.clock import DAY, OPENS
from demo.market import LENGTH, MarketDay

DAY_BEFORE = -3
"""The last Friday before the demo's first Monday."""

TOP_N = 15
TTL = {"buy": timedelta(seconds=30), "sell": timedelta(minutes=10)}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of an alert of the past."""

    status: str
    reason: str | None = None
    rank: int | None = None


@dataclass(slots=True)
class Past:
    """Walks through a day as the relay would have: positions open and close."""

    seed: int
    market: MarketDay
    held: set[str] = field(default_factory=set[str])

    def lines(self, until: datetime) -> Iterator[str]:
        """JSON lines of a whole session that ended a day before ``until``."""
        begins = until - timedelta(days=1, minutes=LENGTH + 1)
        for number, alert in enumerate(alerts_of(self.seed, DAY_BEFORE)):
            if alert.kind not in {"repeated", "in words"}:
                at = begins + timedelta(minutes=alert.at - DAY_BEFORE * DAY - OPENS)
                yield json.dumps(self._told(number, alert, at))

    def _told(self, number: int, alert: Alert, at: datetime) -> dict[str, Any]:
        chance = drawn(self.seed, "past", number, int(at.timestamp()))
        judged = at + timedelta(milliseconds=chance.uniform(2, 30))
        body, order = alert.body(at), _order(alert)
        verdict = self._judged(order, alert)
        side = order.get("action") if verdict.status != "invalid" else None
        ttl = TTL[side or "buy"]
        event = {"status": verdict.status, "reason": verdict.reason, "rank": verdict.rank}
        return {
            "id": str(UUID(int=chance.getrandbits(128), version=4)),
            "source": alert.source,
            "ticker": _ticker(order) if side else None,
            "symbol": order.get("ticker") if side else None,
            "side": side,
            "closes": order.get("market_position") == "flat" if side else None,
            "partial": alert.kind == "half",
            "price": order.get("price") if side else None,
            "price_text": order.get("price") if side else None,
            "clock_skew": False,
            "hop": 0,
            "content_type": "application/json",
            "received_at": at.isoformat(),
            "expires_at": (at + ttl).isoformat(),
            "judged_at": judged.isoformat(),
            "status": verdict.status,
            "reason": verdict.reason,
            "rank": verdict.rank,
            "cutoff": TOP_N if verdict.rank else None,
            "list_age_ms": chance.randrange(500, 10_000) if verdict.rank else None,
            "body": body,
            "events": [
                {"at": at.isoformat(), "event": "signal.received"},
                {
                    "at": judged.isoformat(),
                    "event": f"signal.{verdict.status}",
                    "detail": {name: value for name, value in event.items() if value},
                },
            ],
        }

    def _judged(self, order: dict[str, str], alert: Alert) -> Verdict:
        if not order:
            return Verdict("invalid", "invalid_json")
        ticker = _ticker(order)
        if alert.late:
            return Verdict("expired", "expired")
        if order["action"] == "sell":
            return self._sold(ticker, alert)
        ranks = self.market.tickers(alert.at)
        rank = ranks.index(ticker) + 1 if ticker in ranks else None
        if rank is None or rank > TOP_N:
            return Verdict("rejected", "not_in_list", rank)
        self.held.add(ticker)
        return Verdict("approved", rank=rank)

    def _sold(self, ticker: str, alert: Alert) -> Verdict:
        if ticker not in self.held:
            return Verdict("rejected", "no_position")
        if alert.kind != "half":
            self.held.remove(ticker)
        return Verdict("approved")


def _order(alert: Alert) -> dict[str, str]:
    """What can be read of it; nothing of a malformed one."""
    return {} if alert.kind == "malformed" else json.loads(alert.text)


def _ticker(order: dict[str, str]) -> str:
    return order["ticker"].rpartition(":")[2]
