"""Many screens with their versions; lists with their history; buys that wait for their ticker."""

from alembic import op

revision = "0003"
down_revision = "0002"

TABLES = """
ALTER TABLE screens
    ADD COLUMN kind text NOT NULL DEFAULT 'finviz' CHECK (kind IN ('finviz', 'fixed')),
    ADD COLUMN margin integer NOT NULL DEFAULT 0 CHECK (margin BETWEEN 0 AND 999),
    ADD COLUMN wait_sec double precision NOT NULL DEFAULT 0 CHECK (wait_sec BETWEEN 0 AND 3600),
    ADD COLUMN tickers text[],
    ADD COLUMN valid_until timestamptz,
    ADD COLUMN whole_market boolean NOT NULL DEFAULT false,
    ADD COLUMN slow_when_closed boolean NOT NULL DEFAULT true,
    ADD COLUMN note text NOT NULL DEFAULT '',
    ADD COLUMN archived_at timestamptz,
    ADD CHECK ((kind = 'fixed') = (tickers IS NOT NULL AND valid_until IS NOT NULL)),
    ADD CHECK (archived_at IS NULL OR NOT active);
CREATE UNIQUE INDEX screens_by_name ON screens (lower(name)) WHERE archived_at IS NULL;

-- What a screen was at each of its versions, and whether it was in force; rows never change.
CREATE TABLE screen_versions (
    screen_id        uuid NOT NULL REFERENCES screens,
    version          bigint NOT NULL,
    active           boolean NOT NULL,
    kind             text NOT NULL,
    url              text NOT NULL,
    top_n            integer NOT NULL,
    refresh_sec      double precision NOT NULL,
    margin           integer NOT NULL,
    wait_sec         double precision NOT NULL,
    tickers          text[],
    valid_until      timestamptz,
    whole_market     boolean NOT NULL,
    slow_when_closed boolean NOT NULL,
    made_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    made_by          text,
    PRIMARY KEY (screen_id, version)
);
CREATE INDEX screen_versions_in_force ON screen_versions (made_at) WHERE active;
INSERT INTO screen_versions
    (screen_id, version, active, kind, url, top_n, refresh_sec, margin, wait_sec, whole_market,
     slow_when_closed, made_at)
SELECT id, version, active, kind, url, top_n, refresh_sec, margin, wait_sec, whole_market,
       slow_when_closed, updated_at
FROM screens;

-- `kept` are the tickers beyond the top N that are in all the same; `entered` and `dropped` tell
-- who came into the list and went out of it, compared with the version before. `fresh_since`: from
-- then on the list was never too old to buy by.
ALTER TABLE universes
    ADD COLUMN prices double precision[],
    ADD COLUMN volumes bigint[],
    ADD COLUMN top_n integer,
    ADD COLUMN margin integer NOT NULL DEFAULT 0,
    ADD COLUMN kept text[] NOT NULL DEFAULT '{}',
    ADD COLUMN entered text[] NOT NULL DEFAULT '{}',
    ADD COLUMN dropped text[] NOT NULL DEFAULT '{}',
    ADD COLUMN fresh_since timestamptz,
    ADD COLUMN valid_until timestamptz,
    ADD COLUMN accepted_by text;
UPDATE universes SET top_n = screens.top_n, fresh_since = universes.fetched_at
FROM screens WHERE screens.id = universes.screen_id;
ALTER TABLE universes
    ALTER COLUMN top_n SET NOT NULL,
    ALTER COLUMN fresh_since SET NOT NULL;
-- An address is long, and its digest is enough to find the newest list of it. Ascending, an index
-- that grows at its end fills its pages.
DROP INDEX universes_of_screen;
CREATE INDEX universes_in_force ON universes (screen_id, (CAST(md5(url) AS uuid)), version);
CREATE INDEX universes_by_time ON universes (screen_id, fetched_at);
CREATE INDEX universes_crossings ON universes USING gin ((entered || dropped))
    WHERE entered <> '{}' OR dropped <> '{}';

ALTER TABLE fetches
    DROP CONSTRAINT fetches_version_fkey,
    ADD COLUMN screen_version bigint,
    ADD COLUMN premium boolean;
CREATE INDEX fetches_by_time ON fetches (screen_id, at);
DROP INDEX fetches_of_screen;
CREATE INDEX fetches_of_screen ON fetches (screen_id, id);

-- `asked_until`: Finviz asked us to stay away until then. `refused` is a list an operator refused.
ALTER TABLE watches
    ADD COLUMN outcome text,
    ADD COLUMN outcome_since timestamptz,
    ADD COLUMN trust text NOT NULL DEFAULT 'unknown' CHECK (trust IN ('fresh', 'stale', 'unknown')),
    ADD COLUMN asked_until timestamptz,
    ADD COLUMN pending_total integer,
    ADD COLUMN pending_at timestamptz,
    ADD COLUMN pending_reason text,
    ADD COLUMN refused text[];
UPDATE watches SET outcome = last.outcome, outcome_since = last.at
FROM (SELECT DISTINCT ON (screen_id) screen_id, outcome, at FROM fetches
      ORDER BY screen_id, id DESC) AS last
WHERE last.screen_id = watches.screen_id;

-- One row: whether anybody may ask Finviz at all, and when somebody last asked by hand.
CREATE TABLE lookout (
    id            boolean PRIMARY KEY DEFAULT true CHECK (id),
    paused_at     timestamptz,
    paused_by     text,
    paused_reason text,
    by_hand_at    timestamptz
);
INSERT INTO lookout DEFAULT VALUES;

-- A buy whose ticker is not in the list may wait before its verdict (hold-and-see).
ALTER TABLE signals
    ADD COLUMN waits_since timestamptz,
    ADD COLUMN waits_until timestamptz,
    ADD CHECK ((waits_since IS NULL) = (waits_until IS NULL));
DROP INDEX signals_undecided;
DROP INDEX signals_undecided_of_ticker;
CREATE INDEX signals_undecided ON signals (seq) WHERE status = 'received' AND waits_until IS NULL;
CREATE INDEX signals_undecided_of_ticker ON signals (ticker, seq)
    WHERE status = 'received' AND waits_until IS NULL;
CREATE INDEX signals_waiting ON signals (ticker, seq)
    WHERE status = 'received' AND waits_until IS NOT NULL;
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
