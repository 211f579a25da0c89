"""Alerts that arrive together are read together: one step for all of them, then the next.

Each step's code is in the processor's cache then: alerts read one after the other, between all
that a request takes besides, cost twice as much.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from starlette.types import Scope

from database.journal import Entry
from database.pool import UnavailableError
from domain.alert import Invalid, parse
from engines.relay.intake import Waiting
from web.dependencies import State
from web.posted import Refusal, check_backlog, entry_of, posted, read, source_of

MOST = 64
"""Read at once: their commit can begin before the others are read."""


@dataclass(slots=True)
class Asked:
    """A request, and the receipt that it is answered with; ``invalid`` if it holds no alert."""

    scope: Scope = field(repr=False)
    headers: Mapping[bytes, bytes] = field(repr=False)
    body: bytes = field(repr=False)
    receipt: Waiting
    invalid: Invalid | None = None


class Together:
    """``ask`` may be called by any number of requests."""

    def __init__(self) -> None:
        self._asked: list[Asked] = []

    def ask(self, scope: Scope, headers: Mapping[bytes, bytes], body: bytes) -> Asked:
        """Have an alert accepted.

        Its receipt is there once it is on disk; or Refusal, or UnavailableError.
        """
        loop = asyncio.get_running_loop()
        asked = Asked(scope, headers, body, loop.create_future())
        self._asked.append(asked)
        if len(self._asked) == 1:
            loop.call_soon(self._next)
        return asked

    def _next(self) -> None:
        """Read who asked up to now; those who ask meanwhile are next."""
        asked, self._asked = self._asked[:MOST], self._asked[MOST:]
        if self._asked:
            asyncio.get_running_loop().call_soon(self._next)
        _hand_over(asked)


def _hand_over(asked: Sequence[Asked]) -> None:
    """To the intake. Where one is refused all are read again, alone: none fails for another."""
    try:
        entries = _entries(asked)
    except Exception as error:  # noqa: BLE001  whatever it is, who asked is told
        if len(asked) == 1:
            _refuse(asked[0], error)
            return
        for one in asked:
            _hand_over([one])
        return
    for one, entry in zip(asked, entries, strict=True):
        state = _state(one)
        try:
            check_backlog(state, entry)
            state["intake"].put(entry, one.receipt)
        except (Refusal, UnavailableError) as error:
            _refuse(one, error)


def _entries(asked: Sequence[Asked]) -> list[Entry]:
    """What is journaled of each. Raises what any of them is refused for."""
    state = _state(asked[0])
    said = [posted(one.scope, one.headers, one.body) for one in asked]
    parsed = [parse(one.body, one.content_type) for one in said]
    sources = [source_of(state, *one) for one in zip(said, parsed, strict=True)]
    readings = [read(state, *one) for one in zip(sources, parsed, strict=True)]
    for one, reading in zip(asked, readings, strict=True):
        one.invalid = reading if isinstance(reading, Invalid) else None
    whole = zip(sources, said, parsed, readings, strict=True)
    return [entry_of(state, *one) for one in whole]


def _state(asked: Asked) -> State:
    return cast("State", asked.scope["state"])


def _refuse(asked: Asked, why: Exception) -> None:
    if not asked.receipt.done():
        asked.receipt.set_exception(why)
