"""The operator's hands: pause, rules, sources, tokens, batches, attention, notices, imports."""

from alembic import op

revision = "0004"
down_revision = "0003"

TABLES = """
-- One row: what the gate obeys besides the list. `rules` is a rulebook (domain.rules).
CREATE TABLE gate (
    id            boolean PRIMARY KEY DEFAULT true CHECK (id),
    version       bigint NOT NULL DEFAULT 1,
    rules         jsonb NOT NULL DEFAULT '{}',
    paused_at     timestamptz,
    paused_by     text,
    paused_reason text,
    paused_until  timestamptz,
    CHECK (paused_at IS NOT NULL
           OR paused_by IS NULL AND paused_reason IS NULL AND paused_until IS NULL)
);
INSERT INTO gate DEFAULT VALUES;

-- What the gate obeyed at each of its versions; rows never change.
CREATE TABLE gate_versions (
    version      bigint PRIMARY KEY,
    rules        jsonb NOT NULL,
    paused       boolean NOT NULL,
    paused_until timestamptz,
    made_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    made_by      text
);
INSERT INTO gate_versions (version, rules, paused) SELECT version, rules, false FROM gate;

-- Who sends alerts. Null: as the settings say. The name is the identity; signals keep it.
CREATE TABLE sources (
    name               text PRIMARY KEY CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,39}$'),
    note               text NOT NULL DEFAULT '',
    direction          text NOT NULL DEFAULT 'both' CHECK (direction IN ('both', 'buy', 'sell')),
    dedupe_sec         double precision CHECK (dedupe_sec BETWEEN 0 AND 86400),
    buy_ttl_sec        double precision CHECK (buy_ttl_sec BETWEEN 1 AND 86400),
    sell_ttl_sec       double precision CHECK (sell_ttl_sec BETWEEN 1 AND 86400),
    time_field         text,
    expected_every_sec double precision CHECK (expected_every_sec BETWEEN 60 AND 2678400),
    expected_in_hours  boolean NOT NULL DEFAULT true,
    pairs              boolean NOT NULL DEFAULT false,
    version            bigint NOT NULL DEFAULT 1,
    made_at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    archived_at        timestamptz
);
INSERT INTO sources (name, note) VALUES ('webhook', 'Alerts with the token of the settings');

-- A token is kept as its SHA-256. One with a source posts alerts as that source.
CREATE TABLE tokens (
    id           uuid PRIMARY KEY,
    name         text NOT NULL,
    digest       bytea NOT NULL UNIQUE,
    hint         text NOT NULL,
    scopes       text[] NOT NULL CHECK (
        scopes <> '{}' AND scopes <@ ARRAY['read', 'ingest', 'trade', 'config', 'admin']),
    source       text REFERENCES sources,
    made_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    made_by      text NOT NULL,
    expires_at   timestamptz,
    last_used_at timestamptz,
    revoked_at   timestamptz,
    revoked_by   text,
    CHECK (source IS NULL OR scopes = ARRAY['ingest'])
);
CREATE UNIQUE INDEX tokens_by_name ON tokens (lower(name)) WHERE revoked_at IS NULL;
-- A session lasts no longer than the token it was begun with; null: one of the settings.
ALTER TABLE sessions ADD COLUMN token_id uuid REFERENCES tokens;

-- One command of an operator over many signals. `snapshot` is what it was about, as it stood then.
CREATE TABLE batches (
    id       uuid PRIMARY KEY,
    kind     text NOT NULL
        CHECK (kind IN ('sell', 'sell_list', 'sell_all', 'retry', 'replay', 'resend')),
    key      bytea UNIQUE,
    snapshot jsonb NOT NULL,
    retry_of uuid REFERENCES batches,
    reason   text,
    made_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    made_by  text NOT NULL
);
CREATE INDEX batches_by_time ON batches (made_at DESC);
ALTER TABLE signals
    ADD COLUMN batch_id uuid REFERENCES batches,
    ADD COLUMN replay_of uuid,
    -- Only this destination gets it.
    ADD COLUMN only_destination_id uuid REFERENCES destinations,
    ADD COLUMN imported_from text;
-- Imported signals are older than their neighbours, and deleted ones leave room for newer ones:
-- then the ranges of a block range index are as wide as the whole time.
DROP INDEX signals_by_time;
CREATE INDEX signals_by_time ON signals (received_at, id);
CREATE INDEX signals_of_batch ON signals (batch_id) WHERE batch_id IS NOT NULL;
CREATE INDEX signals_bought ON signals (ticker, judged_at)
    WHERE side = 'buy' AND status = 'approved';
CREATE INDEX signals_replayed ON signals (replay_of) WHERE replay_of IS NOT NULL;

CREATE INDEX deliveries_sold ON deliveries (destination_id, ticker, seq)
    WHERE side = 'sell' AND state = 'delivered';

-- A draft of what to sell: nothing happens until it is sent.
CREATE TABLE sell_list (
    ticker     text PRIMARY KEY,
    note       text,
    added_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    added_by   text NOT NULL,
    expires_at timestamptz
);

-- Prices that an operator knew; else they are those of the signals.
ALTER TABLE positions
    ADD COLUMN entry_price numeric,
    ADD COLUMN exit_price numeric;
CREATE INDEX positions_by_time ON positions (opened_at DESC, id);

-- `origin` is the address an operator came from. `xid` lets readers follow without a gap: of what
-- is older than every running transaction, nothing is missing (PostgreSQL, pg_current_snapshot).
ALTER TABLE events ADD COLUMN origin text, ADD COLUMN xid xid8;
ALTER TABLE events
    ALTER COLUMN xid SET DEFAULT pg_current_xact_id(),
    ALTER COLUMN origin SET DEFAULT nullif(current_setting('relay.origin', true), '');
CREATE INDEX events_of_actors ON events (id) WHERE actor IS NOT NULL;
CREATE INDEX events_of_position ON events (position_id, id) WHERE position_id IS NOT NULL;
-- What the watchman looks at; `database.attention` has the same words, or this would not serve it.
CREATE INDEX events_notable ON events (xid, id) WHERE event IN (
    'delivery.dead', 'delivery.held', 'delivery.expired', 'delivery.superseded',
    'delivery.cancelled', 'delivery.delivered', 'signal.rejected', 'signal.expired',
    'signal.invalid', 'position.open', 'position.closed', 'position.void',
    'destination.breaker_open', 'destination.breaker_closed', 'destination.disabled',
    'destination.enabled', 'list.suspect', 'list.ok', 'list.empty', 'list.accepted',
    'list.refused', 'trust.fresh', 'trust.stale', 'trust.unknown')
    OR event = 'delivery.queued' AND actor IS NOT NULL;
CREATE INDEX events_repeats ON events (at) WHERE event = 'signal.duplicate';

-- What somebody should look at: one open item a cause and key.
CREATE TABLE attention (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cause          text NOT NULL,
    key            text NOT NULL,
    severity       text NOT NULL CHECK (severity IN ('urgent', 'warning', 'info')),
    text           text NOT NULL,
    count          integer NOT NULL DEFAULT 1,
    first_at       timestamptz NOT NULL,
    last_at        timestamptz NOT NULL,
    signal_id      uuid,
    delivery_id    uuid,
    position_id    uuid,
    destination_id uuid,
    source         text,
    ticker         text,
    resolved_at    timestamptz,
    resolved_by    text,
    resolved_why   text
);
CREATE UNIQUE INDEX attention_open ON attention (cause, key) WHERE resolved_at IS NULL;
CREATE INDEX attention_by_time ON attention (last_at DESC);

-- One row: how far the events, and the signals, have been looked through.
CREATE TABLE watchman (
    id          boolean PRIMARY KEY DEFAULT true CHECK (id),
    xid         xid8 NOT NULL,
    event_id    bigint NOT NULL,
    signal_seq  bigint NOT NULL,
    looked_at   timestamptz
);
INSERT INTO watchman (xid, event_id, signal_seq)
SELECT pg_snapshot_xmin(pg_current_snapshot()), (SELECT coalesce(max(id), 0) FROM events),
       (SELECT coalesce(max(seq), 0) FROM signals);

-- When each source was heard of last.
CREATE TABLE hearings (
    source  text PRIMARY KEY,
    last_at timestamptz NOT NULL
);

-- What a command with an Idempotency-Key was answered. A digest of each; kept for some days.
CREATE TABLE answers (
    key     bytea PRIMARY KEY,
    asked   bytea NOT NULL,
    answer  jsonb,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Where an operator is told. What it says of addresses and keys is sealed.
CREATE TABLE channels (
    id           uuid PRIMARY KEY,
    name         text NOT NULL,
    kind         text NOT NULL
        CHECK (kind IN ('webhook', 'email', 'telegram', 'discord', 'slack')),
    sealed       bytea NOT NULL,
    shown        text NOT NULL,
    severity     text NOT NULL DEFAULT 'warning' CHECK (severity IN ('urgent', 'warning', 'info')),
    window_sec   double precision NOT NULL DEFAULT 3600 CHECK (window_sec BETWEEN 60 AND 86400),
    enabled      boolean NOT NULL DEFAULT true,
    version      bigint NOT NULL DEFAULT 1,
    updated_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    tested_at    timestamptz,
    archived_at  timestamptz
);
CREATE UNIQUE INDEX channels_by_name ON channels (lower(name)) WHERE archived_at IS NULL;

-- What is to be told to whom: at most once a cause, key and window.
CREATE TABLE notices (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    channel_id   uuid NOT NULL REFERENCES channels,
    attention_id bigint NOT NULL REFERENCES attention ON DELETE CASCADE,
    cause        text NOT NULL,
    key          text NOT NULL,
    severity     text NOT NULL CHECK (severity IN ('urgent', 'warning', 'info')),
    state        text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'sent', 'failed')),
    attempts     integer NOT NULL DEFAULT 0,
    due_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    made_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at  timestamptz,
    error        text
);
CREATE INDEX notices_due ON notices (due_at) WHERE state = 'queued';
CREATE INDEX notices_of_cause ON notices (channel_id, cause, key, made_at DESC);
CREATE INDEX notices_of_channel ON notices (channel_id, id);
CREATE INDEX notices_of_item ON notices (attention_id);

-- Long work, with its progress.
CREATE TABLE jobs (
    id          uuid PRIMARY KEY,
    kind        text NOT NULL,
    state       text NOT NULL CHECK (state IN ('running', 'done', 'failed')),
    done        bigint NOT NULL DEFAULT 0,
    total       bigint,
    result      jsonb NOT NULL DEFAULT '{}',
    made_by     text NOT NULL,
    made_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
"""

# Append-only, but for the one who says that it deletes what is too old to be kept.
REFUSE_CHANGE = """
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('relay.retention', true) = 'on' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'events is append-only';
END $$
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
    op.execute(REFUSE_CHANGE)
