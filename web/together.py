"""Alerts that arrive together are read together: one step for all of them, then the next.

One after the other, between all that a request takes besides, they cost twice as much (ADR 40).
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from starlette.types import Scope

from database.journal import Entry
from database.pool import UnavailableError
from domain.alert import Invalid, Parsed, parse
from domain.source import Source
from engines.relay.intake import Waiting
from web.dependencies import State
from web.posted import Posted, Refusal, check_backlog, entry_of, posted, read, source_of

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
    """To the intake. Where one breaks us all are read again, alone: none fails for another."""
    try:
        entries = _entries(asked)
    except Exception as error:  # noqa: BLE001  whatever it is, who asked is told
        if len(asked) == 1:
            _refuse(asked[0], error)
            return
        for one in asked:
            if not one.receipt.done():
                _hand_over([one])
        return
    for one, entry in entries:
        state = _state(one)
        try:
            check_backlog(state, entry)
            state["intake"].put(entry, one.receipt)
        except (Refusal, UnavailableError) as error:
            _refuse(one, error)


def _entries(asked: Sequence[Asked]) -> list[tuple[Asked, Entry]]:
    """What is journaled of each who is let in; the others are told here."""
    state = _state(asked[0])
    came = [(one, said) for one in asked if (said := _said(one))]
    parsed = [(one, said, parse(said.body, said.content_type)) for one, said in came]
    admitted = [(*each, source) for each in parsed if (source := _admitted(state, *each))]
    readings = [read(state, source, found) for _, _, found, source in admitted]
    for (one, *_), reading in zip(admitted, readings, strict=True):
        one.invalid = reading if isinstance(reading, Invalid) else None
    return [
        (one, entry_of(state, source, said, found, reading))
        for (one, said, found, source), reading in zip(admitted, readings, strict=True)
    ]


def _said(asked: Asked) -> Posted | None:
    try:
        return posted(asked.scope, asked.headers, asked.body)
    except Refusal as refusal:
        _refuse(asked, refusal)
        return None


def _admitted(state: State, asked: Asked, said: Posted, parsed: Parsed | Invalid) -> Source | None:
    try:
        return source_of(state, said, parsed)
    except Refusal as refusal:
        _refuse(asked, refusal)
        return None


def _state(asked: Asked) -> State:
    return cast("State", asked.scope["state"])


def _refuse(asked: Asked, why: Exception) -> None:
    if not asked.receipt.done():
        asked.receipt.set_exception(why)
