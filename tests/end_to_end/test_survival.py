"""What was acknowledged arrives, in order, whatever is killed."""

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.stage import Arrival, World, alert, until, world

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]

PER_TICKER = ("buy", "reduce", "buy", "reduce")
"""Every one of them has to arrive: a full exit would supersede the buys before it."""


def send_two_hundred(stage: World) -> dict[str, tuple[str, int]]:
    """Post 100 buys and 100 partial sells of 50 tickers; return ticker and place by id."""
    acknowledged: dict[str, tuple[str, int]] = {}
    for place, action in enumerate(PER_TICKER):
        for ticker in stage.tickers[:50]:
            acknowledged[stage.relay.accepted(alert(ticker, action, place))] = (ticker, place)
    assert len(acknowledged) == 200
    return acknowledged


def kill_group(stage: World) -> None:
    stage.relay.kill()
    stage.relay.start()


def kill_postgres(stage: World) -> None:
    os.kill(stage.relay.postgres_pid, signal.SIGKILL)


def terminate(stage: World) -> None:
    assert stage.relay.stop() == 0
    stage.relay.start()


@pytest.mark.parametrize(
    ("blow", "resends"), [(kill_group, True), (kill_postgres, True), (terminate, False)]
)
def test_two_hundred_acknowledged_alerts_survive(
    tmp_path: Path,
    blow: Callable[[World], None],
    resends: bool,  # noqa: FBT001  a parameter of the table above
    request: pytest.FixtureRequest,
) -> None:
    """With --long at 120 a minute as an operator would have it; else at 120 in six seconds."""
    seconds = 60 if request.config.getoption("--long") else 6
    limits = {"DEST_WEBHOOK_RATE_LIMITS": f"120/{seconds}s", "BUY_TTL_SEC": "900"}
    with world(tmp_path / "relay", delay=0.02, settings=limits) as stage:
        acknowledged = send_two_hundred(stage)
        blow(stage)
        until(
            lambda: {a.id for a in stage.destination.arrivals} >= acknowledged.keys(),
            150,
            "every acknowledged alert at the destination",
        )
        until(stage.relay.is_idle, 30, "an empty queue")
        arrivals = list(stage.destination.arrivals)
    assert {a.id for a in arrivals} == acknowledged.keys(), "something else was sent as well"
    check_order(arrivals, acknowledged)
    check_repeats(arrivals, allowed=resends)
    check_rate(arrivals, 120, seconds)


def check_order(arrivals: list[Arrival], acknowledged: dict[str, tuple[str, int]]) -> None:
    """First arrivals of a ticker come in the order of acknowledgement."""
    places: dict[str, list[int]] = {}
    seen: set[str] = set()
    for arrival in arrivals:
        ticker, place = acknowledged[arrival.id]
        if arrival.id not in seen:
            places.setdefault(ticker, []).append(place)
        seen.add(arrival.id)
    assert all(found == sorted(found) for found in places.values())


def check_repeats(arrivals: list[Arrival], *, allowed: bool) -> None:
    """A second request of an id is marked, and has the same bytes."""
    first: dict[str, Arrival] = {}
    for arrival in arrivals:
        if arrival.id in first:
            assert arrival.resend, "an unmarked duplicate"
            assert arrival.body == first[arrival.id].body
        first.setdefault(arrival.id, arrival)
    repeated = sum(count - 1 for count in Counter(a.id for a in arrivals).values())
    assert repeated <= (5 if allowed else 0), "more than what was on the wire"


def check_rate(arrivals: list[Arrival], limit: int, seconds: float) -> None:
    """No sliding window at the receiver holds more than the limit."""
    times = sorted(arrival.at for arrival in arrivals)
    for start, end in zip(times, times[limit:], strict=False):
        assert end - start >= seconds
