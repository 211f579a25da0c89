"""Fixed work of the hot path, without database and network: what the guard measures."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias, cast
from uuid import UUID

from uvicorn.loops.auto import auto_loop_factory

from bench.stage import KEY, TOKEN, alerts
from database.dedicated import Dedicated
from database.journal import Entry, Receipt
from database.pool import Database
from database.vault import Vault
from demo.finviz import made_up_market, render_page
from domain.access import Grant, Scope, digest
from domain.alert import Alert, interpret
from domain.breaker import Breaker, BreakerPolicy, Probed, Tally, after, health_of
from domain.delivery import (
    Answer,
    Delivered,
    Delivery,
    DeliveryId,
    DestinationId,
    Guarantee,
    Outcome,
    RetryPolicy,
    after_attempt,
)
from domain.gate import GatePolicy, SellPolicy, judge_in_order
from domain.parsed import Parsed, parse
from domain.receipt import read_receipt
from domain.signal import Side, Signal, SignalId, SignalStatus
from domain.ticker import Ticker
from domain.universe import Universe
from engines.access.keyring import Keyring
from engines.failpoints import passes
from engines.metrics import Metrics
from engines.relay.intake import Intake
from engines.universe.finviz_page import read_page
from web.dependencies import Rules
from web.webhook import Headers, Webhook

Work: TypeAlias = Callable[[], object]

NOW = datetime(2030, 1, 2, 15, 4, 5, tzinfo=UTC)
TICKERS = [f"T{number}" for number in range(50)]
AT_ONCE = 32
ANSWER = '{"success":true,"id":"0d0b1c5e-1111-4222-8333-123456789abc","logId":"a1b2c3"}'


def of_hot_path(stack: ExitStack) -> dict[str, Work]:
    """By name, made ready to run again and again; a piece of work lasts some milliseconds."""
    return {
        "webhook to intake": _accepting(stack),
        "reading alerts": _reading(),
        "judging": _judging(),
        "settling": _settling(),
        "reading a page": _paging(),
    }


# ── The webhook, up to the commit ───────────────────────────────────────────────────────────


class _Unwritten(Intake):
    """All of the intake but its statement."""

    async def _append(self, entries: Sequence[Entry]) -> list[Receipt | None]:
        return [
            Receipt(id=one.id, status=SignalStatus.RECEIVED, ticker=one.ticker, duplicate=False)
            for one in entries
        ]


def _accepting(stack: ExitStack) -> Work:
    runner = stack.enter_context(asyncio.Runner(loop_factory=auto_loop_factory()))
    intake = _Unwritten(
        database=cast("Dedicated", None),
        metrics=Metrics(),
        wake=lambda: None,
        wake_gatekeeper=lambda: None,
    )
    state, bodies = _state(intake), alerts(TICKERS)

    async def nobody(*_: object) -> None:
        raise AssertionError("the webhook answers its own path")

    webhook = Webhook(nobody)

    async def at_once() -> None:
        asked = [_Whole(bytearray(body)) for body, _ in zip(bodies, range(AT_ONCE), strict=False)]
        for one in asked:
            assert webhook.express(_scope(state, one.body), one)
        while not all(one.status for one in asked):
            await asyncio.sleep(0)
            await intake.step()
        for one in asked:
            assert one.status == 202

    return lambda: runner.run(at_once())


@dataclass(slots=True)
class _Whole:
    """A request as the relay's server brings it; ``status`` is how it was answered."""

    body: bytearray
    status: int = 0

    def answer(self, status: int, headers: Headers, body: bytes) -> None:  # noqa: ARG002  the server's part
        self.status = status

    def fail(self, error: Exception) -> None:
        raise error


def _scope(state: dict[str, Any], body: bytearray) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "path": f"/webhook/in/{TOKEN}",
        "query_string": b"",
        "headers": [
            (b"host", b"127.0.0.1:8000"),
            (b"user-agent", b"Go-http-client/1.1"),
            (b"content-length", b"%d" % len(body)),
            (b"content-type", b"application/json"),
            (b"accept-encoding", b"gzip"),
        ],
        "client": ("127.0.0.1", 50_000),
        "state": state,
    }


