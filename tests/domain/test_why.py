from datetime import UTC, datetime, timedelta, timezone

import pytest

from domain.gate import Reason
from domain.signal import SignalStatus
from domain.why import REASONS, Around, Waited, explain

NOT_IN_LIST = REASONS["not_in_list"]
SINCE = datetime(2025, 1, 6, 10, 2, 1, tzinfo=UTC)


def seconds(span: float | None) -> timedelta | None:
    return None if span is None else timedelta(seconds=span)


def an_around(
    *,
    kept: bool = False,
    after: float | None = None,
    lasted: float | None = None,
    left: float | None = None,
) -> Around:
    return Around(
        version=7,
        screen="first screen",
        total=45,
        top_n=15,
        margin=5,
        kept=kept,
        entered_at=None if after is None else SINCE + timedelta(seconds=after),
        entered_after=seconds(after),
        entered_for=seconds(lasted),
        left_before=seconds(left),
    )


def rejected(rank: int | None, around: Around | None) -> str:
    return explain(
        status="rejected", reason="not_in_list", rank=rank, cutoff=15, age_ms=None, around=around
    )


def waited(status: str, reason: str | None, ended: float | None) -> str:
    until = SINCE + timedelta(seconds=30)
    end = None if ended is None else SINCE + timedelta(seconds=ended)
    return explain(
        status=status,
        reason=reason,
        rank=3 if status == "approved" else None,
        cutoff=15,
        age_ms=None,
        side="buy",
        ticker="AAPL",
        waited=Waited(SINCE, until, end),
    )


def test_every_reason_has_words_and_no_words_lack_a_reason() -> None:
    assert set(REASONS) == set(Reason)
    assert len(set(REASONS.values())) == len(Reason)


@pytest.mark.parametrize("reason", Reason)
def test_a_rejection_is_a_sentence_without_our_own_words(reason: Reason) -> None:
    said = explain(status="rejected", reason=reason, rank=None, cutoff=None, age_ms=None)
    assert said == REASONS[reason]
    assert said[0].isupper()
    assert said.endswith(".")
    assert "_" not in said


@pytest.mark.parametrize("status", SignalStatus)
def test_every_status_is_explained(status: SignalStatus) -> None:
    assert explain(status=status, reason="expired", rank=1, cutoff=2, age_ms=3).endswith(".")


def test_the_place_and_the_age_are_told_where_they_decided() -> None:
    def said(status: str, reason: str | None, rank: int | None) -> str:
        return explain(status=status, reason=reason, rank=rank, cutoff=15, age_ms=42_400)

    assert said("approved", None, 3) == "Approved. Rank 3 of 15. The list was 42 s old."
    assert said("rejected", "not_in_list", 16) == (
        f"{REASONS['not_in_list']} Rank 16 of 15. The list was 42 s old."
    )
    assert said("rejected", "not_in_list", None) == (
        f"{REASONS['not_in_list']} Not ranked; the top 15 count. The list was 42 s old."
    )
    assert said("rejected", "no_position", 3) == REASONS["no_position"]
    assert said("received", None, None) == "Waiting for its verdict."
    assert said("invalid", "no_side", None) == "It could not be read as a signal (no_side)."


def test_a_reason_from_a_later_version_is_still_said() -> None:
    said = explain(status="rejected", reason="too_windy", rank=None, cutoff=None, age_ms=None)
    assert said == "Rejected: too_windy."


def test_a_rejection_tells_how_the_ticker_came_and_went_around_it() -> None:
    assert rejected(17, an_around()) == f"{NOT_IN_LIST} Rank 17 of 15."
    assert rejected(17, an_around(after=20, lasted=48)) == (
        f"{NOT_IN_LIST} Rank 17 of 15; entered 20 s later for 48 s."
    )
    assert rejected(17, an_around(after=20)) == (
        f"{NOT_IN_LIST} Rank 17 of 15; entered 20 s later and stayed."
    )
    assert rejected(None, an_around(left=12)) == (
        f"{NOT_IN_LIST} Not ranked; the top 15 count. It had left 12 s before."
    )
    assert rejected(None, an_around(after=150, lasted=1800, left=0.4)) == (
        f"{NOT_IN_LIST} Not ranked; the top 15 count. It entered 2 min later for 30 min."
        " It had left 0 s before."
    )


def test_who_is_kept_beyond_the_top_is_told_why() -> None:
    said = explain(
        status="approved",
        reason=None,
        rank=17,
        cutoff=20,
        age_ms=3_000,
        side="buy",
        around=an_around(kept=True),
    )
    assert said == (
        "Approved. Rank 17: beyond the top 15, but it was in the list and stays in until rank 20."
        " The list was 3 s old."
    )


def test_a_buy_that_waits_says_until_when() -> None:
    zone = timezone(timedelta(hours=-5))
    wait = Waited(SINCE.astimezone(zone), (SINCE + timedelta(seconds=30)).astimezone(zone), None)
    said = explain(
        status="received",
        reason=None,
        rank=None,
        cutoff=None,
        age_ms=None,
        ticker="AAPL",
        waited=wait,
    )
    assert said == "Waiting until 10:02:31 UTC for AAPL to come into the list."


def test_how_a_wait_ended_is_told() -> None:
    assert waited("approved", None, 12) == (
        "Approved. It waited 12 s until its ticker came into the list. Rank 3 of 15."
    )
    assert waited("expired", "not_in_list", 30.2) == (
        "It waited 30 s, and its ticker did not come into the list. Not ranked; the top 15 count."
    )
    assert waited("expired", "not_in_list", 5) == (
        "It waited 5 s for its ticker to come into the list; then a sell came."
        " Not ranked; the top 15 count."
    )
    assert waited("expired", "list_stale", 31) == (
        f"It waited 30 s. {REASONS['list_stale']} Not ranked; the top 15 count."
    )
    assert waited("expired", "no_destination", 31) == f"It waited 30 s. {REASONS['no_destination']}"


# ── Rules ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("reason", "rule", "words"),
    [
        ("refused_ticker", {"of": "every"}, "A rule refuses this ticker."),
        (
            "cooldown",
            {"of": "every", "until": "2025-01-06T11:04:05.9+01:00"},
            "The ticker was in its cooldown until 10:04:05 UTC.",
        ),
        ("cooldown", None, "The ticker was in its cooldown."),
        (
            "max_positions",
            {"of": "sources.tv", "limit": "3"},
            "The most positions allowed (3) were already open, by a rule of its source.",
        ),
        (
            "price_limit",
            {"of": "every", "limit": "at least 5"},
            "The price was outside the limits: at least 5.",
        ),
        ("outside_market_hours", {"of": "every"}, "The market was closed."),
    ],
)
def test_the_rule_that_was_broken_is_told(
    reason: str, rule: dict[str, str | None] | None, words: str
) -> None:
    said = explain(
        status="rejected", reason=reason, rank=3, cutoff=15, age_ms=9, side="buy", rule=rule
    )
    assert said == words


def test_a_buy_that_a_rule_turned_away_when_its_ticker_entered_tells_of_both() -> None:
    assert waited("rejected", "refused_ticker", 12) == (
        "It waited 12 s until its ticker came into the list. A rule refuses this ticker."
    )
