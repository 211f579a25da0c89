from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.rate import (
    TRADERSPOST,
    Room,
    Used,
    Window,
    format_windows,
    is_full,
    parse_windows,
    reserved,
    room,
)

windows = st.builds(Window, limit=st.integers(1, 40), seconds=st.integers(1, 30))
shares = st.sampled_from([0.0, 0.01, 0.1, 0.25, 0.5, 0.9, 1.0])


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("60/60s", (Window(limit=60, seconds=60),)),
        ("60/60s,500/3600s", TRADERSPOST),
        (" 1 / 1 s , ", (Window(limit=1, seconds=1),)),
        ("7/86400", (Window(limit=7, seconds=86_400),)),
    ],
)
def test_windows_are_read(text: str, read: tuple[Window, ...]) -> None:
    assert parse_windows(text) == read


@pytest.mark.parametrize(
    "text",
    [
        *("", " , ", "60", "60/", "/60s", "0/60s", "60/0s", "60/86401s", "-1/60s", "1.5/60s"),
        *("60/60m", "60/60s;5/5s", "sixty/60s", "1000000/1s", "60//60", "1/2/3", "60/60s 5/5s"),
    ],
)
def test_what_is_no_window_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="such as 60/60s,500/3600s"):
        parse_windows(text)


@given(st.lists(windows, min_size=1))
def test_written_windows_read_the_same(given_windows: list[Window]) -> None:
    assert parse_windows(format_windows(given_windows)) == tuple(given_windows)


@pytest.mark.parametrize(
    ("limit", "share", "slots"),
    [
        *((60, 0.1, 6), (70, 0.1, 7), (30, 0.1, 3), (500, 0.1, 50), (5, 0.1, 1), (2, 0.9, 1)),
        *((1, 0.5, 0), (60, 0, 0), (60, 1, 59), (3, 0.5, 2)),
    ],
)
def test_a_share_of_a_window_is_kept_for_sells(limit: int, share: float, slots: int) -> None:
    assert reserved(Window(limit=limit, seconds=60), share) == slots


def test_the_tightest_window_decides() -> None:
    two = (Window(limit=10, seconds=1), Window(limit=20, seconds=60))
    used = [Used(buys=0, total=0), Used(buys=17, total=18)]
    assert room(two, used, share=0.1, most=5) == Room(total=2, buys=1)
    assert room(two, [Used(buys=0, total=0)] * 2, share=0.1, most=5) == Room(total=5, buys=5)
    assert room((), [], share=0.1, most=5) == Room(total=5, buys=5)
    over = [Used(buys=30, total=30)] * 2
    assert room(two, over, share=0.1, most=5) == Room(total=0, buys=0)


@given(windows, shares, st.integers(0, 50), st.integers(0, 50), st.integers(0, 9))
def test_room_keeps_within_the_window_and_agrees_with_full(
    window: Window, share: float, buys: int, sells: int, most: int
) -> None:
    used = Used(buys=buys, total=buys + sells)
    free = room([window], [used], share=share, most=most)
    assert 0 <= free.buys <= free.total <= most
    assert free.total == 0 or used.total + free.total <= window.limit
    assert free.buys == 0 or used.buys + free.buys <= window.limit - reserved(window, share)
    if most:
        assert is_full(window, used, share=share) == (free.buys == 0)


waves = st.lists(
    st.tuples(st.integers(0, 4_000), st.integers(0, 30), st.integers(0, 30)),
    min_size=1,
    max_size=40,
)


@given(st.lists(windows, min_size=1, max_size=3), shares, waves)
def test_no_sliding_window_ever_overflows_and_sells_can_always_use_their_reserve(
    limits: list[Window], share: float, story: list[tuple[int, int, int]]
) -> None:
    now, sent = 0, list[tuple[int, str]]()
    for passed, buys_waiting, sells_waiting in story:
        now += passed
        used = [used_in(window, sent, now) for window in limits]
        free = room(limits, used, share=share, most=99)
        sells = min(sells_waiting, free.total)
        buys = min(buys_waiting, free.buys, free.total - sells)
        if all(u.total - u.buys < reserved(w, share) for w, u in zip(limits, used, strict=True)):
            assert free.total > 0
        sent += [(now, "sell")] * sells + [(now, "buy")] * buys
    for window in limits:
        assert_never_more(window.limit, window.seconds, [at for at, _ in sent])
        buys_only = [at for at, side in sent if side == "buy"]
        assert_never_more(window.limit - reserved(window, share), window.seconds, buys_only)


def used_in(window: Window, sent: list[tuple[int, str]], now: int) -> Used:
    sides = [side for at, side in sent if at > now - window.seconds * 1_000]
    return Used(buys=sides.count("buy"), total=len(sides))


def assert_never_more(limit: int, seconds: int, times: list[int]) -> None:
    """The request ``limit`` places later left a whole window later."""
    assert all(earlier <= later for earlier, later in pairwise(times))
    for place in range(len(times) - limit):
        assert times[place + limit] - times[place] >= seconds * 1_000
