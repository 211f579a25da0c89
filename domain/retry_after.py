"""`Retry-After`: how long the other side asks us to stay away."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime


def retry_after(value: str | None, now: datetime) -> timedelta | None:
    """Read seconds or an HTTP date (RFC 9110 §10.2.3); None when it says neither."""
    wish = (value or "").strip()
    if wish.isascii() and wish.isdecimal() and len(wish) <= 9:
        return timedelta(seconds=int(wish))
    try:
        at = parsedate_to_datetime(wish)
        return max(timedelta(0), (at if at.tzinfo else at.replace(tzinfo=UTC)) - now)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
