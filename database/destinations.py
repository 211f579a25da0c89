"""Destinations and their versions. Addresses, headers and keys are sealed; pages see a mask."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from sqlalchemy import TextClause, text
from sqlalchemy.exc import IntegrityError

from database import afresh, lanes
from database.destination_rows import bare, differences, sealed, shown_row, unsealed, windows_of
from database.pool import Connection, ReadConnection
from database.vault import SealError, Vault
from domain.delivery import DestinationId
from domain.destination import TURNS, Destination, DestinationState, SigningKeys, Turn
from domain.destination_told import told as told_of

Facts: TypeAlias = dict[str, Any]


NO_KEYS = SigningKeys(b"")


class NameTakenError(ValueError):
    """Another destination has this name."""


ANY = text("SELECT EXISTS (SELECT FROM destinations)")
LOCK = text("LOCK TABLE destinations IN SHARE ROW EXCLUSIVE MODE")
VERSIONS = text("SELECT id, version FROM destinations WHERE state = 'enabled'")
_VERSION = """
    SELECT destinations.id, name, destination_versions.version, url_sealed, mode, guarantee,
           windows, concurrency, timeout_sec, connect_sec, headers_sealed, mapping, added_sealed,
           signing_sealed, previous_sealed, previous_until
    FROM destinations JOIN destination_versions ON destination_id = destinations.id
"""
ENABLED = text(f"""
    {_VERSION} WHERE state = 'enabled' AND destination_versions.version = destinations.version
    ORDER BY name
""")
ONE_VERSION = text(f"""
    {_VERSION} WHERE destinations.id = :id AND destination_versions.version = :version
""")

_GIVEN = """
    :url_sealed, :url_shown, :mode, :guarantee, :windows, :concurrency, :timeout_sec, :connect_sec,
    :headers_sealed, CAST(:mapping AS jsonb), :added_sealed, :signing_sealed, :previous_sealed,
    :previous_until, :actor
"""
_KEPT = """
    destination_id, version, url_sealed, url_shown, mode, guarantee, windows, concurrency,
    timeout_sec, connect_sec, headers_sealed, mapping, added_sealed, signing_sealed,
    previous_sealed, previous_until, made_by
"""
_TOLD = """
    INSERT INTO events (event, actor, detail)
    SELECT '{event}', :actor,
           jsonb_strip_nulls(jsonb_build_object(
               'destination_id', destination_id, 'name', CAST(:name AS text), 'version', version,
               'url', url_shown, 'mode', mode, 'guarantee', guarantee, 'windows', windows,
               'previous_until', previous_until))
           || jsonb_build_object('was', CAST(:was AS jsonb), 'becomes', CAST(:becomes AS jsonb))
    FROM kept RETURNING id
"""
CREATE = text(f"""
    WITH made AS (
        INSERT INTO destinations (id, name) VALUES (:id, :name)
        ON CONFLICT (name) DO NOTHING RETURNING id, version
    ), kept AS (
        INSERT INTO destination_versions ({_KEPT}) SELECT id, version, {_GIVEN} FROM made
        RETURNING *
    ) {_TOLD.format(event="destination.created")}
""")
_KEEP = f"""
    kept AS (
        INSERT INTO destination_versions ({_KEPT}) SELECT id, version, {_GIVEN} FROM changed
        RETURNING *
    )
"""
_NEXT = f"""
    WITH changed AS (
        UPDATE destinations
        SET name = :name, version = version + 1, updated_at = clock_timestamp()
        WHERE id = :id AND version = :version RETURNING id, version
    ), {_KEEP}
"""
_MOVED = f"""
    WITH before AS MATERIALIZED (
        SELECT id, breaker, hold_until FROM destinations
        WHERE id = :id AND version = :version FOR NO KEY UPDATE
    ), changed AS (
        UPDATE destinations
        SET name = :name, version = version + 1, updated_at = clock_timestamp(), {afresh.SET}
        FROM before WHERE destinations.id = before.id
        RETURNING destinations.id, name, version, before.breaker, before.hold_until
    ), {_KEEP}, told_afresh AS (
        {afresh.TOLD.format(actor="CAST(:actor AS text)", reason=afresh.MOVED, afresh="changed")}
    ), moot AS (
        DELETE FROM pending_addresses USING changed WHERE destination_id = changed.id
        RETURNING destination_id, pending_addresses.url_shown
    ), told_moot AS (
        INSERT INTO events (event, actor, detail)
        SELECT 'destination.address_cancelled', :actor, jsonb_build_object(
            'destination_id', destination_id, 'name', CAST(:name AS text), 'url', url_shown,
            'reason', 'changed meanwhile')
        FROM moot
    )
