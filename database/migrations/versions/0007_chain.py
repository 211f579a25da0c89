"""The chain: every audit event is bound to all before it, and what is gone is accounted for."""

from alembic import op

revision = "0007"
down_revision = "0006"

TABLES = """
-- A stretch of the trail, by id, bound to the stretch before it. `entries` has 28 bytes an event:
-- id (8), seconds of its `at` since 1970 (4), the first 16 of the SHA-256 of its line; big-endian.
-- hash = SHA-256(previous || number (8, big-endian) || day (10, ISO 8601) || entries). The first
-- link follows 32 zero bytes. `count` and `last_id` say again what is in `entries`.
CREATE TABLE links (
    number    bigint PRIMARY KEY CHECK (number > 0),
    day       date NOT NULL,
    previous  bytea NOT NULL CHECK (octet_length(previous) = 32),
    hash      bytea NOT NULL CHECK (octet_length(hash) = 32),
    count     integer NOT NULL CHECK (count > 0),
    last_id   bigint NOT NULL,
    linked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    entries   bytea NOT NULL CHECK (octet_length(entries) = 28 * count)
);
CREATE INDEX links_of_day ON links (day);

-- What retention took out of the trail, a batch a row: the chain accounts for it.
CREATE TABLE forgotten (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    span   int8range NOT NULL,
    events bigint[] NOT NULL
);
CREATE INDEX forgotten_span ON forgotten USING gist (span);

-- One row: what is younger is not forgotten, whoever asks. Written at each start, by the owner.
CREATE TABLE retention (
    id   boolean PRIMARY KEY DEFAULT true CHECK (id),
    keep interval NOT NULL CHECK (keep >= interval '7 days')
);
INSERT INTO retention (keep) VALUES (interval '7 days');
"""

# The one text an event is known by, wherever it is written and whatever the session is set to.
# Never to be changed. Who adds a column to `events` adds it here only where it is not null, so that
# what was told before keeps its line. `xid` has a meaning on one server only.
LINE = """
CREATE FUNCTION event_line(one events) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CAST(jsonb_build_object(
        'id', one.id,
        'at', to_char(one.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'event', one.event,
        'signal_id', one.signal_id,
        'delivery_id', one.delivery_id,
        'position_id', one.position_id,
        'actor', one.actor,
        'origin', one.origin,
        'detail', one.detail) AS text)
$$
"""

# Whoever is about to take ids for events has a transaction's number before: so whoever knows all
# transactions of a moment to be over has seen every event up to the highest id of that moment.
NUMBERED = """
CREATE FUNCTION take_transaction_number() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_current_xact_id();
    RETURN NULL;
END $$
"""
NUMBERED_FIRST = """
CREATE TRIGGER events_numbered BEFORE INSERT ON events
    FOR EACH STATEMENT EXECUTE FUNCTION take_transaction_number()
"""

# The one way out of the trail, as its owner: the relay itself may not delete from it. What is too
# young stays.
FORGET = """
CREATE FUNCTION forget_events(given bigint[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    gone bigint[];
    floor timestamptz := statement_timestamp()  -- in seconds: a day of some zones has 23 hours
        - (SELECT make_interval(secs => CAST(extract(epoch FROM keep) AS float)) FROM retention);
BEGIN
    IF floor IS NULL THEN
        RAISE EXCEPTION 'retention has no row: nothing is forgotten';
    END IF;
    PERFORM set_config('relay.retention', 'on', true);
    WITH deleted AS (
        DELETE FROM events WHERE id = ANY(given) AND at < floor RETURNING id
    )
    SELECT array_agg(id ORDER BY id) INTO gone FROM deleted;
    PERFORM set_config('relay.retention', 'off', true);
    IF gone IS NOT NULL THEN
        INSERT INTO forgotten (span, events)
        VALUES (int8range(gone[1], gone[cardinality(gone)], '[]'), gone);
    END IF;
    RETURN coalesce(cardinality(gone), 0);
END $$
"""

# The relay adds events, and links; their ids are not his to choose.
GRANTS = """
DO $$
BEGIN
    REVOKE ALL ON FUNCTION forget_events(bigint[]) FROM PUBLIC;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'trading_relay') THEN
        REVOKE UPDATE, DELETE ON links FROM trading_relay;
        REVOKE INSERT, UPDATE, DELETE ON forgotten, retention FROM trading_relay;
        REVOKE INSERT ON events FROM trading_relay;
        GRANT INSERT (at, event, signal_id, delivery_id, position_id, actor, detail, origin, xid)
            ON events TO trading_relay;
        GRANT EXECUTE ON FUNCTION forget_events(bigint[]) TO trading_relay;
    END IF;
END $$
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
    for statement in (LINE, NUMBERED, NUMBERED_FIRST, FORGET, GRANTS):
        op.execute(statement)
