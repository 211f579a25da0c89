"""Signals as people see them: a row."""

from dataclasses import dataclass
from datetime import datetime

from database.audit import Facts
from web.signals import said
from web.views.words import NOTHING, Moment, moment


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalRow:
    id: str
    received: Moment
    ticker: str
    side: str
    price: str
    state: str
    why: str


def signal_row(row: Facts, now: datetime) -> SignalRow:
    return SignalRow(
        id=str(row["id"]),
        received=moment(row["received_at"], now),
        ticker=row["ticker"] or NOTHING,
        side=row["side"] or NOTHING,
        price=row["price_text"] or NOTHING,
        state=row["shown"],
        why=said(row),
    )
