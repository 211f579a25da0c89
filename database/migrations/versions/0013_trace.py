"""The trace that a sender named, and how far the log of signals has been written."""

from alembic import op

revision = "0013"
down_revision = "0012"

TABLES = """
-- The sender's `traceparent` (W3C Trace Context); null: the signal's own id is the trace's.
ALTER TABLE signals ADD COLUMN traceparent text CHECK (length(traceparent) = 55);
CREATE INDEX signals_traced ON signals (substr(traceparent, 4, 32)) WHERE traceparent IS NOT NULL;

-- One row: how far the events have been told in the log.
CREATE TABLE chronicle (
    id        boolean PRIMARY KEY DEFAULT true CHECK (id),
    xid       xid8 NOT NULL,
    event_id  bigint NOT NULL
);
INSERT INTO chronicle (xid, event_id)
SELECT pg_snapshot_xmin(pg_current_snapshot()), (SELECT coalesce(max(id), 0) FROM events);
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
