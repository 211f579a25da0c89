"""Commands: what those that make signals of their own share; one is one transaction."""

from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta

from database import verdicts
from database.pool import Connection
from database.universes import Current
from domain.gate import Judged
from domain.signal import SignalId
from domain.ticker import Ticker
from engines.relay.judge import Judge


async def judge_all(
    connection: Connection, judge: Judge, tickers: Collection[Ticker], own: Collection[SignalId]
) -> list[Judged]:
    """Judge what is undecided of these tickers: first what was there, as ever; then one's ``own``.

    Those get their verdict now: who commanded them is owed an answer, and a signal for a single
    destination must not wait until there may be none.
    """
    current, mine = await judge.look(connection), frozenset(own)
    claimed = await verdicts.claim_of(connection, tickers)
    judged: list[Judged] = []
    earlier = [signal for signal in claimed.signals if signal.id not in mine] if claimed else []
    if claimed and earlier:
        judged.append(await judge.judge(connection, replace(claimed, signals=earlier), current))
        claimed = await verdicts.claim_of(connection, tickers)
    if claimed:
        judged.append(await judge.judge(connection, claimed, _at_once(current)))
    return judged


def _at_once(current: Current) -> Current:
    """The list in force, by which nobody begins to wait."""
    return replace(current, screen=replace(current.screen, wait=timedelta(0)))
