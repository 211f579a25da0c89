"""The relay: what came in, what we decided, where it goes, the list it was judged by, the story."""

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
-- Alerts as they came in. `seq` is the order of acknowledgement.
CREATE TABLE signals (
    id               uuid PRIMARY KEY,
    seq              bigint GENERATED ALWAYS AS IDENTITY,
    source           text NOT NULL,
    ticker           text,
    exchange         text,
    symbol           text,
    side             text CHECK (side IN ('buy', 'sell')),
    closes           boolean,
    partial          boolean NOT NULL DEFAULT false,
    price            numeric,
    price_text       text,
    sender_time      timestamptz,
    clock_skew       boolean NOT NULL DEFAULT false,
    hop              smallint NOT NULL,
    content_type     text NOT NULL,
    body             bytea NOT NULL,
    body_sealed      boolean NOT NULL,
    received_at      timestamptz NOT NULL,
    expires_at       timestamptz NOT NULL,
    status           text NOT NULL
        CHECK (status IN ('received', 'invalid', 'expired', 'rejected', 'approved')),
    reason           text,
    judged_at        timestamptz,
    universe_version bigint,
    rank             integer,
    cutoff           integer,
    list_age_ms      bigint,
    CHECK (status = 'invalid' OR (ticker IS NOT NULL AND side IS NOT NULL)),
    CHECK ((status IN ('invalid', 'rejected', 'expired')) = (reason IS NOT NULL)),
    CHECK ((status = 'received') = (judged_at IS NULL))
);
CREATE UNIQUE INDEX signals_seq ON signals (seq);
CREATE INDEX signals_undecided ON signals (seq) WHERE status = 'received';
CREATE INDEX signals_undecided_of_ticker ON signals (ticker, seq) WHERE status = 'received';
CREATE INDEX signals_by_ticker ON signals (ticker, seq DESC);
-- Time runs with the order of rows, so a block range index finds it, and costs next to nothing.
CREATE INDEX signals_by_time ON signals USING brin (received_at) WITH (autosummarize = on);
CREATE INDEX signals_by_status ON signals (status, seq DESC);

