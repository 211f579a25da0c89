"""The past, read to be judged again: signals, lists, looks, screens, positions of a period."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from sys import intern
from uuid import UUID

from sqlalchemy import TextClause, text

from database.connection import Row
from database.pool import Database
from database.universes import NoScreenError
from domain.asked import longest_cooldown
from domain.gate import Reason, Verdict
from domain.past import Listed, ListKey, Lists, Move, Orders, Past, Recorded, Terms
from domain.position import PositionId, PositionState
from domain.rulebook import read_rulebook
from domain.rules import Rulebook
from domain.screen import WAIT_MAX
from domain.signal import Side, Signal, SignalId, SignalStatus, Wait
from domain.ticker import Ticker

LONGEST = timedelta(days=31)
MOST_SIGNALS, MOST_VERSIONS, MOST_LOOKS = 200_000, 200_000, 500_000
CHUNK = 1_000
"""Rows read at once: what is built from them keeps others waiting for some milliseconds."""

BEFORE = timedelta(hours=1)
"""So long before the period lists are followed, to know who was kept in them when it begins."""

NOBODY = UUID(int=0)

SIGNALS_THERE = text("""
    SELECT count(*) AS found, count(*) FILTER (WHERE status = 'received') AS undecided,
           coalesce(min(seq), 1) - 1 AS first, max(seq) AS last
    FROM signals
    WHERE received_at >= :since AND received_at < :until AND status <> 'invalid'
      AND imported_from IS NULL
""")
SIGNALS = text("""
    SELECT id, seq, source, ticker, side, closes, partial, price, received_at, expires_at, status,
           reason, judged_at, universe_version, rank, cutoff, list_age_ms, waits_since, waits_until,
           bought.position_id
    FROM signals LEFT JOIN LATERAL (
        SELECT position_id FROM deliveries WHERE signal_id = signals.id LIMIT 1
    ) AS bought ON status = 'approved' AND side = 'buy'
    WHERE seq > :after AND seq <= :last AND received_at >= :since AND received_at < :until
      AND status IN ('approved', 'rejected', 'expired') AND imported_from IS NULL
    ORDER BY seq LIMIT :chunk
""")

# What was in force when the period begins, and every change in it. Of older periods than are known
# the first change comes later; it stands for what was before.
TERMS = text("""
    SELECT screen_id, url, top_n, margin, wait_sec, refresh_sec, made_at FROM screen_versions
    WHERE active AND made_at < :until AND made_at >= coalesce(
        (SELECT max(made_at) FROM screen_versions WHERE active AND made_at <= :since), '-infinity')
    ORDER BY made_at, version
""")
OLDEST_TERMS = text("""
    SELECT screen_id, url, top_n, margin, wait_sec, refresh_sec, made_at FROM screen_versions
    WHERE active ORDER BY made_at LIMIT 1
""")

_LISTED = """
    version, screen_id, url, array_to_string(tickers, ' ') AS tickers, total, fetched_at, top_n,
    margin, array_to_string(kept, ' ') AS kept, fresh_since, valid_until
"""
VERSIONS_THERE = text("""
    SELECT count(*) AS found, coalesce(min(version), 1) - 1 AS first, max(version) AS last
    FROM universes
    WHERE screen_id = ANY(CAST(:screens AS uuid[])) AND fetched_at >= :since AND fetched_at < :until
""")
VERSIONS = text(f"""
    SELECT {_LISTED} FROM universes
    WHERE version > :after AND version <= :last AND screen_id = ANY(CAST(:screens AS uuid[]))
      AND fetched_at >= :since AND fetched_at < :until
    ORDER BY version LIMIT :chunk
""")
VERSION_BEFORE = text(f"""
    SELECT {_LISTED}, (
        SELECT at FROM fetches
        WHERE fetches.screen_id = universes.screen_id AND fetches.version = universes.version
          AND at < :since
        ORDER BY at DESC LIMIT 1) AS confirmed_at
    FROM universes
    WHERE screen_id = :screen AND url = :url AND fetched_at < :since
    ORDER BY fetched_at DESC LIMIT 1
""")

# The look that brought a version confirms nothing that the version does not say itself.
LOOKS = text("""
    SELECT fetches.at, version
    FROM fetches JOIN universes USING (version)
    WHERE fetches.screen_id = :screen AND fetches.version IS NOT NULL
      AND fetches.at > :after AND fetches.at < :until
      AND fetches.at > fetched_at + interval '0.5 s'
    ORDER BY fetches.at LIMIT :chunk
""")

TOUCHED = text("""
    SELECT id FROM positions
    WHERE id > :after AND opened_at < :until
      AND (state IN ('opening', 'open', 'closing') OR updated_at >= :since)
    ORDER BY id LIMIT :chunk
