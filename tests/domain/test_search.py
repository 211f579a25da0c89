"""A search as it is typed: known words are filters, the rest is text; nothing typed is refused."""

from hypothesis import given
from hypothesis import strategies as st

from domain.delivery import DeliveryState
from domain.gate import Reason
from domain.search import LONGEST, SINGLE, Kind, Known, Part, Status, ids, read, without, words
from domain.signal import SignalStatus

KNOWN = Known(reasons=[*map(str, Reason)], sources=["tv", "webhook"])
ID = "0193abcd-12ef-7000-8000-00000000000f"

typed = st.one_of(
    st.text(max_size=300),
    st.lists(
        st.sampled_from(
            ["buy", "SELL", "dead", "cooldown", "tv", "AAPL", "NYSE:BRK.B", '"a b"', '"', ID, "%_"]
        )
        | st.text(max_size=12),
        max_size=8,
    ).map(" ".join),
)


def kinds(text: str) -> list[tuple[str, str]]:
    return [(part.kind, part.value) for part in read(text, KNOWN)]


def test_every_state_a_signal_is_shown_with_can_be_searched() -> None:
    assert {*Status} == {*map(str, SignalStatus), *map(str, DeliveryState)}


def test_words_that_are_known_are_filters() -> None:
    assert kinds("Sell rejected no_position tv") == [
        ("side", "sell"),
        ("status", "rejected"),
        ("reason", "no_position"),
        ("source", "tv"),
    ]


def test_a_ticker_is_named_whole_with_its_exchange_and_else_begins_so() -> None:
    assert kinds("NASDAQ:aapl nv brk.b") == [
        ("ticker", "AAPL"),
        ("beginning", "NV"),
        ("beginning", "BRK-B"),
    ]


def test_an_id_may_be_typed_in_part() -> None:
    for beginning in ("0193abcd", "0193ABCD-12", ID, ID.replace("-", "")):
        ((kind, value),) = kinds(beginning)
        assert kind == "id"
        first, last = ids(value)
        assert str(first) <= ID <= str(last)
    assert kinds("0193abc") == [("beginning", "0193ABC")], "seven digits may be anything"
    assert kinds("f" * 33) == [("text", "f" * 33)]


def test_what_is_quoted_is_text_even_where_it_is_known() -> None:
    assert kinds('"sell" "two words" ünï a/bc') == [
        ("text", "sell"),
        ("text", "two words"),
        ("text", "ünï"),
        ("text", "a/bc"),
    ]


def test_a_second_word_of_a_kind_is_text() -> None:
    assert kinds("buy sell buy") == [("side", "buy"), ("text", "sell")]
    chosen = [Part(Kind.SIDE, "sell", "")]
    assert [part.kind for part in read("buy sell", KNOWN, chosen)] == [Kind.TEXT, Kind.SIDE]


@given(typed)
def test_everything_typed_has_a_meaning_and_none_twice(text: str) -> None:
    parts = read(text, KNOWN)
    assert {part.word for part in parts} <= set(words(text))
    assert len(set(parts)) == len(parts)
    for kind in SINGLE:
        assert len({part.value for part in parts if part.kind is kind}) <= 1
    for part in parts:
        assert part.value
        assert part.value.isprintable() or part.kind is Kind.TEXT
        assert not any(ord(sign) < 32 or 0xD800 <= ord(sign) < 0xE000 for sign in part.value)
        if part.kind is Kind.ID:
            first, last = ids(part.value)
            assert first <= last


@given(typed)
def test_what_was_read_reads_the_same_again(text: str) -> None:
    parts = read(text, KNOWN)
    again = " ".join(part.word for part in parts)
    if len(again) <= LONGEST and again.count('"') % 2 == 0:
        assert read(again, KNOWN) == parts


@given(typed)
def test_a_word_can_be_taken_away(text: str) -> None:
    for part in read(text, KNOWN):
        left = without(text, part.word)
        assert part.word not in words(left)
