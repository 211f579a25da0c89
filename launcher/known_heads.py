"""Heads of requests that were read before: who sends alerts sends the same one with each."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from launcher.exchange import Headers

MOST_KNOWN, LONGEST = 256, 2_048
"""Heads that are remembered, and bytes of one; at most half a megabyte, then they start anew."""

NOT_SAID = frozenset({"server", "client", "scheme", "state", "headers"})
"""What a scope has from the connection, not from the head; and what is kept apart."""

END = b"\r\n\r\n"


class KnownHead(NamedTuple):
    """What a parser made of a head. All of it may hold a token."""

    scope: Mapping[str, Any]
    headers: Headers
    size: int
    length: int

    def __repr__(self) -> str:
        return f"KnownHead(size={self.size}, length={self.length})"


def said(scope: Mapping[str, Any]) -> tuple[Mapping[str, Any], Headers]:
    """What a scope has from the head; nobody changes it who is given the scope."""
    rest = {name: value for name, value in scope.items() if name not in NOT_SAID}
    return rest, tuple(scope["headers"])


class KnownHeads:
    """Tells of bytes that arrived whether they are a head read before, and its whole body.

    From the first byte of a message on, the same bytes are the same head to any parser: to read
    them again costs as much as all else that a server does for a small request.
    """

    def __init__(self, most: int = MOST_KNOWN) -> None:
        self._most = most
        self._known: dict[bytes, KnownHead] = {}

    def of(self, data: bytes) -> KnownHead | None:
        """The head of a message that begins and ends with ``data``; None if it is to be parsed."""
        end = data.find(END)
        if end < 0:
            return None
        size = end + len(END)
        known = self._known.get(data[:size])
        return known if known is not None and known.length == len(data) - size else None

    def remember(
        self, data: bytes, head: tuple[Mapping[str, Any], Headers], body: bytes | bytearray
    ) -> None:
        """That ``data`` was parsed into this and nothing else, if that is all there is to it.

        A message must begin with ``data``: the rest of a head means nothing alone.
        """
        end = data.find(END)
        if end < 0:
            return
        size, (scope, headers) = end + len(END), head
        if size > LONGEST or data[size:] != body or not _states(headers, len(body)):
            return
        if len(self._known) >= self._most:
            self._known.clear()
        self._known[data[:size]] = KnownHead(scope, headers, size, len(body))


def _states(headers: Headers, length: int) -> bool:
    """Whether they say how long the body is, once, and nothing else of where it ends."""
    stated = [value for name, value in headers if name == b"content-length"]
    return stated == [b"%d" % length] and all(name != b"transfer-encoding" for name, _ in headers)
