import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.position import PositionState, Progress, follow, is_moot


def progress(
    *, any_delivered: bool = False, done: bool = False, sent: bool = False, ended: bool
) -> Progress:
    return Progress(
        any_delivered=any_delivered, possibly_sent=sent or any_delivered, ended=ended, done=done
    )


WAITING = progress(ended=False)
SOME = progress(any_delivered=True, ended=False)
DONE = progress(any_delivered=True, done=True, ended=True)
PART = progress(any_delivered=True, ended=True)
UNSENT = progress(ended=True)
SOLD = progress(done=True, ended=True)
UNKNOWN = progress(sent=True, ended=True)
ON_ITS_WAY = progress(sent=True, ended=False)

S = PositionState


@pytest.mark.parametrize(
    ("state", "entry", "exit_", "becomes"),
    [
        (S.OPENING, WAITING, WAITING, S.OPENING),
        (S.OPENING, ON_ITS_WAY, WAITING, S.OPENING),
        (S.OPENING, SOME, WAITING, S.OPEN),
        (S.OPENING, PART, WAITING, S.OPEN),
        (S.OPENING, UNSENT, WAITING, S.VOID),
        (S.OPENING, UNKNOWN, WAITING, S.OPEN),
        (S.CLOSING, PART, WAITING, S.CLOSING),
        (S.CLOSING, PART, ON_ITS_WAY, S.CLOSING),
        (S.CLOSING, PART, SOME, S.CLOSING),
        (S.CLOSING, PART, DONE, S.CLOSED),
        (S.CLOSING, PART, PART, S.OPEN),
        (S.CLOSING, PART, UNSENT, S.OPEN),
        (S.CLOSING, PART, UNKNOWN, S.OPEN),
        (S.CLOSING, UNSENT, UNSENT, S.VOID),
        (S.CLOSING, UNSENT, WAITING, S.CLOSING),
        (S.CLOSING, UNSENT, ON_ITS_WAY, S.CLOSING),
        (S.CLOSING, UNKNOWN, WAITING, S.CLOSING),
        (S.CLOSING, WAITING, UNSENT, S.OPENING),
        (S.CLOSING, UNKNOWN, UNSENT, S.OPEN),
        (S.OPENING, None, None, S.OPEN),
        (S.OPENING, PART, None, S.OPEN),
        (S.CLOSING, None, WAITING, S.CLOSING),
        (S.CLOSING, None, DONE, S.CLOSED),
        (S.CLOSING, None, UNSENT, S.OPEN),
        (S.CLOSING, PART, None, S.CLOSING),
        (S.OPEN, UNSENT, DONE, S.VOID),
        (S.OPEN, WAITING, DONE, S.OPEN),
        (S.OPEN, SOLD, UNSENT, S.CLOSED),
        (S.OPEN, None, UNSENT, S.OPEN),
        (S.CLOSING, SOLD, UNSENT, S.CLOSED),
        (S.CLOSING, SOLD, WAITING, S.CLOSING),
        (S.CLOSED, PART, UNSENT, S.CLOSED),
        (S.VOID, PART, DONE, S.VOID),
    ],
)
def test_a_position_follows_its_deliveries(
    state: PositionState, entry: Progress | None, exit_: Progress | None, becomes: PositionState
) -> None:
    assert follow(state, entry, exit_) is becomes


progresses = st.sampled_from([WAITING, SOME, DONE, PART, UNSENT, UNKNOWN, ON_ITS_WAY])


@given(st.sampled_from(PositionState), progresses, progresses)
def test_following_settles_at_once_for_what_has_ended(
    state: PositionState, entry: Progress, exit_: Progress
) -> None:
    once = follow(state, entry, exit_)
    assert once.live or follow(once, entry, exit_) is once


@given(progresses, progresses)
def test_what_a_destination_may_hold_is_never_void_and_never_closed_without_its_exit(
    entry: Progress, exit_: Progress
) -> None:
    for state in (PositionState.OPENING, PositionState.CLOSING):
        becomes = follow(state, entry, exit_)
        if entry.possibly_sent:
            assert becomes is not PositionState.VOID
        assert becomes is not PositionState.CLOSED or exit_.done


@pytest.mark.parametrize(
    ("entry", "moot"),
    [
        (WAITING, False),
        (SOME, False),
        (DONE, False),
        (PART, False),
        (UNSENT, True),
        (UNKNOWN, False),
        (ON_ITS_WAY, False),
    ],
)
def test_an_exit_is_moot_only_where_surely_nothing_was_bought(
    entry: Progress, *, moot: bool
) -> None:
    assert is_moot(entry) is moot


def test_live_is_what_a_sell_may_sell() -> None:
    assert [state for state in PositionState if state.live] == [
        PositionState.OPENING,
        PositionState.OPEN,
    ]


@pytest.mark.parametrize("exit_", [None, WAITING, SOME, UNSENT, PART, DONE])
@pytest.mark.parametrize("state", S)
def test_one_entered_by_hand_that_was_emptied_is_closed_when_its_exit_ended(
    state: PositionState, exit_: Progress | None
) -> None:
    over = state is S.CLOSING and exit_ is not None and exit_.ended
    expected = S.CLOSED if over else follow(state, None, exit_)
    assert follow(state, None, exit_, emptied=True) is expected
