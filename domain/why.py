"""Why: a decision in words, from what was stored with it and what the lists did around it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

REASONS = {
    "expired": "It was too old: its time to live had passed.",
    "not_in_list": "The ticker was not in the top of the list.",
    "list_stale": "The list was too old to buy by.",
    "list_unknown": "There was no list yet to buy by.",
    "buying_paused": "Buying was paused.",
    "no_position": "There was no open position of this ticker to sell.",
    "already_closing": "An exit of this position was already on its way.",
    "opens_short": "It would open a short position; this relay is long only.",
    "covers_short": "It would cover a short position; this relay is long only.",
    "refused_ticker": "A rule refuses this ticker.",
    "cooldown": "The ticker was in its cooldown.",
    "max_positions": "The most positions allowed were already open.",
    "outside_market_hours": "The market was closed.",
    "price_limit": "The price was outside the limits.",
    "source_direction": "This source may not send this side.",
    "no_destination": "No destination is set up to send it to.",
}


LIST_REASONS = frozenset({"not_in_list", "list_stale"})


@dataclass(frozen=True, slots=True)
class Waited:
    """Hold-and-see: a buy waited ``since`` then, ``until`` when at most; ``ended``: its verdict."""

    since: datetime
    until: datetime
    ended: datetime | None

    @property
    def overtaken(self) -> bool:
        """Only a sell of the ticker ends a wait early without an approval."""
        return self.ended is not None and self.ended < self.until


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """The list a signal was judged by, and what became of its ticker within an hour around it.

    ``kept``: it was in though beyond the top N. For one that was not in: when it ``entered`` next,
    how long after the verdict, and for how long (None: it did not leave); how long before the
    verdict it had ``left``.
    """

    version: int
    screen: str
    total: int
    top_n: int
    margin: int
    kept: bool
    entered_at: datetime | None = None
    entered_after: timedelta | None = None
    entered_for: timedelta | None = None
    left_before: timedelta | None = None


def explain(  # noqa: PLR0913  what is stored with a decision
    *,
    status: str,
    reason: str | None,
    rank: int | None,
    cutoff: int | None,
    age_ms: int | None,
    side: str | None = None,
    ticker: str | None = None,
    waited: Waited | None = None,
    around: Around | None = None,
    rule: Mapping[str, str | None] | None = None,
) -> str:
    """A sentence or two a trader understands; ``rule`` is the one it broke, as it was recorded."""
    match status:
        case "received":
            return _waiting(ticker, waited)
        case "invalid":
            return f"It could not be read as a signal ({reason})."
        case "approved" if side == "sell":
            return "Approved: an exit needs no place in the list."
        case "approved":
            return _joined("Approved.", _came(waited), _place(rank, cutoff, around), _age(age_ms))
        case _:
            broken = _broken(reason or "", rule or {})
            rejected = status == "rejected"
            words = _joined(_came(waited), broken) if rejected else _in_vain(waited, reason)
            words = words or broken
            if reason not in LIST_REASONS:
                return words
            return _joined(words, _place(rank, cutoff, around), _left(around), _age(age_ms))


def _broken(reason: str, rule: Mapping[str, str | None]) -> str:
    limit, until = rule.get("limit"), rule.get("until")
    words = REASONS.get(reason, f"Rejected: {reason}.").removesuffix(".")
    match reason:
        case "cooldown" if until:
            words += f" until {datetime.fromisoformat(until).astimezone(UTC):%H:%M:%S} UTC"
        case "max_positions" if limit:
            words = f"The most positions allowed ({limit}) were already open"
        case "price_limit" if limit:
            words += f": {limit}"
        case _:
            pass
    of_source = rule.get("of", "every") != "every"
    return words + (", by a rule of its source." if of_source else ".")


def _waiting(ticker: str | None, waited: Waited | None) -> str:
    if waited is None:
        return "Waiting for its verdict."
    until = waited.until.astimezone(UTC)
    return f"Waiting until {until:%H:%M:%S} UTC for {ticker} to come into the list."


def _joined(*sentences: str) -> str:
    return " ".join(filter(None, sentences))


def _came(waited: Waited | None) -> str:
    if waited is None or waited.ended is None:
        return ""
    return f"It waited {_span(waited.ended - waited.since)} until its ticker came into the list."


def _in_vain(waited: Waited | None, reason: str | None) -> str:
    """What is said of a wait that brought nothing; nothing of one there was not."""
    if waited is None or waited.ended is None:
        return ""
    span = _span(min(waited.ended, waited.until) - waited.since)
    if waited.overtaken:
        return f"It waited {span} for its ticker to come into the list; then a sell came."
    if reason == "not_in_list":
        return f"It waited {span}, and its ticker did not come into the list."
    return _joined(f"It waited {span}.", REASONS.get(reason or "", f"Expired: {reason}."))


def _place(rank: int | None, cutoff: int | None, around: Around | None) -> str:
    if cutoff is None:
        return ""
    if rank and rank <= cutoff and around and around.kept:
        return (
            f"Rank {rank}: beyond the top {around.top_n}, but it was in the list and stays in until"
            f" rank {cutoff}."
        )
    place = f"Rank {rank} of {cutoff}" if rank else f"Not ranked; the top {cutoff} count"
    entered = _entered(around)
    if not entered:
        return f"{place}."
    return f"{place}; {entered}." if rank else f"{place}. It {entered}."


def _entered(around: Around | None) -> str:
    if around is None or around.entered_after is None:
        return ""
    later = f"entered {_span(around.entered_after)} later"
    if around.entered_for is None:
        return f"{later} and stayed"
    return f"{later} for {_span(around.entered_for)}"


def _left(around: Around | None) -> str:
    if around is None or around.left_before is None:
        return ""
    return f"It had left {_span(around.left_before)} before."


def _age(age_ms: int | None) -> str:
    return "" if age_ms is None else f"The list was {age_ms / 1000:.0f} s old."


def _span(span: timedelta) -> str:
    """How long: seconds up to two minutes, then minutes."""
    seconds = max(0.0, span.total_seconds())
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
