"""A backup of a database with something in every state, and what becomes of it elsewhere."""

import asyncio
import gzip
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text

from database import attention, backups, clearing, forgetting, rebuilding, restoring, tallies
from database.backup_file import opened, written
from database.backups import INSTEAD, About, Taken
from database.migrate import ROLE, head, migrate
from database.pool import Database
from database.restoring import NewerError, NotEmptyError, Restored, RunningError
from database.vault import Vault
from domain.attention import findings
from domain.backup import (
    KEPT,
    LEFT_OUT,
    DamagedError,
    Header,
    Reading,
    Table,
    Writing,
)
from tests.clones import address, created
from tests.database.rows import OK, SELL, settlement
from tests.database.rows import Rows as Hands
from tests.database.test_chain import examined, linked

ABOUT = About(version="0.1.0", keys=("a1b2c3",))
PENDING = """
    INSERT INTO pending_addresses
    SELECT id, '\\x00', 'https//other.example', '\\x00', '{}', '{}', now(), 'somebody',
           now() + interval '1 minute'
    FROM destinations
"""


def nobody(_table: str, _rows: int) -> None:
    """Is told how far it is."""


@asynccontextmanager
async def empty() -> AsyncGenerator[Database]:
    """A database without a table."""
    name = f"restored_{uuid4().hex}"
    async with created(name):
        database = Database.connect(address(name), pool=2, patience=timedelta(minutes=1))
        yield database
        await database.close()


@pytest.fixture
async def target(template: str) -> AsyncGenerator[Database]:
    assert template  # there is a server
    async with empty() as database:
        yield database


async def furnished(rows: Hands, *, seen: bool = False) -> None:
    """Something in every state, some of it linked, some of it perhaps seen by the watchman."""
    await rows.adopt(await rows.screen(), "HELD", "WIRE", "LATE")
    main = await rows.destination()
    await rows.bought(main, "HELD")
    await rows.bought(main, "GONE")
    await rows.alert("GONE", SELL)
    await rows.decide()
    (leaving,) = await rows.lease(main)
    await rows.settle(settlement(leaving, OK))
    await linked(rows)
    await rows.alert("SEEN", SELL)
    await rows.decide()
    if seen:
        await until_found(rows, ["sell_refused 1"])
    await rows.alert("UNSEEN", SELL)
    await rows.decide()
    await rows.alert("WIRE")
    await rows.decide()
    assert await rows.lease(main)
    await rows.alert("QUEUED")
    await rows.alert("HELD", SELL)
    await rows.decide()
    async with rows.database.write() as connection:
        await tallies.roll(connection, 100)
        await forgetting.set_floor(connection, timedelta(days=30))
    await rows.alert("LATE", SELL)
    for statement in (
        "INSERT INTO sessions (id_hash, created_at, seen_at) VALUES ('\\x00', now(), now())",
        PENDING,
        "INSERT INTO saved_filters VALUES ('somebody', 'signals', 'tab	and \\ and\nline', '?é=1')",
        "INSERT INTO jobs (id, kind, state, made_by) VALUES (gen_random_uuid(), '', 'running', '')",
    ):
        await rows.sql(statement)


async def look(database: Database) -> None:
    """As the watchman does."""
    async with database.write() as connection:
        mark = await attention.claim(connection, every=timedelta(0))
        assert mark
        passage = await attention.read(connection, mark, 500)
        await attention.keep(connection, findings(passage.events))
        await attention.move(connection, passage.mark, looked=False)


async def until_found(rows: Hands, expected: list[str]) -> None:
    """What runs beside us on the same server may hide the newest events for a moment."""
    found: list[str] = []
    deadline = time.monotonic() + 60
    while found != expected:
        assert time.monotonic() < deadline, found
        await look(rows.database)
        await asyncio.sleep(0.05)
        found = list(await rows.sql("SELECT cause || ' ' || count FROM attention ORDER BY 1"))


async def backed_up(database: Database, folder: Path) -> tuple[Path, Taken]:
    path = folder / "one.backup.gz"
    with written(path) as file:
        return path, await backups.take(database, file.write, ABOUT, nobody)


async def restored(
    database: Database, path: Path, *, replace: bool = False, embedded: bool = False
) -> Restored:
    with opened(path) as reading:
        return await restoring.restore(
            database, reading, replace=replace, embedded=embedded, actor="a test", step=nobody
        )


async def contents(database: Database, *, without: Mapping[str, str]) -> dict[str, object]:
    """Number and digest of the rows of each table; the columns that are told otherwise left out."""
    found: dict[str, object] = {}
    async with database.read() as connection:
        for row in await connection.execute(backups.TABLES, {"names": [*KEPT]}):
            columns = [one for one in row.columns if (row.name, one) not in INSTEAD]
            listed = ", ".join(f'"{one}"' for one in columns)
            chosen = without.get(row.name, "true")
            digest = await connection.execute(
                text(f"""
                SELECT count(*), md5(coalesce(string_agg(line, '' ORDER BY line), '')) FROM (
                    SELECT CAST(ROW({listed}) AS text) AS line FROM "{row.name}" WHERE {chosen}
                ) AS lines""")
            )
            found[row.name] = tuple(digest.one())
    return found


