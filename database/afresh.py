"""A destination begins afresh: its breaker closed, its wish to wait forgotten.

Where the operator says so, and where its address moved: what the old one did says nothing of the
new one. Statements of others hold its row as `before`, and set SET beside what they change.
"""

from sqlalchemy import text

SET = """
    breaker = 'closed', breaker_until = NULL, breaker_cause = NULL, breaker_trips = 0,
    breaker_failures = 0, breaker_successes = 0, hold_until = NULL,
    breaker_since = CASE WHEN destinations.breaker = 'closed' THEN breaker_since
                         ELSE clock_timestamp() END
"""

MOVED = "another address"

# `{afresh}` has the row's id and name, and what was ended: breaker and hold_until.
TOLD = """
    INSERT INTO events (event, actor, detail)
    SELECT 'destination.breaker_closed', {actor}, jsonb_build_object(
        'destination_id', id, 'name', name, 'reason', '{reason}', 'was', breaker,
        'becomes', 'closed')
    FROM {afresh} WHERE breaker <> 'closed'
    UNION ALL
    SELECT 'destination.wait_ended', {actor}, jsonb_build_object(
        'destination_id', id, 'name', name, 'reason', '{reason}', 'was', hold_until)
    FROM {afresh} WHERE hold_until > clock_timestamp()
"""

BY_HAND = text(f"""
    WITH before AS MATERIALIZED (
        SELECT id, breaker, hold_until FROM destinations
        WHERE id = :id AND (breaker <> 'closed' OR hold_until > clock_timestamp())
        FOR NO KEY UPDATE
    ), afresh AS (
        UPDATE destinations SET {SET} FROM before WHERE destinations.id = before.id
        RETURNING destinations.id, name, before.breaker, before.hold_until
    ) {TOLD.format(actor="CAST(:actor AS text)", reason="by hand", afresh="afresh")}
    RETURNING id
""")
