"""The listener: hears that another replica has written, so that its events come at once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from database.feed import Ear
from engines.live.hub import Hub

EVERY = timedelta(seconds=10)


@dataclass(slots=True, kw_only=True)
class Listener:
    """It has a connection of its own while somebody is connected, and makes another when it breaks.

    Meanwhile the announcer's poll makes what was not heard a delay.
    """

    url: str = field(repr=False)
    hub: Hub
    name: str
    wake: Callable[[], None]
    wake_announcer: Callable[[], None]
    _ear: Ear | None = field(default=None, init=False)

    async def step(self) -> timedelta | None:
        if not self.hub:
            await self.close()
            return None
        if self._ear is None or not self._ear.is_open:
            await self.close()
            self._ear = await Ear.open(self.url, self._heard, self.wake)
        await self._prove(self._ear)
        return EVERY

    async def _prove(self, ear: Ear) -> None:
        try:
            await ear.prove()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Stop listening."""
        ear, self._ear = self._ear, None
        if ear:
            await ear.close()

    def _heard(self, by: str) -> None:
        if by != self.name:
            self.wake_announcer()