RULES = Rules(
    version="",
    public_url="https://relay.example.com",
    open_ingress=False,
    lifetimes={Side.BUY: timedelta(seconds=30), Side.SELL: timedelta(seconds=600)},
    dedupe_window=timedelta(seconds=30),
    list_max_age=None,
    sell_policy=SellPolicy.WITH_POSITION,
    elite=False,
    queue_max=100_000,
    sell_share=0.1,
)


def _state(intake: Intake) -> dict[str, Any]:
    grant = Grant(name="settings", digest=digest(TOKEN), scopes=frozenset({Scope.INGEST}))
    keyring = Keyring(database=cast("Database", None), of_settings=[grant], clock=lambda: NOW)
    return {
        "intake": intake,
        "keyring": keyring,
        "doorkeeper": keyring,  # asks it in the same words
        "vault": Vault.from_key(KEY),
        "metrics": intake.metrics,
        "backlog": lambda: 0,
        "reach": passes,
        "clock": lambda: NOW,
        "chance": bytes,  # zeros: what the system's own take is not ours
        "rules": RULES,
    }


def _reading() -> Work:
    bodies = [body for body, _ in zip(alerts(TICKERS), range(40), strict=False)]

    def work() -> None:
        for body in bodies:
            parsed = parse(body, "application/json")
            assert isinstance(parsed, Parsed)
            assert isinstance(interpret(parsed), Alert)

    return work


# ── Decisions ───────────────────────────────────────────────────────────────────────────────


def _judging() -> Work:
    seen = NOW - timedelta(seconds=10)
    listed = tuple(map(Ticker, TICKERS[:25]))
    universe = Universe(version=7, tickers=listed, total=50, fetched_at=seen, confirmed_at=seen)
    policy = GatePolicy(top_n=15, list_max_age=timedelta(seconds=180))
    signals = list(_signals(100))

    def work() -> None:
        judged = judge_in_order(signals, universe=universe, positions=(), policy=policy, now=NOW)
        assert len(judged.verdicts) == len(signals)

    return work


def _signals(count: int) -> Iterator[Signal]:
    for seq in range(1, count + 1):
        yield Signal(
            id=SignalId(UUID(int=seq)),
            seq=seq,
            ticker=Ticker(TICKERS[seq % len(TICKERS)]),
            side=Side.SELL if seq % 5 == 0 else Side.BUY,
            closes=None,
            partial=False,
            price=None,
            received_at=NOW,
            expires_at=NOW + timedelta(seconds=30),
        )


def _settling() -> Work:
    delivery = Delivery(
        id=DeliveryId(UUID(int=1)),
        destination_id=DestinationId(UUID(int=2)),
        destination_version=1,
        guarantee=Guarantee.AT_LEAST_ONCE,
        signal_id=SignalId(UUID(int=3)),
        ticker="AA",
        side=Side.BUY,
        epoch=1,
        attempt=1,
        possible_resend=False,
        body=b"{}",
        content_type="application/json",
        received_at=NOW,
        leased_at=NOW,
        expires_at=NOW + timedelta(seconds=30),
    )
    good = Answer(outcome=Outcome.DELIVERED, status=200, excerpt=ANSWER)
    answers = [good, good, replace(good, outcome=Outcome.AMBIGUOUS, status=502)] * 40
    policy, retry = BreakerPolicy(), RetryPolicy()

    def work() -> None:
        breaker, done = Breaker(), 0
        for answer in answers:
            step = after_attempt(delivery, answer, retry, now=NOW, jitter=0.5)
            probed = Probed(health=health_of(answer), began=NOW, cause="")
            breaker = after(breaker, probed, Tally(0, 0), now=NOW, policy=policy, jitter=0.5)
            done += isinstance(step, Delivered) and read_receipt(answer.excerpt) is not None
        assert done == 80

    return work


def _paging() -> Work:
    body = render_page(made_up_market(5, 104), step=20).encode()

    def work() -> None:
        assert len(read_page(body).rows) == 20

    return work
