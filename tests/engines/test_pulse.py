"""The pulse: who has work is rung at every beat, who follows a mark when it moves."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from database.pulse import PULSE
from engines.pulse import EVERY, Pulse
from tests.database.rows import BUY, OK, Rows, settlement
from tests.engines.conditions import until_rows

EVERYBODY = {
    *("gatekeeper", "reconsider", "forwarder", "sweeper", "notifier", "relocator"),
    *("watchman", "keeper", "keyring"),
}
WAITS = "UPDATE signals SET waits_since = now(), waits_until = now() + interval '1 hour'"
TOLD = "INSERT INTO events (event) VALUES ('trust.stale')"
PAUSED = """
    UPDATE gate SET paused_at = now() - interval '2 hours', paused_by = 'me',
                    paused_until = now() - interval '1 hour'
"""
TOKEN = """
    INSERT INTO tokens (id, name, digest, hint, scopes, made_by)
    VALUES (gen_random_uuid(), 'mine', sha256('mine'), 'mine', ARRAY['read'], 'me')
"""


@dataclass(slots=True)
class Bells:
    """Notes who is rung; takes the place of the workers."""

    rung: set[str] = field(default_factory=set[str])

    def ring(self, name: str) -> Callable[[], None]:
        return lambda: self.rung.add(name)


@dataclass(slots=True)
class Beats:
    """A pulse, and whom each of its beats rings."""

    rows: Rows
    bells: Bells = field(default_factory=Bells)
    pulse: Pulse = field(init=False)

    def __post_init__(self) -> None:
        self.pulse = Pulse(database=self.rows.database, ring=self.bells.ring)

    async def __call__(self) -> set[str]:
        self.bells.rung.clear()
        assert await self.pulse.step() == EVERY
        return set(self.bells.rung)

    async def at_rest(self) -> None:
        """Until nobody is rung any more: other tests have transactions in this server too."""

        async def nobody() -> bool:
            return not await self()

        await until_rows(nobody, within=60)


async def at_rest(rows: Rows) -> Beats:
    beats = Beats(rows)
    await beats.at_rest()
    return beats


async def test_the_first_beat_rings_everybody_and_then_it_is_quiet(rows: Rows) -> None:
    await rows.screen()
    beats = Beats(rows)
    assert await beats() == EVERYBODY
    await beats.at_rest()
    assert await beats() == set()


async def test_a_signal_rings_whoever_has_to_do_with_it_until_it_is_over(rows: Rows) -> None:
    """The watchman follows the events, which each step of it adds to."""
    destination = await rows.destination()
    beats = await at_rest(rows)
    await rows.alert("AAPL", BUY)
    for _ in range(2):
        assert await beats() - {"watchman"} == {"gatekeeper", "sweeper"}
    await rows.sql(WAITS)
    assert await beats() - {"watchman"} == {"gatekeeper", "sweeper", "reconsider"}
    for _ in range(2):
        assert await beats() - {"watchman"} == {"reconsider"}
    await rows.sql("UPDATE signals SET waits_since = NULL, waits_until = NULL")
    await rows.decide()
    assert await beats() - {"watchman"} == {"reconsider", "forwarder", "sweeper"}
    (delivery,) = await rows.lease(destination)
    for _ in range(2):
        assert await beats() - {"watchman"} == {"forwarder", "sweeper"}
    await rows.settle(settlement(delivery, OK))
    assert await beats() - {"watchman"} == {"forwarder", "sweeper"}, "what was there is gone"
    await beats.at_rest()


async def test_what_is_held_for_the_operator_keeps_nobody_awake(rows: Rows) -> None:
    await rows.destination()
    await rows.alert("AAPL", BUY)
    await rows.decide()
    await rows.sql("UPDATE deliveries SET state = 'held', due_at = now() + interval '1 day'")
    await at_rest(rows)


async def test_the_watchman_is_rung_until_an_event_is_older_than_whatever_runs(rows: Rows) -> None:
    """He reads no further than that: rung once, at its commit, he would find nothing."""
    beats = await at_rest(rows)
    async with rows.database.write() as slow:
        await slow.execute(text("SELECT pg_current_xact_id()"))
        await rows.sql(TOLD)
        for _ in range(3):
            assert await beats() == {"watchman"}
    await beats.at_rest()


async def test_events_older_than_the_watchman_do_not_deafen_him(rows: Rows) -> None:
    await rows.sql("INSERT INTO events (event, xid) VALUES ('trust.stale', NULL)")
    beats = await at_rest(rows)
    await rows.sql(TOLD)
    assert await beats() == {"watchman"}


async def test_a_mark_that_moves_rings_once(rows: Rows) -> None:
    kept = await rows.screen()
    beats = await at_rest(rows)
    await rows.adopt(kept, "AAPL")
    assert await beats() - {"watchman"} == {"keeper"}
    await rows.sql("UPDATE screens SET version = version + 1")
    assert await beats() - {"watchman"} == {"keeper"}
    await rows.sql("UPDATE lookout SET paused_at = now(), paused_by = 'me', paused_reason = 'so'")
    assert await beats() - {"watchman"} == {"keeper"}
    await rows.sql(TOKEN)
    assert await beats() - {"watchman"} == {"keyring"}
    await rows.sql("UPDATE tokens SET revoked_at = now(), revoked_by = 'me'")
    assert await beats() - {"watchman"} == {"keyring"}
    await beats.at_rest()


async def test_a_pause_of_buying_that_is_over_is_swept_away(rows: Rows) -> None:
    beats = await at_rest(rows)
    await rows.sql(PAUSED)
    assert await beats() == await beats() == {"sweeper"}


async def test_a_look_that_failed_is_made_up_for(rows: Rows) -> None:
    beats = await at_rest(rows)
    await rows.sql("ALTER TABLE notices RENAME TO away")
    await rows.sql(TOKEN)
    with pytest.raises(ProgrammingError):
        await beats()
    await rows.sql("ALTER TABLE away RENAME TO notices")
    assert await beats() == {"keyring"}


async def test_the_newest_event_is_found_without_the_others(rows: Rows) -> None:
    """`test_plans.py` has the rest of the plan."""
    await rows.sql("INSERT INTO events (event) SELECT 'old' FROM generate_series(1, 2000)")
    async with rows.database.autocommit() as connection:
        await connection.execute(text("ANALYZE events"))
    steps = "\n".join(await rows.sql(f"EXPLAIN {PULSE.text}"))
    assert "events_by_xid" in steps
    assert "Seq Scan on events" not in steps


def test_others_are_heard_of_within_a_second() -> None:
    assert timedelta(seconds=1) >= EVERY
