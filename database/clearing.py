"""What a restore takes away before it begins: what is the relay's own, also of a newer version."""

from sqlalchemy import text

from database.connection import Connection, ReadConnection
from domain.backup import KEPT, LEFT_OUT

ALL = [*KEPT, *LEFT_OUT, "alembic_version"]
FUNCTIONS = ("refuse_change", "take_transaction_number", "event_line", "forget_events")
"""The tables and functions that the migrations of this version make, and nothing else."""

HERE = "CAST(current_schema() AS regnamespace)"


def _listed(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(f"'{name}'" for name in names)


CLEAR = text(f"""
    DROP TABLE IF EXISTS {", ".join(ALL)} CASCADE
""")
CLEAR_FUNCTIONS = text(f"""
    DO $$ DECLARE one regprocedure;
    BEGIN
        FOR one IN SELECT oid FROM pg_proc
            WHERE pronamespace = {HERE} AND proname IN ({_listed(FUNCTIONS)})
        LOOP
            EXECUTE format('DROP FUNCTION %s CASCADE', one);
        END LOOP;
    END $$
""")

# What is part of something else goes with it: a sequence with its column, a partition with its
# table; what an extension made is nobody's.
_UNKNOWN = f"""
    SELECT named.type, named.identity FROM (
        SELECT tableoid, oid FROM pg_class
        WHERE relnamespace = {HERE} AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
          AND relname NOT IN ({_listed(ALL)})
        UNION ALL
        SELECT tableoid, oid FROM pg_proc
        WHERE pronamespace = {HERE} AND proname NOT IN ({_listed(FUNCTIONS)})
        UNION ALL
        SELECT pg_type.tableoid, pg_type.oid FROM pg_type
        LEFT JOIN pg_class ON pg_class.oid = typrelid
        WHERE typnamespace = {HERE} AND (typtype IN ('d', 'e', 'r') OR relkind = 'c')
    ) AS one
    CROSS JOIN LATERAL pg_identify_object(one.tableoid, one.oid, 0) AS named
    WHERE NOT EXISTS (
        SELECT FROM pg_depend
        WHERE classid = one.tableoid AND objid = one.oid AND objsubid = 0
          AND deptype IN ('a', 'i', 'e'))
"""
UNKNOWN = text(f"""
    SELECT type || ' ' || identity FROM ({_UNKNOWN}) AS unknown ORDER BY 1
""")
CLEAR_UNKNOWN = text(f"""
    DO $$ DECLARE one text;
    BEGIN
        FOREACH one IN ARRAY ARRAY(
            SELECT format('DROP %s IF EXISTS %s CASCADE', type, identity)
            FROM ({_UNKNOWN}) AS unknown)
        LOOP
            EXECUTE one;
        END LOOP;
    END $$
""")
SOON = text("SET LOCAL lock_timeout = '15s'")


async def unknown(connection: ReadConnection) -> tuple[str, ...]:
    """What is in the schema beside what this version makes: `table public.x`, `function …`."""
    return tuple((await connection.execute(UNKNOWN)).scalars())


async def clear(connection: Connection, *, everything: bool) -> None:
    """Take away what is the relay's own; ``everything``: whatever is in its schema."""
    await connection.execute(SOON)
    if everything:
        await connection.execute(CLEAR_UNKNOWN)
    await connection.execute(CLEAR)
    await connection.execute(CLEAR_FUNCTIONS)
