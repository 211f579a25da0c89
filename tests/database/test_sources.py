"""Sources in the database: made, changed, put away, each with its event; and what came of them."""

import asyncio
import re
from datetime import timedelta
from enum import StrEnum

import pytest

from database import sources, tokens
from database.sources import NameTakenError
from domain.access import Grant, Scope, TokenId, digest
from domain.rules import Direction
from domain.source import Source, changed_source, new_source, told
from engines.clock import utc_now
from tests.database.rows import SELL, Rows, an_entry, new_id
from tests.engines.conditions import until_rows

MOMENTUM = new_source("momentum", {"direction": "buy", "dedupe_sec": 5, "note": "mine"})


def a_grant(name: str = "one", source: str | None = "momentum") -> Grant:
    return Grant(
        id=TokenId(new_id()),
        name=name,
        digest=digest(name),
        scopes=frozenset({Scope.INGEST}),
        source=source,
    )


async def create(rows: Rows, source: Source = MOMENTUM) -> None:
    async with rows.database.write() as connection:
        await sources.create(connection, source, actor="an operator")


async def give(rows: Rows, grant: Grant) -> bool:
    async with rows.database.write() as connection:
        return await tokens.create(connection, grant, hint="abcd", actor="an operator")


async def put_away(rows: Rows, name: str = "momentum") -> bool:
    async with rows.database.write() as connection:
        await sources.hold(connection, name)
        return await sources.archive(connection, name, actor="an operator", reason="done")


async def test_the_source_of_the_settings_is_there_from_the_start(rows: Rows) -> None:
    async with rows.database.read() as connection:
        (only,) = await sources.listed(connection)
    assert only.source.built_in
    assert told(only.source) == told(Source(name="webhook", note=only.source.note))
    assert await put_away(rows, "webhook") is False


async def test_a_source_is_kept_with_its_event(rows: Rows) -> None:
    await create(rows)
    async with rows.database.read() as connection:
        kept = await sources.one(connection, "momentum")
        assert [one.source.name for one in await sources.listed(connection)] == [
            "webhook",
            "momentum",
        ]
    assert kept
    assert (kept.source, kept.version, kept.archived_at) == (MOMENTUM, 1, None)
    [(actor, detail)] = await rows.sql("SELECT actor, detail FROM events")
    assert actor == "an operator"
    assert (detail["source"], detail["was"]) == ("momentum", None)
    assert detail["becomes"] == told(MOMENTUM)


async def test_a_name_is_given_once_and_for_ever(rows: Rows) -> None:
    await create(rows)
    for _ in range(2):
        with pytest.raises(NameTakenError):
            await create(rows)
        await put_away(rows)
    assert await rows.events() == ["source.created", "source.archived"]


async def test_a_change_says_what_was_and_what_becomes(rows: Rows) -> None:
    await create(rows)
    wanted = changed_source(MOMENTUM, {"direction": "sell", "dedupe_sec": None})
    async with rows.database.write() as connection:
        assert await sources.change(connection, wanted, version=1, actor="another")
    async with rows.database.read() as connection:
        kept = await sources.one(connection, "momentum")
    assert kept
    assert (kept.source, kept.version) == (wanted, 2)
    [(actor, detail)] = await rows.sql(
        "SELECT actor, detail FROM events WHERE event = 'source.changed'"
    )
    assert (actor, detail["version"]) == ("another", 2)
    assert (detail["was"], detail["becomes"]) == (told(MOMENTUM), told(wanted))


async def test_of_two_changes_at_once_one_is_made(rows: Rows) -> None:
    await create(rows)

    async def change(direction: str) -> bool:
        wanted = changed_source(MOMENTUM, {"direction": direction})
        async with rows.database.write() as connection:
            return await sources.change(connection, wanted, version=1, actor="somebody")

    assert sorted(await asyncio.gather(change("sell"), change("both"))) == [False, True]
    assert (await rows.events()).count("source.changed") == 1
    await put_away(rows)
    assert not await change("buy")


