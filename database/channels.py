"""Channels: where an operator is told. Addresses and tokens are sealed, and never read out."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from database.audit import Facts
from database.connection import RowMapping
from database.pool import Connection, ReadConnection
from database.sealed import terms_of
from database.vault import SealError, Vault
from domain.attention import Severity
from domain.channel import Channel, ChannelId, ChannelKind

_SHOWN = """
    id, name, kind, shown, severity, window_sec AS window, enabled, version, updated_at, tested_at,
    archived_at
"""
_TERMS = "name, kind, sealed, severity, window_sec, enabled, version"
_TOLD = """
    jsonb_build_object('name', {row}.name, 'kind', {row}.kind, 'shown', {row}.shown,
        'severity', {row}.severity, 'window', {row}.window_sec, 'enabled', {row}.enabled)
"""

LISTED = text(f"""
    SELECT {_SHOWN}, (
        SELECT count(*) FROM notices WHERE channel_id = channels.id AND state = 'queued') AS queued
    FROM channels
    WHERE (archived_at IS NULL OR CAST(:archived AS boolean))
      AND (CAST(:id AS uuid) IS NULL OR id = :id)
    ORDER BY archived_at IS NOT NULL, lower(name)
""")
SEALED = text("SELECT id, sealed FROM channels WHERE archived_at IS NULL")
HOLD = text(f"SELECT id, {_TERMS} FROM channels WHERE id = :id AND archived_at IS NULL FOR UPDATE")
CREATE = text(f"""
    WITH made AS (
        INSERT INTO channels (id, name, kind, sealed, shown, severity, window_sec, enabled)
        VALUES (:id, :name, :kind, :sealed, :shown, :severity, :window_sec, :enabled)
        RETURNING *
    )
    INSERT INTO events (event, actor, detail)
    SELECT 'channel.created', :actor,
           jsonb_build_object('channel_id', id, 'becomes', {_TOLD.format(row="made")})
    FROM made
""")
# What was to be told there, and is not told any more, has failed: nobody waits for it.
_SILENCED = """
    silenced AS (
        UPDATE notices SET state = 'failed', finished_at = clock_timestamp(), error = 'switched off'
        FROM changed
        WHERE notices.channel_id = changed.id AND notices.state = 'queued'
          AND (NOT changed.enabled OR changed.archived_at IS NOT NULL)
    )
"""
CHANGE = text(f"""
    WITH before AS (SELECT * FROM channels WHERE id = :id), changed AS (
        UPDATE channels
        SET name = :name, severity = :severity,
            sealed = coalesce(CAST(:sealed AS bytea), sealed),
            shown = coalesce(CAST(:shown AS text), shown),
            window_sec = :window_sec, enabled = :enabled, version = channels.version + 1,
            updated_at = clock_timestamp()
        WHERE id = :id AND version = :version AND archived_at IS NULL RETURNING *
    ), {_SILENCED}
    INSERT INTO events (event, actor, detail)
    SELECT 'channel.changed', :actor, jsonb_build_object(
        'channel_id', changed.id, 'version', changed.version,
        'secrets_changed', CAST(:secrets_changed AS boolean),
        'was', {_TOLD.format(row="before")}, 'becomes', {_TOLD.format(row="changed")})
    FROM changed JOIN before ON before.id = changed.id
    RETURNING 1
""")
ARCHIVE = text(f"""
    WITH changed AS (
        UPDATE channels
        SET archived_at = clock_timestamp(), version = version + 1, updated_at = clock_timestamp()
        WHERE id = :id AND archived_at IS NULL RETURNING *
    ), {_SILENCED}
    INSERT INTO events (event, actor, detail)
    SELECT 'channel.archived', :actor, jsonb_strip_nulls(jsonb_build_object(
        'channel_id', id, 'was', {_TOLD.format(row="changed")}, 'becomes', 'archived',
        'reason', CAST(:why AS text)))
    FROM changed
    RETURNING 1
