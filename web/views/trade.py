"""What the pages of positions and commands are given, and its words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from database.audit import Facts
from database.batches import Batch, BatchKind, Progress
from domain.position import PositionState
from domain.signal import SignalStatus
from domain.why import REASONS
from web.views.shell import Shell
from web.views.words import NOTHING, Moment, counted, duration, iso, moment

COMMANDS = {
    BatchKind.SELL: "Sell",
    BatchKind.SELL_LIST: "Sell the list",
    BatchKind.SELL_ALL: "Sell all",
    BatchKind.RETRY: "Retry",
    BatchKind.REPLAY: "Replay",
    BatchKind.RESEND: "Resend",
}

UNFINISHED = frozenset({"received", "approved", "queued", "sending", "held"})
FAILED = frozenset({"dead", "expired", "cancelled", "superseded", "rejected"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionRow:
    id: str
    ticker: str
    state: str
    opened: Moment
    source: str
    entry: str
    exit: str
    returned: str
    held: str
    sellable: bool
    unfinished: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRow:
    id: str
    words: str
    by: str
    at: Moment
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftRow:
    """An entry of the sell list."""

    ticker: str
    state: str
    until: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SellAllView:
    """templates/partials/sell_all.html.

    ``held`` are the tickers that could be sold, for when they must be sold elsewhere; ``would``
    says what selling them all comes to.
    """

    held: str
    would: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionsView:
    """templates/positions.html and templates/partials/positions.html.

    ``tried`` is the form that was ``refused``; ``cut`` says that not all positions are listed;
    ``held`` and ``would`` are those of SellAllView.
    """

    shell: Shell
    sentence: str
    tone: str
    cut: str
    positions: Sequence[PositionRow]
    batches: Sequence[CommandRow]
    sell_list: Sequence[DraftRow]
    held: str
    would: str
    key: str
    refused: str | None
    tried: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    at: Moment
    event: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalOf:
    """A signal of a position."""

    id: str
    side: str
    price: str
    state: str
    received: Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionView:
    """templates/position.html."""

    shell: Shell
    row: PositionRow
    steps: Sequence[EventRow]
    signals: Sequence[SignalOf]
    key: str
    refused: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressRow:
    """One signal of a command, or a ticker that made none: then ``signal`` is None."""

    ticker: str
    side: str
    signal: str | None
    state: str
    took: str
    why: str

    @property
    def finished(self) -> bool:
        return self.state not in UNFINISHED


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchView:
    """templates/batch.html and templates/partials/batch.html."""

    shell: Shell
    id: str
    words: str
    sentence: str
    tone: str
    by: str
    at: Moment
    reason: str
    finished: int
    total: int
    rows: Sequence[ProgressRow]
    retryable: int
    refused: str | None


def position_row(shown: Mapping[str, Any], now: datetime) -> PositionRow:
    """A row of what the API shows of a position."""
    state = PositionState(shown["state"])
    gain, held = shown["return_percent"], shown["held_for_sec"]
    return PositionRow(
        id=str(shown["id"]),
        ticker=shown["ticker"],
        state=state,
        opened=moment(shown["opened_at"], now),
        source=shown["source"],
        entry=_price(shown["entry"]["price"]),
        exit=_price(shown["exit"] and shown["exit"]["price"]),
        returned=NOTHING if gain is None else f"{gain:+.2f} %",
        held=NOTHING if held is None else duration(timedelta(seconds=held)),
        sellable=state.live,
        unfinished=state.unfinished,
    )


def _price(price: str | None) -> str:
    return NOTHING if price is None else f"{Decimal(price).normalize():f}"


def draft_row(row: Facts) -> DraftRow:
    return DraftRow(
        ticker=row["ticker"],
        state=row["position"] or "no position",
        until=iso(row["expires_at"]) if row["expires_at"] else "",
        note=row["note"] or "",
    )


def standing(states: Mapping[str, int]) -> tuple[str, str]:
    """How many positions there are, in a sentence, and its tone."""
    live = [f"{states[name]} {name}" for name in ("open", "opening", "closing") if states.get(name)]
    if not live:
        return "No position is open.", "good"
    return f"{' · '.join(live)}.", "good"


MOST_HELD = 40_000
"""Characters of tickers in a form, some 7,000 of them: a form too large would sell nothing."""


def by_hand(tickers: Sequence[str]) -> str:
    """What is to be sold by hand when nothing can be sold here, as a form holds it."""
    words = " ".join(tickers)
    return words if len(words) <= MOST_HELD else words[:MOST_HELD].rpartition(" ")[0]


def would(count: int, forecast: Sequence[tuple[str, float]]) -> str:
    """What selling everything comes to: how many, where, and how long it takes."""
    if not count:
        return "Nothing is open just now."
    places = ", ".join(f"{name} ({_soon(seconds)})" for name, seconds in forecast)
    return f"{counted(count, 'sell', 'sells')}, to those of these that bought it: {places}."


def _soon(seconds: float) -> str:
    return "at once" if seconds < 1 else f"about {duration(timedelta(seconds=seconds))}"


def command_row(batch: Batch, counts: Mapping[str, int], now: datetime) -> CommandRow:
    return CommandRow(
        id=str(batch.id),
        words=f"{command(batch)}: {told(counts)}",
        by=batch.made_by,
        at=moment(batch.made_at or now, now),
        reason=batch.reason or "",
    )


def command(batch: Batch) -> str:
    """What was commanded, in words."""
    tickers = [str(one["ticker"]) for one in batch.snapshot if one.get("ticker")]
    named = f" {tickers[0]}" if batch.kind is BatchKind.SELL and tickers else ""
    return COMMANDS[batch.kind] + named


def told(counts: Mapping[str, int]) -> str:
    """Signals by state: "3 delivered, 1 dead"."""
    return ", ".join(f"{number} {state}" for state, number in sorted(counts.items())) or "nothing"


def progress_rows(progress: Progress) -> list[ProgressRow]:
    began = progress.batch.made_at
    return [
        ProgressRow(
            ticker=one["ticker"],
            side=one["side"],
            signal=str(one["id"]),
            state=one["shown"],
            took=_took(one["finished_at"], began),
            why=REASONS.get(one["reason"], "") if one["status"] == SignalStatus.REJECTED else "",
        )
        for one in progress.signals
    ]


def _took(finished: datetime | None, began: datetime | None) -> str:
    if finished is None or began is None:
        return NOTHING
    return f"{(finished - began) / timedelta(seconds=1):.1f} s"


def progress_sentence(rows: Sequence[ProgressRow], expected: float | None) -> tuple[str, str]:
    """How far a command is, and the tone."""
    done = sum(one.state == "delivered" for one in rows)
    waiting = sum(one.state in UNFINISHED for one in rows)
    failed = sum(one.state in FAILED for one in rows)
    words = [f"{done} of {counted(len(rows), 'signal', 'signals')} delivered"]
    if waiting:
        left = f", about {expected:.0f} s left" if expected is not None else ""
        words.append(f"{waiting} on the way{left}")
    if failed:
        words.append(f"{failed} not")
    return f"{', '.join(words)}.", "bad" if failed else "warn" if waiting else "good"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnavailableView:
    """templates/unavailable.html."""

    tickers: Sequence[str]
    version: str
