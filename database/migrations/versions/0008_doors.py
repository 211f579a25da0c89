"""The doors: wrong tokens counted for all replicas, and from where a source may post."""

from alembic import op

revision = "0008"
down_revision = "0007"

TABLES = """
-- How many wrong tokens came in a minute: from an origin ('' is from all together). What is older
-- than the minute goes when the next begins.
CREATE TABLE wrong_tokens (
    minute   timestamptz NOT NULL,
    origin   text NOT NULL CHECK (length(origin) <= 200),
    failures integer NOT NULL CHECK (failures > 0),
    PRIMARY KEY (minute, origin)
);
ALTER TABLE sources ADD COLUMN senders text[] CHECK (cardinality(senders) > 0);
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