async def test_every_table_and_function_of_the_schema_was_thought_of(database: Database) -> None:
    async with database.read() as connection:
        tables = await connection.execute(
            text(
                "SELECT relname FROM pg_class WHERE relkind = 'r'"
                " AND relnamespace = CAST('public' AS regnamespace)"
            )
        )
        assert {*tables.scalars()} == {*KEPT, *LEFT_OUT, "alembic_version"}
        functions = await connection.execute(
            text("SELECT proname FROM pg_proc WHERE pronamespace = CAST('public' AS regnamespace)")
        )
        assert {*functions.scalars()} == {*clearing.FUNCTIONS}
        for name, column in INSTEAD:
            known = await connection.execute(backups.TABLES, {"names": [name]})
            assert column in known.one().columns


async def test_every_row_of_every_table_is_in_it(
    rows: Hands, target: Database, tmp_path: Path
) -> None:
    await furnished(rows)
    path, taken = await backed_up(rows.database, tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    with opened(path) as reading:
        reading.check()
    assert {name: one.rows for name, one in taken.counts.items()} == {
        name: one.rows for name, one in reading.counts.items()
    }
    assert reading.header.schema == head()
    await migrate(target)
    async with target.write() as connection:
        with opened(path) as again:
            await restoring.fill(connection, again, nobody)
    assert await contents(target, without={}) == await contents(rows.database, without={})
    assert all(taken.counts[name].rows for name in ("events", "links", "tallies", "saved_filters"))


async def test_what_was_under_way_is_not_done_again(
    rows: Hands, target: Database, tmp_path: Path
) -> None:
    await furnished(rows)
    path, taken = await backed_up(rows.database, tmp_path)
    before = await contents(rows.database, without=UNTOUCHED)
    done = await restored(target, path)
    assert (done.held, done.expired, done.addresses, done.positions) == (3, 1, 1, 3)
    assert done.rows == taken.rows
    here = Hands(target, rows.vault)
    assert await here.sql("SELECT state FROM deliveries WHERE finished_at IS NULL") == ["held"] * 3
    assert await here.sql("SELECT DISTINCT reason FROM deliveries WHERE state = 'held'") == [
        "restored"
    ]
    assert await here.sql("SELECT reason FROM signals WHERE ticker = 'LATE'") == ["expired"]
    (paused,) = await here.sql("SELECT paused_reason FROM gate")
    assert paused == f"restored from a backup of {taken.header.taken_at}"
    assert await here.sql("SELECT count(*) FROM sessions") == [0]
    assert await here.sql("SELECT count(*) FROM pending_addresses") == [0]
    assert await here.sql("SELECT state FROM jobs") == ["failed"]
    (told,) = await here.sql("SELECT detail FROM events WHERE event = 'database.restored'")
    assert (told["held"], told["link"]) == (3, taken.header.head and taken.header.head[0])
    assert await here.sql("SELECT key FROM attention ORDER BY id") == ["restored"]
    assert await contents(target, without=UNTOUCHED) == before


UNTOUCHED = {
    "deliveries": "finished_at IS NOT NULL",
    "signals": "ticker <> 'LATE'",
    "events": "id <= (SELECT last_id FROM links ORDER BY number DESC LIMIT 1)",
    "attention": "key <> 'restored'",
    **dict.fromkeys(("gate", "jobs", "pending_addresses"), "false"),
    "gate_versions": "version = 1",
}
"""The rows that a restore leaves as they were."""


async def test_the_trail_tells_what_is_there_and_its_chain_is_whole(
    rows: Hands, target: Database, tmp_path: Path
) -> None:
    await furnished(rows)
    path, taken = await backed_up(rows.database, tmp_path)
    await restored(target, path)
    async with target.read() as connection:
        compared = await rebuilding.compare(connection)
    assert (compared.differences, compared.deliveries) == ([], 6)
    here = Hands(target, rows.vault)
    assert taken.header.head
    assert [one.hash.hex() for one in await linked(here)] != []
    examination = await examined(target)
    assert (examination.broken, examination.waiting) == (None, 0)
    assert examination.events == (await here.sql("SELECT count(*) FROM events"))[0]
    first = await here.sql(f"SELECT hash FROM links WHERE number = {taken.header.head[0]}")
    assert first[0].hex() == taken.header.head[1]


async def test_it_goes_on_where_it_was(rows: Hands, target: Database, tmp_path: Path) -> None:
    """New rows get new numbers, and the watchman sees what he had not, once."""
    await furnished(rows, seen=True)
    path, _ = await backed_up(rows.database, tmp_path)
    await restored(target, path)
    here = Hands(target, rows.vault)
    for table, column in (("signals", "seq"), ("events", "id"), ("attention", "id")):
        (last,) = await here.sql(f"SELECT max({column}) FROM {table}")
        name = f"pg_get_serial_sequence('{table}', '{column}')"
        (following,) = await here.sql(f"SELECT nextval({name})")
        assert following > (last or 0)
    refused = ["sell_refused 1"] * 2
    await until_found(here, ["held 1"] * 4 + refused + ["sell_undelivered 1"])
    await here.alert("HELD", SELL)
    assert await here.decide()
    assert await here.sql("SELECT count(*) FROM deliveries WHERE state = 'queued'") == [0]


async def test_the_relays_own_role_may_what_it_may(
    rows: Hands, target: Database, tmp_path: Path
) -> None:
    """It may take a backup, too."""
    own = Database.connect(rows.database.url, pool=1, patience=timedelta(minutes=1), role=ROLE)
    path, _ = await backed_up(own, tmp_path)
    await own.close()
    await restored(target, path)
    here = Hands(target, rows.vault)
    for right, may in (("SELECT", True), ("UPDATE", False), ("DELETE", False)):
        asked = f"SELECT has_table_privilege('trading_relay', 'events', '{right}')"
        assert await here.sql(asked) == [may]


# ── What is refused, and leaves everything as it was ────────────────────────────────────────


async def test_a_database_that_has_something_is_replaced_only_when_that_is_said(
    rows: Hands, database: Database, target: Database, tmp_path: Path
) -> None:
    path, _ = await backed_up(database, tmp_path)
    await migrate(target)
    there = Hands(target, rows.vault)
    await there.alert("OLD")
    await there.sql("CREATE TABLE beside (id integer)")
    with pytest.raises(NotEmptyError):
        await restored(target, path)
    assert await there.sql("SELECT ticker FROM signals") == ["OLD"]
    await restored(target, path, replace=True)
    assert await there.sql("SELECT ticker FROM signals") == []
    assert await there.sql("SELECT count(*) FROM beside") == [0]


async def test_tables_of_somebody_else_are_never_taken(
    database: Database, tmp_path: Path, target: Database
) -> None:
    path, _ = await backed_up(database, tmp_path)
    async with target.write() as connection:
        await connection.execute(text("CREATE TABLE jobs (id integer)"))
    with pytest.raises(NotEmptyError, match="no relay's: jobs"):
        await restored(target, path, replace=True)


async def test_a_relay_that_runs_there_is_left_alone(
    database: Database, target: Database, tmp_path: Path, vault: Vault
) -> None:
    path, _ = await backed_up(database, tmp_path)
    patience = timedelta(minutes=1)
    relay = Database.connect(target.url, pool=1, patience=patience, keys=vault.fingerprints)
    async with relay.read() as connection:
        await connection.execute(text("SELECT 1"))
        with pytest.raises(RunningError):
            await restored(target, path)
    await relay.close()
    assert await restored(target, path)


async def test_what_breaks_off_at_the_very_end_leaves_what_was_there(
    rows: Hands, target: Database, tmp_path: Path
) -> None:
    await furnished(rows)
    path, _ = await backed_up(rows.database, tmp_path)
    await migrate(target)
    there = Hands(target, rows.vault)
    await there.alert("OLD")
    before = await contents(target, without={})
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    reading = Reading(iter([*lines[:-1], b'{"end":{"tables":33,"sha256":""}}\n']))
    with pytest.raises(DamagedError, match="not as it was written"):
        await restoring.restore(target, reading, replace=True, actor="a test", step=nobody)
    assert await contents(target, without={}) == before
    assert await there.sql("SELECT version_num FROM alembic_version") == [head()]


@pytest.mark.parametrize(
    ("schema", "error"), [("9999", NewerError), ("0000", DamagedError), ("*", DamagedError)]
)
async def test_another_schema_than_there_ever_was(schema: str, error: type[Exception]) -> None:
    header = Header(version="9", schema=schema, taken_at="2026-11-22T08:00:00+00:00", postgres=1)
    with pytest.raises(error):
        restoring.require_known(header)


async def test_columns_that_never_were_are_refused(target: Database) -> None:
    header = Header(version="1", schema=head(), taken_at="2026-11-22", postgres=1)
    writing = Writing()
    lines = writing.begin(header, {}) + writing.table(Table("gate", ("id", "x) FROM gate --")))
    lines += writing.end_table("gate") + writing.end({})
    with pytest.raises(DamagedError, match="columns"):
        await restoring.restore(
            target,
            Reading(iter(lines.splitlines(keepends=True))),
            replace=False,
            actor="a test",
            step=nobody,
        )
