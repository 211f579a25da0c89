"""Signals counted by the minute, for charts and the overview; what a search goes along."""

from alembic import op

revision = "0012"
down_revision = "0011"

TABLES = """
-- How many signals of a minute were judged how, and how many of them have deliveries: written by
-- one worker after the fact, so that no commit of the relay waits for a counter (database.tallies).
CREATE TABLE tallies (
    minute  timestamptz NOT NULL,
    status  text NOT NULL,
    reason  text NOT NULL,
    signals integer NOT NULL CHECK (signals > 0),
    sent    integer NOT NULL CHECK (sent BETWEEN 0 AND signals),
    PRIMARY KEY (minute, status, reason)
);
-- One row: up to which signal they were counted. Older ones are of no chart any more.
CREATE TABLE tallied (
    id  boolean PRIMARY KEY DEFAULT true CHECK (id),
    seq bigint NOT NULL
);
INSERT INTO tallied (seq) SELECT coalesce((
    SELECT min(seq) - 1 FROM (
        SELECT seq FROM signals WHERE received_at >= now() - interval '2 days'
        AND imported_from IS NULL ORDER BY received_at LIMIT 1000) AS earliest
), (SELECT max(seq) FROM signals), 0);

-- A search goes along (column, seq), both in one direction: the two are compared as one row.
DROP INDEX signals_by_ticker;
CREATE INDEX signals_by_ticker ON signals (ticker, seq);

-- An attempt is written twice, and no index has what changes: where its page has room, it gets no
-- new entries in them. Rows of before stay where they are.
ALTER TABLE attempts SET (fillfactor = 70);
"""

# A fifth of a table of a year is months of dead rows: by then every index is scanned past them, and
# no page of a week is known to be visible to all. Every signal leaves one dead row, every delivery
# two; so a hundredth, and what a busy hour brings, is waited for.
CLEANED = """
ALTER TABLE {table} SET (
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0.01, autovacuum_vacuum_insert_threshold = 5000,
    autovacuum_analyze_scale_factor = 0.01, autovacuum_analyze_threshold = 5000)
"""
HOT = ("signals", "deliveries", "attempts", "events")


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
    for table in HOT:
        op.execute(CLEANED.format(table=table))
