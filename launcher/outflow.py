"""What leaves on a connection: whoever does not take it is let go."""

import asyncio

from uvicorn.protocols.http.flow_control import FlowControl

from launcher.deadline import Deadline

LEAST = 65_536
"""Bytes that must leave in a reader's patience, or all that is unsent where that is less."""


class Outflow(FlowControl):
    """Ends a connection on which too little leaves, however much more is written meanwhile."""

    def __init__(
        self, transport: asyncio.Transport, stalling: Deadline, patience: float, /
    ) -> None:
        super().__init__(transport)
        self.written = 0
        self._stalling, self._patience = stalling, patience
        self._due = 0  # of what is written ever, so much must have left when the deadline is met

    def watch(self) -> None:
        """From now on what is unsent has to leave; what was asked of the reader before stands."""
        unsent = self._transport.get_write_buffer_size()
        left = self.written - unsent
        if not unsent:
            self._stalling.clear()
        elif left >= self._due or not self._stalling.is_set:
            self._due = left + min(unsent, LEAST)
            self._stalling.set(self._patience, self._stall)

    def _stall(self) -> None:
        if self.written - self._transport.get_write_buffer_size() < self._due:
            self._transport.abort()
        else:
            self.watch()
