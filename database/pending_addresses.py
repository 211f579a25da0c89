"""Addresses that operators entered on a page: they count after a while, unless cancelled before."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeAlias

from sqlalchemy import text

from database import afresh
from database.destination_rows import differences, sealed_place
from database.pool import Connection, ReadConnection
from database.vault import Vault
from domain.delivery import DestinationId
from domain.destination import Destination

Facts: TypeAlias = Mapping[str, Any]

WAIT = timedelta(seconds=60)
"""For how long an address can be cancelled before it counts."""

ENTER = text("""
    WITH pending AS (
        INSERT INTO pending_addresses (destination_id, url_sealed, url_shown, headers_sealed, was,
                                       becomes, made_by, due_at)
        VALUES (:id, :url_sealed, :url_shown, :headers_sealed, CAST(:was AS jsonb),
                CAST(:becomes AS jsonb), :actor, clock_timestamp() + CAST(:wait AS interval))
        ON CONFLICT (destination_id) DO NOTHING RETURNING *
    )
    INSERT INTO events (event, actor, detail)
    SELECT 'destination.address_pending', :actor, jsonb_build_object(
        'destination_id', destination_id, 'name', CAST(:name AS text), 'url', url_shown,
        'due_at', due_at, 'was', was, 'becomes', becomes)
    FROM pending RETURNING id
""")
CANCEL = text("""
    WITH cancelled AS (
        DELETE FROM pending_addresses WHERE destination_id = :id RETURNING *
    )
    INSERT INTO events (event, actor, detail)
    SELECT 'destination.address_cancelled', :actor, jsonb_build_object(
        'destination_id', destination_id, 'name', destinations.name, 'url', url_shown)
    FROM cancelled JOIN destinations ON destinations.id = destination_id RETURNING events.id
""")
PENDING = text("""
    SELECT destination_id, url_shown AS url, becomes, made_at, made_by, due_at,
           greatest(due_at - clock_timestamp(), interval '0') AS due_in
    FROM pending_addresses WHERE CAST(:id AS uuid) IS NULL OR destination_id = :id
""")
NEXT = text("SELECT min(due_at) - clock_timestamp() FROM pending_addresses")

# First the destination, as everybody who changes one does; only then what waits for it.
HOLD_DUE = text("""
    SELECT id FROM destinations
    WHERE id IN (SELECT destination_id FROM pending_addresses WHERE due_at <= clock_timestamp())
    ORDER BY id FOR NO KEY UPDATE
""")

# Everything else is as the current version has it: only another address makes this one moot.
APPLY = text(f"""
    WITH before AS MATERIALIZED (
        SELECT id, breaker, hold_until FROM destinations
        WHERE id = ANY(CAST(:ids AS uuid[])) FOR NO KEY UPDATE
    ), due AS (
        DELETE FROM pending_addresses
        WHERE destination_id = ANY(CAST(:ids AS uuid[])) AND due_at <= clock_timestamp()
        RETURNING *
    ), changed AS (
        UPDATE destinations
        SET version = version + 1, updated_at = clock_timestamp(), {afresh.SET}
        FROM due JOIN before ON before.id = destination_id
        WHERE destinations.id = destination_id
        RETURNING destinations.id, name, version, before.breaker, before.hold_until,
                  due.url_sealed, due.url_shown, due.headers_sealed, due.was, due.becomes,
                  due.made_by
    ), kept AS (
        INSERT INTO destination_versions (
            destination_id, version, url_sealed, url_shown, mode, guarantee, windows, concurrency,
            timeout_sec, connect_sec, headers_sealed, mapping, added_sealed, signing_sealed,
            previous_sealed, previous_until, made_by)
        SELECT destination_id, changed.version, changed.url_sealed, changed.url_shown, mode,
               guarantee, windows, concurrency, timeout_sec, connect_sec, changed.headers_sealed,
               mapping, added_sealed, signing_sealed, previous_sealed, previous_until,
               changed.made_by
        FROM changed JOIN destination_versions AS old
             ON old.destination_id = changed.id AND old.version = changed.version - 1
    ), told_afresh AS (
        {afresh.TOLD.format(actor="made_by", reason=afresh.MOVED, afresh="changed")}
    )
    INSERT INTO events (event, actor, detail)
    SELECT 'destination.changed', made_by, jsonb_build_object(
        'destination_id', id, 'name', name, 'version', version, 'url', url_shown, 'was', was,
        'becomes', becomes, 'reason', 'entered on the page and not cancelled')
    FROM changed RETURNING id
""")


async def enter(
    connection: Connection, vault: Vault, was: Destination, wanted: Destination, *, actor: str
) -> bool:
    """Let the address and headers of ``wanted`` count after WAIT; False when others wait already.

    Whoever calls holds the destination (`destinations.hold`).
    """
    given = {
        **differences(was, wanted),
        **sealed_place(wanted, vault),
        "name": was.name,
        "actor": actor,
        "wait": WAIT,
    }
    return (await connection.execute(ENTER, given)).one_or_none() is not None


async def cancel(connection: Connection, id: DestinationId, *, actor: str) -> bool:
    """Forget the address that waits; False when none does (any more)."""
    given = {"id": id, "actor": actor}
    return (await connection.execute(CANCEL, given)).one_or_none() is not None


async def pending(
    connection: ReadConnection, id: DestinationId | None = None
) -> dict[DestinationId, Facts]:
    """The addresses that wait, masked, by destination."""
    rows = (await connection.execute(PENDING, {"id": id})).mappings()
    return {DestinationId(row["destination_id"]): dict(row) for row in rows}


async def next_due(connection: ReadConnection) -> timedelta | None:
    """How long until the next one counts; None when none waits."""
    return (await connection.execute(NEXT)).scalar_one()


async def apply_due(connection: Connection) -> int:
    """Let those that are due count, each as the next version of its destination; how many."""
    ids = list((await connection.execute(HOLD_DUE)).scalars())
    return len((await connection.execute(APPLY, {"ids": ids})).all()) if ids else 0
