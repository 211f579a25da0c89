"""The pages: sessions that are asked again, saved filters, and events that can be followed live."""

from alembic import op

revision = "0005"
down_revision = "0004"

TABLES = """
-- `proved_at`: when the operator last showed a token; what hurts asks for one again after a while.
-- `said` is what the next page tells of what was just done.
ALTER TABLE sessions
    ADD COLUMN proved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ADD COLUMN origin text,
    ADD COLUMN agent text,
    ADD COLUMN said text;

-- A filter of a page that an operator wants back; `query` is that of its address.
CREATE TABLE saved_filters (
    actor   text NOT NULL,
    page    text NOT NULL,
    name    text NOT NULL,
    query   text NOT NULL,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (actor, page, name)
);

-- An address, and the headers that go with it, that an operator entered for a destination: they
-- count from `due_at`, unless somebody cancels before. `was` and `becomes` are told when they do.
CREATE TABLE pending_addresses (
    destination_id uuid PRIMARY KEY REFERENCES destinations,
    url_sealed     bytea NOT NULL,
    url_shown      text NOT NULL,
    headers_sealed bytea NOT NULL,
    was            jsonb NOT NULL,
    becomes        jsonb NOT NULL,
    made_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    made_by        text NOT NULL,
    due_at         timestamptz NOT NULL
);

-- When a test was last sent to a destination: they are not sent in a row.
ALTER TABLE destinations ADD COLUMN tested_at timestamptz;

-- Attention as it was settled, the latest first.
CREATE INDEX attention_resolved ON attention (resolved_at DESC) WHERE resolved_at IS NOT NULL;

-- Every event by the transaction that wrote it, for all who follow them: the watchman looks only at
-- some, but reading past the others costs less than keeping an index of his own.
DROP INDEX events_notable;
CREATE INDEX events_by_xid ON events (xid, id);

-- What the search of signals needs (database.searching); all are partial, most signals are in none.
-- A rare reason, such as `cooldown` or an invalid alert's code: 40 bytes for each signal that has
-- one; the common ones are found along their status.
CREATE INDEX signals_by_reason ON signals (reason, seq)
    WHERE reason NOT IN ('not_in_list', 'expired');
-- A source besides the one of the settings: 40 bytes for each signal of one.
CREATE INDEX signals_by_source ON signals (source, seq) WHERE source <> 'webhook';
-- Between which `seq` imported signals of a time are: 40 bytes for each of them, nothing else.
CREATE INDEX signals_imported ON signals (received_at, seq) WHERE imported_from IS NOT NULL;
-- Dead, expired, superseded and cancelled ones, the newest first: 40 bytes for each.
CREATE INDEX deliveries_failed ON deliveries (state, seq)
    WHERE state IN ('dead', 'expired', 'superseded', 'cancelled');

-- The deliveries of a period, for what became of its signals and how long that took: 22 bytes for
-- each that was queued, and as much for each of its steps until it is vacuumed.
CREATE INDEX deliveries_by_time ON deliveries (queued_at);

-- The log of looks by a rare outcome.
CREATE INDEX fetches_by_outcome ON fetches (outcome, id);

-- Long work can be cancelled by an operator.
ALTER TABLE jobs
    DROP CONSTRAINT jobs_state_check,
    ADD CONSTRAINT jobs_state_check CHECK (state IN ('running', 'done', 'failed', 'cancelled'));
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
