"""Configuration taken over from a file: the audit trail of it; each change has its own event."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import text

from database.pool import Connection

IMPORTED = text("""
    INSERT INTO events (event, actor, detail)
    VALUES ('config.imported', :actor, CAST(:detail AS jsonb))
""")


async def imported(connection: Connection, detail: Mapping[str, Any], *, actor: str) -> None:
    """Tell what an import came to, in the transaction that did it."""
    await connection.execute(IMPORTED, {"actor": actor, "detail": json.dumps(detail, default=str)})
