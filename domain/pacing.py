"""Pacing: how long to wait before Finviz is asked again."""

from datetime import timedelta

from domain.universe import FetchOutcome

JITTER = 0.1
FIRST_BACKOFF = timedelta(seconds=30)
LONGEST_BACKOFF = timedelta(minutes=15)
SECOND_LOOK = timedelta(seconds=5)
LONGEST_WISH = timedelta(hours=1)


def next_wait(
    refresh: timedelta,
    outcome: FetchOutcome,
    failures: int,
    *,
    jitter: float,
    retry_after: timedelta | None = None,
) -> timedelta:
    """The time until the next look, spread by a tenth, and never sooner than Finviz asked for.

    ``failures`` counts the looks in a row, this one included, that brought no list; ``jitter`` is
    a number in [0, 1). ``retry_after`` is Finviz's own wish, believed up to an hour.
    """
    wait = _steady(refresh, outcome, max(failures, 1)) * (1 - JITTER + 2 * JITTER * jitter)
    return max(wait, min(retry_after or timedelta(0), LONGEST_WISH))


def _steady(refresh: timedelta, outcome: FetchOutcome, failures: int) -> timedelta:
    doubled = 2 ** min(failures - 1, 16)
    if outcome.is_list:
        return refresh
    if outcome is FetchOutcome.SUSPECT:
        return max(SECOND_LOOK, min(SECOND_LOOK * doubled, refresh))
    return min(FIRST_BACKOFF * doubled, LONGEST_BACKOFF)
