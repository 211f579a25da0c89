"""Every index and key that a signal pays for on its way is one that a query needs."""

from alembic import op

revision = "0011"
down_revision = "0010"

# A signal is written twice, a delivery three times, and each time every index over a column that
# changed, or whose condition did, gets an entry.
TABLES = """
-- Undecided signals have indexes of their own.
DROP INDEX signals_by_status;
CREATE INDEX signals_by_status ON signals (status, seq) WHERE status <> 'received';
-- Charts go by the time of the signals.
DROP INDEX deliveries_by_time;
-- Only what waits for a retry is due later than now.
DROP INDEX deliveries_due;
CREATE INDEX deliveries_due ON deliveries (destination_id, due_at)
    WHERE state = 'queued' AND epoch > 0;

-- What these keys say is said by others too: a delivery's version is one of its destination, and an
-- attempt is written by the statement that changes its delivery.
ALTER TABLE deliveries DROP CONSTRAINT deliveries_destination_id_fkey;
ALTER TABLE attempts DROP CONSTRAINT attempts_delivery_id_fkey;
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
