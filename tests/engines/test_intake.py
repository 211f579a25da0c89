import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from database.journal import Receipt
from database.pool import Database, UnavailableError
from engines.clock import utc_now
from engines.metrics import Metrics
from engines.relay import intake as intakes
from engines.relay.intake import PRESSED, Intake
from engines.supervisor import running
from engines.worker import Worker
from tests.database.rows import Rows, an_entry
from tests.engines.accepting import accept
from tests.engines.conditions import until, until_rows
from tests.engines.wire import Wire, wired
from tests.stalls import stalls

KEY = b"k" * 32
BUDGET, PATIENCE = 0.5, timedelta(seconds=20)


@asynccontextmanager
async def opened(database: Database, **given: object) -> AsyncGenerator[Intake]:
    workers: list[Worker] = []

    def wake() -> None:
        workers[0].wake()

    intake = Intake(
        database=database.dedicated(),
        metrics=Metrics(),
        wake=wake,
        wake_gatekeeper=lambda: None,
        **({"budget": PATIENCE} | given),  # pyright: ignore[reportArgumentType]
    )
    workers.append(Worker("intake", intake.step, utc_now, timedelta(milliseconds=20)))
    async with running(workers, grace=timedelta(seconds=2)):
        yield intake


@pytest.fixture
async def intake(database: Database) -> AsyncGenerator[Intake]:
    async with opened(database) as intake:
        yield intake


@pytest.fixture
def patience() -> timedelta:
    """Of whoever asks over the wire."""
    return PATIENCE


SHORT = pytest.mark.parametrize("patience", [timedelta(seconds=BUDGET / 2)], ids=["short"])


@pytest.fixture
async def wire(
    database: Database, tmp_path: Path, patience: timedelta
) -> AsyncGenerator[tuple[Wire, Database]]:
    async with wired(database.url, tmp_path) as (wire, url):
        over = Database.connect(url, pool=2, patience=patience)
        yield wire, over
        wire.thaw()
        await over.close()


async def kept(rows: Rows) -> int:
    return (await rows.sql("SELECT count(*) FROM signals"))[0]


async def test_alerts_of_one_instant_share_a_commit(rows: Rows, intake: Intake) -> None:
    entries = [an_entry(f"T{n}") for n in range(100)]
    receipts = await asyncio.gather(*(accept(intake, entry) for entry in entries))
    assert [r.id for r in receipts] == [e.id for e in entries]
    assert await rows.sql("SELECT id FROM signals ORDER BY seq") == [e.id for e in entries]
    commits = intake.metrics.registry.get_sample_value("relay_commit_alerts_count")
    assert commits is not None
    assert commits <= 2


async def test_what_is_acknowledged_is_committed(rows: Rows, intake: Intake) -> None:
    for _ in range(20):
        receipt = await accept(intake, an_entry())
        assert await rows.sql("SELECT count(*) FROM signals WHERE id = :i", i=receipt.id) == [1]


async def test_identical_alerts_in_the_same_instant_make_one_signal(
    rows: Rows, intake: Intake
) -> None:
    receipts = await asyncio.gather(*(accept(intake, an_entry(key=KEY)) for _ in range(7)))
    assert len({receipt.id for receipt in receipts}) == 1
    assert [receipt.duplicate for receipt in receipts] == [False] + [True] * 6
    assert await kept(rows) == 1
    assert (await rows.events()).count("signal.duplicate") == 6
    again = await accept(intake, an_entry(key=KEY))
    assert (again.id, again.duplicate) == (receipts[0].id, True)
    assert (await rows.events()).count("signal.duplicate") == 7


async def test_identical_alerts_to_two_replicas_make_one_signal(rows: Rows, intake: Intake) -> None:
    other = Database.connect(rows.database.url, pool=2, patience=PATIENCE)
    async with opened(other) as replica:
        for round_ in range(10):
            key = bytes([round_]) * 32
            receipts = await asyncio.gather(
                *(accept(place, an_entry(key=key)) for place in (intake, replica, intake, replica))
            )
            assert len({receipt.id for receipt in receipts}) == 1
            assert sum(not receipt.duplicate for receipt in receipts) == 1
    await other.close()
    assert await kept(rows) == 10
    assert (await rows.events()).count("signal.duplicate") == 30