""")
MAY_TEST = text("""
    WITH now AS MATERIALIZED (
        SELECT id, greatest(
            interval '0', tested_at + CAST(:apart AS interval) - clock_timestamp()) AS wait
        FROM channels WHERE id = :id AND archived_at IS NULL FOR UPDATE
    ), taken AS (
        UPDATE channels SET tested_at = clock_timestamp()
        FROM now WHERE channels.id = now.id AND coalesce(now.wait, interval '0') <= interval '0'
    )
    SELECT coalesce(wait, interval '0') FROM now
""")


class NameTakenError(Exception):
    """Another channel, not archived, has this name; letter case makes no difference."""


async def listed(
    connection: ReadConnection, id: ChannelId | None = None, *, archived: bool = False
) -> list[Facts]:
    """Channels for people, by name (or this one): masked, with how many notices wait."""
    found = await connection.execute(LISTED, {"id": id, "archived": archived})
    return [dict(row) for row in found.mappings()]


async def unopened(connection: ReadConnection, vault: Vault) -> set[ChannelId]:
    """The channels that the keys here do not open: nothing can be told there."""
    rows = await connection.execute(SEALED)
    return {ChannelId(row.id) for row in rows if vault.key_of(row.sealed, terms_of(row.id)) is None}


async def hold(connection: Connection, vault: Vault, id: ChannelId) -> Channel | None:
    """A channel, unsealed, that nobody changes until this transaction ends.

    One that does not open has no secrets.
    """
    row = (await connection.execute(HOLD, {"id": id})).mappings().one_or_none()
    return channel_of(row, vault) if row else None


def channel_of(row: RowMapping, vault: Vault) -> Channel:
    """The channel of a row; without secrets where it does not open."""
    return Channel(
        id=ChannelId(row["id"]),
        name=row["name"],
        kind=ChannelKind(row["kind"]),
        secrets=_secrets(row, vault),
        severity=Severity(row["severity"]),
        window_sec=row["window_sec"],
        enabled=row["enabled"],
        version=row["version"],
    )


def _secrets(row: RowMapping, vault: Vault) -> dict[str, str]:
    try:
        return json.loads(vault.open(row["sealed"], terms_of(row["id"])))
    except SealError:
        return {}


async def create(connection: Connection, vault: Vault, channel: Channel, *, actor: str) -> None:
    """Keep a new channel. Raises NameTakenError."""
    try:
        await connection.execute(CREATE, _given(channel, vault) | {"actor": actor})
    except IntegrityError:
        raise NameTakenError from None  # the error itself would show what was given


async def change(
    connection: Connection, vault: Vault, before: Channel, channel: Channel, *, actor: str
) -> Channel | None:
    """Keep a change of a held one; None when it was changed meanwhile. Raises NameTakenError.

    Without secrets, what is sealed stays as it is.
    """
    given = _given(channel, vault) | {"actor": actor, "version": before.version}
    given["secrets_changed"] = dict(before.secrets) != dict(channel.secrets)
    del given["kind"]
    try:
        changed = (await connection.execute(CHANGE, given)).scalar_one_or_none()
    except IntegrityError:
        raise NameTakenError from None
    return replace(channel, version=before.version + 1) if changed else None


async def archive(
    connection: Connection, id: ChannelId, *, actor: str, why: str | None = None
) -> bool:
    """Put a channel away for good; False when there is none."""
    given = {"id": id, "actor": actor, "why": why}
    return (await connection.execute(ARCHIVE, given)).scalar_one_or_none() is not None


async def may_test(connection: Connection, id: ChannelId, apart: timedelta) -> timedelta | None:
    """How long a test must wait (zero: it may be made now); None when there is no such channel."""
    given = {"id": id, "apart": apart}
    return (await connection.execute(MAY_TEST, given)).scalar_one_or_none()


def _given(channel: Channel, vault: Vault) -> dict[str, Any]:
    secrets = json.dumps(dict(channel.secrets)).encode()
    return {
        "id": channel.id,
        "name": channel.name,
        "kind": channel.kind,
        "sealed": vault.seal(secrets, terms_of(channel.id)) if channel.opens else None,
        "shown": channel.shown if channel.opens else None,
        "severity": channel.severity,
        "window_sec": channel.window_sec,
        "enabled": channel.enabled,
    }
