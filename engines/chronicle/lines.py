"""Lines: the stages of signals in the log, as one record for all that are told together.

A record of its own for each would cost ten times as much (ADR 37); the log writes a line for each.
"""

import logging
from collections.abc import Sequence
from datetime import UTC

from domain.stage import Stage, line

log = logging.getLogger("signals")


def wanted() -> bool:
    """Whether the log's level lets them through."""
    return log.isEnabledFor(logging.INFO)


def told(stages: Sequence[Stage]) -> None:
    """Hand them to the log."""
    if not wanted():
        return
    lines = [
        {"ts": stage.at.astimezone(UTC).isoformat(timespec="milliseconds"), **line(stage)}
        for stage in stages
    ]
    log.info("signals.told", extra={"_lines": lines})
