"""Tests of destinations: who may send one now, and the trace it leaves."""

import json
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum

from sqlalchemy import text

from database import destinations, lanes
from database.pool import Connection
from database.vault import SealError, Vault
from domain.delivery import DestinationId
from domain.destination import Destination, DestinationState, Mode
from domain.rate import is_full

PAUSE = timedelta(seconds=5)
"""Between two tests of a destination, whoever sends them."""

BEGIN = text("""
    UPDATE destinations SET tested_at = clock_timestamp()
    WHERE id = :id AND state <> 'disabled'
      AND (tested_at IS NULL OR tested_at <= clock_timestamp() - CAST(:pause AS interval))
    RETURNING id
""")
TELL = text("""
    INSERT INTO events (event, actor, detail)
    VALUES ('destination.tested', :actor, jsonb_strip_nulls(jsonb_build_object(
        'destination_id', CAST(:id AS uuid), 'name', CAST(:name AS text),
        'version', CAST(:version AS bigint)) || CAST(:told AS jsonb)))
""")


class Refusal(StrEnum):
    """Why no test is sent now."""

    NO_SUCH_DESTINATION = "no_such_destination"
    WRONG_STATE = "wrong_state"
    WINDOW_FULL = "window_full"
    TOO_SOON = "too_soon"
    WRONG_KEY = "wrong_key"


async def begin(
    connection: Connection, vault: Vault, id: DestinationId, *, sell_share: float
) -> Destination | Refusal:
    """The destination a test may be sent to now, or why not.

    A test takes no slot of a window, but what would make a buy wait makes it wait too.
    """
    try:
        found = await destinations.hold(connection, vault, id)
    except SealError:
        return Refusal.WRONG_KEY
    if found is None:
        return Refusal.NO_SUCH_DESTINATION
    current, state = found
    if state is DestinationState.DISABLED:
        return Refusal.WRONG_STATE
    if current.mode is Mode.LIVE and await _is_full(connection, current, sell_share):
        return Refusal.WINDOW_FULL
    begun = await connection.execute(BEGIN, {"id": id, "pause": PAUSE})
    return current if begun.one_or_none() else Refusal.TOO_SOON


async def _is_full(connection: Connection, current: Destination, share: float) -> bool:
    used = (await lanes.usage(connection, current.id, current.windows)).used
    return any(is_full(w, u, share=share) for w, u in zip(current.windows, used, strict=True))


async def tell(
    connection: Connection, tested: Destination, told: Mapping[str, object], *, actor: str
) -> None:
    """Tell of a test and how it went."""
    given = {"id": tested.id, "name": tested.name, "version": tested.version}
    await connection.execute(TELL, given | {"actor": actor, "told": json.dumps(told)})
