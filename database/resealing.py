"""Sealing anew: every sealed value with the first key, in batches that may be cut off anywhere."""

import json
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text

from database.pool import Connection, Database, ReadConnection
from database.sealed import COLUMNS, Column, constants_of
from database.vault import Vault

BATCH = 500

OLD_KEY, NO_KEY = "old key", "no key"
"""How a value may be sealed besides: `current`, or `unbound` to its place with the first key."""

# Plain from before 0009, or from a dump of that time.
PLAIN = text("""
    SELECT destination_id, version, mapping -> 'add' AS added FROM destination_versions
    WHERE mapping ? 'add' FOR UPDATE
""")
SEAL_PLAIN = text("""
    UPDATE destination_versions
    SET added_sealed = coalesce(added_sealed, :sealed), mapping = mapping - 'add'
    WHERE destination_id = :id AND version = :version
""")
RELAYS = text("""
    SELECT DISTINCT application_name FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
      AND application_name LIKE 'relay %' AND application_name NOT LIKE 'relay live%'
""")
TELL = text("""
    INSERT INTO events (event, actor, detail)
    VALUES ('key.rotated', :actor, jsonb_build_object('sealed', CAST(:sealed AS bigint)))
""")


@dataclass(slots=True)
class Survey:
    """How many values of each column are sealed how."""

    found: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])

    def count(self, how: str) -> int:
        return sum(counted[how] for counted in self.found.values())

    @property
    def total(self) -> int:
        return sum(counted.total() for counted in self.found.values())


async def seal_plain(connection: Connection, vault: Vault) -> int:
    """Seal the constants of mappings that are not yet; how many versions had any."""
    rows = (await connection.execute(PLAIN)).all()
    for row in rows:
        added = json.dumps(row.added).encode() if row.added else None
        sealed = added and vault.seal(added, constants_of(row.destination_id))
        given = {"id": row.destination_id, "version": row.version, "sealed": sealed}
        await connection.execute(SEAL_PLAIN, given)
    return sum(1 for row in rows if row.added)


async def reseal(database: Database, vault: Vault) -> AsyncGenerator[int]:
    """Seal what is not as it should be, a batch a transaction; yield how many each batch changed.

    What opens with no key is left as it is. A row changed meanwhile keeps what it was changed to:
    whoever changes one seals with the first key.
    """
    for column in COLUMNS:
        after: tuple[Any, ...] | None = None
        while True:
            async with database.write() as connection:
                rows = await _next(connection, column, after)
                changed = await _seal_rows(connection, vault, column, rows)
            yield changed
            if len(rows) < BATCH:
                break
            after = _key(column, rows[-1])


async def survey(database: Database, vault: Vault) -> Survey:
    """Look at every sealed value there is."""
    seen = Survey()
    for column in COLUMNS:
        counted, after = seen.found.setdefault(column.title, Counter()), None
        while True:
            async with database.read() as connection:
                rows = await _next(connection, column, after)
            counted.update(_how(vault, row.sealed, column.place(row.owner)) for row in rows)
            if len(rows) < BATCH:
                break
            after = _key(column, rows[-1])
    return seen


async def relays(database: Database) -> set[tuple[str, ...]]:
    """The fingerprints of the keys of each running relay, first the one it seals with."""
    async with database.read() as connection:
        names = (await connection.execute(RELAYS)).scalars()
        return {tuple(name.split()[1:]) for name in names}


async def tell(database: Database, *, sealed: int, actor: str) -> None:
    """Tell that everything is sealed with another key."""
    async with database.write() as connection:
        await connection.execute(TELL, {"sealed": sealed, "actor": actor})


def _how(vault: Vault, sealed: bytes, place: str) -> str:
    if vault.is_current(sealed, place):
        return "current"
    number = vault.key_of(sealed, place)
    return NO_KEY if number is None else OLD_KEY if number else "unbound"


async def _next(
    connection: ReadConnection, column: Column, after: tuple[Any, ...] | None
) -> Sequence[Any]:
    keys = ", ".join(column.key)
    given = {f"after_{name}": value for name, value in zip(column.key, after or (), strict=False)}
    beyond = f"({keys}) > ({', '.join(f':{name}' for name in given)})" if given else "true"
    found = await connection.execute(
        text(f"""
            SELECT {keys}, {column.owner} AS owner, {column.name} AS sealed FROM {column.table}
            WHERE {column.where} AND {column.name} IS NOT NULL AND {beyond}
            ORDER BY {keys} LIMIT {BATCH}
        """),
        given,
    )
    return found.all()


async def _seal_rows(
    connection: Connection, vault: Vault, column: Column, rows: Sequence[Any]
) -> int:
    same = " AND ".join(f"{name} = :{name}" for name in column.key)
    update = text(
        f"UPDATE {column.table} SET {column.name} = :new WHERE {same} AND {column.name} = :old"
    )
    given = [
        {**dict(zip(column.key, _key(column, row), strict=True)), "old": row.sealed, "new": new}
        for row in rows
        if (new := _anew(vault, row.sealed, column.place(row.owner)))
    ]
    for one in given:
        await connection.execute(update, one)
    return len(given)


def _anew(vault: Vault, sealed: bytes, place: str) -> bytes | None:
    """None: it is as it should be, or opens with no key."""
    if _how(vault, sealed, place) in {"current", NO_KEY}:
        return None
    return vault.seal(vault.open(sealed, place), place)


def _key(column: Column, row: Any) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in column.key)
