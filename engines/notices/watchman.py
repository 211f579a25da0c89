"""The watchman: follows the events without a gap, and says what somebody should look at."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeAlias

from database import attention, cadences
from database.attention import Mark
from database.pool import Connection, Database
from domain.attention import Cause, Finding, findings
from domain.cadence import NEAR, Rhythm, heard, near_limit, out_of_step, silent
from engines.metrics import Metrics
from engines.worker import AGAIN

BATCH = 500
REST = EVERY = timedelta(seconds=10)
"""How often it looks around; of new events the pulse tells."""

STRIDE = timedelta(minutes=1)

UntilOpen: TypeAlias = Callable[[datetime], Awaitable[timedelta | None]]
"""How long the market stays closed; None when it is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchman:
    """Of several replicas one looks at a time.

    What it finds, the notices that makes, and how far it has come are one transaction: a crash
    leaves nothing counted twice, and nothing left out.
    """

    database: Database
    metrics: Metrics
    until_open: UntilOpen
    wake_notifier: Callable[[], None]

    async def step(self) -> timedelta:
        async with self.database.write() as connection:
            more, queued = await self._look(connection)
            counts = await attention.open_counts(connection)
        for severity, number in counts.items():
            self.metrics.attention_open.labels(severity).set(number)
        if queued:
            self.wake_notifier()
        return AGAIN if more else REST

    async def _look(self, connection: Connection) -> tuple[bool, int]:
        """Return whether there are more events, and how many notices these made."""
        mark = await attention.claim(connection, every=EVERY)
        if mark is None:
            return False, 0
        passage = await attention.read(connection, mark, BATCH)
        after = passage.mark
        queued = await attention.keep(connection, findings(passage.events))
        if mark.due:
            found, after = await self._look_around(connection, after)
            queued += await attention.keep(connection, found)
        if mark.due or after != mark:
            await attention.move(connection, after, looked=mark.due)
        return passage.more, queued

    async def _look_around(self, connection: Connection, mark: Mark) -> tuple[list[Finding], Mark]:
        """What no event says: alerts that come too often, too rarely, or out of step."""
        now = await cadences.now(connection)
        found = await cadences.hear(connection, mark.signal_seq)
        open_keys = await cadences.open_keys(connection, Cause.NEAR_LIMIT)
        near = near_limit(await cadences.bursts(connection, NEAR), open_keys, now)
        steps = [one for step in found.steps for one in out_of_step(step)]
        silences = await self._silences(connection, now)
        return [*near, *steps, *silences], replace(mark, signal_seq=found.seq)

    async def _silences(self, connection: Connection, now: datetime) -> list[Finding]:
        rhythms = {one.source: one for one in await cadences.rhythms(connection)}
        quiet = {name for name, one in rhythms.items() if await self._is_silent(one, now)}
        known = await cadences.open_keys(connection, Cause.SOURCE_SILENT)
        return [
            *(heard(name) for name in known if name not in quiet),
            *(silent(rhythms[name], now) for name in sorted(quiet)),
        ]

    async def _is_silent(self, rhythm: Rhythm, now: datetime) -> bool:
        if now - rhythm.last_at <= rhythm.every:
            return False
        return not rhythm.in_hours or await self._was_open(rhythm, now)

    async def _was_open(self, rhythm: Rhythm, now: datetime) -> bool:
        """Whether the market has been open for longer than that since the source was heard.

        Counted in strides: a hundredth of the rhythm, and a minute at least.
        """
        stride, spent, at = max(STRIDE, rhythm.every / 100), timedelta(0), rhythm.last_at
        while at < now and spent <= rhythm.every:
            closed = await self.until_open(at)
            if closed is None:
                spent += min(stride, now - at)
            at += closed or stride
        return spent > rhythm.every
