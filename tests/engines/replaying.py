"""A replayer at work on one database: what its tests command, and what they see."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

from database.batches import BatchKind
from database.selections import Selection
from domain.gate import SellPolicy
from domain.signal import Side
from engines.clock import entropy, utc_now
from engines.metrics import Metrics
from engines.relay.judge import CurrentList, Judge
from engines.relay.replayer import Done, Order, Replayer
from tests.database.rows import Rows

ACTOR = "an operator"


async def _always_open(_now: datetime) -> timedelta | None:
    return None


def a_replayer(
    until_open: Callable[[datetime], Awaitable[timedelta | None]] = _always_open,
) -> Replayer:
    return Replayer(
        judge=Judge(
            current=CurrentList(),
            sell_policy=SellPolicy.WITH_POSITION,
            list_max_age=None,
            until_open=until_open,
        ),
        lifetimes={Side.BUY: timedelta(seconds=30), Side.SELL: timedelta(seconds=600)},
        metrics=Metrics(),
        clock=utc_now,
        entropy=entropy,
        wake_forwarder=lambda: None,
    )


async def command(rows: Rows, selection: Selection, kind: BatchKind, **given: Any) -> Done:
    order = Order(kind=kind, actor=ACTOR, **given)
    async with rows.database.write() as connection:
        return await a_replayer().carry_out(connection, selection, order)


async def replay(rows: Rows, id: Any, **given: Any) -> Any:
    """Replay one signal; return the new one as it stands."""
    done = await command(rows, Selection(ids=[id]), BatchKind.REPLAY, **given)
    return await signal(rows, done.signals[0]["id"])


async def resend(rows: Rows, delivery: Any, **given: Any) -> Any:
    done = await command(rows, Selection(ids=[delivery]), BatchKind.RESEND, **given)
    return await signal(rows, done.signals[0]["id"])


async def signal(rows: Rows, id: Any) -> Any:
    (row,) = await rows.sql(
        "SELECT *, expires_at - received_at AS life FROM signals WHERE id = :id", id=id
    )
    return row