"""
CHANGE = text(_NEXT + _TOLD.format(event="destination.changed"))
MOVE = text(_MOVED + _TOLD.format(event="destination.changed"))
ROTATE = text(_NEXT + _TOLD.format(event="destination.key_rotated"))

HOLD = text("SELECT version, state FROM destinations WHERE id = :id FOR NO KEY UPDATE")
TURN = text("""
    WITH was AS MATERIALIZED (
        SELECT id, state FROM destinations
        WHERE id = :id AND state = ANY(CAST(:before AS text[])) FOR UPDATE
    ), turned AS (
        UPDATE destinations SET state = :state, updated_at = clock_timestamp()
        FROM was WHERE destinations.id = was.id
        RETURNING destinations.id, name, was.state AS was, destinations.state
    )
    INSERT INTO events (event, actor, detail)
    SELECT :event, :actor, jsonb_build_object(
        'destination_id', id, 'name', name, 'was', was, 'becomes', state)
    FROM turned RETURNING id
""")
TOLD_AS = {
    Turn.PAUSE: "destination.paused",
    Turn.RESUME: "destination.resumed",
    Turn.DISABLE: "destination.disabled",
    Turn.ENABLE: "destination.enabled",
}
_TERMS = """
    url_shown AS url, mode, guarantee, windows, concurrency, timeout_sec AS timeout,
    connect_sec AS connect_timeout, mapping, url_sealed, headers_sealed, added_sealed,
    signing_sealed, previous_sealed
"""
LISTED = text(f"""
    SELECT destinations.id, name, destinations.state, destinations.version, {_TERMS},
           CASE WHEN previous_until > clock_timestamp() THEN previous_until END
               AS previous_key_until,
           made_at AS changed_at, breaker, breaker_since, breaker_until, breaker_cause,
           CASE WHEN hold_until > clock_timestamp() THEN hold_until END AS hold_until,
           count(deliveries.id) FILTER (WHERE deliveries.state = 'queued') AS queued,
           count(deliveries.id) FILTER (WHERE deliveries.state = 'sending') AS sending,
           count(deliveries.id) FILTER (WHERE deliveries.state = 'held') AS held,
           count(deliveries.id) FILTER (WHERE deliveries.state = 'queued'
               AND destination_version < destinations.version) AS queued_older,
           min(queued_at) FILTER (WHERE deliveries.state IN ('queued', 'sending')) AS oldest_at
    FROM destinations
    JOIN destination_versions AS kept ON kept.destination_id = destinations.id
                                     AND kept.version = destinations.version
    LEFT JOIN deliveries ON deliveries.destination_id = destinations.id
                        AND deliveries.finished_at IS NULL
    WHERE CAST(:id AS uuid) IS NULL OR destinations.id = :id
    GROUP BY destinations.id, kept.destination_id, kept.version ORDER BY name
""")
HISTORY = text(f"""
    SELECT version, {_TERMS}, made_at, made_by,
           (SELECT count(*) FROM deliveries
            WHERE deliveries.destination_id = kept.destination_id
              AND destination_version = kept.version AND finished_at IS NULL) AS unfinished
    FROM destination_versions AS kept WHERE destination_id = :id
    ORDER BY version DESC LIMIT 100
