"""The clock: alerts say when they were sent, and signatures when they were made."""

import ctypes
import struct
import sys
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from launcher.doctor.findings import CLOCK, Finding

SLIGHT, WRONG = timedelta(seconds=2), timedelta(seconds=10)
UNSYNCHRONISED = 5
"""TIME_ERROR of adjtimex(2)."""

WHY = "a buy lives 30 s from when its sender says it was sent, and receivers refuse old signatures"
CURE = f"let the system keep it (sudo timedatectl set-ntp true): {WHY}"


def system() -> Finding:
    """Whether the system says that something keeps its clock right."""
    if not sys.platform.startswith("linux"):
        return CLOCK.skipped("kept right", "only Linux tells")
    state = _state()
    if state is None:
        return CLOCK.skipped("kept right", "the system does not tell")
    return kept(synchronised=state != UNSYNCHRONISED)


def kept(*, synchronised: bool) -> Finding:
    if synchronised:
        return CLOCK.ok("kept right", "the system says that its clock is synchronised")
    words = "the system does not say that its clock is synchronised"
    return CLOCK.warning("kept right", words, CURE)


def _state() -> int | None:
    """Adjtimex with no modes changes nothing; a negative answer is a refusal."""
    try:
        found = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(struct.calcsize("64l")))
    except (OSError, AttributeError):
        return None
    return found if found >= 0 else None


def against(name: str, asked: datetime, theirs: datetime, answered: datetime) -> Finding:
    """Ours against another, who told his between ``asked`` and ``answered``."""
    if theirs < asked:
        apart, side = asked - theirs, "ahead of"
    else:
        apart, side = max(timedelta(0), theirs - answered), "behind"
    if apart < SLIGHT:
        return CLOCK.ok(name, "the same as here, as far as can be told")
    words = f"this machine is {_words(apart)} {side} it"
    return (CLOCK.fails if apart > WRONG else CLOCK.warning)(name, words, CURE)


def header(asked: datetime, text: str, answered: datetime) -> Finding | None:
    """By the Date of an answer over HTTPS, which is cut to the second; None: it is no date."""
    try:
        theirs = parsedate_to_datetime(text).astimezone(UTC)
    except ValueError:
        return None
    soonest = asked - timedelta(seconds=1)
    return against("against Finviz", soonest, theirs, answered)


def _words(apart: timedelta) -> str:
    seconds = apart.total_seconds()
    return f"{seconds:.1f} s" if seconds < 90 else f"{seconds / 60:,.0f} min"