async def test_putting_a_source_away_revokes_its_tokens_and_no_others(rows: Rows) -> None:
    await create(rows)
    for grant in (a_grant("one"), a_grant("two"), a_grant("other", None)):
        assert await give(rows, grant)
    assert await put_away(rows)
    assert not await put_away(rows)
    async with rows.database.read() as connection:
        assert [one.name for one in await tokens.listed(connection)] == ["other"]
        assert [one.name for one in await tokens.ring(connection)] == ["token other"]
        assert [one.source.name for one in await sources.listed(connection)] == ["webhook"]
        assert len(await sources.listed(connection, archived=True)) == 2
    told_of = await rows.events()
    assert told_of.count("token.revoked") == 2
    assert told_of.count("source.archived") == 1
    assert not await give(rows, a_grant("late"))


async def test_a_token_made_while_its_source_is_put_away_does_not_outlive_it(rows: Rows) -> None:
    """Whoever comes first, the other waits for it: no token of an archived source is left."""
    await create(rows)
    async with rows.database.write() as connection:
        await sources.hold(connection, "momentum")
        made = asyncio.ensure_future(give(rows, a_grant("late")))
        await until_rows(rows.somebody_waits)
        await sources.archive(connection, "momentum", actor="an operator")
    assert await made is False
    assert await rows.sql("SELECT count(*) FROM tokens") == [0]


async def test_what_came_is_counted_by_source(rows: Rows) -> None:
    await create(rows)
    await create(rows, Source(name="silent"))
    await rows.append(*(an_entry(source="momentum") for _ in range(3)))
    await rows.append(an_entry(source="momentum", side=SELL), an_entry(source="webhook"))
    await rows.append(an_entry(source="momentum", lifetime=timedelta(0)))
    # A minute ago is late enough for three minutes, whatever day it was.
    await rows.sql(
        "UPDATE signals SET received_at = now() - interval '4 minutes'"
        " WHERE seq IN (SELECT seq FROM signals WHERE source = 'momentum' ORDER BY seq LIMIT 1)"
    )
    async with rows.database.read() as connection:
        counts = await sources.counts(connection)
    [midnight] = await rows.sql(
        "SELECT now() - interval '4 minutes' < date_trunc('day', now(), 'UTC')"
    )
    assert counts["momentum"].today == {"received": 3 if midnight else 4, "expired": 1}
    assert counts["momentum"].lately == 4
    assert counts["webhook"].today == {"received": 1}
    assert (counts["silent"].today, counts["silent"].lately) == ({}, 0)
    assert counts["silent"].last_at is None
    [last] = await rows.sql("SELECT max(received_at) FROM signals WHERE source = 'momentum'")
    assert counts["momentum"].last_at == last


async def test_the_last_signal_of_a_silent_source_is_what_the_watchman_heard(rows: Rows) -> None:
    await create(rows)
    ago = utc_now() - timedelta(days=40)
    await rows.sql("INSERT INTO hearings (source, last_at) VALUES ('momentum', :at)", at=ago)
    async with rows.database.read() as connection:
        counts = (await sources.counts(connection))["momentum"]
    assert (counts.last_at, counts.today, counts.lately) == (ago, {}, 0)
    await rows.append(an_entry(source="momentum"))
    async with rows.database.read() as connection:
        counts = (await sources.counts(connection))["momentum"]
    assert counts.last_at
    assert counts.last_at > ago


async def test_repeats_are_alerts_too(rows: Rows) -> None:
    """The sender counts what it sends, and stops itself at fifteen."""
    await create(rows)
    entry = an_entry(source="momentum")
    await rows.append(entry)
    for _ in range(2):
        await rows.append(entry._replace(id=new_id()))
    async with rows.database.read() as connection:
        counts = (await sources.counts(connection))["momentum"]
    assert (counts.today, counts.lately) == ({"received": 1}, 3)


@pytest.mark.parametrize(
    ("table", "column", "words"), [("sources", "direction", Direction), ("tokens", "scopes", Scope)]
)
async def test_the_domain_and_its_column_know_the_same_words(
    rows: Rows, table: str, column: str, words: type[StrEnum]
) -> None:
    [check] = await rows.sql(
        "SELECT pg_get_constraintdef(pg_constraint.oid) FROM pg_constraint"
        " JOIN pg_attribute ON attrelid = conrelid AND attnum = conkey[1]"
        " WHERE contype = 'c' AND conrelid = CAST(:table AS regclass) AND attname = :column"
        " AND cardinality(conkey) = 1",
        table=table,
        column=column,
    )
    assert set(re.findall(r"'(\w+)'", check)) == set(words)
