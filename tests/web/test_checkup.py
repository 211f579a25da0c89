"""The checks of an installation: each in the state it is in, with what to do about it."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from database.rehearsals import Checkup
from database.statistics import Standing
from domain.delivery import DestinationId
from web.views import checkup
from web.views.checkup import FAILS, OK, WARNING, Check

NOW = datetime(2026, 1, 5, 15, 30, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def database(*, durable: bool = True, last_alert: datetime | None = NOW) -> Checkup:
    return Checkup(now=NOW, version="18.6 (Debian)", durable=durable, last_alert=last_alert)


def place(**changes: str) -> Standing:
    given = {"state": "enabled", "mode": "live", "breaker": "closed"} | changes
    return Standing(
        id=DestinationId(UUID(int=1)),
        name="main",
        url_shown="https://x/•••",
        windows=(),
        state=given["state"],
        mode=given["mode"],
        breaker=given["breaker"],
        breaker_since=None,
        breaker_cause=None,
        held=0,
        held_for=None,
        waiting=0,
        oldest=None,
        used=(),
    )


@pytest.mark.parametrize(
    ("url", "state"),
    [
        (None, WARNING),
        ("http://relay.example", FAILS),
        ("https://relay.example:8443", FAILS),
        ("https://relay.example:443", OK),
        ("https://relay.example", OK),
    ],
)
def test_the_address_is_one_that_tradingview_reaches(url: str | None, state: str) -> None:
    found = checkup.address(url)
    assert found.state == state
    assert bool(found.mends) == (state != OK)


@pytest.mark.parametrize(
    ("apart", "state"), [(0, OK), (-1, OK), (5, WARNING), (-5, WARNING), (60, FAILS), (-60, FAILS)]
)
def test_clocks_are_compared_whichever_is_ahead(apart: int, state: str) -> None:
    asked = NOW + apart * SECOND
    assert checkup.clock(asked, NOW, asked).state == state
    assert checkup.clock(NOW - 9 * SECOND, NOW, NOW + 9 * SECOND).state == OK


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, OK),
        ({"state": "paused"}, WARNING),
        ({"state": "disabled"}, WARNING),
        ({"breaker": "open"}, FAILS),
        ({"mode": "dry_run"}, WARNING),
    ],
)
def test_destinations_are_checked_one_by_one(changes: dict[str, str], state: str) -> None:
    (found,) = checkup.places([place(**changes)])
    assert (found.name, found.state) == ("Destination main", state)
    (none,) = checkup.places([])
    assert none.state == FAILS


def test_the_rest_is_told_too() -> None:
    assert checkup.database(database()).state == OK
    assert checkup.database(database(durable=False)).state == FAILS
    assert checkup.alerts(database(last_alert=None)).state == WARNING
    assert checkup.token(open_ingress=True).state == WARNING
    assert [one.state for one in checkup.workers(["settler fails"])] == [FAILS]


def test_what_fails_comes_first_and_all_is_counted() -> None:
    every = [Check(name=state, state=state, words="") for state in (OK, WARNING, FAILS, OK)]
    assert [one.state for one in checkup.sorted_checks(every)] == [FAILS, WARNING, OK, OK]
    assert checkup.summary(every) == "2 of 4 checks are well, 1 fails, 1 warning."
    assert checkup.summary(every[:1]) == "All checks are well."
