"""The hub: who is connected and what waits for each; nobody slow delays another."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from domain.feed import Cursor, Frame, Holder, Why, reread
from engines.metrics import Metrics

MOST_FRAMES, MOST_BYTES = 64, 262_144
"""That wait for one client; beyond it they are dropped, and it reads everything again."""

MOST_OF_A_HOLDER = 20

SIGNED_OUT = 4401
"""Of the private codes (RFC 6455 §7.4.2); it says what 401 does in HTTP."""


Write: TypeAlias = Callable[[bytes], bool]


def later(_wire: bytes) -> bool:
    """Let everything wait until it is taken."""
    return False


class FullError(Exception):
    """No more clients, of this holder or at all; ``str`` says which."""


@dataclass(frozen=True, slots=True)
class Closing:
    """The last that a client is told: a code of RFC 6455, and why."""

    code: int
    reason: str


@dataclass(slots=True, eq=False)
class Client:
    """One open socket: what waits for it, in order; or that it has to read everything again.

    ``since`` is the cursor it says it has come to, not yet looked at. ``write`` tells it at once,
    unless it says False; where there is none, or not now, what is to be told waits for ``take``.
    """

    holder: Holder
    since: str | None
    write: Write
    _latest: Callable[[], Cursor]
    _metrics: Metrics
    _waiting: deque[Frame] = field(default_factory=deque[Frame], init=False)
    _bytes: int = field(default=0, init=False)
    _behind: bool = field(default=False, init=False)
    _taken: bool = field(default=True, init=False)
    told: int = field(default=0, init=False)
    _closing: Closing | None = field(default=None, init=False)
    _woken: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def put(self, frame: Frame) -> None:
        """Let a frame wait; where too much waits already, none of it will be told."""
        if self._behind or self._closing:
            self._metrics.live_dropped.inc()
            return
        if not self._taken and not self._waiting and self.write(frame.wire):
            self.told += 1
            return
        self._waiting.append(frame)
        self._bytes += len(frame.wire)
        if len(self._waiting) > MOST_FRAMES or self._bytes > MOST_BYTES:
            self._metrics.live_dropped.inc(len(self._waiting))
            self._metrics.live_rereads.labels(Why.SLOW).inc()
            self._drop()
            self._behind = True
        self._woken.set()

    def close(self, code: int, reason: str) -> None:
        """Let this be the last that it is told, before anything that waits."""
        self._closing = self._closing or Closing(code, reason)
        self._drop()
        self._woken.set()

    async def take(self) -> Frame | Closing:
        """What to tell it next, as soon as there is something; until then nothing waits."""
        self._taken = False
        while True:
            if self._closing:
                self._taken = True
                return self._closing
            if self._behind:
                self._behind, self._taken = False, True
                return reread(self._latest(), Why.SLOW)
            if self._waiting:
                frame = self._waiting.popleft()
                self._bytes -= len(frame.wire)
                self._taken = True
                return frame
            self._woken.clear()
            await self._woken.wait()

    def _drop(self) -> None:
        self._waiting.clear()
        self._bytes = 0


@dataclass(slots=True, kw_only=True)
class Hub:
    """No loop: the announcer puts frames in, sockets take them out.

    ``cursor`` is how far the clients that follow have been told; None while nobody follows.
    """

    most: int
    metrics: Metrics
    wake: Callable[[], None]
    cursor: Cursor | None = field(default=None, init=False)
    _following: set[Client] = field(default_factory=set[Client], init=False)
    _arriving: list[Client] = field(default_factory=list[Client], init=False)
    _held: Counter[Holder] = field(default_factory=Counter[Holder], init=False)

    def __len__(self) -> int:
        return self._held.total()

    @property
    def holders(self) -> Collection[Holder]:
        return set(self._held)

    def join(self, holder: Holder, since: str | None, write: Write = later) -> Client:
        """Take a client in; the announcer greets it. Raises FullError."""
        if len(self) >= self.most:
            raise FullError("too many pages are live already")
        if self._held[holder] >= MOST_OF_A_HOLDER:
            raise FullError("too many live pages of one session or token")
        client = Client(holder, since, write, self._latest, self.metrics)
        self._held[holder] += 1
        self._arriving.append(client)
        self.metrics.live_clients.set(len(self))
        self.wake()
        return client

    def leave(self, client: Client) -> None:
        """Forget a client that joined."""
        self._following.discard(client)
        if client in self._arriving:
            self._arriving.remove(client)
        self._held[client.holder] -= 1
        if not self._held[client.holder]:
            del self._held[client.holder]
        if not self._following:
            self.cursor = None
        self.metrics.live_clients.set(len(self))

    def arriving(self) -> Sequence[Client]:
        """Those that nobody has greeted yet, the first first."""
        return tuple(self._arriving)

    def greet(self, client: Client, *frames: Frame) -> None:
        """Tell a client where it is; from here on it is told what all are told."""
        if client not in self._arriving:
            return
        self._arriving.remove(client)
        self._following.add(client)
        for frame in frames:
            client.put(frame)

    def tell(self, cursor: Cursor, frame: Frame | None) -> None:
        """Tell everybody who follows; without a frame, that there was nothing."""
        self.cursor = cursor
        if frame is not None:
            for client in self._following:
                client.put(frame)

    def show_out(self, ended: Collection[Holder], reason: str) -> None:
        """Close the sockets of those who may not hold them any more."""
        for client in [*self._following, *self._arriving]:
            if client.holder in ended:
                client.close(SIGNED_OUT, reason)

    def _latest(self) -> Cursor:
        assert self.cursor is not None, "whoever is behind follows"
        return self.cursor