-- Which signal a repeat folds into, and until when.
CREATE TABLE dedupe_keys (
    key        bytea PRIMARY KEY,
    signal_id  uuid NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE TABLE screens (
    id          uuid PRIMARY KEY,
    name        text NOT NULL,
    url         text NOT NULL,
    top_n       integer NOT NULL CHECK (top_n BETWEEN 1 AND 1000),
    refresh_sec double precision NOT NULL CHECK (refresh_sec >= 1),
    active      boolean NOT NULL,
    version     bigint NOT NULL DEFAULT 1,
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX screens_one_active ON screens (active) WHERE active;

-- Every list a screen answered; the rank of a ticker is its place in `tickers`.
CREATE TABLE universes (
    version      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    screen_id    uuid NOT NULL REFERENCES screens,
    url          text NOT NULL,
    tickers      text[] NOT NULL,
    total        integer NOT NULL,
    fetched_at   timestamptz NOT NULL,
    confirmed_at timestamptz NOT NULL
);
CREATE INDEX universes_of_screen ON universes (screen_id, version DESC);

CREATE TABLE fetches (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    screen_id    uuid NOT NULL REFERENCES screens,
    at           timestamptz NOT NULL,
    outcome      text NOT NULL
        CHECK (outcome IN ('ok', 'empty', 'suspect', 'past_end', 'throttled', 'blocked', 'login',
                           'wrong_page', 'broken', 'unreachable')),
    detail       text NOT NULL,
    pages        integer NOT NULL,
    duration_ms  integer NOT NULL,
    total        integer,
    tickers      integer,
    version      bigint REFERENCES universes,
    next_at      timestamptz NOT NULL
);
CREATE INDEX fetches_of_screen ON fetches (screen_id, id DESC);

CREATE TABLE destinations (
    id             uuid PRIMARY KEY,
    name           text NOT NULL UNIQUE,
    url_sealed     bytea NOT NULL,
    url_shown      text NOT NULL,
    signing_sealed bytea NOT NULL,
    windows        text NOT NULL,
    state          text NOT NULL DEFAULT 'enabled'
        CHECK (state IN ('enabled', 'paused', 'disabled')),
    version        bigint NOT NULL DEFAULT 1,
    hold_until     timestamptz,
    updated_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- A signal on its way to one destination. A lane is (destination_id, ticker), in order of seq.
CREATE TABLE deliveries (
    id                  uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    signal_id           uuid NOT NULL REFERENCES signals,
    destination_id      uuid NOT NULL REFERENCES destinations,
    destination_version bigint NOT NULL,
    seq                 bigint NOT NULL,
    ticker              text NOT NULL,
    side                text NOT NULL CHECK (side IN ('buy', 'sell')),
    state               text NOT NULL DEFAULT 'queued'
        CHECK (state IN ('queued', 'sending', 'held', 'delivered', 'dead', 'expired', 'superseded',
                         'cancelled')),
    reason              text,
    epoch               integer NOT NULL DEFAULT 0,
    attempts            integer NOT NULL DEFAULT 0,
    possibly_sent       boolean NOT NULL DEFAULT false,
    queued_at           timestamptz NOT NULL,
    due_at              timestamptz NOT NULL,
    lease_until         timestamptz,
    expires_at          timestamptz NOT NULL,
    finished_at         timestamptz,
    UNIQUE (signal_id, destination_id),
    CHECK ((state IN ('queued', 'sending', 'held')) = (finished_at IS NULL)),
    CHECK ((state = 'sending') = (lease_until IS NOT NULL))
);
CREATE INDEX deliveries_lanes ON deliveries (destination_id, ticker, seq) WHERE finished_at IS NULL;
CREATE INDEX deliveries_waiting ON deliveries (destination_id, side, seq) WHERE finished_at IS NULL;
CREATE INDEX deliveries_due ON deliveries (destination_id, due_at) WHERE finished_at IS NULL;
CREATE INDEX deliveries_dead ON deliveries (finished_at) WHERE state = 'dead';
CREATE INDEX deliveries_overdue ON deliveries (expires_at) WHERE finished_at IS NULL;

-- One HTTP request of a delivery; also the log the rate windows are counted from.
CREATE TABLE attempts (
    delivery_id    uuid NOT NULL REFERENCES deliveries,
    epoch          integer NOT NULL,
    destination_id uuid NOT NULL,
    side           text NOT NULL,
    number         integer NOT NULL,
    possible_resend boolean NOT NULL,
    started_at     timestamptz NOT NULL,
    finished_at    timestamptz,
    outcome        text
        CHECK (outcome IN ('delivered', 'not_sent', 'not_processed', 'permanent', 'ambiguous',
                           'withheld')),
    status         integer,
    duration_ms    integer,
    error          text,
    answer         text,
    PRIMARY KEY (delivery_id, epoch)
);
CREATE INDEX attempts_in_window ON attempts (destination_id, started_at) INCLUDE (side);

CREATE TABLE positions (
    id              uuid PRIMARY KEY,
    ticker          text NOT NULL,
    state           text NOT NULL
        CHECK (state IN ('opening', 'open', 'closing', 'closed', 'void')),
    entry_signal_id uuid REFERENCES signals,
    exit_signal_id  uuid REFERENCES signals,
    opened_at       timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    -- Deferrable: one statement may end a live position and bring another back, in any order.
    CONSTRAINT positions_one_live EXCLUDE (ticker WITH =) WHERE (state IN ('opening', 'open'))
        DEFERRABLE INITIALLY IMMEDIATE
);
CREATE INDEX positions_unfinished ON positions (ticker)
    WHERE state IN ('opening', 'open', 'closing');
CREATE INDEX positions_by_entry ON positions (entry_signal_id);
CREATE INDEX positions_by_exit ON positions (exit_signal_id) WHERE exit_signal_id IS NOT NULL;

CREATE TABLE sessions (
    id_hash    bytea PRIMARY KEY,
    created_at timestamptz NOT NULL,
    seen_at    timestamptz NOT NULL
);

CREATE TABLE events (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    event       text NOT NULL,
    signal_id   uuid,
    delivery_id uuid,
    position_id uuid,
    actor       text,
    detail      jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX events_of_signal ON events (signal_id, id) WHERE signal_id IS NOT NULL;
"""

# Append-only for everyone, including us.
REFUSE_CHANGE = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events is append-only';
END $$
"""
APPEND_ONLY = """
CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
    op.execute(REFUSE_CHANGE)
    op.execute(APPEND_ONLY)
