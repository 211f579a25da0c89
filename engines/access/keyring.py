"""The keyring: what every token allows and how every source is taken, at hand in this process."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache

from database import sources, tokens
from database.pool import Database, is_unavailable
from database.tokens import Mark
from domain.access import Grant, Scope, TokenId, by_digest, grant_of
from domain.signal import WEBHOOK
from domain.source import Source
from engines.clock import Clock

log = logging.getLogger(__name__)

EVERY = timedelta(seconds=1)
USE_WRITTEN_EVERY = timedelta(seconds=30)


@lru_cache(maxsize=64)
def _without_row(name: str) -> Source:
    """A source that nobody has said anything of."""
    return Source(name=name)


@dataclass(slots=True)
class _Held:
    """What was read last, and which tokens were used since their use was last written."""

    grants: Mapping[bytes, Grant]
    sources: Mapping[str, Source] = field(default_factory=dict[str, Source])
    mark: Mark | None = None
    used: dict[TokenId, datetime] = field(default_factory=dict[TokenId, datetime])
    written: dict[TokenId, datetime] = field(default_factory=dict[TokenId, datetime])


@dataclass(slots=True, kw_only=True)
class Keyring:
    """Asked on the hot path, so asking costs no query and no wait.

    ``step`` looks every second whether anything has changed, in whatever replica; while the
    database is away, what was known stays: without it nothing is accepted or changed anyway.
    """

    database: Database
    of_settings: Sequence[Grant]
    clock: Clock
    _held: _Held = field(init=False)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    def __post_init__(self) -> None:
        self._held = _Held(by_digest(self.of_settings))

    def grant(self, token: str | None, scope: Scope) -> Grant | None:
        """The grant of a token when it allows ``scope`` at this moment; that counts as its use."""
        found = grant_of(token or "", self._held.grants)
        if found is None or not found.allows(scope):
            return None
        if found.id is None:
            return found
        now = self.clock()
        if not found.live(now):
            return None
        self._held.used[found.id] = now
        return found

    def allows(self, digest: bytes, scope: Scope) -> bool:
        """Whether the token of this digest allows ``scope`` at this moment; asking is no use."""
        found = self._held.grants.get(digest)
        return found is not None and found.allows(scope) and found.live(self.clock())

    def is_own(self, token: str) -> bool:
        """Whether a text is any token of ours, whatever it allows and also when it has ended."""
        return grant_of(token, self._held.grants) is not None

    def source(self, name: str | None) -> Source:
        """How alerts of this source are taken; None is the one of the settings."""
        name = name or WEBHOOK
        return self._held.sources.get(name) or _without_row(name)

    async def step(self) -> timedelta:
        """Learn what has changed, and write down what was used."""
        await self.refresh()
        await self._write_use()
        return EVERY

    async def refresh(self) -> None:
        """Read everything again, unless nothing has changed. One at a time: the later look wins."""
        async with self._turn:
            async with self.database.autocommit() as connection:
                mark = await tokens.mark(connection)
            if mark != self._held.mark:
                await self._read()

    async def follow(self) -> None:
        """What was written here just now holds here at once.

        When the database has gone since, it is written all the same, and ``step`` will follow.
        """
        try:
            await self.refresh()
        except Exception as error:
            if not is_unavailable(error):
                raise
            log.warning("keyring.behind", extra={"error": type(error).__name__})

    async def _read(self) -> None:
        async with self.database.read() as connection:
            mark = await tokens.mark(connection)
            ring = await tokens.ring(connection)
            kept = await sources.listed(connection)
        held = self._held
        # In one breath: nobody finds the new tokens with the old policies.
        held.grants = by_digest([*ring, *self.of_settings])
        held.sources = {one.source.name: one.source for one in kept}
        held.mark = mark
        known = {grant.id for grant in ring}
        held.written = {id: at for id, at in held.written.items() if id in known}

    async def _write_use(self) -> None:
        """Of each token at most every 30 seconds."""
        held, now = self._held, self.clock()
        due = {
            id: at
            for id, at in held.used.items()
            if id not in held.written or now - held.written[id] >= USE_WRITTEN_EVERY
        }
        if not due:
            return
        async with self.database.autocommit() as connection:
            await tokens.used(connection, due)
        for id, at in due.items():
            held.written[id] = now
            if held.used.get(id) == at:
                del held.used[id]
