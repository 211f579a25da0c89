"""Why: a decision in words, from what was stored with it."""

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


def explain(
    *,
    status: str,
    reason: str | None,
    rank: int | None,
    cutoff: int | None,
    age_ms: int | None,
    side: str | None = None,
) -> str:
    """A sentence or two a trader understands."""
    match status:
        case "received":
            return "Waiting for its verdict."
        case "invalid":
            return f"It could not be read as a signal ({reason})."
        case "approved" if side == "sell":
            return "Approved: an exit needs no place in the list."
        case "approved":
            return " ".join(filter(None, ("Approved.", _place(rank, cutoff), _age(age_ms))))
        case _:
            words = REASONS.get(reason or "", f"Rejected: {reason}.")
            grounds = (_place(rank, cutoff), _age(age_ms)) if reason in LIST_REASONS else ()
            return " ".join(filter(None, (words, *grounds)))


LIST_REASONS = frozenset({"not_in_list", "list_stale"})


def _place(rank: int | None, cutoff: int | None) -> str:
    if cutoff is None:
        return ""
    return f"Rank {rank} of {cutoff}." if rank else f"Not ranked; the top {cutoff} count."


def _age(age_ms: int | None) -> str:
    return "" if age_ms is None else f"The list was {age_ms / 1000:.0f} s old."
