"""Refusals: wrong tokens are counted for all replicas; what they cost and are told is bounded."""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil
from typing import Any

from database import wrong_tokens
from database.pool import Database, acting_from, is_unavailable
from domain.origin import counted_as
from engines.clock import Clock

log = logging.getLogger(__name__)

MINUTE = timedelta(minutes=1)
MOST, MOST_TOGETHER = 10, 60
"""Wrong tokens a minute that are looked at one by one: of an origin, and of all (ADR 30)."""

ELSEWHERE = "its alerts are taken from its senders' addresses only"
BEHIND_A_PROXY = (
    f"{ELSEWHERE}; it came through a proxy that TRUSTED_PROXIES does not name: this is its address"
)


@dataclass(slots=True)
class _Minute:
    """What this replica knows of a minute. It never holds more origins than are counted at all."""

    begun: datetime
    together: int = 0
    origins: Counter[str] = field(default_factory=Counter[str])


@dataclass(frozen=True, slots=True)
class _Failure:
    """One to be written: from where, counted as whom, and what is told of it."""

    origin: str | None
    key: str
    most: int
    event: str
    detail: dict[str, Any]
    minute: _Minute


def nobody(_why: str) -> None:
    """Nobody counts."""


@dataclass(slots=True)
class Refusals:
    """No loop. A right token passes whatever stands here: it is asked only about those refused.

    ``tell`` is told of each why: wrong, limited, missing or elsewhere.
    """

    database: Database
    clock: Clock
    most: int = MOST
    most_together: int = MOST_TOGETHER
    tell: Callable[[str], None] = nobody
    _minute: _Minute | None = None
    _unwritten: list[_Failure] = field(default_factory=list[_Failure])

    def beyond(self) -> int | None:
        """Seconds until more wrong tokens of this origin are looked at; None while they are."""
        minute = self._now()
        if minute.together < self.most_together and minute.origins[_counted()] < self.most:
            return None
        return max(1, ceil((minute.begun + MINUTE - self.clock()).total_seconds()))

    async def wrong(self, door: str) -> int | None:
        """Count a wrong token at this door; what `beyond` says, where it is one too many."""
        seconds = self.beyond()
        self.tell("limited" if seconds else "wrong")
        if seconds:
            return seconds
        await self._count(_counted(), self.most, "access.refused", {"door": door})
        return None

    async def missing(self, door: str) -> None:
        """Somebody showed no token: that is told once a minute, and is no guess."""
        self.tell("missing")
        detail = {"door": door, "token": "none"}
        await self._count(f"without {_counted()}", 1, "access.refused", detail)

    async def elsewhere(self, source: str, *, proxied: bool) -> None:
        """A right token from an address that its source does not post from."""
        self.tell("elsewhere")
        detail = {"source": source, "reason": BEHIND_A_PROXY if proxied else ELSEWHERE}
        await self._count(f"{source} {_counted()}", 1, "source.refused", detail)

    async def _count(self, key: str, most: int, event: str, detail: dict[str, Any]) -> None:
        """Counted here before the database is asked: a flood asks it no more often than counted.

        One writes for all who come meanwhile: a flood has one connection of the pages' at most.
        """
        minute = self._now()
        if minute.together >= self.most_together or minute.origins[key] >= most:
            return
        minute.together += 1
        minute.origins[key] += 1
        self._unwritten.append(_Failure(acting_from.get(), key, most, event, detail, minute))
        if len(self._unwritten) > 1:
            return
        before = acting_from.get()
        try:
            while self._unwritten:
                await self._write(self._unwritten[0])
                self._unwritten.pop(0)
        except Exception as error:
            if not is_unavailable(error):
                raise
            log.warning("access.refusal_untold")  # the refusal stands
        finally:
            self._unwritten.clear()
            acting_from.set(before)

    async def _write(self, one: _Failure) -> None:
        acting_from.set(one.origin)
        async with self.database.write() as connection:
            counted = await wrong_tokens.count(
                connection,
                one.key,
                most=one.most,
                most_together=self.most_together,
                event=one.event,
                detail=one.detail,
            )
        one.minute.together = max(one.minute.together, counted.together)
        one.minute.origins[one.key] = max(one.minute.origins[one.key], counted.own)

    def _now(self) -> _Minute:
        begun = self.clock().replace(second=0, microsecond=0)
        if self._minute is None or self._minute.begun != begun:
            self._minute = _Minute(begun)
        return self._minute


def _counted() -> str:
    return counted_as(acting_from.get() or "unknown")
