from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.delivery import (
    LAST_CHANCE,
    SELLS_WAIT,
    Answer,
    Delivered,
    Delivery,
    DeliveryId,
    DeliveryState,
    DestinationId,
    Ended,
    Guarantee,
    Outcome,
    Retry,
    RetryPolicy,
    after_attempt,
    classify,
    end_of_life,
)
from domain.signal import Side, SignalId

NOW = datetime(2030, 1, 2, 15, 4, 5, tzinfo=UTC)
POLICY = RetryPolicy()
DELIVERY = Delivery(
    id=DeliveryId(UUID(int=1)),
    destination_id=DestinationId(UUID(int=2)),
    destination_version=1,
    guarantee=Guarantee.AT_LEAST_ONCE,
    signal_id=SignalId(UUID(int=3)),
    ticker="AAPL",
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

REPEATABLE = [Outcome.NOT_SENT, Outcome.NOT_PROCESSED, Outcome.AMBIGUOUS]

sides = st.sampled_from(Side)
outcomes = st.sampled_from(Outcome)
waits = st.none() | st.timedeltas(timedelta(0), timedelta(days=30))
answers = st.builds(
    Answer, outcome=outcomes, status=st.none() | st.integers(100, 599), retry_after=waits
)
jitters = st.floats(0, 1, exclude_max=True)
lives = st.timedeltas(timedelta(seconds=-5), timedelta(seconds=900))
deliveries = st.tuples(sides, st.integers(1, 1_000), lives).map(
    lambda drawn: replace(DELIVERY, side=drawn[0], attempt=drawn[1], expires_at=NOW + drawn[2])
)


@given(deliveries, answers, jitters)
def test_a_retry_is_never_at_or_after_the_end_of_its_life(
    delivery: Delivery, answer: Answer, jitter: float
) -> None:
    step = after_attempt(delivery, answer, POLICY, now=NOW, jitter=jitter)
    if isinstance(step, Retry):
        assert NOW <= step.at < delivery.expires_at


@given(deliveries, st.sampled_from(REPEATABLE), waits, jitters)
def test_a_wish_to_wait_is_never_undercut_while_it_ends_within_the_life(
    delivery: Delivery, outcome: Outcome, wait: timedelta | None, jitter: float
) -> None:
    answer = Answer(outcome=outcome, status=429, retry_after=wait)
    step = after_attempt(delivery, answer, POLICY, now=NOW, jitter=jitter)
    wait = wait or timedelta(0)
    wish = NOW + (min(wait, SELLS_WAIT) if delivery.side is Side.SELL else wait)
    if isinstance(step, Retry):
        last = delivery.expires_at - LAST_CHANCE
        assert step.at > wish or (delivery.side is Side.SELL and step.at == last)
    elif delivery.side is Side.BUY:
        assert wish + POLICY.cap >= delivery.expires_at


@given(deliveries, answers, jitters)
def test_late_buys_expire_and_late_sells_are_dead(
    delivery: Delivery, answer: Answer, jitter: float
) -> None:
    step = after_attempt(delivery, answer, POLICY, now=NOW, jitter=jitter)
    if isinstance(step, Ended) and answer.outcome is not Outcome.PERMANENT:
        assert step.state is end_of_life(delivery.side)
        assert step.reason.startswith("expired: ")
    if answer.outcome is Outcome.PERMANENT:
        assert isinstance(step, Ended)
        assert step.state is DeliveryState.DEAD


@given(
    sides,
    st.timedeltas(timedelta(seconds=1), timedelta(seconds=60)),
    st.lists(st.tuples(answers, jitters, st.floats(0.05, 5)), min_size=1, max_size=10),
)
def test_every_delivery_ends(
    side: Side, life: timedelta, story: list[tuple[Answer, float, float]]
) -> None:
    delivery, now = replace(DELIVERY, side=side, expires_at=NOW + life), NOW
    for turn in range(2_000):
        answer, jitter, took = story[turn % len(story)]
        now += timedelta(seconds=took)
        step = after_attempt(delivery, answer, POLICY, now=now, jitter=jitter)
        if not isinstance(step, Retry):
            assert isinstance(step, Delivered | Ended)
            return
        now = max(now, step.at)
        withheld = answer.outcome is Outcome.WITHHELD
        delivery = replace(delivery, attempt=delivery.attempt + (not withheld))
    pytest.fail("it goes on for ever")


@given(st.sampled_from(REPEATABLE), jitters)
def test_a_sell_told_to_wait_too_long_is_tried_once_more_before_its_end(
    outcome: Outcome, jitter: float
) -> None:
    sell = replace(DELIVERY, side=Side.SELL, expires_at=NOW + timedelta(seconds=600))
    told = Answer(outcome=outcome, status=503, retry_after=timedelta(hours=1))
    last = sell.expires_at - LAST_CHANCE
    late = last - SELLS_WAIT / 2
    assert after_attempt(sell, told, POLICY, now=late, jitter=jitter) == Retry(last)
    again = after_attempt(sell, told, POLICY, now=last, jitter=jitter)
    assert again == Ended(DeliveryState.DEAD, "expired: http 503")


@given(st.sampled_from(REPEATABLE), sides, jitters)
def test_a_sell_waits_a_minute_at_most_and_a_buy_as_long_as_it_is_told(
    outcome: Outcome, side: Side, jitter: float
) -> None:
    delivery = replace(DELIVERY, side=side, expires_at=NOW + timedelta(hours=1))
    told = Answer(outcome=outcome, status=503, retry_after=timedelta(minutes=30))
    step = after_attempt(delivery, told, POLICY, now=NOW, jitter=jitter)
    wish = SELLS_WAIT if side is Side.SELL else timedelta(minutes=30)
    assert step == Retry(NOW + POLICY.delay(delivery.attempt, side, jitter) + wish)


def test_what_was_withheld_is_due_at_once_while_it_lives() -> None:
    withheld = Answer(outcome=Outcome.WITHHELD)
    step = after_attempt(DELIVERY, withheld, POLICY, now=NOW, jitter=0.5)
    assert step == Retry(NOW)
    late = after_attempt(DELIVERY, withheld, POLICY, now=DELIVERY.expires_at, jitter=0.5)
    assert late == Ended(DeliveryState.EXPIRED, "expired: withheld")


@given(deliveries, jitters)
def test_delivered_is_delivered_even_late(delivery: Delivery, jitter: float) -> None:
    answer = Answer(outcome=Outcome.DELIVERED, status=200)
    assert after_attempt(delivery, answer, POLICY, now=NOW, jitter=jitter) == Delivered()


def test_why_it_ended_is_said() -> None:
    def ended(**answer: object) -> Ended:
        given = replace(Answer(outcome=Outcome.PERMANENT), **answer)
        step = after_attempt(DELIVERY, given, POLICY, now=NOW, jitter=0)
        assert isinstance(step, Ended)
        return step

    assert ended(status=404).reason == "http 404"
    assert ended(error="forbidden address").reason == "forbidden address"
    assert ended().reason == "permanent"


@given(st.integers(1, 10_000), sides, jitters)
def test_the_wait_doubles_below_its_ceiling(attempt: int, side: Side, jitter: float) -> None:
    wait = POLICY.delay(attempt, side, jitter)
    ceiling = 0.25 * 2 ** min(attempt - 1, 16)
    if side is Side.SELL and ceiling > 8:
        assert timedelta(seconds=10) <= wait <= timedelta(seconds=15)
    else:
        assert POLICY.floor <= wait <= timedelta(seconds=min(ceiling, 8))


def test_the_ceilings_are_those_of_the_table() -> None:
    almost = 1 - 2**-53
    waits = [POLICY.delay(attempt, Side.BUY, almost).total_seconds() for attempt in range(1, 9)]
    assert waits == pytest.approx([0.25, 0.5, 1, 2, 4, 8, 8, 8])
    sells = [POLICY.delay(attempt, Side.SELL, almost).total_seconds() for attempt in range(5, 9)]
    assert sells == pytest.approx([4, 8, 15, 15])
    assert POLICY.delay(9, Side.SELL, 0).total_seconds() == 10


ONCE = replace(DELIVERY, guarantee=Guarantee.AT_MOST_ONCE)


@given(sides, waits, jitters)
def test_at_most_once_what_may_have_arrived_is_held(
    side: Side, wait: timedelta | None, jitter: float
) -> None:
    unknown = Answer(outcome=Outcome.AMBIGUOUS, status=500, retry_after=wait)
    step = after_attempt(replace(ONCE, side=side), unknown, POLICY, now=NOW, jitter=jitter)
    assert step == Ended(DeliveryState.HELD, "http 500")


@given(st.sampled_from([Outcome.NOT_SENT, Outcome.NOT_PROCESSED]), jitters)
def test_at_most_once_what_surely_did_not_arrive_is_sent_again(
    outcome: Outcome, jitter: float
) -> None:
    step = after_attempt(ONCE, Answer(outcome=outcome), POLICY, now=NOW, jitter=jitter)
    assert isinstance(step, Retry)


def test_a_dry_run_is_as_good_as_delivered() -> None:
    dry = Answer(outcome=Outcome.DRY_RUN)
    assert after_attempt(DELIVERY, dry, POLICY, now=NOW, jitter=0) == Delivered()


OUTCOMES = {
    Outcome.DELIVERED: [200, 201, 202, 204, 299],
    Outcome.NOT_PROCESSED: [408, 425, 429, 503],
    Outcome.AMBIGUOUS: [500, 501, 502, 504, 520, 599],
    Outcome.PERMANENT: [301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 410, 413, 422, 451],
}


@pytest.mark.parametrize(
    ("status", "outcome"), [(status, key) for key, found in OUTCOMES.items() for status in found]
)
def test_what_a_status_says(status: int, outcome: Outcome) -> None:
    assert classify(status) is outcome


def test_final_states_are_those_nobody_works_on() -> None:
    assert {state for state in DeliveryState if not state.final} == {"queued", "sending", "held"}
