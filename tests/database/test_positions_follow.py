"""The positions' SQL and `domain.position.follow` say the same, over every case of two places."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

from database import settlements
from domain.position import PositionState, Progress, follow, is_moot
from tests.database.rows import SELL, Rows, an_entry, ending_arrays

Kind = tuple[str, bool]
"""The state of a delivery, and whether it may have been sent."""

WAITING: Kind = ("queued", False)
DELIVERED: Kind = ("delivered", True)
DEAD: Kind = ("expired", False)
SENT_DEAD: Kind = ("dead", True)
HELD: Kind = ("held", True)
SUPERSEDED: Kind = ("superseded", False)
KINDS = (WAITING, DELIVERED, DEAD, SENT_DEAD, HELD, SUPERSEDED)
SETS = [(one,) for one in KINDS] + list(product(KINDS, KINDS))
WAITS = {"queued", "held"}
NEVER_THERE = {DEAD, SUPERSEDED}

Kinds = tuple[Kind, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """Deliveries of an entry and of its exit, by place, after the first of ``settled`` was."""

    state: PositionState
    entry: Kinds
    exit_: Kinds
    settled: str

    @property
    def exits(self) -> Kinds:
        """The exits as they are then: one may have become moot with its buy."""
        moot = self.settled == "entry" and is_moot(progress(self.entry[:1]))
        if moot and self.exit_[:1] == (WAITING,):
            return (SUPERSEDED, *self.exit_[1:])
        return self.exit_

    @property
    def becomes(self) -> PositionState:
        sold = [state == "delivered" for state, _ in self.exits]
        sold += [False] * (len(self.entry) - len(sold))
        kept = tuple(kind for kind, gone in zip(self.entry, sold, strict=False) if not gone)
        over = len(kept) < len(self.entry) and all(kind in NEVER_THERE for kind in kept)
        entry = replace(progress(kept), ended=not WAITS & {s for s, _ in kept}, done=over)
        return follow(self.state, entry, progress(self.exits))


CASES = [
    *(Case(PositionState.OPEN, entry, (), "entry") for entry in SETS),
    *(Case(PositionState.OPENING, entry, (), "entry") for entry in SETS),
    *(
        Case(PositionState.CLOSING, entry, exit_, settled)
        for entry, exit_, settled in product(SETS, SETS, ("entry", "exit"))
    ),
]


def progress(kinds: Kinds) -> Progress:
    states = [state for state, _ in kinds]
    return Progress(
        any_delivered="delivered" in states,
        possibly_sent=any(sent for _, sent in kinds),
        ended=bool(kinds) and not WAITS & set(states),
        done="delivered" in states and set(states) <= {"delivered", "superseded"},
        may_have=any(sent and state not in WAITS for state, sent in kinds),
    )


async def test_sql_and_domain_agree(rows: Rows) -> None:
    places = [(await rows.destination(name)).id for name in ("one", "two")]
    entries = [an_entry(f"T{n}") for n in range(len(CASES))]
    exits = [an_entry(f"T{n}", SELL) for n in range(len(CASES))]
    await rows.append(*entries, *exits)
    await rows.sql("UPDATE signals SET status = 'approved', judged_at = received_at")
    await rows.sql(
        "INSERT INTO positions SELECT id, ticker, state, id, exit_id, now(), now()"
        " FROM unnest(CAST(:ids AS uuid[]), CAST(:tickers AS text[]), CAST(:states AS text[]),"
        " CAST(:exits AS uuid[])) AS given (id, ticker, state, exit_id)",
        ids=[entry.id for entry in entries],
        tickers=[entry.ticker for entry in entries],
        states=[case.state for case in CASES],
        exits=[e.id if case.exit_ else None for e, case in zip(exits, CASES, strict=True)],
    )
    ends: list[tuple[object, Kind]] = []
    made: list[tuple[object, ...]] = []
    for case, entry, exit_ in zip(CASES, entries, exits, strict=True):
        for name, signal, kinds in (("entry", entry, case.entry), ("exit", exit_, case.exit_)):
            for place, kind in zip(places, kinds, strict=False):
                settled = name == case.settled and place is places[0]
                if settled:
                    ends.append((signal.id, kind))
                made.append(
                    (signal.id, entry.id, place, *(("sending", False) if settled else kind))
                )
    await put_deliveries(rows, made)
    await settle_all(rows, ends)
    found = {row.id: row.state for row in await rows.sql("SELECT id, state FROM positions")}
    wrong = [
        (case, found[entry.id], case.becomes)
        for case, entry in zip(CASES, entries, strict=True)
        if found[entry.id] != case.becomes
    ]
    assert not wrong, wrong[:5]
    assert {case.becomes for case in CASES} == set(PositionState)
    left = {
        (row.signal_id, row.destination_id): row.state
        for row in await rows.sql("SELECT * FROM deliveries WHERE side = 'sell'")
    }
    astray = [
        (case, state, left[exit_.id, place])
        for case, exit_ in zip(CASES, exits, strict=True)
        for place, (state, _) in zip(places, case.exits, strict=False)
        if left[exit_.id, place] != state
    ]
    assert not astray, astray[:5]


async def put_deliveries(rows: Rows, made: Sequence[tuple[object, ...]]) -> None:
    """Deliveries of a signal and a position at a place, in a state, possibly sent or not."""
    await rows.sql(
        "INSERT INTO deliveries (signal_id, position_id, destination_id, destination_version, seq,"
        " ticker, side, state, possibly_sent, queued_at, due_at, expires_at, lease_until,"
        " finished_at)"
        " SELECT signals.id, position, place, 1, seq, ticker, side, given.state, sent, now(),"
        " now(), now(), CASE WHEN given.state = 'sending' THEN now() END,"
        " CASE WHEN given.state NOT IN ('queued', 'sending', 'held') THEN now() END"
        " FROM unnest(CAST(:ids AS uuid[]), CAST(:positions AS uuid[]), CAST(:places AS uuid[]),"
        " CAST(:states AS text[]), CAST(:sent AS boolean[])) AS given (id, position, place, state,"
        " sent) JOIN signals ON signals.id = given.id",
        ids=[row[0] for row in made],
        positions=[row[1] for row in made],
        places=[row[2] for row in made],
        states=[row[3] for row in made],
        sent=[row[4] for row in made],
    )


async def settle_all(rows: Rows, ends: Sequence[tuple[object, Kind]]) -> None:
    """Settle the one that is sending of each of these signals, in batches as the settler does."""
    sending = await rows.sql("SELECT signal_id, id FROM deliveries WHERE state = 'sending'")
    ids = {row.signal_id: row.id for row in sending}
    outcomes = {WAITING: "not_sent", DEAD: "not_sent", SUPERSEDED: "not_sent"}
    for start in range(0, len(ends), 128):
        batch = ends[start : start + 128]
        async with rows.database.write() as connection:
            await connection.execute(
                settlements.SETTLE,
                ending_arrays(
                    [ids[signal] for signal, _ in batch],
                    [state for _, (state, _) in batch],
                    [outcomes.get(kind, "ambiguous") for _, kind in batch],
                    epoch=0,
                ),
            )
