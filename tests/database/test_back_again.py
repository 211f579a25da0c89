"""Back from a newer version, as docs/backup.md has it: what that made in the database goes too."""

import gzip
from pathlib import Path

import pytest

from database import restoring
from database.migrate import head
from database.restoring import NotEmptyError
from domain.backup import DamagedError, Reading
from tests.database.rows import Rows as Hands
from tests.database.test_backups import backed_up, furnished, nobody, restored

NEWER = (
    "CREATE TYPE mood AS ENUM ('calm')",
    "CREATE DOMAIN ratio AS numeric CHECK (VALUE <= 1)",
    "CREATE TABLE strategies (id bigserial PRIMARY KEY, mood mood NOT NULL, share ratio)",
    "CREATE TABLE runs (strategy_id bigint REFERENCES strategies, at date) PARTITION BY RANGE (at)",
    "CREATE TABLE runs_of_2026 PARTITION OF runs FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
    'CREATE VIEW "calm ones" AS SELECT strategies.* FROM strategies JOIN signals ON true',
    "CREATE SEQUENCE turns",
    "CREATE FUNCTION turn(one strategies) RETURNS bigint LANGUAGE sql AS 'SELECT one.id'",
    "CREATE FUNCTION refuse_change(mood) RETURNS bigint LANGUAGE sql AS 'SELECT 1'",
    "UPDATE alembic_version SET version_num = '9999'",
)
"""What a migration to come may make."""


async def upgraded(rows: Hands) -> None:
    for statement in NEWER:
        await rows.sql(statement)


async def test_what_a_newer_version_made_goes_so_that_it_can_make_it_again(
    rows: Hands, tmp_path: Path
) -> None:
    await furnished(rows)
    path, taken = await backed_up(rows.database, tmp_path)
    await upgraded(rows)
    done = await restored(rows.database, path, replace=True, embedded=True)
    assert done.rows == taken.rows
    assert await rows.sql("SELECT version_num FROM alembic_version") == [head()]
    await upgraded(rows)


async def test_what_breaks_off_on_the_way_back_leaves_the_newer_version(
    rows: Hands, tmp_path: Path
) -> None:
    path, _ = await backed_up(rows.database, tmp_path)
    await upgraded(rows)
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    reading = Reading(iter(lines[:-2]))
    with pytest.raises(DamagedError):
        await restoring.restore(
            rows.database, reading, replace=True, embedded=True, actor="a test", step=nobody
        )
    assert await rows.sql("SELECT version_num FROM alembic_version") == ["9999"]
    assert await rows.sql("SELECT count(*) FROM strategies") == [0]


async def test_on_a_server_of_ones_own_what_is_unknown_is_named_and_left(
    rows: Hands, tmp_path: Path
) -> None:
    """Another program may have made it."""
    path, _ = await backed_up(rows.database, tmp_path)
    await upgraded(rows)
    with pytest.raises(NotEmptyError, match="newer version") as told:
        await restored(rows.database, path, replace=True)
    named = str(told.value)
    for what in ("table public.strategies", 'view public."calm ones"', "sequence public.turns"):
        assert what in named
    assert "function public.turn(public.strategies), " in named
    assert not {"strategies_id_seq", "runs_of_2026", "signals", "alembic"} & {*named.split()}
    assert await rows.sql("SELECT version_num FROM alembic_version") == ["9999"]
    for statement in ("DROP TABLE strategies, runs CASCADE", "DROP SEQUENCE turns"):
        await rows.sql(statement)
    await rows.sql("DROP TYPE mood, ratio CASCADE")
    await restored(rows.database, path, replace=True)
