"""The fixtures of tests/web: one relay in process for each module."""

from tests.web.conftest import listed, numbers, route, shared

__all__ = ["listed", "numbers", "route", "shared"]