async def test_a_cancelled_callers_alert_is_still_committed(rows: Rows, intake: Intake) -> None:
    entry = an_entry()
    caller = asyncio.create_task(accept(intake, entry))
    await asyncio.sleep(0)
    caller.cancel()
    await until_rows(lambda: has(rows, 1))
    with pytest.raises(asyncio.CancelledError):
        await caller
    receipt = await accept(intake, an_entry(key=entry.key))
    assert (receipt.id, receipt.duplicate) == (entry.id, True)


async def has(rows: Rows, count: int) -> bool:
    return await kept(rows) == count


async def refused(intake: Intake, count: int = 1) -> float:
    """All of these are refused; return how long the last of them took."""
    with stalls() as stalled:
        began = time.monotonic()
        answers = await asyncio.gather(
            *(accept(intake, an_entry()) for _ in range(count)), return_exceptions=True
        )
        took = stalled.at_work(began)
    assert all(isinstance(answer, UnavailableError) for answer in answers), answers
    return took


@SHORT
async def test_a_database_that_is_gone_is_said_at_once_and_found_again(
    rows: Rows, wire: tuple[Wire, Database]
) -> None:
    line, over = wire
    first, last = an_entry(), an_entry()
    async with opened(over, budget=timedelta(seconds=BUDGET)) as intake:
        await until_rows(lambda: accepted(intake, first))
        line.down = True
        line.cut()
        for _ in range(3):
            assert await refused(intake, 20) < BUDGET + 0.4
        line.down = False
        await until_rows(lambda: accepted(intake, last))
        assert await kept(rows) == 2


@SHORT
async def test_a_database_that_falls_silent_is_said_in_time_and_what_was_refused_is_not_begun(
    rows: Rows, wire: tuple[Wire, Database]
) -> None:
    """A buy stored minutes after its 503 would have a whole new life."""
    line, over = wire
    async with opened(over, budget=timedelta(seconds=BUDGET), batch=2) as intake:
        first = an_entry()
        await until_rows(lambda: accepted(intake, first))
        line.freeze()
        assert await refused(intake, 40) < BUDGET + 0.5
        line.thaw()
        last = an_entry()
        await until_rows(lambda: accepted(intake, last))
        # Only what was on the wire when it fell silent may have arrived after all.
        assert await kept(rows) <= 2 + 2 * 2
        found = await rows.sql("SELECT id FROM signals ORDER BY seq DESC LIMIT 1")
        assert found == [last.id]


async def accepted(intake: Intake, entry: object) -> bool:
    try:
        await accept(intake, entry)  # pyright: ignore[reportArgumentType]
    except UnavailableError:
        return False
    return True


async def test_a_commit_whose_answer_was_lost_is_found_and_is_no_duplicate(
    rows: Rows, wire: tuple[Wire, Database]
) -> None:
    line, over = wire
    async with opened(over) as intake:
        await accept(intake, an_entry())
        line.deafen()
        entry = an_entry()
        caller = asyncio.create_task(accept(intake, entry))
        await until_rows(lambda: has(rows, 2))
        line.cut()
        line.thaw()
        receipt = await caller
    assert receipt == Receipt(
        id=entry.id, status=receipt.status, ticker=entry.ticker, duplicate=False
    )
    assert await kept(rows) == 2
    assert "signal.duplicate" not in await rows.events()


async def test_connections_lost_while_nobody_called_are_not_noticed(
    rows: Rows, wire: tuple[Wire, Database]
) -> None:
    line, over = wire
    async with opened(over) as intake:
        for _ in range(3):
            await accept(intake, an_entry())
            line.cut()
    assert await kept(rows) == 3


async def test_more_than_can_wait_are_refused_at_once(database: Database) -> None:
    async with opened(database, most_waiting=3) as intake:
        answers = await asyncio.gather(
            *(accept(intake, an_entry()) for _ in range(5)), return_exceptions=True
        )
    assert [isinstance(answer, UnavailableError) for answer in answers] == [False] * 3 + [True] * 2


async def test_a_flood_is_one_until_its_senders_had_time_to_send_again(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answered together, they all come back a moment later: that moment is none for verdicts."""
    monkeypatch.setattr(intakes, "LASTING", 0.5)  # we may be slower than they
    await asyncio.gather(*(accept(intake, an_entry()) for _ in range(2 * PRESSED)))
    assert intake.is_pressed
    await until(lambda: not intake.is_pressed)
    await accept(intake, an_entry())
    assert not intake.is_pressed
