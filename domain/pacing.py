"""Pacing: how long to wait before Finviz is asked again."""

from datetime import timedelta

from domain.universe import FetchOutcome

JITTER = 0.1
FIRST_BACKOFF = timedelta(seconds=30)
LONGEST_BACKOFF = timedelta(minutes=15)
SECOND_LOOK = timedelta(seconds=5)
LONGEST_WISH = timedelta(hours=1)
SLOWEST = timedelta(minutes=15)
OF_MAX_AGE = 0.6
"""How much of a list's life may pass before it is confirmed: enough is left for a failed look."""


def next_wait(
    refresh: timedelta,
    outcome: FetchOutcome,
    failures: int,
    *,
    jitter: float,
    retry_after: timedelta | None = None,
    calm: timedelta | None = None,
) -> timedelta:
    """The time until the next look, spread by a tenth, and never sooner than Finviz asked for.

    ``failures`` counts the looks in a row, this one included, that brought no list; ``jitter`` is
    a number in [0, 1). ``retry_after`` is Finviz's own wish, believed up to an hour. ``calm`` is
    the refresh after a list where a slower one does: see calm_refresh.
    """
    steady = calm if calm and outcome.is_list else _steady(refresh, outcome, max(failures, 1))
    wait = steady * (1 - JITTER + 2 * JITTER * jitter)
    return max(wait, min(retry_after or timedelta(0), LONGEST_WISH))


def calm_refresh(refresh: timedelta, max_age: timedelta, until_open: timedelta | None) -> timedelta:
    """The refresh while the market is closed: slower, but no list grows stale of slowness.

    ``until_open`` is how long it stays closed (None: it is open, nothing is slower). However the
    wait is spread, it does not reach beyond the open unless the refresh itself does.
    """
    if until_open is None:
        return refresh
    return max(refresh, min(OF_MAX_AGE * max_age, SLOWEST, until_open / (1 + JITTER)))


def _steady(refresh: timedelta, outcome: FetchOutcome, failures: int) -> timedelta:
    doubled = 2 ** min(failures - 1, 16)
    if outcome.is_list:
        return refresh
    if outcome is FetchOutcome.SUSPECT:
        return max(SECOND_LOOK, min(SECOND_LOOK * doubled, refresh))
    return min(FIRST_BACKOFF * doubled, LONGEST_BACKOFF)
