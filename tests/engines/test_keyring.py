"""The keyring: what is changed anywhere is obeyed here, and asking it costs no query."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from database import sources, tokens
from database.pool import Database
from domain.access import Grant, Scope, TokenId, digest
from domain.source import Source, new_source
from engines.access.doorkeeper import grants_of
from engines.access.keyring import EVERY, Keyring
from engines.clock import utc_now
from engines.supervisor import running
from engines.worker import Worker
from tests.conftest import FrozenClock
from tests.database.rows import Rows, new_id
from tests.engines.conditions import until

SETTINGS = grants_of(webhook="w" * 32, finviz_update="f" * 32, admin="a" * 32)
ALERTS = Grant(
    id=TokenId(new_id()),
    name="main",
    digest=digest("t" * 47),
    scopes=frozenset({Scope.INGEST}),
    source="momentum",
)
TOKEN = "t" * 47


def keyring(database: Database, clock: FrozenClock | None = None) -> Keyring:
    return Keyring(database=database, of_settings=SETTINGS, clock=clock or utc_now)


async def make(rows: Rows, grant: Grant = ALERTS) -> None:
    async with rows.database.write() as connection:
        if grant.source and await sources.one(connection, grant.source) is None:
            await sources.create(connection, Source(name=grant.source), actor="me")
        assert await tokens.create(connection, grant, hint="tttt", actor="me")


async def revoke(rows: Rows) -> None:
    async with rows.database.write() as connection:
        assert ALERTS.id
        assert await tokens.revoke(connection, ALERTS.id, actor="me", reason=None)


@asynccontextmanager
async def replicas(
    rows: Rows, count: int
) -> AsyncGenerator[tuple[Sequence[Keyring], Sequence[Worker]]]:
    """Keyrings at work on one database, each as in a process of its own."""
    rings = [keyring(rows.database) for _ in range(count)]
    workers = [Worker("keyring", ring.step, utc_now) for ring in rings]
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(workers, grace=timedelta(seconds=2)))
        yield rings, workers


async def within_two_seconds(workers: Sequence[Worker], condition: Callable[[], bool]) -> None:
    """By the end of the second step of each; of seconds a machine that stands still has more."""
    assert timedelta(seconds=1) >= EVERY
    before = [worker.health.steps for worker in workers]
    await until(condition)
    taken = [worker.health.steps - was for worker, was in zip(workers, before, strict=True)]
    assert max(taken) <= 2


async def test_what_is_made_or_revoked_anywhere_holds_everywhere_within_two_seconds(
    rows: Rows,
) -> None:
    async with replicas(rows, 2) as (rings, workers):
        await make(rows)
        held = partial(within_two_seconds, workers)
        await held(lambda: all(ring.grant(TOKEN, Scope.INGEST) for ring in rings))
        assert [ring.source("momentum").dedupe for ring in rings] == [None, None]

        async with rows.database.write() as connection:
            wanted = new_source("momentum", {"dedupe_sec": 7})
            assert await sources.change(connection, wanted, version=1, actor="me")
        await held(lambda: all(ring.source("momentum") == wanted for ring in rings))

        await revoke(rows)
        await rings[0].follow()
        assert rings[0].grant(TOKEN, Scope.INGEST) is None, "its own word holds at once"
        await held(lambda: rings[1].grant(TOKEN, Scope.INGEST) is None)


async def test_a_token_allows_its_scopes_and_the_settings_stay(rows: Rows) -> None:
    ring = keyring(rows.database)
    assert ring.grant("a" * 32, Scope.TRADE) is SETTINGS[2]
    await make(rows)
    await ring.refresh()
    found = ring.grant(TOKEN, Scope.INGEST)
    assert found == replace(ALERTS, name="token main")
    for scope in set(Scope) - {Scope.INGEST}:
        assert ring.grant(TOKEN, scope) is None
    assert ring.grant("a" * 32, Scope.TRADE) is SETTINGS[2]
    for wrong in (None, "", TOKEN[:-1], TOKEN.upper(), "\ud800"):
        assert ring.grant(wrong, Scope.INGEST) is None


async def test_a_token_ends_at_its_moment_without_a_look(rows: Rows, clock: FrozenClock) -> None:
    ends = clock.now + timedelta(seconds=10)
    await make(rows, replace(ALERTS, expires_at=ends))
    ring = keyring(rows.database, clock)
    await ring.refresh()
    clock.advance(seconds=9.999999)
    assert ring.grant(TOKEN, Scope.INGEST)
    clock.advance(microseconds=1)
    assert ring.grant(TOKEN, Scope.INGEST) is None
    assert ring.is_own(TOKEN), "it is cut from bodies all the same"
    assert not ring.is_own("")


async def test_while_the_database_is_away_what_was_known_stays(rows: Rows) -> None:
    await make(rows)
    away = Database.connect("postgresql+asyncpg://nobody@127.0.0.1:1/none", pool=1)
    ring = keyring(rows.database)
    await ring.refresh()
    ring.database = away
    with pytest.raises(OSError, match="Connect"):
        await ring.step()
    await ring.follow()
    assert ring.grant(TOKEN, Scope.INGEST)
    await away.close()


async def test_nothing_is_read_again_while_nothing_has_changed(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make(rows)
    ring = keyring(rows.database)
    await ring.step()
    read: list[object] = []
    monkeypatch.setattr(tokens, "ring", read.append)
    await ring.step()
    assert read == []


async def test_a_source_nobody_knows_has_no_policy_of_its_own(rows: Rows) -> None:
    ring = keyring(rows.database)
    assert ring.source("gone") == Source(name="gone")
    assert ring.source(None) == Source(name="webhook")
    await ring.refresh()
    assert ring.source(None).note


# ── When it was last used ───────────────────────────────────────────────────────────────────


async def used(rows: Rows) -> object:
    [at] = await rows.sql("SELECT last_used_at FROM tokens")
    return at


async def test_use_is_written_by_the_step_and_not_more_often_than_every_half_minute(
    rows: Rows, clock: FrozenClock
) -> None:
    await make(rows)
    ring = keyring(rows.database, clock)
    await ring.step()
    assert await used(rows) is None

    def use() -> None:
        assert ring.grant(TOKEN, Scope.INGEST)

    first = clock.now
    use()
    assert await used(rows) is None, "the hot path writes nothing"
    await ring.step()
    assert await used(rows) == first
    for seconds, written in ((10, first), (19.9, first), (0.1, first + timedelta(seconds=30))):
        clock.advance(seconds=seconds)
        use()
        await ring.step()
        assert await used(rows) == written
    clock.advance(hours=1)
    await ring.step()
    assert await used(rows) == first + timedelta(seconds=30), "silence is no use"


async def test_a_use_that_could_not_be_written_is_written_later(
    rows: Rows, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make(rows)
    ring = keyring(rows.database, clock)
    await ring.refresh()
    ring.grant(TOKEN, Scope.INGEST)

    async def fails(*_given: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as broken:
        broken.setattr(tokens, "used", fails)
        with pytest.raises(ConnectionError):
            await ring.step()
    await ring.step()
    assert await used(rows) == clock.now


async def test_a_wrong_scope_is_no_use(rows: Rows, clock: FrozenClock) -> None:
    await make(rows)
    ring = keyring(rows.database, clock)
    await ring.refresh()
    assert ring.grant(TOKEN, Scope.READ) is None
    assert ring.is_own(TOKEN)
    await ring.step()
    assert await used(rows) is None
