"""What a doctor asks of the database: what it is, which schema it has, which keys open it."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import TextClause, text

from database.migrate import applied
from database.pool import ReadConnection
from database.resealing import NO_KEY, OLD_KEY
from database.sealed import COLUMNS, Column
from database.vault import Vault

LATEST, LOOKED_THROUGH = 500, 10_000
"""Values of each column that are opened, and signals that are looked through for them."""

SERVER = text("""
    SELECT current_setting('server_version') AS version, clock_timestamp() AS now,
           session_user AS login, pg_database_size(current_database()) AS bytes,
           (SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()
              AND application_name LIKE 'relay%') AS relays
""")


def _statement(column: Column) -> TextClause:
    """The latest values of a column; of signals, few of whose bodies are sealed, of the latest."""
    order = ", ".join(f"{name} DESC" for name in column.key)
    recent = "true"
    if column.table == "signals":
        recent = f"seq > (SELECT coalesce(max(seq), 0) FROM signals) - {LOOKED_THROUGH}"
    return text(f"""
        SELECT {column.owner} AS owner, {column.name} AS sealed FROM {column.table}
        WHERE {column.where} AND {column.name} IS NOT NULL AND {recent}
        ORDER BY {order} LIMIT {LATEST}
    """)


LATEST_OF = tuple((column, _statement(column)) for column in COLUMNS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """``schema`` is the revision that is applied; ``relays`` how many connections relays hold."""

    version: str
    now: datetime
    login: str
    bytes: int
    relays: int
    schema: str | None


async def condition(connection: ReadConnection) -> Condition:
    row = (await connection.execute(SERVER)).one()
    return Condition(
        version=row.version.partition(" ")[0],
        now=row.now,
        login=row.login,
        bytes=row.bytes,
        relays=row.relays,
        schema=await applied(connection),
    )


async def openable(connection: ReadConnection, vault: Vault) -> Counter[str]:
    """Of the latest values of each sealed column, how many open how: "current", or as resealing."""
    counted: Counter[str] = Counter()
    for column, latest in LATEST_OF:
        for row in await connection.execute(latest):
            number = vault.key_of(row.sealed, column.place(row.owner))
            counted["current" if number == 0 else NO_KEY if number is None else OLD_KEY] += 1
    return counted
