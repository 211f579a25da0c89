"""The notifier: sends what is to be told, by channel; tries again later where that fails."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from database import notices
from database.notices import Ended, Notice
from database.pool import Database
from database.vault import Vault
from domain.attention import Severity
from domain.channel import Channel, ChannelKind, masked
from domain.delivery import Answer, Outcome
from domain.disclosure import disclosed
from domain.notice import TEST, Line, Request, bundle, mail_of, request_of, retry_in
from engines.clock import Clock
from engines.metrics import Metrics
from engines.notices.postman import Postman
from engines.worker import AGAIN, SELDOM

log = logging.getLogger(__name__)

BATCH = 500
LEASE = timedelta(seconds=60)
NO_SERVER = "SMTP_URL is not set"
WRONG_KEY = "wrong_key"
"""The channel does not open: that does not pass, so it is not tried again."""

Post: TypeAlias = Callable[[Request], Awaitable[Answer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a channel made of a message: ``error`` is None when it took it."""

    error: str | None = None
    answer: str | None = None
    asked: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notifier:
    """At least once: a notice is leased before it is sent, and ended after. ``link`` is our page.

    ``postman`` is None where no mail server is set.
    """

    database: Database
    vault: Vault
    metrics: Metrics
    clock: Clock
    post: Post
    postman: Postman | None = None
    link: str | None = None

    async def step(self) -> timedelta:
        """Send everything that is due, to all channels at once; one cannot hold up another long."""
        async with self.database.write() as connection:
            due = await notices.lease(connection, self.vault, lasting=LEASE, limit=BATCH)
        if not due:
            return SELDOM
        sent = (self.tell(channel, [one.line for one in told]) for channel, told in due)
        answers = await asyncio.gather(*sent, return_exceptions=True)
        ended = [
            one
            for (channel, told), answer in zip(due, answers, strict=True)
            for one in self._ended(channel, told, answer)
        ]
        async with self.database.write() as connection:
            await notices.end(connection, ended)
        return AGAIN

    def _ended(
        self, channel: Channel, due: Sequence[Notice], answer: Told | BaseException
    ) -> list[Ended]:
        """What goes wrong with one channel, foreseen or not, is nothing to the others."""
        if isinstance(answer, Exception):
            answer = Told(error=type(answer).__name__)
        if isinstance(answer, BaseException):
            raise answer
        ended = [_ended(notice, answer) for notice in due]
        for one in ended:
            outcome = "again" if one.state == "queued" else one.state
            self.metrics.notices.labels(channel.kind, outcome).inc()
        if answer.error is not None:
            failed = sum(one.state == "failed" for one in ended)
            told = {"channel": channel.name, "error": answer.error, "failed": failed}
            log.warning("notice.unsent", extra=told)
        return ended

    async def tell(self, channel: Channel, lines: Sequence[Line]) -> Told:
        """Send one message now. What the other side says is told without our secrets."""
        if not channel.opens:
            return Told(error=WRONG_KEY)
        message = bundle(lines, at=self.clock(), link=self.link)
        if channel.kind is ChannelKind.EMAIL:
            if self.postman is None:
                return Told(error=NO_SERVER)
            mail = mail_of(channel, message, user=self.postman.server.user)
            return Told(error=await self.postman.post(mail))
        answer = await self.post(request_of(channel, message))
        return _told(disclosed(answer), channel)

    async def try_out(self, channel: Channel) -> Told:
        """Send a word that says it is only a test."""
        line = Line(
            id=0,
            cause=TEST,
            severity=Severity.INFO,
            text="This is a test: notices of the relay arrive here.",
            at=self.clock(),
        )
        return await self.tell(channel, [line])


def _told(answer: Answer, channel: Channel) -> Told:
    said = masked(answer.excerpt or "", channel.hidden)
    if answer.outcome is Outcome.DELIVERED:
        return Told(answer=said)
    error = answer.error or (f"http {answer.status}" if answer.status else str(answer.outcome))
    return Told(error=error, answer=said, asked=answer.retry_after)


def _ended(notice: Notice, told: Told) -> Ended:
    if told.error is None:
        return Ended(notice, "sent")
    lost = told.error == WRONG_KEY
    wait = None if lost else retry_in(notice.attempt, told.asked)
    return Ended(notice, "failed" if wait is None else "queued", told.error, wait)
