"""A replica of the relay: its loops, and its deliveries between lease and settlement.

Its every wait is an event. When it crashes they are lost; while it is frozen they pile up, and all
happen when it goes on: too late.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from database.lanes import LATEST_WRITE, START_WITHIN
from database.settlements import Settlement
from domain.delivery import Answer, Delivery, DestinationId, Outcome, RetryPolicy, after_attempt
from domain.destination import Mode
from domain.gate import GatePolicy
from engines.relay.leasing import POLL
from tests.simulation import breakers, endings, verdicts
from tests.simulation.destination import DEADLINE, HANGS, SECOND, Reply, Request, reply
from tests.simulation.ground import LIST_MAX_AGE, START, Ground, Heard
from tests.simulation.store import Store

RETRY = RetryPolicy()
FAREST = 0.24
"""Seconds that a request may be under way: less than `lanes.TRANSIT` by which windows are wider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Departing:
    """A delivery in a replica's hands, since it asked for it."""

    delivery: Delivery
    began: datetime


class Replica:
    """``_life`` counts its starts: what an earlier one had in mind is gone."""

    def __init__(self, ground: Ground, name: str) -> None:
        self.ground = ground
        self.name = name
        self.cut_until = START
        self.up = True
        self.frozen = False
        self.sending = Counter[DestinationId]()
        self.ended: list[Settlement] = []
        self._life = 0
        self._looks_at: datetime | None = None
        self._asleep: list[Callable[[], None]] = []
        ground.bells.append(self.wake)

    @property
    def store(self) -> Store:
        return self.ground.store

    def crash(self) -> None:
        """Kill -9: what it had in mind is lost; it is started again soon."""
        self._life += 1
        self.up, self.frozen, self._looks_at = False, False, None
        self._asleep, self.ended, self.sending = [], [], Counter[DestinationId]()
        self._by(self.ground.soon(1, 3), self._start)

    def _start(self) -> None:
        self.up = True
        self.wake()

    def freeze(self, lasting: timedelta) -> None:
        """SIGSTOP, and SIGCONT after a while."""
        if not self.frozen and self.up:
            self.frozen, life = True, self._life
            self.ground.at(self.store.now + lasting, lambda: self.thaw(life))

    def thaw(self, life: int | None = None) -> None:
        if life in {None, self._life}:
            self.frozen = False
            asleep, self._asleep = self._asleep, []
            for what in asleep:
                self._by(self.store.now, what)

    def cut(self, lasting: timedelta) -> None:
        """It does not reach the database for a while."""
        self.cut_until = max(self.cut_until, self.store.now + lasting)

    def wake(self, *, after: datetime | None = None) -> None:
        """Look within a second, unless it will anyway."""
        when = (after or self.store.now) + self.ground.chance.uniform(0.005, 1) * POLL
        if self.up and (self._looks_at is None or self._looks_at > when):
            self._looks_at = when
            self._by(when, lambda: self._due(when))

    def _due(self, due: datetime) -> None:
        if self._looks_at == due:
            self._looks_at = None
            self._look()

    def _by(self, when: datetime, what: Callable[[], None]) -> None:
        """An event in its life."""
        life = self._life

        def happens() -> None:
            if self._life == life:
                if self.frozen:
                    self._asleep.append(what)
                else:
                    what()

        self.ground.at(when, happens)

    def _look(self) -> None:
        """One round of its loops: sweep, judge, forward."""
        store = self.store
        if store.now < self.cut_until:
            self.wake(after=self.cut_until)
            return
        endings.expire(store)
        if self._judge():
            self.ground.ring()
        for id in store.destinations:
            self._lease(id)
        if store.undecided or any(store.all_waiting()):
            self.wake()

    def _judge(self) -> bool:
        policy = GatePolicy(
            top_n=3, list_max_age=LIST_MAX_AGE, has_destination=verdicts.any_enabled(self.store)
        )
        limit = self.ground.chance.randint(1, 8)
        universe = self.ground.current_list()
        return bool(verdicts.judge(self.store, limit=limit, universe=universe, policy=policy))

    def _lease(self, id: DestinationId) -> None:
        row = self.store.destinations[id]
        free = row.concurrency - self.sending[id]
        leased = breakers.lease(self.store, id, self.ground.terms, free=free, replica=self.name)
        if self.ground.commit_unheard():
            return
        began = self.store.now - self.ground.chance.uniform(0, 0.03) * SECOND
        for delivery in leased:
            self.sending[id] += 1
            departing = Departing(delivery=delivery, began=began)
            self._by(self.ground.soon(0, 0.03), lambda leaving=departing: self._begin(leaving))

    def _begin(self, leaving: Departing) -> None:
        delivery = leaving.delivery
        row = self.store.destinations[delivery.destination_id]
        if self._is_late(leaving, START_WITHIN):
            self._end(leaving, Answer(outcome=Outcome.WITHHELD))
        elif row.kept(delivery.destination_version).mode is Mode.DRY_RUN:
            self._end(leaving, Answer(outcome=Outcome.DRY_RUN))
        else:
            said = reply(self.ground.moods[row.id], self.ground.chance)
            slow = self.ground.chance.random() < 0.1
            posted, connected = self.store.now, self.ground.soon(0, 2 if slow else 0.02)
            if said.refused:
                answer = said.answer(timedelta(0), connected - posted)
                self._by(connected, lambda: self._end(leaving, answer))
            else:
                self._by(connected, lambda: self._write(leaving, said, posted))

    def _is_late(self, leaving: Departing, within: timedelta) -> bool:
        delivery, elapsed = leaving.delivery, self.store.now - leaving.began
        life = delivery.expires_at - delivery.leased_at
        return self.store.rules.departures and elapsed > min(within, life)

    def _write(self, leaving: Departing, said: Reply, posted: datetime) -> None:
        """The first byte: from here on nobody can say that it did not leave."""
        delivery, now = leaving.delivery, self.store.now
        if self._is_late(leaving, LATEST_WRITE):
            self._end(leaving, Answer(outcome=Outcome.WITHHELD))
            return
        request = Request(
            key=(delivery.signal_id, delivery.destination_id),
            epoch=delivery.epoch,
            replica=self.name,
            resend=delivery.possible_resend,
            body=delivery.body,
            written_at=now,
            reply=said,
        )
        self.ground.requests.append(request)
        arrives = self.ground.soon(0, FAREST)
        self.ground.at(arrives, lambda: setattr(request, "arrived_at", self.store.now))
        thinking = self.ground.chance.choice((0.01, 0.05, 0.3, 4.9)) if said.status else 0.05
        heard = posted + DEADLINE if said.hangs else arrives + thinking * SECOND
        written = now - leaving.began
        self._by(
            min(heard, posted + DEADLINE),
            lambda: self._hear(leaving, said if heard < posted + DEADLINE else HANGS, written),
        )

    def _hear(self, leaving: Departing, said: Reply, written: timedelta) -> None:
        """Answer or deadline: who slept past both hears one of them."""
        late = self.store.now - leaving.began - written > DEADLINE
        heard = HANGS if late and self.ground.chance.random() < 0.5 else said
        self._end(leaving, heard.answer(written, self.store.now - leaving.began))

    def _end(self, leaving: Departing, answer: Answer) -> None:
        delivery = leaving.delivery
        self.sending[delivery.destination_id] -= 1
        now = delivery.leased_at + (self.store.now - leaving.began)
        step = after_attempt(delivery, answer, RETRY, now=now, jitter=self.ground.chance.random())
        self.ended.append(Settlement(delivery=delivery, answer=answer, step=step))
        self._by(self.ground.soon(0, 0.02), self._settle)

    def _settle(self) -> None:
        """Settle a batch; one whose commit was not heard of is settled again."""
        store, batch = self.store, self.ended[:128]
        if not batch:
            return
        if store.now < self.cut_until:
            self._by(self.cut_until, self._settle)
            return
        kept = breakers.settle(store, batch, self.ground.terms.breaker, self.ground.chance.random)
        for one in batch:
            version = store.destinations[one.delivery.destination_id].version
            present = one.delivery.destination_version == version
            self.ground.heard.append(
                Heard(settlement=one, at=store.now, kept=one in kept, present=present)
            )
        if self.ground.commit_unheard():
            self._by(self.ground.soon(0, 1), self._settle)
        else:
            del self.ended[: len(batch)]
        self.wake()
