"""Hold-and-see: a buy may wait for its ticker to come into the list, and is approved once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.gate import GatePolicy, Judged, Reason, Verdict, judge_in_order
from domain.signal import Side, Signal, SignalId, SignalStatus, Wait
from domain.ticker import Ticker
from domain.universe import Universe

NOW = datetime(2030, 1, 2, 15, 4, 5, tzinfo=UTC)
POLICY = GatePolicy(
    top_n=2, list_max_age=timedelta(seconds=180), margin=1, wait=timedelta(seconds=20)
)
OFF = replace(POLICY, wait=timedelta(0))


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def a_signal(
    seq: int, side: Side = Side.BUY, *, life: float = 30, wait: Wait | None = None
) -> Signal:
    return Signal(
        id=SignalId(UUID(int=seq)),
        seq=seq,
        ticker=Ticker("AA"),
        side=side,
        closes=None,
        partial=False,
        price=None,
        received_at=NOW,
        expires_at=after(life),
        wait=wait,
    )


def a_list(
    *tickers: str, at: float = -5, since: float = -60, kept: frozenset[Ticker] = frozenset()
) -> Universe:
    return Universe(
        version=1,
        tickers=tuple(Ticker(ticker) for ticker in tickers),
        total=99,
        fetched_at=after(at),
        confirmed_at=after(at),
        fresh_since=after(since),
        kept=kept,
    )


WITHOUT = a_list("B", "C", "D", "AA")
WAITING = Wait(NOW, after(20))


def judge(
    *signals: Signal, listed: Universe | None = WITHOUT, at: float = 0, policy: GatePolicy = POLICY
) -> Judged:
    return judge_in_order(signals, universe=listed, positions=(), policy=policy, now=after(at))


def decided(judged: Judged) -> list[tuple[SignalStatus, Reason | None]]:
    return [(verdict.status, verdict.reason) for _, verdict in judged.verdicts]


def test_a_buy_that_is_not_in_the_list_begins_to_wait() -> None:
    judged = judge(a_signal(1))
    assert judged.verdicts == ()
    ((_, verdict),) = judged.waiting
    assert verdict == Verdict(
        status=SignalStatus.RECEIVED,
        universe_version=1,
        rank=4,
        cutoff=2,
        list_age=timedelta(seconds=5),
        wait=WAITING,
    )


def test_nobody_waits_beyond_its_life() -> None:
    ((_, verdict),) = judge(a_signal(1, life=3)).waiting
    assert verdict.wait == Wait(NOW, after(3))


@pytest.mark.parametrize(
    ("listed", "reason"),
    [(None, Reason.LIST_UNKNOWN), (a_list("B", at=-999, since=-999), Reason.LIST_STALE)],
)
def test_nobody_waits_for_a_list(listed: Universe | None, reason: Reason) -> None:
    assert decided(judge(a_signal(1), listed=listed)) == [(SignalStatus.REJECTED, reason)]


def test_off_nobody_waits() -> None:
    judged = judge(a_signal(1), policy=OFF)
    assert decided(judged) == [(SignalStatus.REJECTED, Reason.NOT_IN_LIST)]
    assert judged.waiting == ()


def test_who_waits_and_is_still_not_in_the_list_goes_on_waiting() -> None:
    judged = judge(a_signal(1, wait=WAITING), at=10)
    assert (judged.verdicts, judged.waiting) == ((), ())


def test_who_comes_into_the_list_in_time_is_approved() -> None:
    judged = judge(a_signal(1, wait=WAITING), listed=a_list("AA", at=19), at=19.5)
    assert decided(judged) == [(SignalStatus.APPROVED, None)]
    assert len(judged.positions) == 1


IN_VAIN = [(SignalStatus.EXPIRED, Reason.NOT_IN_LIST)]


def test_who_waited_long_enough_has_expired() -> None:
    assert decided(judge(a_signal(1, wait=WAITING), at=20)) == IN_VAIN


def test_a_list_that_came_too_late_approves_nobody() -> None:
    late = a_list("AA", at=20.5)
    assert decided(judge(a_signal(1, wait=WAITING), listed=late, at=21)) == IN_VAIN


def test_after_its_life_nobody_is_approved() -> None:
    short = a_signal(1, life=10, wait=Wait(NOW, after(10)))
    assert decided(judge(short, listed=a_list("AA", at=9), at=10)) == IN_VAIN


def test_a_list_that_is_back_after_an_outage_tells_of_no_entering() -> None:
    back = a_list("AA", at=8, since=8)
    judged = judge(a_signal(1, wait=WAITING), listed=back, at=9)
    assert (judged.verdicts, judged.waiting) == ((), ())
    assert decided(judge(a_signal(1, wait=WAITING), listed=back, at=20)) == IN_VAIN


def test_a_list_too_old_at_the_end_is_named() -> None:
    old = a_list("B", at=-170, since=-999)
    judged = judge(a_signal(1, wait=WAITING), listed=old, at=20)
    assert decided(judged) == [(SignalStatus.EXPIRED, Reason.LIST_STALE)]


def test_a_sell_that_came_since_ends_the_wait_even_in_the_list() -> None:
    judged = judge(
        a_signal(1, wait=WAITING), a_signal(2, Side.SELL), listed=a_list("AA", at=5), at=6
    )
    assert decided(judged) == [*IN_VAIN, (SignalStatus.REJECTED, Reason.NO_POSITION)]


def test_a_buy_with_a_sell_behind_it_does_not_begin_to_wait() -> None:
    judged = judge(a_signal(1), a_signal(2, Side.SELL), a_signal(3))
    assert [status for status, _ in decided(judged)] == [SignalStatus.REJECTED] * 2
    assert [signal.seq for signal, _ in judged.waiting] == [3]


def test_a_sell_never_waits() -> None:
    policy = replace(POLICY, sell_policy=POLICY.sell_policy.TOP_N)
    judged = judge(a_signal(1, Side.SELL), policy=policy)
    assert decided(judged) == [(SignalStatus.REJECTED, Reason.NOT_IN_LIST)]


# ── Hysteresis ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("place", "kept", "approved"),
    [(2, False, True), (3, False, False), (3, True, True), (4, True, False)],
)
def test_a_ticker_kept_beyond_the_top_n_is_in_as_far_as_the_margin(
    place: int, *, kept: bool, approved: bool
) -> None:
    names = ["B", "C", "D", "E"]
    names[place - 1] = "AA"
    listed = a_list(*names, kept=frozenset({Ticker("AA")} if kept else ()))
    judged = judge(a_signal(1), listed=listed, policy=OFF)
    ((_, verdict),) = judged.verdicts
    assert (verdict.status is SignalStatus.APPROVED) == approved
    assert (verdict.rank, verdict.cutoff) == (place, 3 if kept else 2)


def test_without_a_margin_nobody_is_kept_whatever_the_list_says() -> None:
    listed = a_list("B", "C", "AA", kept=frozenset({Ticker("AA")}))
    policy = replace(OFF, margin=0)
    assert decided(judge(a_signal(1), listed=listed, policy=policy))[0][1] is Reason.NOT_IN_LIST


# ── Whatever happens ────────────────────────────────────────────────────────────────────────

moments = st.lists(
    st.tuples(
        st.integers(1, 400).map(lambda tenths: tenths / 10),
        st.sampled_from(["in", "out", "gap", "sell"]),
    ),
    max_size=12,
)


@given(steps=moments, life=st.floats(1, 40), wait=st.floats(0, 40))
def test_it_is_decided_once_in_time_and_never_after_a_sell_or_a_gap(
    steps: list[tuple[float, str]], life: float, wait: float
) -> None:
    """Judged again at every step and at the end, as the gatekeeper does."""
    policy = replace(POLICY, wait=timedelta(seconds=wait))
    signal, since = a_signal(1, life=life), -60.0
    verdicts: list[tuple[float, SignalStatus, bool]] = []
    spoilt = False
    for at, what in [(0.0, "out"), *sorted(steps), (41.0, "out")]:
        since = at if what == "gap" else since
        members = ("AA", "B") if what in {"in", "gap", "sell"} else ("B", "C", "D", "AA")
        listed = a_list(*members, at=at, since=since)
        batch = [signal, a_signal(2, Side.SELL)] if what == "sell" else [signal]
        spoilt |= what in {"gap", "sell"} and at > 0
        judged = judge(*batch, listed=listed, at=at, policy=policy)
        for one, verdict in judged.waiting:
            signal = replace(one, wait=verdict.wait)
        mine = [verdict for one, verdict in judged.verdicts if one.seq == 1]
        if mine:
            verdicts += [(at, mine[0].status, spoilt)]
            break
    ((at, status, was_spoilt),) = verdicts
    if status is SignalStatus.APPROVED:
        assert at < life
        assert at <= wait or at == 0
        assert not was_spoilt
