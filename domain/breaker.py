"""A breaker: stops sending to a destination that fails, and tries it now and then.

CLOSED ──failures in a row, or half of the recent──▶ OPEN ──a probe succeeds──▶ HALF_OPEN
   ▲                                                  ▲                            │
   └──────────────two successes in all────────────────┼────────────────────────────┤
                                                      └───────a probe fails────────┘
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from domain.delivery import Answer, Outcome


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Permit(StrEnum):
    """What a breaker lets leave: anything, one probe at a time, one sell as a probe, nothing."""

    ALL = "all"
    PROBE = "probe"
    SELL_PROBE = "sell_probe"
    NONE = "none"


class Health(StrEnum):
    """What an answer says of the destination itself; SILENT says nothing, FATAL all."""

    GOOD = "good"
    BAD = "bad"
    FATAL = "fatal"
    SILENT = "silent"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """Open after failures in a row, or when ``share`` of at least ``at_least`` recent ones failed.

    It stays open 2, 4, 8, 16, then 30 seconds; a waiting sell may try sooner.
    """

    in_a_row: int = 5
    at_least: int = 10
    share: float = 0.5
    recent: timedelta = timedelta(seconds=30)
    successes: int = 2
    first: timedelta = timedelta(seconds=2)
    longest: timedelta = timedelta(seconds=30)
    sells_try_after: timedelta = timedelta(seconds=5)

    def open_time(self, trips: int, jitter: float) -> timedelta:
        """How long it stays open the ``trips``-th time in a row (from 1); ``jitter`` in [0, 1)."""
        spread = 0.8 + 0.4 * jitter
        return min(self.first * 2 ** min(trips - 1, 16), self.longest) * spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """``since`` is when it last opened or closed, ``until`` when an open one lets a probe through.

    ``failures`` are those in a row while closed, ``successes`` those since it opened, ``trips`` how
    often in a row it opened.
    """

    state: BreakerState = BreakerState.CLOSED
    since: datetime | None = None
    until: datetime | None = None
    cause: str | None = None
    trips: int = 0
    failures: int = 0
    successes: int = 0


@dataclass(frozen=True, slots=True)
class Tally:
    """Recent attempts at a destination that told us something."""

    failures: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """An attempt that ended: what it says, of a request that began then."""

    health: Health
    began: datetime
    cause: str


def health_of(answer: Answer) -> Health:
    """What an answer says of its destination.

    One that refuses a body is well; one that asks us to wait says nothing of its health.
    """
    match answer.outcome:
        case Outcome.WITHHELD | Outcome.DRY_RUN:
            return Health.SILENT
        case Outcome.NOT_PROCESSED if answer.retry_after:
            return Health.SILENT
        case Outcome.DELIVERED:
            return Health.GOOD
        case _ if answer.fatal:
            return Health.FATAL
        case Outcome.PERMANENT if answer.status and answer.status >= 400:
            return Health.GOOD
        case _:
            return Health.BAD


def permit(breaker: Breaker, now: datetime, policy: BreakerPolicy) -> Permit:
    """What may leave now. Waiting for a breaker is never an attempt."""
    if breaker.state is BreakerState.CLOSED:
        return Permit.ALL
    if breaker.state is BreakerState.HALF_OPEN or breaker.until is None or now >= breaker.until:
        return Permit.PROBE
    tried = breaker.since is None or now >= breaker.since + policy.sells_try_after
    return Permit.SELL_PROBE if tried else Permit.NONE


def after(
    breaker: Breaker,
    probed: Probed,
    recent: Tally,
    *,
    now: datetime,
    policy: BreakerPolicy,
    jitter: float,
) -> Breaker:
    """The breaker after an attempt ended. News of requests that began before it opened is old."""
    closed = breaker.state is BreakerState.CLOSED
    late = not closed and breaker.since is not None and probed.began < breaker.since
    if probed.health is Health.SILENT or late:
        return breaker
    if probed.health is Health.GOOD:
        return _succeeded(breaker, now, policy)
    failed = replace(breaker, failures=breaker.failures + 1)
    if closed and not _trips(failed, probed, recent, policy):
        return failed
    return _opened(failed, probed.cause, now, policy, jitter)


def _succeeded(breaker: Breaker, now: datetime, policy: BreakerPolicy) -> Breaker:
    if breaker.state is BreakerState.CLOSED:
        return replace(breaker, failures=0)
    successes = breaker.successes + 1
    if successes >= policy.successes:
        return Breaker(since=now)
    return replace(breaker, state=BreakerState.HALF_OPEN, until=None, successes=successes)


def _trips(breaker: Breaker, probed: Probed, recent: Tally, policy: BreakerPolicy) -> bool:
    if probed.health is Health.FATAL or breaker.failures >= policy.in_a_row:
        return True
    return recent.total >= policy.at_least and recent.failures >= policy.share * recent.total


def _opened(
    breaker: Breaker, cause: str, now: datetime, policy: BreakerPolicy, jitter: float
) -> Breaker:
    trips = breaker.trips + 1
    return Breaker(
        state=BreakerState.OPEN,
        since=now,
        until=now + policy.open_time(trips, jitter),
        cause=cause,
        trips=trips,
        failures=breaker.failures,
    )
