"""A desk over the rows of a test, and what tests of it ask again and again."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from database.batches import BatchId
from domain.gate import SellPolicy
from engines.clock import entropy, utc_now
from engines.metrics import Metrics
from engines.relay.desk import Command, Desk
from engines.relay.gatekeeper import Gatekeeper
from engines.relay.judge import CurrentList, Judge
from engines.universe import calendar
from tests.database.rows import Rows

ME = Command(actor="a test")


def a_judge(policy: SellPolicy = SellPolicy.WITH_POSITION) -> Judge:
    return Judge(
        current=CurrentList(),
        sell_policy=policy,
        list_max_age=timedelta(hours=1),
        until_open=calendar.until_open,
    )


def a_desk(rows: Rows, policy: SellPolicy = SellPolicy.WITH_POSITION, life: float = 600) -> Desk:
    return Desk(
        database=rows.database,
        judge=a_judge(policy),
        metrics=Metrics(),
        clock=utc_now,
        entropy=entropy,
        lifetime=timedelta(seconds=life),
        wake_forwarder=lambda: None,
        wake_gatekeeper=lambda: None,
    )


def a_gatekeeper(rows: Rows) -> Gatekeeper:
    return Gatekeeper(
        database=rows.database,
        metrics=Metrics(),
        judge=a_judge(),
        wake_forwarder=lambda: None,
        wake_another=lambda: None,
    )


async def listed(rows: Rows, *tickers: str) -> None:
    """A fresh list of these tickers."""
    await rows.adopt(await rows.screen(top_n=500, refresh=3600), *tickers)


async def waits_for_gate(rows: Rows) -> bool:
    """Whether somebody waits for an advisory lock of this database."""
    found = await rows.sql("""
        SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
        WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()
    """)
    return found[0] > 0


async def sells_of(rows: Rows, batch: UUID | BatchId) -> list[Any]:
    found = await rows.sql(
        "SELECT ticker, status, reason FROM signals WHERE batch_id = :id ORDER BY seq", id=batch
    )
    return [tuple(row) for row in found]
