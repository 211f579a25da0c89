"""Whether the server lets this login have as many connections as our processes may open."""

from sqlalchemy import text

from database.migrate import UnfitDatabaseError
from database.pool import Database

LIMITS = text("""
    SELECT current_setting('max_connections')::int - CASE WHEN login.rolsuper THEN 0 ELSE
               current_setting('superuser_reserved_connections')::int
               + coalesce(current_setting('reserved_connections', true), '0')::int END AS server,
           nullif(login.rolconnlimit, -1) AS login,
           nullif(place.datconnlimit, -1) AS place
    FROM pg_roles AS login, pg_database AS place
    WHERE login.rolname = session_user AND place.datname = current_database()
""")


async def require_room(database: Database, processes: int, each: int) -> None:
    """Raise UnfitDatabaseError when so many processes could be refused connections in a burst."""
    async with database.read() as connection:
        row = (await connection.execute(LIMITS)).one()
    allowed, wanted = min(limit for limit in row if limit is not None), processes * each
    if wanted > allowed:
        raise UnfitDatabaseError(
            f"WORKERS: {processes} processes open up to {wanted} connections, {each} each, and"
            f" PostgreSQL allows {allowed} to this login: raise max_connections (or the limit of"
            " the role or database), or lower WORKERS"
        )
