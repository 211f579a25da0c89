"""Notices: what is to be told to whom; leased, so that a killed replica's is sent by another."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text

from database.audit import Facts
from database.channels import channel_of
from database.connection import RowMapping
from database.pool import Connection, ReadConnection
from database.vault import Vault
from domain.attention import Severity
from domain.channel import Channel
from domain.notice import Line

# Pushing the time it is due is the lease: who dies over it leaves it due again. All that is due for
# a channel goes together.
LEASE = text("""
    WITH due AS MATERIALIZED (
        SELECT notices.id FROM notices
        WHERE state = 'queued' AND due_at <= clock_timestamp()
        ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED
    ), leased AS (
        UPDATE notices
        SET due_at = clock_timestamp() + CAST(:lasting AS interval), attempts = attempts + 1
        FROM due WHERE notices.id = due.id
        RETURNING notices.*
    )
    SELECT leased.id AS notice_id, leased.attempts, leased.attention_id, item.cause, item.severity,
           item.text, item.count, item.last_at, item.ticker, item.source, item.signal_id,
           item.resolved_at, channels.id, channels.name, kind, sealed, channels.severity AS wanted,
           window_sec, enabled, version
    FROM leased JOIN attention AS item ON item.id = leased.attention_id
    JOIN channels ON channels.id = leased.channel_id
    ORDER BY channels.id, leased.id
""")
# Whoever lost his lease to another counts no more.
END = text("""
    UPDATE notices
    SET state = ended.state, error = ended.error,
        due_at = CASE WHEN ended.state = 'queued'
                      THEN clock_timestamp() + coalesce(ended.wait, interval '0')
                      ELSE notices.due_at END,
        finished_at = CASE WHEN ended.state <> 'queued' THEN clock_timestamp() END
    FROM unnest(CAST(:ids AS bigint[]), CAST(:attempts AS integer[]), CAST(:states AS text[]),
                CAST(:errors AS text[]), CAST(:waits AS interval[]))
        AS ended (id, attempt, state, error, wait)
    WHERE notices.id = ended.id AND notices.state = 'queued' AND notices.attempts = ended.attempt
""")
UNTIL_DUE = text("""
    SELECT greatest(interval '0', min(due_at) - clock_timestamp()) FROM notices
    WHERE state = 'queued'
""")
PAGE = text("""
    SELECT notices.id, notices.attention_id, notices.cause, notices.key, notices.severity, state,
           attempts, made_at, due_at, finished_at, error, item.text
    FROM notices JOIN attention AS item ON item.id = notices.attention_id
    WHERE channel_id = :id AND (CAST(:before AS bigint) IS NULL OR notices.id < :before)
    ORDER BY notices.id DESC LIMIT :limit
""")


@dataclass(frozen=True, slots=True)
class Notice:
    """The right to tell a channel one line; ``attempt`` fences out whoever had it before."""

    id: int
    attempt: int
    line: Line


@dataclass(frozen=True, slots=True)
class Ended:
    """How telling it ended: ``state`` sent or failed, or queued again after a ``wait``."""

    notice: Notice
    state: str
    error: str | None = None
    wait: timedelta | None = None


async def lease(
    connection: Connection, vault: Vault, *, lasting: timedelta, limit: int
) -> list[tuple[Channel, list[Notice]]]:
    """What is due, by channel; one that does not open is among them, without its secrets."""
    rows = await connection.execute(LEASE, {"lasting": lasting, "limit": limit})
    channels: dict[UUID, tuple[Channel, list[Notice]]] = {}
    for row in rows.mappings():
        if row["id"] not in channels:
            channels[row["id"]] = (_channel(row, vault), [])
        channels[row["id"]][1].append(_notice(row))
    return list(channels.values())


def _channel(row: RowMapping, vault: Vault) -> Channel:
    found: Any = {**row, "severity": row["wanted"]}
    return channel_of(found, vault)


def _notice(row: RowMapping) -> Notice:
    line = Line(
        id=row["attention_id"],
        cause=row["cause"],
        severity=Severity(row["severity"]),
        text=row["text"],
        at=row["last_at"],
        count=row["count"],
        ticker=row["ticker"],
        source=row["source"],
        signal_id=row["signal_id"],
        over=row["resolved_at"] is not None,
    )
    return Notice(row["notice_id"], row["attempts"], line)


async def end(connection: Connection, ended: Sequence[Ended]) -> None:
    """Record how it went, each notice once."""
    given = {
        "ids": [one.notice.id for one in ended],
        "attempts": [one.notice.attempt for one in ended],
        "states": [one.state for one in ended],
        "errors": [one.error for one in ended],
        "waits": [one.wait for one in ended],
    }
    await connection.execute(END, given)


async def until_due(connection: ReadConnection) -> timedelta | None:
    """How long until the next is due; None: there is none."""
    return (await connection.execute(UNTIL_DUE)).scalar_one()


async def page(connection: ReadConnection, id: UUID, before: int | None, limit: int) -> list[Facts]:
    """The notices of a channel, newest first."""
    rows = await connection.execute(PAGE, {"id": id, "before": before, "limit": limit})
    return [dict(row) for row in rows.mappings()]