""")
MOVES = text("""
    WITH touched AS MATERIALIZED (
        SELECT id, ticker, entry_signal_id, opened_at, coalesce((
            SELECT source FROM signals WHERE id = entry_signal_id), 'operator') AS source
        FROM positions WHERE id = ANY(CAST(:ids AS uuid[]))
    )
    SELECT at, position_id, ticker, split_part(event, '.', 2) AS state, detail->>'was' AS was,
           signal_id, source, events.id
    FROM touched JOIN events ON position_id = touched.id
    WHERE event LIKE 'position.%' AND at < :until
    UNION ALL
    SELECT opened_at, id, ticker, 'open', NULL, NULL, source, 0
    FROM touched WHERE entry_signal_id IS NULL
    ORDER BY at, id
""")

# What was in force when the period begins, and every version made in it; none before the first.
ORDERS = text("""
    SELECT rules, paused, paused_until, made_at FROM gate_versions
    WHERE made_at < :until AND version >= coalesce(
        (SELECT max(version) FROM gate_versions WHERE made_at <= :since), 0)
    ORDER BY version
""")
# By signals that came before the period; at most two times of each source and ticker are told: its
# last buy before it, and its last one in it.
BOUGHT = text("""
    SELECT max(judged_at) AS at, ticker, source FROM signals
    WHERE side = 'buy' AND status = 'approved' AND judged_at < :until
      AND received_at < :since
      AND judged_at > CAST(:since AS timestamptz) - CAST(:cooldown AS interval)
      AND received_at > CAST(:since AS timestamptz) - CAST(:cooldown AS interval) - interval '1 day'
    GROUP BY ticker, source, judged_at < :since
    ORDER BY 1
