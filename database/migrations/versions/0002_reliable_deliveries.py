"""Many destinations, versioned; breakers; one fetcher; deliveries that know their position."""

from alembic import op

revision = "0002"
down_revision = "0001"

TABLES = """
-- What a destination was at each of its versions; rows never change. A delivery keeps the version
-- it was approved for; windows, concurrency and keys are always those of the current one.
CREATE TABLE destination_versions (
    destination_id  uuid NOT NULL REFERENCES destinations,
    version         bigint NOT NULL,
    url_sealed      bytea NOT NULL,
    url_shown       text NOT NULL,
    mode            text NOT NULL DEFAULT 'live' CHECK (mode IN ('live', 'dry_run')),
    guarantee       text NOT NULL DEFAULT 'at_least_once'
        CHECK (guarantee IN ('at_least_once', 'at_most_once')),
    windows         text NOT NULL,
    concurrency     integer CHECK (concurrency BETWEEN 1 AND 64),
    timeout_sec     double precision NOT NULL DEFAULT 5 CHECK (timeout_sec BETWEEN 0.5 AND 10),
    connect_sec     double precision NOT NULL DEFAULT 2 CHECK (connect_sec BETWEEN 0.1 AND 5),
    headers_sealed  bytea,
    mapping         jsonb NOT NULL DEFAULT '{}',
    signing_sealed  bytea NOT NULL,
    -- The key before this one, which receivers may still check against until then.
    previous_sealed bytea,
    previous_until  timestamptz,
    made_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    made_by         text,
    PRIMARY KEY (destination_id, version)
);
-- The versions before this one were not kept: what is queued for them goes where it would have.
INSERT INTO destination_versions
    (destination_id, version, url_sealed, url_shown, windows, signing_sealed)
SELECT id, known.version, url_sealed, url_shown, windows, signing_sealed
FROM destinations JOIN (
    SELECT id AS destination_id, version FROM destinations
    UNION SELECT destination_id, destination_version FROM deliveries
) AS known ON known.destination_id = destinations.id;

ALTER TABLE destinations
    DROP COLUMN url_sealed, DROP COLUMN url_shown, DROP COLUMN signing_sealed, DROP COLUMN windows,
    ADD COLUMN breaker text NOT NULL DEFAULT 'closed'
        CHECK (breaker IN ('closed', 'open', 'half_open')),
    ADD COLUMN breaker_since timestamptz,
    ADD COLUMN breaker_until timestamptz,
    ADD COLUMN breaker_cause text,
    ADD COLUMN breaker_trips integer NOT NULL DEFAULT 0,
    ADD COLUMN breaker_failures integer NOT NULL DEFAULT 0,
    ADD COLUMN breaker_successes integer NOT NULL DEFAULT 0,
    ADD CHECK ((breaker = 'open') = (breaker_until IS NOT NULL));

ALTER TABLE deliveries
    ADD COLUMN position_id uuid,
    ADD FOREIGN KEY (destination_id, destination_version) REFERENCES destination_versions;
UPDATE deliveries SET position_id = positions.id FROM positions
WHERE deliveries.signal_id IN (positions.entry_signal_id, positions.exit_signal_id);
CREATE INDEX deliveries_of_position ON deliveries (position_id) WHERE position_id IS NOT NULL;
CREATE INDEX deliveries_held ON deliveries (due_at) WHERE state = 'held';
CREATE INDEX deliveries_leased ON deliveries (lease_until) WHERE state = 'sending';

-- `written_at` is when the request left, for the windows: not known while it is on its way.
ALTER TABLE attempts
    ADD COLUMN written_at timestamptz,
    ADD COLUMN receipt jsonb,
    ADD COLUMN retry_after interval,
    DROP CONSTRAINT attempts_outcome_check,
    ADD CONSTRAINT attempts_outcome_check
        CHECK (outcome IN ('delivered', 'dry_run', 'not_sent', 'not_processed', 'permanent',
                           'ambiguous', 'withheld'));
UPDATE attempts SET written_at = started_at
WHERE finished_at IS NOT NULL AND outcome NOT IN ('withheld', 'not_sent');

-- Whose turn it is to look at Finviz for a screen, and what was learnt at the last look. A lease
-- with an epoch, like that of a delivery: any replica may take it when it is due.
CREATE TABLE watches (
    screen_id      uuid PRIMARY KEY REFERENCES screens,
    screen_version bigint NOT NULL,
    epoch          bigint NOT NULL DEFAULT 0,
    lease_until    timestamptz,
    due_at         timestamptz NOT NULL,
    failures       integer NOT NULL DEFAULT 0,
    doubted        boolean NOT NULL DEFAULT false,
    pending        text[]
);
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
