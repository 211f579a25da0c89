"""Wrong tokens, counted by minute and origin for all replicas, and told to the audit trail."""

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from database.pool import Connection

# The first of an origin in a minute is told, and so is the last that is counted. Beyond a limit
# nothing is written. The row of all together is taken first: two statements never wait in a circle.
COUNT = text("""
    WITH this AS MATERIALIZED (
        SELECT date_trunc('minute', clock_timestamp(), 'UTC') AS minute
    ), together AS (
        INSERT INTO wrong_tokens AS kept (minute, origin, failures)
        SELECT minute, '', 1 FROM this
        WHERE NOT EXISTS (
            SELECT FROM wrong_tokens AS own
            WHERE own.minute = this.minute AND own.origin = :origin AND own.failures >= :most)
        ON CONFLICT (minute, origin) DO UPDATE SET failures = kept.failures + 1
        WHERE kept.failures < :most_together
        RETURNING minute, failures
    ), own AS (
        INSERT INTO wrong_tokens AS kept (minute, origin, failures)
        SELECT minute, :origin, 1 FROM together
        ON CONFLICT (minute, origin) DO UPDATE SET failures = kept.failures + 1
        WHERE kept.failures < :most
        RETURNING failures
    ), swept AS (
        DELETE FROM wrong_tokens USING together
        WHERE together.failures = 1 AND wrong_tokens.minute < together.minute
    ), told AS (
        INSERT INTO events (event, actor, detail)
        SELECT CAST(:event AS text), 'nobody', CAST(:detail AS jsonb) FROM own WHERE failures = 1
        UNION ALL
        SELECT 'access.limited', 'nobody', CAST(:detail AS jsonb) || jsonb_build_object(
            'of', 'this origin', 'failures', failures)
        FROM own WHERE failures = :most AND :most > 1
        UNION ALL
        SELECT 'access.limited', 'nobody', CAST(:detail AS jsonb) || jsonb_build_object(
            'of', 'all together', 'failures', failures)
        FROM together WHERE failures = :most_together
    )
    SELECT coalesce((SELECT failures FROM own), (
               SELECT failures FROM wrong_tokens AS kept JOIN this USING (minute)
               WHERE kept.origin = :origin), 0) AS own,
           coalesce((SELECT failures FROM together), (
               SELECT failures FROM wrong_tokens AS kept JOIN this USING (minute)
               WHERE kept.origin = ''), 0) AS together
""")


@dataclass(frozen=True, slots=True)
class Counted:
    """Failures of this minute: of one origin, and of all together, as far as they are counted."""

    own: int
    together: int


async def count(
    connection: Connection,
    origin: str,
    *,
    most: int,
    most_together: int,
    event: str,
    detail: dict[str, Any],
) -> Counted:
    """Count one more failure of this origin, unless it or all together have had the most."""
    given = {
        "origin": origin,
        "most": most,
        "most_together": most_together,
        "event": event,
        "detail": json.dumps(detail),
    }
    row = (await connection.execute(COUNT, given)).one()
    return Counted(row.own, row.together)
