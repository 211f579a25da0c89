"""The buying pause: while it stands, no buy passes the gate. Exits are not touched by it."""

from typing import Any

from fastapi import APIRouter

from database import gate
from database.gate import BuyingPause
from database.pool import ReadConnection
from web.dependencies import Parts, Reader, Trader
from web.payloads import Word
from web.payloads_trade import BuyingPauseIn

router = APIRouter(prefix="/api/buying", tags=["buying"])


def pause_shown(pause: BuyingPause | None) -> dict[str, Any] | None:
    return pause and {
        "since": pause.at,
        "by": pause.by,
        "reason": pause.reason,
        "until": pause.until,
    }


async def _shown(connection: ReadConnection) -> dict[str, Any]:
    in_force = await gate.read(connection)
    return {
        "paused": pause_shown(in_force.pause),
        "version": in_force.version,
    }


@router.get("")
async def read_buying(parts: Parts, _actor: Reader) -> dict[str, Any]:
    """Whether buying is paused: since when, by whom, why and until when."""
    async with parts["pages"].read() as connection:
        return await _shown(connection)


@router.post("/pause")
async def pause(parts: Parts, actor: Trader, given: BuyingPauseIn | None = None) -> dict[str, Any]:
    """Let no buy pass any more; none does after this is answered. Never shortens a pause."""
    given = given or BuyingPauseIn()
    until = given.end(parts["clock"]())
    async with parts["pages"].write() as connection:
        await gate.hold_alone(connection)
        changed = await gate.pause(connection, actor=actor, reason=given.reason, until=until)
        return await _shown(connection) | {"changed": changed}


@router.post("/resume")
async def resume(parts: Parts, actor: Trader, given: Word | None = None) -> dict[str, Any]:
    """Let buys pass again. Those that were turned away meanwhile stay so."""
    async with parts["pages"].write() as connection:
        await gate.hold_alone(connection)
        changed = await gate.resume(connection, actor=actor, reason=given and given.reason)
        return await _shown(connection) | {"changed": changed}
