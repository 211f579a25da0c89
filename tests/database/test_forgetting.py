"""What is over and old goes with everything it left; nothing that is unfinished ever does."""

import random  # noqa: TID251  chance is drawn from a seed
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from database import forgetting
from database.forgetting import Place
from tests.database.rows import Rows

KEEP = timedelta(days=30)
OLD, YOUNG = 31, 29
UNFINISHED = ("queued", "sending", "held")
FINISHED = ("delivered", "dead", "expired", "superseded", "cancelled")


@dataclass(slots=True)
class Made:
    """A signal as it was made up, and what of it the rules of keeping look at."""

    id: UUID
    days: int
    status: str
    batch: UUID | None = None
    replay_of: UUID | None = None
    deliveries: list[tuple[UUID, str, int, UUID | None]] = field(
        default_factory=list[tuple[UUID, str, int, UUID | None]]
    )


@dataclass(slots=True)
class World:
    """Made-up signals and all that may hold them back."""

    signals: dict[UUID, Made] = field(default_factory=dict[UUID, Made])
    positions: dict[UUID, tuple[str, int, UUID | None, UUID | None]] = field(
        default_factory=dict[UUID, tuple[str, int, UUID | None, UUID | None]]
    )
    batches: dict[UUID, int] = field(default_factory=dict[UUID, int])
    attention: list[tuple[str, UUID, bool]] = field(default_factory=list[tuple[str, UUID, bool]])
    keys: list[tuple[UUID, bool]] = field(default_factory=list[tuple[UUID, bool]])

    def positions_of(self, one: Made) -> set[UUID]:
        through = {position for *_, position in one.deliveries}
        return {
            id
            for id, (_, _, entry, exit) in self.positions.items()
            if one.id in {entry, exit} or id in through
        }

    def is_over(self, id: UUID) -> bool:
        """A position that holds nothing back any more."""
        state, days, *_ = self.positions[id]
        busy = any(
            position == id and delivery in UNFINISHED
            for one in self.signals.values()
            for _, delivery, _, position in one.deliveries
        )
        return state in {"closed", "void"} and days == OLD and not busy

    def may_go(self, one: Made) -> bool:
        """The rules in Python: slow, and said another way than in SQL."""
        positions = self.positions_of(one)
        things = {one.id, *positions, *(id for id, *_ in one.deliveries)}
        return (
            one.days == OLD
            and one.status != "received"
            and all(state in FINISHED and days == OLD for _, state, days, _ in one.deliveries)
            and all(self.is_over(id) for id in positions)
            and (one.batch is None or self.batches[one.batch] == OLD)
            and not any(
                other.replay_of == one.id and other.days == YOUNG for other in self.signals.values()
            )
            and not any(open and id in things for _, id, open in self.attention)
            and not any(live and id == one.id for id, live in self.keys)
        )


