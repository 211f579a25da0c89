"""The positions' SQL and `domain.position.follow` say the same, over every case of two places."""

from dataclasses import dataclass
from itertools import combinations_with_replacement, product

from database import settlements
from domain.position import PositionState, Progress, follow
from tests.database.rows import SELL, Rows, an_entry

WAITING, DELIVERED, DEAD, SENT_DEAD = (
    ("queued", False),
    ("delivered", True),
    ("expired", False),
    ("dead", True),
)
KINDS = (WAITING, DELIVERED, DEAD, SENT_DEAD)
SETS = [(one,) for one in KINDS] + list(combinations_with_replacement(KINDS, 2))
FINAL = {"delivered", "expired", "dead"}

Kinds = tuple[tuple[str, bool], ...]


@dataclass(frozen=True, slots=True)
class Case:
    """Deliveries of an entry and of its exit after the first of ``settled`` was settled."""

    state: PositionState
    entry: Kinds
    exit_: Kinds
    settled: str


CASES = [
    *(Case(PositionState.OPENING, entry, (), "entry") for entry in SETS),
    *(
        Case(PositionState.CLOSING, entry, exit_, settled)
        for entry, exit_, settled in product(SETS, SETS, ("entry", "exit"))
    ),
]


def progress(kinds: Kinds) -> Progress:
    return Progress(
        any_delivered=any(state == "delivered" for state, _ in kinds),
        all_delivered=bool(kinds) and all(state == "delivered" for state, _ in kinds),
        possibly_sent=any(sent for _, sent in kinds),
        ended=bool(kinds) and all(state in FINAL for state, _ in kinds),
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
    waiting: list[tuple[object, str, bool]] = []
    made: list[tuple[object, object, str, bool]] = []
    for case, entry, exit_ in zip(CASES, entries, exits, strict=True):
        for name, signal, kinds in (("entry", entry, case.entry), ("exit", exit_, case.exit_)):
            for place, (state, sent) in zip(places, kinds, strict=False):
                if name == case.settled and place is places[0]:
                    waiting.append((signal.id, state, sent))
                    made.append((signal.id, place, "sending", False))
                else:
                    made.append((signal.id, place, state, sent))
    await rows.sql(
        "INSERT INTO deliveries (signal_id, destination_id, destination_version, seq, ticker, side,"
        " state, possibly_sent, queued_at, due_at, expires_at, lease_until, finished_at)"
        " SELECT signals.id, place, 1, seq, ticker, side, given.state, sent, now(), now(), now(),"
        " CASE WHEN given.state = 'sending' THEN now() END,"
        " CASE WHEN given.state NOT IN ('queued', 'sending') THEN now() END"
        " FROM unnest(CAST(:ids AS uuid[]), CAST(:places AS uuid[]), CAST(:states AS text[]),"
        " CAST(:sent AS boolean[])) AS given (id, place, state, sent)"
        " JOIN signals ON signals.id = given.id",
        ids=[row[0] for row in made],
        places=[row[1] for row in made],
        states=[row[2] for row in made],
        sent=[row[3] for row in made],
    )
    await settle_all(rows, waiting)
    found = {row.id: row.state for row in await rows.sql("SELECT id, state FROM positions")}
    expected = {
        entry.id: follow(case.state, progress(case.entry), progress(case.exit_))
        for case, entry in zip(CASES, entries, strict=True)
    }
    wrong = [
        (case, found[entry.id], expected[entry.id])
        for case, entry in zip(CASES, entries, strict=True)
        if found[entry.id] != expected[entry.id]
    ]
    assert not wrong, wrong[:5]
    assert set(expected.values()) == set(PositionState)


async def settle_all(rows: Rows, waiting: list[tuple[object, str, bool]]) -> None:
    """Settle the one that is sending of each of these signals, as it is to end."""
    sending = await rows.sql("SELECT signal_id, id FROM deliveries WHERE state = 'sending'")
    ids = {row.signal_id: row.id for row in sending}
    outcomes = {WAITING: "not_sent", DELIVERED: "delivered", DEAD: "not_sent"}
    async with rows.database.write() as connection:
        await connection.execute(
            settlements.SETTLE,
            {
                "ids": [ids[signal] for signal, _, _ in waiting],
                "epochs": [0] * len(waiting),
                "states": [state for _, state, _ in waiting],
                "reasons": [None] * len(waiting),
                "dues": [None] * len(waiting),
                "outcomes": [outcomes.get((s, sent), "ambiguous") for _, s, sent in waiting],
                "statuses": [None] * len(waiting),
                "errors": [None] * len(waiting),
                "answers": [None] * len(waiting),
                "durations": [1] * len(waiting),
            },
        )
