"""What an operator may tell a destination by one press of a button, and what is said after."""

from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import TypeAlias
from uuid import UUID

from domain.access import Scope
from web import destinations as calls
from web.dependencies import State
from web.pages.forms import Fields, read
from web.payloads import Cancellation
from web.views.destinations import tested_words, waiting_of, waits
from web.views.words import counted


class Order(StrEnum):
    """As in the addresses of the API's calls."""

    PAUSE = "pause"
    RESUME = "resume"
    DISABLE = "disable"
    ENABLE = "enable"
    RETARGET = "retarget"
    CANCEL_QUEUED = "cancel-queued"
    CLOSE_BREAKER = "close-breaker"
    TEST = "test"
    CANCEL_ADDRESS = "cancel-address"


Work: TypeAlias = Callable[[UUID, State, str, Fields], Awaitable[str]]


async def _pause(id: UUID, parts: State, actor: str, _fields: Fields) -> str:
    number = waiting_of(await calls.pause(id, parts, actor))
    return f"Paused. {waits(number)}, and stay until their own end of life."


async def _resume(id: UUID, parts: State, actor: str, _fields: Fields) -> str:
    number = waiting_of(await calls.resume(id, parts, actor))
    return f"Resumed. {waits(number)}: they leave as fast as the rate windows let them."


async def _disable(id: UUID, parts: State, actor: str, _fields: Fields) -> str:
    number = waiting_of(await calls.disable(id, parts, actor))
    return f"Disabled: it gets no new buys. {waits(number)}."


async def _enable(id: UUID, parts: State, actor: str, _fields: Fields) -> str:
    number = waiting_of(await calls.enable(id, parts, actor))
    return f"Enabled. {waits(number)}: they leave as fast as the rate windows let them."


async def _retarget(id: UUID, parts: State, actor: str, _fields: Fields) -> str:
    shown = await calls.retarget(id, parts, actor)
    moved = counted(shown["retargeted"], "delivery goes", "deliveries go")
    left = f" {shown['queued_older']} stay as they are." if shown["queued_older"] else ""
    return f"{moved} to version {shown['version']} now.{left}"


async def _cancel_queued(id: UUID, parts: State, actor: str, fields: Fields) -> str:
    every = {"all": fields.get("which") == "all"}
    given = read(Cancellation, {**fields, **every}, "all", "reason")
    number = (await calls.cancel_queued(id, parts, actor, given))["cancelled"]
    return f"{counted(number, 'delivery was', 'deliveries were')} cancelled; positions follow."


async def _close_breaker(id: UUID, parts: State, actor: str, _fields: Fields) -> str:
    shown = await calls.close_breaker(id, parts, actor)
    if not shown["closed"]:
        return "Its breaker was closed already."
    return f"Its breaker is closed. {waits(waiting_of(shown))}: everything may leave."


async def _test(id: UUID, parts: State, actor: str, _fields: Fields) -> str:
    return tested_words(await calls.examined(id, parts, actor))


async def _cancel_address(id: UUID, parts: State, actor: str, _fields: Fields) -> str:
    await calls.cancel_address(id, parts, actor)
    return "The new address was cancelled: the present one stays."


ORDERS: Mapping[Order, tuple[Scope, Work]] = {
    Order.PAUSE: (Scope.CONFIG, _pause),
    Order.RESUME: (Scope.CONFIG, _resume),
    Order.DISABLE: (Scope.CONFIG, _disable),
    Order.ENABLE: (Scope.CONFIG, _enable),
    Order.RETARGET: (Scope.CONFIG, _retarget),
    Order.CANCEL_QUEUED: (Scope.TRADE, _cancel_queued),
    Order.CLOSE_BREAKER: (Scope.CONFIG, _close_breaker),
    Order.TEST: (Scope.CONFIG, _test),
    Order.CANCEL_ADDRESS: (Scope.CONFIG, _cancel_address),
}
