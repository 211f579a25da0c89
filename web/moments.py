"""A moment that a caller gives: with its zone, in UTC."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime


def _in_utc(given: datetime) -> datetime:
    """At the ends of the calendar neither UTC nor PostgreSQL has what another zone has."""
    if not 1 < given.year < 9_000:
        raise ValueError("must lie between the years 2 and 8999")
    return given.astimezone(UTC)


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
