"""Which sessions are live, asked without using them."""

from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import text

from database.pool import ReadConnection

LIVE = text("""
    SELECT id_hash FROM sessions LEFT JOIN tokens ON tokens.id = token_id
    WHERE id_hash = ANY(CAST(:hashes AS bytea[]))
      AND seen_at > clock_timestamp() - CAST(:idle AS interval)
      AND created_at > clock_timestamp() - CAST(:absolute AS interval)
      AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())
""")


async def live(
    connection: ReadConnection, hashes: Collection[bytes], *, idle: timedelta, absolute: timedelta
) -> set[bytes]:
    """Those of these sessions that are live; a session lasts no longer than its token."""
    given = {"hashes": list(hashes), "idle": idle, "absolute": absolute}
    return set((await connection.execute(LIVE, given)).scalars())