""")


class TooMuchError(ValueError):
    """More than may be judged again at once; the words name the bound."""


@dataclass(frozen=True, slots=True)
class Period:
    """Signals received from ``since`` on and before ``until``. Raises TooMuchError."""

    since: datetime
    until: datetime

    def __post_init__(self) -> None:
        if self.until - self.since > LONGEST:
            raise TooMuchError(f"a period of at most {LONGEST.days} days")


async def read(database: Database, period: Period, rules: Rulebook | None = None) -> Past:
    """Everything that is needed to judge the signals of a period again. Raises TooMuchError.

    Under these ``rules`` too, which may count buys of longer ago than those of the time. In many
    short transactions: what is past does not change, and nobody waits for a connection.
    """
    whole = {"since": period.since - BEFORE, "until": period.until + WAIT_MAX}
    terms = await _terms(database, whole)
    screens = {one.key[0] for one in terms}
    lists, looks = Lists(), list[tuple[datetime, int]]()
    for key in {one.key for one in terms}:
        looks += await _last_before(database, lists, key, whole["since"])
    await _add_versions(database, lists, screens, whole)
    for screen in screens:
        looks += await _looks(database, screen, whole)
    signals, undecided = await _signals(database, period)
    orders = await _orders(database, whole | {"since": period.since})
    cooldown = longest_cooldown(orders, rules)
    return Past(
        signals=signals,
        terms=terms,
        lists=lists,
        looks=sorted(looks),
        moves=await _moves(database, whole | {"since": period.since}),
        orders=orders,
        bought=await _bought(database, whole | {"since": period.since, "cooldown": cooldown}),
        undecided=undecided,
    )


async def _rows(
    database: Database, query: TextClause, after: object, key: str, given: Mapping[str, object]
) -> AsyncGenerator[Sequence[Row]]:
    """The rows of a query chunk by chunk, each in a transaction of its own."""
    while True:
        values = {**given, "after": after, "chunk": CHUNK}
        async with database.read() as connection:
            rows = (await connection.execute(query, values)).all()
        if rows:
            yield rows
        if len(rows) < CHUNK:
            return
        after = getattr(rows[-1], key)


async def _one(database: Database, query: TextClause, given: Mapping[str, object]) -> Row:
    async with database.read() as connection:
        return (await connection.execute(query, given)).one()


def _refuse(found: int, most: int, what: str) -> None:
    if found > most:
        raise TooMuchError(f"at most {most:,} {what}, and this period has more")


async def _signals(database: Database, period: Period) -> tuple[list[Recorded], int]:
    given = {"since": period.since, "until": period.until}
    there = await _one(database, SIGNALS_THERE, given)
    _refuse(there.found, MOST_SIGNALS, "signals")
    found: list[Recorded] = []
    given |= {"last": there.last}
    async for rows in _rows(database, SIGNALS, there.first, "seq", given):
        found += map(_recorded, rows)
    return found, there.undecided


def _recorded(row: Row) -> Recorded:
    return Recorded(
        signal=Signal(
            id=SignalId(row.id),
            seq=row.seq,
            ticker=Ticker(intern(row.ticker)),
            side=Side(row.side),
            closes=row.closes,
            partial=row.partial,
            price=row.price,
            source=intern(row.source),
            received_at=row.received_at,
            expires_at=row.expires_at,
        ),
        verdict=Verdict(
            status=SignalStatus(row.status),
            reason=Reason(row.reason) if row.reason else None,
            universe_version=row.universe_version,
            rank=row.rank,
            cutoff=row.cutoff,
            list_age=None if row.list_age_ms is None else timedelta(milliseconds=row.list_age_ms),
            position_id=row.position_id and PositionId(row.position_id),
        ),
        at=row.judged_at,
        waited=Wait(row.waits_since, row.waits_until) if row.waits_until else None,
    )


async def _orders(database: Database, given: Mapping[str, object]) -> list[Orders]:
    async with database.read() as connection:
        rows = (await connection.execute(ORDERS, given)).all()
    return [
        Orders(
            since=row.made_at,
            rulebook=read_rulebook(row.rules, {}),
            paused=row.paused,
            paused_until=row.paused_until,
        )
        for row in rows
    ]


async def _bought(
    database: Database, given: Mapping[str, object]
) -> list[tuple[datetime, Ticker, str]]:
    if not given["cooldown"]:
        return []
    async with database.read() as connection:
        rows = (await connection.execute(BOUGHT, given)).all()
    return [(row.at, Ticker(row.ticker), row.source) for row in rows]


async def _terms(database: Database, given: Mapping[str, object]) -> list[Terms]:
    async with database.read() as connection:
        rows = (await connection.execute(TERMS, given)).all()
        rows = rows or (await connection.execute(OLDEST_TERMS)).all()
    if not rows:
        raise NoScreenError
    return [
        Terms(
            since=row.made_at,
            key=(row.screen_id, row.url),
            top_n=row.top_n,
            margin=row.margin,
            wait=timedelta(seconds=row.wait_sec),
            refresh=timedelta(seconds=row.refresh_sec),
        )
        for row in rows
    ]


async def _last_before(
    database: Database, lists: Lists, key: ListKey, since: object
) -> list[tuple[datetime, int]]:
    """Add the newest list of a screen and address when it all begins; return when it was seen."""
    given = {"screen": key[0], "url": key[1], "since": since}
    async with database.read() as connection:
        row = (await connection.execute(VERSION_BEFORE, given)).one_or_none()
    if row is None:
        return []
    lists.add(_listed(row))
    return [(max(row.confirmed_at or row.fetched_at, row.fetched_at), row.version)]


async def _add_versions(
    database: Database, lists: Lists, screens: set[UUID], period: Mapping[str, object]
) -> None:
    given = {**period, "screens": list(screens)}
    there = await _one(database, VERSIONS_THERE, given)
    _refuse(there.found, MOST_VERSIONS, "versions of the list")
    given |= {"last": there.last}
    async for rows in _rows(database, VERSIONS, there.first, "version", given):
        for row in rows:
            lists.add(_listed(row))


def _listed(row: Row) -> Listed:
    return Listed(
        version=row.version,
        key=(row.screen_id, intern(row.url)),
        tickers=row.tickers,
        total=row.total,
        at=row.fetched_at,
        top_n=row.top_n,
        margin=row.margin,
        kept=row.kept,
        fresh_since=row.fresh_since,
        valid_until=row.valid_until,
    )


async def _looks(
    database: Database, screen: UUID, period: Mapping[str, object]
) -> list[tuple[datetime, int]]:
    found: list[tuple[datetime, int]] = []
    given = {"screen": screen, "until": period["until"]}
    async for rows in _rows(database, LOOKS, period["since"], "at", given):
        found += [(row.at, row.version) for row in rows]
        _refuse(len(found), MOST_LOOKS, "looks at Finviz")
    return found


async def _moves(database: Database, period: Mapping[str, object]) -> list[Move]:
    found: list[Move] = []
    touched = 0
    async for rows in _rows(database, TOUCHED, NOBODY, "id", period):
        touched += len(rows)
        _refuse(touched, MOST_SIGNALS, "positions")
        given = {"ids": [row.id for row in rows], "until": period["until"]}
        async with database.read() as connection:
            found += [_move(row) for row in await connection.execute(MOVES, given)]
    return sorted(found, key=lambda move: move.at)


def _move(row: Row) -> Move:
    return Move(
        at=row.at,
        position=PositionId(row.position_id),
        ticker=Ticker(intern(row.ticker)),
        state=PositionState(row.state),
        was=PositionState(row.was) if row.was else None,
        signal_id=row.signal_id and SignalId(row.signal_id),
        source=intern(row.source),
    )