""")


async def enabled_versions(connection: ReadConnection) -> dict[DestinationId, int]:
    """A cheap look at what may be sent to now: ids and versions."""
    return {row.id: row.version for row in await connection.execute(VERSIONS)}


def nobody(_one: Destination) -> None:
    """Be told of a destination, and do nothing about it."""


async def enabled(
    connection: ReadConnection, vault: Vault, shut: Callable[[Destination], None] = nobody
) -> list[Destination]:
    """Every destination that may be sent to now, at its current version, unsealed.

    One that the keys here do not open is left out, and ``shut`` is told of it: the others go on.
    """
    found: list[Destination] = []
    for row in await connection.execute(ENABLED):
        try:
            found.append(unsealed(row, vault))
        except SealError:
            shut(bare(row, NO_KEYS))
    return found


async def at_version(
    connection: ReadConnection, vault: Vault, id: DestinationId, version: int
) -> Destination | None:
    """What a destination was at one of its versions, unsealed; None when there is no such one.

    Raises SealError.
    """
    row = (await connection.execute(ONE_VERSION, {"id": id, "version": version})).one_or_none()
    return unsealed(row, vault) if row else None


async def listed(
    connection: ReadConnection, vault: Vault, id: DestinationId | None = None
) -> list[Facts]:
    """Destinations for people, by name (or this one): masked, with what waits for each."""
    found = await connection.execute(LISTED, {"id": id})
    rows = [shown_row(row["id"], row, vault) for row in found.mappings()]
    for row in rows:
        windows = windows_of(row["windows"])
        usage = await lanes.usage(connection, row["id"], windows)
        row["windows_used"] = [
            {"limit": window.limit, "seconds": window.seconds, "used": used.total}
            for window, used in zip(windows, usage.used, strict=True)
        ]
    return rows


async def history(connection: ReadConnection, vault: Vault, id: DestinationId) -> list[Facts]:
    """The versions of a destination, the newest first, masked."""
    rows = (await connection.execute(HISTORY, {"id": id})).mappings()
    return [shown_row(id, row, vault) for row in rows]


async def create(
    connection: Connection, vault: Vault, destination: Destination, *, actor: str
) -> bool:
    """Keep a new destination as its version 1; False when its name is taken."""
    given = sealed(destination, vault) | differences(None, destination) | {"actor": actor}
    return (await connection.execute(CREATE, given)).one_or_none() is not None


async def create_first(
    connection: Connection, vault: Vault, destination: Destination, *, actor: str
) -> bool:
    """Keep this one when there is none at all; replicas that start at once keep one."""
    if (await connection.execute(ANY)).scalar_one():
        return False
    await connection.execute(LOCK)
    if (await connection.execute(ANY)).scalar_one():
        return False
    return await create(connection, vault, destination, actor=actor)


async def hold(
    connection: Connection, vault: Vault, id: DestinationId
) -> tuple[Destination, DestinationState] | None:
    """Hold a destination until this transaction ends: nobody changes it or leases meanwhile.

    Raises SealError; it is held all the same.
    """
    row = (await connection.execute(HOLD, {"id": id})).one_or_none()
    if row is None:
        return None
    current = await at_version(connection, vault, id, row.version)
    return (current, DestinationState(row.state)) if current else None


async def hold_state(connection: Connection, id: DestinationId) -> DestinationState | None:
    """As ``hold``, for who needs nothing of it that is sealed."""
    row = (await connection.execute(HOLD, {"id": id})).one_or_none()
    return DestinationState(row.state) if row else None


async def hold_bare(
    connection: Connection, id: DestinationId, keys: SigningKeys
) -> tuple[Destination, bool] | None:
    """As ``hold``, but what is sealed stays so, for `renew`; and whether constants are sealed."""
    held = (await connection.execute(HOLD, {"id": id})).one_or_none()
    if held is None:
        return None
    given = {"id": id, "version": held.version}
    row = (await connection.execute(ONE_VERSION, given)).one()
    return bare(row, keys), row.added_sealed is not None


async def change(
    connection: Connection, vault: Vault, destination: Destination, *, actor: str
) -> bool:
    """Make this the next version; ``destination.version`` is the one the change was made to.

    False when somebody else has changed it meanwhile. What is queued keeps its version. Raises
    NameTakenError.
    """
    return await _next_version(connection, vault, destination, CHANGE, actor)


async def rotate(
    connection: Connection, vault: Vault, destination: Destination, keys: SigningKeys, *, actor: str
) -> bool:
    """Make a version that signs with other keys; as ``change``."""
    return await _next_version(connection, vault, replace(destination, keys=keys), ROTATE, actor)


async def renew(
    connection: Connection, vault: Vault, destination: Destination, *, actor: str
) -> bool:
    """As ``change``, of one that does not open: all that is sealed of it is entered anew."""
    told = differences(None, destination)
    told["becomes"] = json.dumps(told_of(destination) | {"key": "rotated"})
    return await _keep_next(connection, vault, destination, MOVE, {**told, "actor": actor})


async def _next_version(
    connection: Connection, vault: Vault, wanted: Destination, statement: TextClause, actor: str
) -> bool:
    was = await at_version(connection, vault, wanted.id, wanted.version)
    if was is None or _place(was) != _place(wanted):
        statement = MOVE
    told: dict[str, Any] = {**differences(was, wanted), "actor": actor}
    return await _keep_next(connection, vault, wanted, statement, told)


async def _keep_next(
    connection: Connection,
    vault: Vault,
    wanted: Destination,
    statement: TextClause,
    told: Mapping[str, Any],
) -> bool:
    given = {**sealed(wanted, vault), "version": wanted.version, **told}
    try:
        return (await connection.execute(statement, given)).one_or_none() is not None
    except IntegrityError:
        raise NameTakenError from None  # the error itself would show what was given


async def turn(connection: Connection, id: DestinationId, wanted: Turn, *, actor: str) -> bool:
    """Pause, resume, disable or enable it; False where that changes nothing or cannot be."""
    before, state = TURNS[wanted]
    given = {"id": id, "before": [*before], "state": state, "actor": actor}
    given["event"] = TOLD_AS[wanted]
    return (await connection.execute(TURN, given)).one_or_none() is not None


async def close_breaker(connection: Connection, id: DestinationId, *, actor: str) -> bool:
    """Send to it again as to a healthy one, though it asked us to wait.

    False when its breaker was closed, and it asked for nothing.
    """
    given = {"id": id, "actor": actor}
    return bool((await connection.execute(afresh.BY_HAND, given)).all())


def _place(destination: Destination) -> tuple[str, dict[str, str]]:
    """What a pending address would replace: after another change of it, it is moot."""
    return destination.url, dict(destination.headers)
