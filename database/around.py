"""Around: the list a signal was judged by, and how its ticker came and went around then."""

from sqlalchemy import text

from database.pool import ReadConnection
from domain.signal import SignalId
from domain.why import Around

# The crossings of the same screen at the same address, an hour back and an hour on: what the
# ticker did is of interest where it was not in.
AROUND = text("""
    SELECT judged.version, screens.name AS screen, judged.total, judged.top_n, judged.margin,
           ticker = ANY(judged.kept) AS kept, entering.at AS entered_at,
           CASE WHEN entering.at IS NOT NULL
                THEN greatest(entering.at - judged_at, interval '0') END AS entered_after,
           leaving.at - entering.at AS entered_for,
           judged_at - leaving_before.at AS left_before
    FROM signals
    JOIN universes AS judged ON judged.version = universe_version
    JOIN screens ON screens.id = judged.screen_id
    LEFT JOIN LATERAL (
        SELECT fetched_at AS at FROM universes AS later
        WHERE later.screen_id = judged.screen_id AND later.url = judged.url
          AND later.fetched_at > judged.fetched_at
          AND later.fetched_at <= judged_at + interval '1 hour'
          AND ticker = ANY(later.entered) AND NOT coalesce(rank <= cutoff, false)
        ORDER BY later.fetched_at LIMIT 1
    ) AS entering ON true
    LEFT JOIN LATERAL (
        SELECT fetched_at AS at FROM universes AS later
        WHERE later.screen_id = judged.screen_id AND later.url = judged.url
          AND later.fetched_at > entering.at
          AND later.fetched_at <= entering.at + interval '1 hour'
          AND ticker = ANY(later.dropped)
        ORDER BY later.fetched_at LIMIT 1
    ) AS leaving ON true
    LEFT JOIN LATERAL (
        SELECT fetched_at AS at FROM universes AS earlier
        WHERE earlier.screen_id = judged.screen_id AND earlier.url = judged.url
          AND earlier.fetched_at <= judged.fetched_at
          AND earlier.fetched_at > judged_at - interval '1 hour'
          AND ticker = ANY(earlier.dropped) AND NOT coalesce(rank <= cutoff, false)
        ORDER BY earlier.fetched_at DESC LIMIT 1
    ) AS leaving_before ON true
    WHERE signals.id = :id
""")


async def of(connection: ReadConnection, id: SignalId) -> Around | None:
    """None for a signal that no list had a part in, or whose list is not kept any more."""
    row = (await connection.execute(AROUND, {"id": id})).mappings().one_or_none()
    return None if row is None else Around(**row)
