"""Failpoints: named places on a signal's path where a test may strike. Outside tests, nothing.

There is no setting for them: whoever composes the relay hands in what happens at a point, and only
the tests' own entry (`tests/chaos/replica.py`) hands in anything but `passes`.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import TypeAlias


class Point(StrEnum):
    """Every arrow of the path, in its order; `before_commit` is inside the transaction."""

    WEBHOOK_READ = "webhook.read"
    INTAKE_BEFORE_COMMIT = "intake.before_commit"
    INTAKE_AFTER_COMMIT = "intake.after_commit"
    WEBHOOK_BEFORE_ANSWER = "webhook.before_answer"
    GATEKEEPER_CLAIMED = "gatekeeper.claimed"
    GATEKEEPER_BEFORE_COMMIT = "gatekeeper.before_commit"
    GATEKEEPER_AFTER_COMMIT = "gatekeeper.after_commit"
    FORWARDER_HELD = "forwarder.held"
    FORWARDER_BEFORE_COMMIT = "forwarder.before_commit"
    FORWARDER_AFTER_COMMIT = "forwarder.after_commit"
    SEND_BEFORE_WRITE = "send.before_write"
    SEND_AFTER_WRITE = "send.after_write"
    SEND_AFTER_ANSWER = "send.after_answer"
    SETTLER_BEFORE_SETTLE = "settler.before_settle"
    SETTLER_BEFORE_COMMIT = "settler.before_commit"
    SETTLER_AFTER_COMMIT = "settler.after_commit"
    SWEEPER_BEFORE_COMMIT = "sweeper.before_commit"
    SWEEPER_AFTER_COMMIT = "sweeper.after_commit"
    KEEPER_TAKEN = "keeper.taken"
    KEEPER_FETCHED = "keeper.fetched"
    KEEPER_BEFORE_COMMIT = "keeper.before_commit"
    KEEPER_AFTER_COMMIT = "keeper.after_commit"


Reach: TypeAlias = Callable[[Point], None]
"""Called at a point with its name; may raise, block, or never return."""


def passes(_point: Point) -> None:
    """What every point does outside a test."""
