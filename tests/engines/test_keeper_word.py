"""What the keeper tells, and what an operator tells it: trust, pause, refusal, acceptance, pace."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest

from database import adopting, lookout, screens, universes, watches
from database.adopting import Listing
from database.universes import LastFetch
from domain.screen import Screen, ScreenKind
from domain.ticker import Ticker
from domain.universe import FetchOutcome, Row
from engines.clock import utc_now
from engines.universe.fixed import FixedList, SourceByKind
from engines.universe.keeper import LOOK
from engines.universe.source import Answer
from tests.database.rows import Rows, a_screen
from tests.engines.lookout import MARKET, OTHER_MARKET, Stage, staged

SECOND = timedelta(seconds=1)


@pytest.fixture
async def stage(rows: Rows) -> AsyncGenerator[Stage]:
    async with staged(rows) as stage:
        yield stage


async def told(stage: Stage) -> list[str]:
    return [event for event in await stage.rows.events() if event.startswith("trust.")]


async def later(stage: Stage, seconds: float) -> None:
    """Let the list be older."""
    await stage.rows.sql(
        "UPDATE universes SET confirmed_at = confirmed_at - CAST(:by AS interval),"
        " fetched_at = fetched_at - CAST(:by AS interval),"
        " fresh_since = fresh_since - CAST(:by AS interval)",
        by=timedelta(seconds=seconds),
    )


# ── Trust ───────────────────────────────────────────────────────────────────────────────────


async def test_trust_is_told_once_when_it_changes_by_whichever_keeper(stage: Stage) -> None:
    keepers = [stage.keeper, stage.another()]
    await stage.look()
    for keeper in keepers:
        await keeper.step()
    assert await told(stage) == ["trust.fresh"]
    await later(stage, 541)
    for keeper in keepers:
        await keeper.step()
    assert await told(stage) == ["trust.fresh", "trust.stale"]
    await stage.look()
    for keeper in keepers:
        await keeper.step()
    assert await told(stage) == ["trust.fresh", "trust.stale", "trust.fresh"]
    value = stage.keeper.metrics.registry.get_sample_value
    assert value("relay_list_trust", {"relay_list_trust": "fresh"}) == 1


async def test_outcomes_have_a_beginning(stage: Stage) -> None:
    await stage.look()
    stage.finviz.answer_with("blocked")
    (before,) = await stage.rows.sql("SELECT clock_timestamp()")
    first = await stage.look()
    assert before < first.since <= first.at
    again = await stage.look()
    assert again.since == first.since
    stage.finviz.answer_with("login")
    assert (await stage.look()).since > first.since


async def test_a_recovery_after_an_outage_says_who_left_and_entered_and_no_more(
    stage: Stage,
) -> None:
    await stage.look()
    stage.finviz.answer_with("blocked")
    for _ in range(3):
        await stage.look()
    await later(stage, 7_200)
    stage.finviz.answer_with(None)
    stage.finviz.market = [*MARKET[1:], MARKET[0]]
    await stage.look()
    (row,) = await stage.rows.sql("SELECT * FROM universes ORDER BY version DESC LIMIT 1")
    assert (row.entered, row.dropped) == ([MARKET[10].ticker], [MARKET[0].ticker])
    assert row.fresh_since == row.fetched_at


# ── An operator's word ──────────────────────────────────────────────────────────────────────


async def test_paused_nobody_asks_and_the_list_grows_old(stage: Stage) -> None:
    await stage.look()
    async with stage.rows.database.write() as connection:
        assert await lookout.pause(connection, actor="me", reason="a test")
        assert not await lookout.pause(connection, actor="me", reason="again")
    await stage.due()
    asked = stage.asked
    for keeper in (stage.keeper, stage.another()):
        assert await keeper.step() == LOOK
    assert stage.asked == asked
    last = await last_fetch(stage)
    assert last.pause
    assert (last.pause.by, last.pause.reason) == ("me", "a test")
    async with stage.rows.database.write() as connection:
        assert await lookout.resume(connection, actor="me")
        assert not await lookout.resume(connection, actor="me")
    await stage.keeper.step()
    assert stage.asked == asked + 1
    told = [event for event in await stage.rows.events() if event.startswith("lookout.")]
    assert told == ["lookout.paused", "lookout.resumed"]


async def test_a_pause_holds_before_the_first_look_too(stage: Stage) -> None:
    async with stage.rows.database.write() as connection:
        await lookout.pause(connection, actor="me", reason="a test")
        assert await watches.take(connection, stage.kept, SECOND) is None
    await stage.keeper.step()
    assert stage.asked == 0


async def last_fetch(stage: Stage) -> LastFetch:
    async with stage.rows.database.read() as connection:
        last = await universes.last_fetch(connection)
    assert last
    return last


async def suspected(stage: Stage) -> tuple[Ticker, ...]:
    """A list that waits to be believed."""
    await stage.look()
    stage.finviz.market = OTHER_MARKET
    last = await stage.look()
    assert last.pending
    assert last.pending.tickers[0] == OTHER_MARKET[0].ticker
    assert last.pending.total == len(OTHER_MARKET)
    assert "only 0 of" in last.pending.reason
    return last.pending.tickers


async def test_a_refused_list_is_not_taken_however_often_it_is_seen(stage: Stage) -> None:
    pending = await suspected(stage)
    before = await stage.listed()
    async with stage.rows.database.write() as connection:
        assert await watches.refuse(connection, pending, actor="me", reason=None)
        assert not await watches.refuse(connection, pending, actor="me", reason=None)
    for _ in range(4):
        assert (await stage.look()).outcome is FetchOutcome.SUSPECT
        assert await stage.listed() == before
    assert "refused by an operator" in (await last_fetch(stage)).detail
    stage.finviz.market = MARKET
    assert (await stage.look()).outcome is FetchOutcome.OK
    stage.finviz.market = OTHER_MARKET
    await stage.look()
    assert (await stage.look()).outcome is FetchOutcome.OK, "a normal list ends the refusal"


async def test_an_accepted_list_is_in_force_at_once_and_the_look_under_way_is_lost(
    stage: Stage,
) -> None:
    pending = await suspected(stage)
    await stage.due()
    async with stage.rows.database.write() as connection:
        turn = await watches.take(connection, stage.kept, timedelta(minutes=1))
        assert turn
    async with stage.rows.database.write() as connection:
        assert await watches.accept(connection, pending[:-1], actor="me", reason=None) is None
        total = await watches.accept(connection, pending, actor="me", reason="I saw it")
        assert total == len(OTHER_MARKET)
        assert total is not None
        rows = [Row(rank=rank, ticker=one) for rank, one in enumerate(pending, start=1)]
        listing = Listing(rows=rows, total=total, seen_at=turn.at, accepted_by="me")
        await adopting.adopt(connection, stage.kept, listing, max_age=timedelta(hours=1))
    listed = await stage.listed()
    assert listed
    assert listed[1] == pending
    async with stage.rows.database.write() as connection:
        late = watches.Learnt(outcome=FetchOutcome.OK, wait=SECOND)
        assert not await watches.end(connection, turn, late)
    assert (await stage.look()).outcome is FetchOutcome.OK
    assert "list.accepted" in await stage.rows.events()


async def test_a_pending_list_outlives_a_refusal_of_finviz(stage: Stage) -> None:
    pending = await suspected(stage)
    stage.finviz.answer_with("throttled")
    last = await stage.look()
    assert last.pending
    assert last.pending.tickers == pending
    stage.finviz.answer_with(None)
    assert (await stage.look()).outcome is FetchOutcome.OK


# ── A filter that Finviz ignores ────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class WholeMarket:
    """Answers any screen with the first rows of everything there is."""

    tickers: Sequence[str]

    async def fetch(self, screen: Screen) -> Answer:
        assert screen.url
        rows = [Row(rank=n, ticker=Ticker(t)) for n, t in enumerate(self.tickers, start=1)]
        return Answer(outcome=FetchOutcome.OK, detail="", rows=tuple(rows), total=11_532)


async def test_the_whole_market_is_never_taken_for_a_filtered_screen(stage: Stage) -> None:
    tickers = [listing.ticker for listing in MARKET[:10]]
    keeper = stage.another(source=WholeMarket(tickers))
    for _ in range(3):
        last = await stage.look(keeper)
        assert last.outcome is FetchOutcome.SUSPECT
        assert "ignored a filter" in last.detail
    assert await stage.listed() is None
    meant = replace(stage.kept.screen, whole_market=True)
    await stage.rows.change_screen(meant)
    assert (await stage.look(keeper)).outcome is FetchOutcome.OK


# ── Pace ────────────────────────────────────────────────────────────────────────────────────


def closed_for(hours: float) -> Callable[[datetime], Awaitable[timedelta]]:
    async def until_open(_now: datetime) -> timedelta:
        return timedelta(hours=hours)

    return until_open


def due_in(last: LastFetch) -> float:
    return (last.next_at - last.at).total_seconds()


async def test_while_the_market_is_closed_looks_are_rarer_but_the_list_stays_fresh(
    stage: Stage,
) -> None:
    closed = stage.another(until_open=closed_for(10))
    assert due_in(await stage.look(closed)) == pytest.approx(0.6 * 540, abs=1)
    opening = await stage.look(stage.another(until_open=closed_for(0.05)))
    assert due_in(opening) == pytest.approx(180, abs=1), "the first look after the open"
    assert due_in(await stage.look(stage.keeper)) == pytest.approx(180, abs=1)
    await stage.rows.change_screen(replace(a_screen(top_n=10), slow_when_closed=False))
    assert due_in(await stage.look(closed)) == pytest.approx(180, abs=1)


def a_fixed(*tickers: str) -> Screen:
    return Screen(
        kind=ScreenKind.FIXED,
        top_n=len(tickers),
        refresh=timedelta(seconds=60),
        tickers=tuple(map(Ticker, tickers)),
        valid_until=utc_now() + timedelta(hours=1),
    )


async def test_a_fixed_list_is_taken_at_its_word_and_asks_nobody(stage: Stage) -> None:
    await stage.look()
    asked = stage.asked
    await stage.rows.change_screen(a_fixed("ZZ", "YY"))
    source = SourceByKind(finviz=stage.keeper.source, fixed=FixedList())
    keeper = stage.another(source=source, until_open=closed_for(10))
    last = await stage.look(keeper)
    assert last.outcome is FetchOutcome.OK
    listed = await stage.listed()
    assert listed
    assert listed[1] == ("ZZ", "YY")
    assert stage.asked == asked
    assert due_in(last) == pytest.approx(60, abs=1)


async def test_a_fixed_list_and_its_changes_count_while_nobody_asks_finviz(stage: Stage) -> None:
    """A pause is of asking: who pauses it because Finviz blocks him types the list himself."""
    async with stage.rows.database.write() as connection:
        assert await lookout.pause(connection, actor="me", reason="Finviz blocks us")
    source = SourceByKind(finviz=stage.keeper.source, fixed=FixedList())
    keeper = stage.another(source=source)
    seen: list[tuple[str, ...]] = []
    for tickers in (("ZZ", "YY"), ("YY",)):
        await stage.rows.change_screen(a_fixed(*tickers))
        await keeper.step()
        listed = await stage.listed()
        assert listed
        seen.append(listed[1])
    assert seen == [("ZZ", "YY"), ("YY",)]
    ends = utc_now() + timedelta(minutes=1)
    await stage.rows.change_screen(replace(a_fixed("YY"), valid_until=ends))
    await keeper.step()
    async with stage.rows.database.read() as connection:
        current = await universes.current(connection)
    assert current.universe
    assert current.universe.valid_until == ends
    assert stage.asked == 0


async def test_a_look_asked_for_by_hand_is_due_once_and_not_while_finviz_asks_to_wait(
    stage: Stage,
) -> None:
    await stage.look()

    async def refresh() -> float:
        async with stage.rows.database.write() as connection:
            wait = await lookout.refresh(connection, actor="me", apart=timedelta(minutes=10))
        return wait.total_seconds()

    assert await refresh() == 0
    assert 480 < await refresh() <= 600
    asked = stage.asked
    await stage.keeper.step()
    assert stage.asked == asked + 1
    await stage.rows.sql("UPDATE lookout SET by_hand_at = by_hand_at - interval '11 min'")
    stage.finviz.answer_with("maintenance")
    await stage.look()
    assert 100 < await refresh() <= 120
    async with stage.rows.database.read() as connection:
        kept = await screens.active(connection)
    assert kept
    assert (await stage.rows.events()).count("lookout.refresh") == 1


async def test_what_finviz_wishes_holds_for_a_changed_screen_too(stage: Stage) -> None:
    stage.finviz.answer_with("maintenance")
    await stage.look()
    asked = stage.asked
    stage.finviz.answer_with(None)
    await stage.rows.change_screen(a_screen(top_n=5))
    assert await stage.keeper.step() == LOOK
    async with stage.rows.database.write() as connection:
        kept = await screens.active(connection)
        assert kept
        assert await watches.take(connection, kept, SECOND) is None
    assert stage.asked == asked
    await stage.rows.sql("UPDATE watches SET asked_until = clock_timestamp()")
    await stage.keeper.step()
    assert stage.asked == asked + 1
