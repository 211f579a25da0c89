"""What is left of a span of time, however long a machine stood still since it began."""

import time
from datetime import timedelta

ROUNDING = 0.01
"""Seconds by which the clock of the server and ours may differ in so short a time."""


class Watch:
    """Set going before a span begins; the span may have begun at any moment since."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def left(self, found: timedelta | float, of: timedelta | float) -> bool:
        """Whether as much is left of such a span as there should be."""
        gone = time.monotonic() - self._began
        return _seconds(of) - gone - ROUNDING <= _seconds(found) <= _seconds(of) + ROUNDING


def _seconds(span: timedelta | float) -> float:
    return span.total_seconds() if isinstance(span, timedelta) else span
