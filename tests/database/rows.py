"""Builders of rows: alerts, destinations, lists and verdicts as tests need them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import text

from database import (
    adopting,
    cadences,
    destinations,
    endings,
    journal,
    lanes,
    screens,
    settlements,
    verdicts,
)
from database.adopting import Listing
from database.journal import Entry, Receipt
from database.pool import Connection, Database
from database.screens import Kept, ScreenId
from database.settlements import Settlement
from database.vault import Vault
from domain.delivery import (
    Answer,
    Delivered,
    Delivery,
    DeliveryId,
    DeliveryState,
    DestinationId,
    Ended,
    Outcome,
    Retry,
    Step,
)
from domain.destination import Destination, SigningKeys
from domain.gate import GatePolicy, Judged, SellPolicy, judge_in_order
from domain.rate import Room, Window
from domain.screen import Screen, parse_screen_url
from domain.signal import Side, SignalId, uuid7
from domain.ticker import Ticker
from domain.universe import Row, Universe
from engines.clock import entropy, utc_now

BUY, SELL = Side.BUY, Side.SELL
LEASE = timedelta(seconds=15)
ALL = Room(total=999, buys=999)
URL = parse_screen_url("https://finviz.com/screener.ashx?v=111&f=sh_price_o5&o=-change")
OK = Answer(outcome=Outcome.DELIVERED, status=200, excerpt="ok")
REFUSED = Answer(outcome=Outcome.PERMANENT, status=404)
UNKNOWN = Answer(outcome=Outcome.AMBIGUOUS, status=500)
UNSENT = Answer(outcome=Outcome.NOT_SENT, error="ConnectError")
WITHHELD = Answer(outcome=Outcome.WITHHELD)
DRY = Answer(outcome=Outcome.DRY_RUN)


def new_id() -> SignalId:
    return SignalId(uuid7(utc_now(), entropy(10)))


def an_entry(ticker: str = "AAPL", side: Side = BUY, **given: Any) -> Entry:
    """A readable alert that is like no other."""
    id = new_id()
    usual: Mapping[str, Any] = {
        "id": id,
        "source": "webhook",
        "key": id.bytes * 2,
        "window": timedelta(seconds=30),
        "lifetime": timedelta(seconds=30 if side is BUY else 600),
        "content_type": "application/json",
        "body": f'{{"ticker":"{ticker}","side":"{side}","id":"{id}"}}'.encode(),
        "body_sealed": False,
        "ticker": Ticker(ticker),
        "symbol": ticker,
        "side": side,
    }
    return Entry(**{**usual, **given})


def a_destination(name: str = "main", **given: Any) -> Destination:
    usual: Mapping[str, Any] = {
        "id": DestinationId(new_id()),
        "url": "https://destination.example/hook",
        "keys": SigningKeys(b"k" * 32),
        "windows": (),
        "version": 1,
    }
    return Destination(name=name, **{**usual, **given})


def a_screen(
    top_n: int = 15, refresh: float = 180, url: str = URL, *, margin: int = 0, wait: float = 0
) -> Screen:
    return Screen(
        url=parse_screen_url(url),
        top_n=top_n,
        refresh=timedelta(seconds=refresh),
        margin=margin,
        wait=timedelta(seconds=wait),
    )


def settlement(delivery: Delivery, answer: Answer, step: Step | None = None) -> Settlement:
    """How an attempt ended: as the answer says, or as ``step`` says."""
    usual: dict[Outcome, Step] = {
        Outcome.DELIVERED: Delivered(),
        Outcome.DRY_RUN: Delivered(),
        Outcome.PERMANENT: Ended(DeliveryState.DEAD, "http 404"),
    }
    step = step or usual.get(answer.outcome) or Retry(delivery.leased_at)
    return Settlement(delivery=delivery, answer=answer, step=step)


def ending_arrays(
    ids: Sequence[object], states: Sequence[str], outcomes: Sequence[str], *, epoch: int
) -> dict[str, Sequence[object]]:
    """What `settlements.SETTLE` is given for attempts of which only the end is of interest."""
    silent = ("dues", "statuses", "errors", "answers", "written", "waits", "receipts")
    nothing: Mapping[str, Sequence[object]] = {name: [None] * len(ids) for name in silent}
    return {
        **nothing,
        "ids": ids,
        "epochs": [epoch] * len(ids),
        "states": states,
        "reasons": ["a test" if state != "queued" else None for state in states],
        "outcomes": outcomes,
        "durations": [1] * len(ids),
    }


@dataclass(frozen=True, slots=True)
class Rows:
    """What every test does to one database."""

    database: Database
    vault: Vault

    async def sql(self, statement: str, **values: Any) -> Sequence[Any]:
        """Run one statement; return its rows, or the values of its only column."""
        async with self.database.write() as connection:
            result = await connection.execute(text(statement), values)
            if not result.returns_rows:
                return []
            rows = result.all()
            return [row[0] for row in rows] if len(result.keys()) == 1 else rows

    async def somebody_waits(self) -> bool:
        """Whether a statement of this database waits for a lock."""
        (waiting,) = await self.sql(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return waiting > 0

    async def age_events(self, days: int) -> None:
        """Have all events told so long ago, as only who owns the server can."""
        async with self.database.write() as connection:
            await connection.execute(text("SET LOCAL session_replication_role = replica"))
            aged = "UPDATE events SET at = now() - make_interval(days => :days)"
            await connection.execute(text(aged), {"days": days})

    async def append(self, *entries: Entry) -> list[Receipt | None]:
        async with self.database.autocommit() as connection:
            return await journal.append(connection, entries)

    async def alert(self, ticker: str = "AAPL", side: Side = BUY, **given: Any) -> SignalId:
        """Journal one alert and return its id."""
        entry = an_entry(ticker, side, **given)
        await self.append(entry)
        return entry.id

    async def destination(self, name: str = "main", **given: Any) -> Destination:
        wanted = a_destination(name, **given)
        async with self.database.write() as connection:
            assert await destinations.create(connection, self.vault, wanted, actor="a test")
        return wanted

    async def change(self, destination: Destination, **given: Any) -> Destination:
        """Make the next version of a destination."""
        async with self.database.write() as connection:
            wanted = replace(destination, **given)
            assert await destinations.change(connection, self.vault, wanted, actor="a test")
        return replace(wanted, version=destination.version + 1)

    async def screen(self, top_n: int = 15, refresh: float = 180) -> Kept:
        async with self.database.write() as connection:
            screen = a_screen(top_n, refresh)
            first = Kept(id=ScreenId(uuid4()), name="first screen", version=1, screen=screen)
            await screens.create_first(connection, first, actor="a test")
            kept = await screens.active(connection)
        assert kept
        return kept

    async def adopt(
        self, kept: Kept, *tickers: str, total: int = 100, max_age: timedelta = timedelta(hours=1)
    ) -> int | None:
        """Make this the list in force, seen just now."""
        listed = [Row(rank=rank, ticker=Ticker(t)) for rank, t in enumerate(tickers, start=1)]
        async with self.database.write() as connection:
            seen_at = await cadences.now(connection)
            listing = Listing(rows=listed, total=total, seen_at=seen_at)
            return await adopting.adopt(connection, kept, listing, max_age=max_age)

    async def change_screen(self, screen: Screen) -> Kept:
        """Let the active screen be this one."""
        async with self.database.write() as connection:
            kept = await screens.hold_active(connection)
            assert kept
            changed = await screens.change(connection, replace(kept, screen=screen), actor="a test")
        assert changed
        return changed

    async def decide(
        self, limit: int = 128, policy: SellPolicy | None = None, *, anywhere: bool = True
    ) -> Judged | None:
        """Judge what waits as if every ticker of it were listed, and had ``anywhere`` to go."""
        async with self.database.write() as connection:
            sells = policy or SellPolicy.WITH_POSITION
            return await decide_on(connection, limit, sells, anywhere=anywhere)

    async def lease(
        self, destination: Destination, room: Room = ALL, lasting: timedelta = LEASE
    ) -> list[Delivery]:
        async with self.database.write() as connection:
            assert await lanes.hold(connection, destination.id)
            return await lanes.lease(connection, self.vault, destination.id, room, lasting)

    async def settle(self, *ended: Settlement) -> set[DeliveryId]:
        async with self.database.write() as connection:
            return {s.delivery.id for s in await settlements.settle(connection, ended)}

    async def expire(self) -> int:
        async with self.database.write() as connection:
            return (await endings.expire(connection, limit=500)).total()

    async def states(self, table: str) -> list[str]:
        """The states of deliveries or positions, oldest first."""
        order = {
            "deliveries": "seq, queued_at",
            # Those of one batch are opened at once, and ids of one millisecond have no order.
            "positions": "opened_at, (SELECT seq FROM signals WHERE id = entry_signal_id), id",
        }[table]
        return list(await self.sql(f"SELECT state FROM {table} ORDER BY {order}"))

    async def events(self, signal: SignalId | None = None) -> list[str]:
        return list(
            await self.sql(
                "SELECT event FROM events WHERE signal_id = :id OR CAST(:id AS uuid) IS NULL"
                " ORDER BY id",
                id=signal,
            )
        )

    async def bought(self, destination: Destination, ticker: str = "AAPL") -> SignalId:
        """A position of this ticker that is open."""
        id = await self.alert(ticker, BUY)
        await self.decide()
        (delivery,) = await self.lease(destination)
        await self.settle(settlement(delivery, OK))
        return id


async def decide_on(
    connection: Connection, limit: int, sells: SellPolicy, *, anywhere: bool = True
) -> Judged | None:
    claimed = await verdicts.claim(connection, limit=limit)
    if claimed is None:
        return None
    listed = tuple(dict.fromkeys(signal.ticker for signal in claimed.signals))
    judged = judge_in_order(
        claimed.signals,
        universe=Universe(
            version=1,
            tickers=listed,
            total=len(listed),
            fetched_at=claimed.now,
            confirmed_at=claimed.now,
        ),
        positions=claimed.positions,
        policy=GatePolicy(
            top_n=1_000,
            list_max_age=timedelta(seconds=180),
            sell_policy=sells,
            has_destination=anywhere,
        ),
        now=claimed.now,
    )
    await verdicts.record(connection, judged)
    return judged


def with_windows(destination: Destination, *windows: Window) -> Destination:
    return replace(destination, windows=windows)
