-- The login the relay works with: a member of trading_relay, which owns nothing and changes no audit trail.
-- psql runs it as the owner, once when the volume is new; it may be run again, also for another password.
\set ON_ERROR_STOP on
\set password `cat "${RELAY_PASSWORD_FILE:-/run/secrets/relay_password}"`
-- The password is in no log, whatever goes wrong.
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
SET log_min_duration_statement = -1;
SET client_min_messages = warning;

SELECT 'CREATE ROLE trading_relay NOLOGIN'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'trading_relay') \gexec
SELECT 'CREATE ROLE relay_app'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'relay_app') \gexec

ALTER ROLE relay_app WITH LOGIN INHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
    PASSWORD :'password';
GRANT trading_relay TO relay_app;
REVOKE ALL ON DATABASE :"DBNAME" FROM PUBLIC;
-- The role too: who may connect may ask how large the database is, and the relay asks as the role.
GRANT CONNECT ON DATABASE :"DBNAME" TO relay_app, trading_relay;
