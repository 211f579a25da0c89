"""The relay's own role: it may add to the audit trail and read it, and change nothing in it."""

from alembic import op

revision = "0006"
down_revision = "0005"

# Who migrates owns everything. Where he may not make roles, the relay goes on as himself, and only
# the trigger of `events` stands between it and its own trail; the log and the doctor say so.
ROLE = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'trading_relay') THEN
        CREATE ROLE trading_relay NOLOGIN;
    END IF;
    IF NOT pg_has_role(current_user, 'trading_relay', 'USAGE') THEN
        GRANT trading_relay TO CURRENT_USER;
    END IF;
EXCEPTION WHEN insufficient_privilege OR duplicate_object OR unique_violation THEN
    NULL;  -- another database's migration made it at the same moment, or we may not
END $$
"""
GRANTS = """
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'trading_relay') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO trading_relay;
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO trading_relay;
        ALTER DEFAULT PRIVILEGES IN SCHEMA public
            GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO trading_relay;
        ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO trading_relay;
        REVOKE UPDATE, DELETE ON events FROM trading_relay;
        REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM trading_relay;
    END IF;
END $$
"""


def upgrade() -> None:
    op.execute(ROLE)
    op.execute(GRANTS)
