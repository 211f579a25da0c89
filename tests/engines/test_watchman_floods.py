"""The watchman in a flood: most of it is nothing to say anything of."""

from tests.database.rows import SELL, Rows, an_entry
from tests.engines.test_watchman import stepped

TURNED_AWAY = """
    WITH judged AS (
        UPDATE signals SET status = 'rejected', reason = 'no_position', judged_at = now()
        WHERE status = 'received' RETURNING id
    )
    INSERT INTO events (event, signal_id, detail)
    SELECT 'signal.rejected', id, '{"reason": "no_position"}' FROM judged
"""


async def test_buys_turned_away_are_passed_by_and_read_once(rows: Rows) -> None:
    """Most of what happens in a flood: its mark goes past them although nothing is said of them."""
    for number in range(3):
        await rows.append(an_entry(f"T{number}"), an_entry(f"T{number}", SELL))
    await rows.sql(TURNED_AWAY)
    assert await rows.sql("SELECT count(*) FROM events WHERE event = 'signal.rejected'") == [6]
    await stepped(rows)
    found = await rows.sql("SELECT cause, count FROM attention ORDER BY id")
    assert [tuple(row) for row in found] == [("sell_refused", 1)] * 3
    await rows.sql(TURNED_AWAY.replace("status = 'received'", "side = 'buy'"))
    await stepped(rows)
    (left,) = await rows.sql(
        "SELECT count(*) FROM events, watchman WHERE event LIKE 'signal.%'"
        " AND (events.xid, events.id) > (watchman.xid, watchman.event_id)"
    )
    assert left == 0
