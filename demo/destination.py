"""A made-up order gateway: TradersPost's limits and message codes, and trouble by seed."""

import asyncio
import json
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from demo.asgi import answer, body_of
from demo.chance import drawn

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

Answer: TypeAlias = tuple[int, dict[str, object]]

LIMITS = ((60, 60.0), (500, 3600.0))
"""TradersPost's (docs.traderspost.io, rate limits): so many in so many seconds."""

MESSAGES = {
    "too-many-requests": (429, "Too Many Requests"),
    "malformed-json": (400, "The JSON payload could not be parsed."),
    "invalid-payload": (400, "Both the action and ticker fields are required."),
    "invalid-action": (400, "The action must be buy, sell, exit, cancel, or add."),
    "ticker-does-not-exist": (400, "The ticker does not exist."),
    "unknown-error": (500, "Something went wrong."),
    "unavailable": (503, "Back soon."),
}
"""Those of its codes that a relay can meet, with their status."""

ACTIONS = {"buy", "sell", "exit", "cancel", "add"}
NEVER = 30.0
"""Seconds until an answer that nobody waits for."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """One request as it arrived and what was said; ``taken``: it was acted upon."""

    at: float
    host: str
    headers: Mapping[str, str]
    body: bytes
    status: int
    taken: bool

    @property
    def id(self) -> str:
        return self.headers.get("webhook-id", "")

    @property
    def marked(self) -> bool:
        """Whether it says that it may have arrived before."""
        return self.headers.get("relay-poss-resend") == "Y"

    @property
    def order(self) -> dict[str, Any]:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Said:
    """An answer before it is given: after how long, what, and whether the order counts."""

    after: float
    code: str = ""
    taken: bool = True


def said(seed: int, key: Sequence[object], attempt: int) -> Said:
    """What becomes of an order at a gateway that is up: of a hundred buys, some nine go wrong."""
    chance = drawn(seed, "answer", *key, attempt)
    after, roll = chance.lognormvariate(-2.2, 0.6), chance.random()
    if roll < 0.03:
        return Said(after, "unknown-error", chance.random() < 0.5)
    if roll < 0.07 and "buy" in key:
        return Said(after, "ticker-does-not-exist", taken=False)
    if roll > 0.985:
        return Said(NEVER)
    return Said(after + 2 if roll > 0.96 else after)


@dataclass(slots=True)
class MadeUpDestination:
    """A plain ASGI application for any number of addresses, each with the ``limits``.

    ``down`` says how it fails just now: "" not at all, "failing" with 500 and the order may count,
    "down" with 503. ``troubled``: it errs now and then. Not ``thinking``: it answers at once.
    """

    seed: int
    limits: tuple[tuple[int, float], ...] = LIMITS
    troubled: bool = True
    thinking: bool = True
    down: Callable[[str], str] = lambda _host: ""
    parcels: list[Parcel] = field(default_factory=list[Parcel])
    most_kept: int = 10_000
    _seen: Counter[str] = field(default_factory=Counter[str])
    _orders: Counter[tuple[str, ...]] = field(default_factory=Counter[tuple[str, ...]])
    _keys: dict[str, tuple[object, ...]] = field(default_factory=dict[str, tuple[object, ...]])
    _times: defaultdict[str, deque[float]] = field(default_factory=lambda: defaultdict(deque))

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        body = await body_of(receive)
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        now = asyncio.get_running_loop().time()
        host = headers.get("host", "")
        verdict, wait = self._judge(host, headers.get("webhook-id", ""), body, now)
        status, told = _answer(verdict, len(self.parcels), body)
        del self.parcels[: -self.most_kept]
        self.parcels.append(Parcel(now, host, headers, body, status, verdict.taken))
        if self.thinking:
            await asyncio.sleep(verdict.after)
        more = {"retry-after": str(wait)} if wait else {}
        await answer(send, status, json.dumps(told).encode(), headers=more)

    def _judge(self, host: str, id: str, body: bytes, now: float) -> tuple[Said, int]:
        if wait := self._over(host, now):
            return Said(0.005, "too-many-requests", taken=False), wait
        if trouble := self.down(host):
            failing = trouble == "failing"
            return Said(0.02, "unknown-error" if failing else "unavailable", failing), 0
        if code := refused(body):
            return Said(0.01, code, taken=False), 0
        attempt = self._seen[f"{host} {id}"] = self._seen[f"{host} {id}"] + 1
        key = self._key(host, id, json.loads(body))
        return (said(self.seed, key, attempt) if self.troubled else Said(0.01)), 0

    def _over(self, host: str, now: float) -> int:
        """For how many seconds one more would be too many; it counts when it is not."""
        times = self._times[host]
        while times and times[0] <= now - max(seconds for _, seconds in self.limits):
            times.popleft()
        waits = (
            times[-most] + seconds - now
            for most, seconds in self.limits
            if len(times) >= most and times[-most] > now - seconds
        )
        if wait := max(waits, default=0.0):
            return int(wait) + 1
        times.append(now)
        return 0

    def _key(self, host: str, id: str, order: dict[str, Any]) -> tuple[object, ...]:
        """Which order it is, in words that do not depend on ids: the nth of its kind."""
        if (place := f"{host} {id}") not in self._keys:
            kind = (host, str(order.get("ticker")), str(order.get("action")))
            self._orders[kind] += 1
            self._keys[place] = (*kind, self._orders[kind])
        return self._keys[place]


def refused(body: bytes) -> str:
    """The code of what can never be an order; "" for one."""
    try:
        order = json.loads(body)
    except ValueError:
        return "malformed-json"
    if not isinstance(order, dict):
        return "invalid-payload"
    ticker, action = (str(order.get(name, "")) for name in ("ticker", "action"))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]  anybody's JSON
    if not ticker or not action:
        return "invalid-payload"
    return "" if action in ACTIONS else "invalid-action"


def _answer(verdict: Said, number: int, body: bytes) -> Answer:
    log = f"made-up-log-{number:06}"
    if verdict.code:
        status, message = MESSAGES[verdict.code]
        traced = {"logId": log} if status == 400 else {}
        return status, {"success": False, "messageCode": verdict.code, "message": message, **traced}
    return 200, {
        "success": True,
        "id": f"made-up-{number:06}",
        "logId": log,
        "payload": json.loads(body),
    }