def a_world(dice: random.Random, size: int) -> World:
    world = World(batches={uuid4(): dice.choice((OLD, YOUNG)) for _ in range(4)})
    for _ in range(size):
        one = Made(
            uuid4(),
            dice.choice((OLD, OLD, OLD, YOUNG)),
            dice.choice(("approved",) * 6 + ("rejected", "received")),
            dice.choice((*world.batches, *[None] * 12)),
            dice.choice((*world.signals, *[None] * 40)) if world.signals else None,
        )
        world.signals[one.id] = one
    ids = [id for id, one in world.signals.items() if one.status == "approved"]
    for _ in range(size // 2):
        entry, exit = (dice.choice((*ids, None)) for _ in range(2))
        state = dice.choice(("closed", "closed", "void", "closing"))
        world.positions[uuid4()] = (state, dice.choice((OLD, OLD, YOUNG)), entry, exit)
    for id in ids:
        for _ in range(dice.randrange(2)):
            state = dice.choice((*FINISHED, *FINISHED, "held", "queued"))
            position = dice.choice((*world.positions, *[None] * size))
            days = dice.choice((OLD, OLD, OLD, YOUNG))
            world.signals[id].deliveries.append((uuid4(), state, days, position))
    sent = [d[0] for one in world.signals.values() for d in one.deliveries]
    for kind, them in (("signal", ids), ("delivery", sent), ("position", [*world.positions])):
        for id in dice.sample(them, min(len(them), 3)):
            world.attention.append((kind, id, dice.random() < 0.6))
    world.keys = [(id, dice.random() < 0.5) for id in dice.sample([*world.signals], 4)]
    return world


async def put(rows: Rows, world: World) -> None:
    destination = await rows.destination()
    ago = "now() - make_interval(days => CAST(:days AS integer))"
    for id, days in world.batches.items():
        await rows.sql(
            f"INSERT INTO batches (id, kind, snapshot, made_by, made_at)"
            f" VALUES (:id, 'replay', '[]', 'a test', {ago})",
            id=id,
            days=days,
        )
    for one in world.signals.values():
        await rows.sql(
            "INSERT INTO signals (id, source, ticker, side, content_type, body, body_sealed, hop,"
            " received_at, expires_at, status, reason, judged_at, batch_id, replay_of)"
            f" SELECT :id, 'webhook', 'T', 'buy', 'text/plain', '', false, 0, at, at, :status,"
            " CASE :status WHEN 'rejected' THEN 'cooldown' END,"
            " CASE WHEN :status <> 'received' THEN at END, :batch, :replay_of"
            f" FROM (SELECT {ago} AS at) AS moment",
            **{name: getattr(one, name) for name in ("id", "days", "status", "batch", "replay_of")},
        )
    for id, (state, days, entry, exit) in world.positions.items():
        await rows.sql(
            "INSERT INTO positions (id, ticker, state, entry_signal_id, exit_signal_id, opened_at,"
            f" updated_at) VALUES (:id, 'T', :state, :entry, :exit, {ago}, {ago})",
            id=id,
            state=state,
            days=days,
            entry=entry,
            exit=exit,
        )
    for one in world.signals.values():
        for delivery in one.deliveries:
            await _put_delivery(rows, destination.id, one, delivery)
    for kind, id, open in world.attention:
        await rows.sql(
            f"INSERT INTO attention (cause, key, severity, text, first_at, last_at, {kind}_id,"
            " resolved_at) VALUES ('x', :key, 'info', '', now(), now(), :id,"
            " CASE WHEN NOT :open THEN now() END)",
            key=str(id),
            id=id,
            open=open,
        )
    for id, live in world.keys:
        await rows.sql(
            "INSERT INTO dedupe_keys (key, signal_id, expires_at) VALUES"
            " (:key, :id, now() + CASE WHEN :live THEN 1 ELSE -1 END * interval '1 hour')",
            key=id.bytes,
            id=id,
            live=live,
        )
    await rows.sql(
        "INSERT INTO events (at, event, signal_id) SELECT received_at, 'signal.received', id"
        " FROM signals"
    )


async def _put_delivery(
    rows: Rows, destination: UUID, one: Made, delivery: tuple[UUID, str, int, UUID | None]
) -> None:
    id, state, days, position = delivery
    await rows.sql(
        "WITH made AS (INSERT INTO deliveries (id, signal_id, destination_id, destination_version,"
        " seq, ticker, side, state, queued_at, due_at, expires_at, finished_at, position_id)"
        " SELECT :id, :signal, :destination, 1, seq, 'T', 'buy', :state, at, at, at,"
        " CASE WHEN :over THEN at END, :position FROM signals,"
        " (SELECT now() - make_interval(days => CAST(:days AS integer)) AS at) AS moment"
        " WHERE signals.id = :signal RETURNING id)"
        " INSERT INTO attempts (delivery_id, epoch, destination_id, side, number, possible_resend,"
        " started_at) SELECT id, 1, :destination, 'buy', 1, false, now() FROM made",
        id=id,
        signal=one.id,
        destination=destination,
        state=state,
        over=state in FINISHED,
        days=days,
        position=position,
    )


async def forget(rows: Rows, limit: int) -> dict[str, int]:
    """A whole round, as the archivist goes it."""
    deleted: dict[str, int] = {}

    def add(more: Any) -> None:
        for table, count in more.items():
            deleted[table] = deleted.get(table, 0) + count

    place: Place | None = Place()
    while place is not None:
        async with rows.database.write() as connection:
            gone = await forgetting.signals(connection, KEEP, place, limit)
        place = gone.after
        add(gone.deleted)
    after: int | None = 0
    while after is not None:
        async with rows.database.write() as connection:
            events = await forgetting.events(connection, KEEP, after, limit)
        after = events.after
        add(events.deleted)
    async with rows.database.write() as connection:
        add(await forgetting.rest(connection, KEEP, limit))
    return deleted


async def ids(rows: Rows, table: str) -> set[UUID]:
    return set(await rows.sql(f"SELECT id FROM {table}"))


@pytest.mark.parametrize("seed", range(6))
async def test_only_what_is_over_goes(rows: Rows, seed: int) -> None:
    dice = random.Random(seed)
    world = a_world(dice, 60)
    await put(rows, world)
    going = {id for id, one in world.signals.items() if world.may_go(one)}
    assert going
    assert len(going) < len(world.signals)
    deleted = await forget(rows, dice.choice((1, 7, 500)))
    assert await ids(rows, "signals") == world.signals.keys() - going
    left = {d[0] for id, one in world.signals.items() if id not in going for d in one.deliveries}
    assert await ids(rows, "deliveries") == left
    assert set(await rows.sql("SELECT delivery_id FROM attempts")) == left
    assert set(await rows.sql("SELECT signal_id FROM events WHERE signal_id IS NOT NULL")) == (
        world.signals.keys() - going
    )
    bound = {i for i, (_, _, *ends) in world.positions.items() if going & set(ends)}
    loose = {i for i, (_, _, *ends) in world.positions.items() if ends == [None, None]}
    watched = {id for kind, id, open in world.attention if open and kind == "position"}
    free = {id for id in loose - watched if world.is_over(id)}
    assert await ids(rows, "positions") == world.positions.keys() - bound - free
    assert (deleted["signals"], deleted["deliveries"]) == (
        len(going),
        sum(len(world.signals[id].deliveries) for id in going),
    )


async def test_events_of_no_signal_go_by_their_age(rows: Rows) -> None:
    position, actor = uuid4(), "a test"
    await rows.sql(
        "INSERT INTO positions (id, ticker, state, opened_at, updated_at)"
        " VALUES (:id, 'T', 'open', now() - interval '99 days', now() - interval '99 days')",
        id=position,
    )
    for days, event, of in (
        (31, "session.begun", None),
        (31, "position.open", position),
        (31, "position.void", uuid4()),
        (29, "screen.changed", None),
    ):
        await rows.sql(
            "INSERT INTO events (at, event, position_id, actor)"
            " VALUES (now() - make_interval(days => CAST(:days AS integer)), :event, :of, :actor)",
            days=days,
            event=event,
            of=of,
            actor=actor,
        )
    assert (await forget(rows, 2))["events"] == 2
    assert await rows.events() == ["position.open", "screen.changed"]


async def test_batches_attention_and_jobs_go_by_their_age(rows: Rows) -> None:
    for days in (31, 29):
        at = f"now() - interval '{days} days'"
        await rows.sql(
            "INSERT INTO batches (id, kind, snapshot, made_by, made_at)"
            f" VALUES (gen_random_uuid(), 'sell', '[]', 'a test', {at})"
        )
        for resolved in (at, "NULL"):
            await rows.sql(
                "INSERT INTO attention (cause, key, severity, text, first_at, last_at,"
                f" resolved_at) VALUES ('x', gen_random_uuid()::text, 'info', '', {at}, {at},"
                f" {resolved})"
            )
        for state in ("running", "done", "failed"):
            await rows.sql(
                "INSERT INTO jobs (id, kind, state, made_by, updated_at)"
                f" VALUES (gen_random_uuid(), 'x', '{state}', 'a test', {at})"
            )
    deleted = await forget(rows, 500)
    assert {name: deleted[name] for name in ("batches", "attention", "jobs")} == {
        "batches": 1,
        "attention": 1,
        "jobs": 2,
    }


async def test_nobody_else_deletes_events(rows: Rows) -> None:
    await rows.alert()
    for statement in ("DELETE FROM events", "UPDATE events SET actor = 'x'", "TRUNCATE events"):
        with pytest.raises(DBAPIError, match="append-only"):
            await rows.sql(statement)
    await rows.age_events(31)
    async with rows.database.write() as connection:
        (told,) = (await connection.execute(text("SELECT id FROM events"))).scalars()
        await connection.execute(text(f"SELECT forget_events(ARRAY[{told}])"))
        for statement in ("DELETE FROM events", "UPDATE events SET actor = 'x'"):
            with pytest.raises(DBAPIError, match="append-only"):
                async with connection.begin_nested():
                    await connection.execute(text(statement))
    assert list(await rows.sql("SELECT events FROM forgotten")) == [[told]]


PAST = """
    INSERT INTO signals (id, source, ticker, side, content_type, body, body_sealed, hop,
                         received_at, expires_at, status, judged_at)
    SELECT gen_random_uuid(), 'webhook', 'T' || n % 500, 'buy', 'text/plain', '', false, 0,
           now() - interval '60 days' + n * interval '3 min', now(), 'approved', now()
    FROM generate_series(1, 20000) AS n
"""
DELIVERED = """
    INSERT INTO deliveries (signal_id, position_id, destination_id, destination_version, seq,
                            ticker, side, state, queued_at, due_at, expires_at, finished_at)
    SELECT signals.id, signals.id, destinations.id, 1, seq, ticker, side, 'delivered', received_at,
           received_at, received_at, received_at
    FROM signals, destinations
"""
ENDED = """
    INSERT INTO positions (id, ticker, state, entry_signal_id, opened_at, updated_at)
    SELECT id, ticker, 'closed', id, received_at, received_at FROM signals
"""
TOLD = """
    INSERT INTO events (at, event, signal_id) SELECT received_at, 'signal.approved', id
    FROM signals, generate_series(1, 3)
"""


TRIED = """
    INSERT INTO attempts (delivery_id, epoch, destination_id, side, number, possible_resend,
                          started_at)
    SELECT id, 1, destination_id, side, 1, false, queued_at FROM deliveries
"""


async def test_a_batch_reads_its_own_rows_only(rows: Rows) -> None:
    await rows.destination()
    for statement in (PAST, DELIVERED, ENDED, TOLD, TRIED):
        await rows.sql(statement)
    async with rows.database.autocommit() as connection:
        await connection.execute(text("ANALYZE"))
    asked = {"keep": KEEP, "after_at": Place().at, "after_id": Place().id, "limit": 500}
    async with rows.database.write() as connection:
        plan = await _plan(connection, forgetting.SIGNALS, asked)
        assert [line for line in plan if "Seq Scan on" in line and _is_large(line)] == []
        assert any("signals_by_time" in line for line in plan)
        plan = await _plan(connection, forgetting.EVENTS, {"keep": KEEP, "after": 0, "limit": 500})
        assert [line for line in plan if "Seq Scan on" in line and _is_large(line)] == []


def _is_large(line: str) -> bool:
    return any(name in line for name in ("signals", "deliveries", "attempts", "positions", "event"))


async def _plan(connection: Any, statement: Any, values: dict[str, Any]) -> Sequence[str]:
    found = await connection.execute(text(f"EXPLAIN {statement.text}"), values)
    return [row[0] for row in found]
