"""uvicorn's WebSockets as we need them: short frames to many, none of whom can hold us up."""

import asyncio
import socket
from collections.abc import Mapping
from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

UNSENT, STALLED, LAST_WORDS = 65_536, 20.0, 1.0
"""Bytes that wait for a slow reader; seconds until it is cut off; until all are, at the end."""


class LiveSocket(WebSocketsSansIOProtocol):
    """A WebSocket whose reader may stall: it costs little memory, and never holds up the end.

    uvicorn would wait with its close until a stalled reader has taken what was written before.
    The application is handed ``write_now`` (the extension `relay`): what a thousand are told costs
    no task, no timer and no frame of its own for each.
    """

    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(UNSENT)
        if connection := transport.get_extra_info("socket"):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNSENT)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(STALLED, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._go_on()

    def shutdown(self) -> None:
        super().shutdown()
        self.loop.call_later(LAST_WORDS, self.transport.abort)

    def _go_on(self) -> None:
        if self._stalled:
            self._stalled.cancel()
            self._stalled = None

    async def run_asgi(self) -> None:
        self.scope["extensions"] = {
            **(self.scope.get("extensions") or {}),
            "relay": {"write": self.write_now},
        }
        await super().run_asgi()

    def write_now(self, wire: bytes) -> bool:
        """Write a whole frame that is the same for everybody; False where it has to wait."""
        if not self.writable.is_set() or self._is_closing():
            return False
        self.transport.write(wire)
        return True

    async def send(self, message: Any) -> None:
        if self.handshake_complete and self._is_closing():
            raise ClientDisconnected
        await super().send(message)

    def _is_closing(self) -> bool:
        return self.disconnected or self.close_sent or self.transport.is_closing()


WEBSOCKETS: Mapping[str, Any] = {
    "ws": LiveSocket,
    "ws_max_size": 1_024,  # nobody has more to say to us than a ping
    "ws_ping_interval": 20.0,
    "ws_ping_timeout": 20.0,
    "ws_per_message_deflate": False,  # short frames, the same for all: it would cost, not save
}
