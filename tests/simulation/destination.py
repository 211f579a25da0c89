"""A destination in memory: every answer one can give, by its mood."""

import random  # noqa: TID251  chance is drawn from the run's seed
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from domain.delivery import FATAL_STATUSES, Answer, Outcome, classify
from tests.simulation.store import Key

SECOND = timedelta(seconds=1)
DEADLINE = 5 * SECOND


class Mood(StrEnum):
    WELL = "well"
    MIXED = "mixed"
    FAILING = "failing"
    DOWN = "down"
    BUSY = "busy"
    HANGING = "hanging"
    LOCKED = "locked"
    PICKY = "picky"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What becomes of a request. ``status`` is None when no whole answer comes.

    ``refused`` means that it never leaves, ``hangs`` that nobody hears anything until the deadline.
    """

    status: int | None = 200
    processed: bool = True
    refused: bool = False
    hangs: bool = False
    retry_after: timedelta | None = None

    def answer(self, written: timedelta, duration: timedelta) -> Answer:
        """What the client makes of it."""
        if self.refused:
            return Answer(outcome=Outcome.NOT_SENT, error="ConnectError")
        if self.status is None:
            error = "total deadline passed" if self.hangs else "ReadError"
            return Answer(outcome=Outcome.AMBIGUOUS, error=error, written=written)
        return Answer(
            outcome=classify(self.status),
            status=self.status,
            fatal=self.status in FATAL_STATUSES,
            gone=self.status == 410,
            written=written,
            retry_after=self.retry_after,
            duration=duration,
        )


OK = Reply()
REFUSED = Reply(status=None, processed=False, refused=True)
FAILED = Reply(status=500, processed=False)
FAILED_BUT_DONE = Reply(status=502)
RESET = Reply(status=None, processed=False)
RESET_BUT_DONE = Reply(status=None)
HANGS = Reply(status=None, processed=False, hangs=True)
HANGS_BUT_DONE = Reply(status=None, hangs=True)
UNAVAILABLE = Reply(status=503, processed=False)
THROTTLED = Reply(status=429, processed=False)
UNAUTHORIZED = Reply(status=401, processed=False)
UNREADABLE = Reply(status=422, processed=False)
GONE = Reply(status=410, processed=False)

REPLIES: Mapping[Mood, Sequence[Reply]] = {
    Mood.WELL: (OK,),
    Mood.MIXED: (
        *(OK, OK, OK, OK, OK, OK, FAILED, FAILED_BUT_DONE, RESET, RESET_BUT_DONE),
        *(HANGS_BUT_DONE, REFUSED, UNAVAILABLE, THROTTLED),
    ),
    Mood.FAILING: (FAILED, FAILED, FAILED_BUT_DONE, RESET, RESET_BUT_DONE, UNAVAILABLE),
    Mood.DOWN: (REFUSED,),
    Mood.BUSY: (THROTTLED, THROTTLED, UNAVAILABLE, OK),
    Mood.HANGING: (HANGS, HANGS_BUT_DONE),
    Mood.LOCKED: (UNAUTHORIZED,),
    Mood.PICKY: (UNREADABLE, OK),
    Mood.GONE: (GONE, OK, OK, OK),
}
WISHES = (None, None, 1, 3, 8, 20, 90)


def reply(mood: Mood, chance: random.Random) -> Reply:
    """What this mood makes of one request; who is busy may say for how long."""
    one = chance.choice(REPLIES[mood])
    wish = chance.choice(WISHES) if one.status in {429, 503} else None
    return replace(one, retry_after=wish * SECOND) if wish else one


@dataclass(slots=True, kw_only=True)
class Request:
    """One request that left, as the world saw it."""

    key: Key
    epoch: int
    replica: str
    resend: bool
    body: bytes
    written_at: datetime
    arrived_at: datetime | None = None
    reply: Reply

    @property
    def surely_undone(self) -> bool:
        """Whether the destination said that it did nothing, for now or for good."""
        status = self.reply.status
        return status is not None and classify(status) in {
            Outcome.NOT_PROCESSED,
            Outcome.PERMANENT,
        }
