"""WS /ws/live: what happens, as it happens. Who may listen is settled before it is accepted."""

import asyncio
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from database.pool import acting_from, is_unavailable
from domain.feed import PING, Frame, Holder
from engines.live.hub import Client, Closing, FullError, Write, later
from web.dependencies import bearer, is_foreign, origin_of, refused, session_of, state_of
from web.errors import ProblemError, problem

log = logging.getLogger(__name__)

router = APIRouter()

SILENCE, STALLED = 15.0, 20.0
"""Seconds without anything to tell until a ping; until who takes nothing is given up."""

LONGEST, MOST_A_SECOND = 1_024, 5
"""Of what a client sends: characters of a message, and messages."""

NOT_SPOKEN_HERE, TOO_BIG, TRY_LATER = 1008, 1009, 1013
"""Codes of a close (RFC 6455 §7.4.1 and its registry)."""

HUNG_UP = 0
"""No code of a close: there is nobody left to tell."""


@router.websocket("/ws/live")
async def live(socket: WebSocket, cursor: str | None = None) -> None:
    """Everything since ``cursor``, then everything that happens, until one side hangs up."""
    try:
        holder = await _admitted(socket)
    except ProblemError as no:
        await socket.send_denial_response(problem(no.status, no.code, no.detail, **no.more))
        return
    except Exception as error:
        if not is_unavailable(error):
            raise
        words = "The database does not answer just now."
        await socket.send_denial_response(problem(503, "database_unavailable", words))
        return
    with suppress(WebSocketDisconnect):
        await socket.accept()
        await _serve(socket, holder, cursor)


async def _admitted(socket: WebSocket) -> Holder:
    """Whose socket it is. Raises ProblemError 401, 403 or 429.

    A browser sends a session's cookie whoever's page opens the socket, so that needs an origin of
    ours; a program with a token needs none.
    """
    parts, token = state_of(socket), bearer(socket)
    acting_from.set(origin_of(socket))
    if is_foreign(socket) or (token is None and _nameless(socket)):
        raise ProblemError(403, "cross_site", "This must come from the relay's own page.")
    standing = parts["standing"]
    holder = standing.of_token(token) if token else await standing.of_session(session_of(socket))
    if holder is None:
        await refused(socket, "WS /ws/live", token)
        raise ProblemError(401, "unauthorized", "A session, or a token with the scope read.")
    return holder


def _nameless(socket: WebSocket) -> bool:
    return session_of(socket) is not None and "origin" not in socket.headers


async def _serve(socket: WebSocket, holder: Holder, cursor: str | None) -> None:
    hub = state_of(socket)["hub"]
    try:
        client = hub.join(holder, cursor, _write_of(socket))
    except FullError as full:
        await socket.close(TRY_LATER, str(full))
        return
    hearing = asyncio.create_task(_hear(socket, client))
    try:
        await _tell(socket, client)
    finally:
        hub.leave(client)
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)


async def _tell(socket: WebSocket, client: Client) -> None:
    """Send what waits. Who takes nothing for a while is left to the server to cut off."""
    while True:
        said = await _next(client)
        try:
            async with asyncio.timeout(STALLED):
                if isinstance(said, Closing):
                    if said.code != HUNG_UP:
                        await socket.close(said.code, said.reason)
                    return
                await socket.send_text(said.text)
        except TimeoutError:
            log.info("live.stalled")
            return


def _write_of(socket: WebSocket) -> Write:
    """How our own server writes at once (`launcher.sockets`); of others everything is awaited."""
    write = socket.scope.get("extensions", {}).get("relay", {}).get("write")
    return write or later


async def _next(client: Client) -> Frame | Closing:
    """What to say next; a ping where it was told nothing for a while."""
    while True:
        told = client.told
        with suppress(TimeoutError):
            async with asyncio.timeout(SILENCE):
                return await client.take()
        if client.told == told:
            return PING


async def _hear(socket: WebSocket, client: Client) -> None:
    """A ping is answered; anything else, too long or too often, ends it, and so does hanging up."""
    loop = asyncio.get_running_loop()
    second, heard = 0.0, 0
    while (message := await socket.receive())["type"] == "websocket.receive":
        if loop.time() - second >= 1:
            second, heard = loop.time(), 0
        heard += 1
        if wrong := _wrong(message, heard):
            client.close(wrong.code, wrong.reason)
            return
        client.put(PING)
    client.close(HUNG_UP, "")


def _wrong(message: Mapping[str, Any], heard: int) -> Closing | None:
    """Why what a client said cannot be, or came too often."""
    text = message.get("text")
    if len(text or message.get("bytes") or "") > LONGEST:
        return Closing(TOO_BIG, "too long")
    if heard > MOST_A_SECOND:
        return Closing(NOT_SPOKEN_HERE, "too often")
    return None if _is_ping(text) else Closing(NOT_SPOKEN_HERE, "only a ping is understood")


def _is_ping(text: str | None) -> bool:
    try:
        return text is not None and json.loads(text) == {"type": "ping"}
    except (ValueError, RecursionError):
        return False
