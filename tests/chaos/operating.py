"""The operator: adds a destination, and says what became of what is held."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

from tests.chaos.destination import Destination
from tests.chaos.load import Door
from tests.chaos.wire import Reply, ask
from tests.end_to_end.stage import ADMIN_TOKEN

EVERY = 1.0
HEADERS = {"content-type": "application/json", "authorization": f"Bearer {ADMIN_TOKEN}"}


async def create_once(port: int, name: str, url: str, windows: str) -> None:
    """Add a destination that is sent nothing twice."""
    wanted = {"name": name, "url": url, "windows": windows, "guarantee": "at_most_once"}
    reply = await _post(port, "/api/destinations", wanted)
    if reply.status != 201:
        raise RuntimeError(f"POST /api/destinations: {reply.status} {reply.body.decode()}")


async def resolve_held(doors: Callable[[], Sequence[Door]], destination: Destination) -> None:
    """Look again and again; what a struck replica or database keeps from us is there next time."""
    while True:
        await asyncio.sleep(EVERY)
        for door in doors()[:1]:
            await _resolve_all(door.port, destination)


async def _resolve_all(port: int, destination: Destination) -> None:
    reply = await ask(port, "GET", "/api/deliveries?state=held&limit=500", headers=HEADERS)
    if reply.status != 200:
        return
    processed = {arrival.id for arrival in destination.arrivals if arrival.processed}
    for held in reply.json["items"]:
        word = "delivered" if held["signal_id"] in processed else "drop"
        given = {"as": word, "reason": "looked it up at the destination"}
        await _post(port, f"/api/deliveries/{held['id']}/resolve", given)


async def _post(port: int, path: str, given: dict[str, Any]) -> Reply:
    return await ask(port, "POST", path, body=json.dumps(given).encode(), headers=HEADERS)
