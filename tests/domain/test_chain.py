"""H27: any change, removal, insertion or swap in a chain is found, and the first one is named."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.chain import KEPT_AT_LEAST, Anchor, Event, Examination, Stretch
from tests.domain.chains import NOON, OLD, a_chain, a_link, an_event, examined, made_anew

FEW = settings(max_examples=40)
IDS = ((1, 2, 3), (5, 8), (9,), (12, 13, 14, 20))


def changed(chain: Sequence[Stretch], place: int, *events: Event) -> list[Stretch]:
    return [*chain[:place], replace(chain[place], events=events), *chain[place + 1 :]]


def words(chain: Sequence[Stretch], anchors: Sequence[Anchor] = ()) -> str:
    by_link = {one.link: [one] for one in anchors}
    broken = examined(chain, Examination(anchors=by_link))
    return broken.words if broken else "whole"


def test_a_chain_as_it_was_made_is_whole_and_counted() -> None:
    examination = Examination()
    assert examined(a_chain(*IDS), examination) is None
    assert (examination.links, examination.events, examination.waiting) == (4, 10, 0)
    assert [(day, one.links, one.events) for day, one in examination.days.items()] == [
        ("2026-11-20", 2, 5),
        ("2026-11-21", 2, 5),
    ]
    last = a_chain(*IDS)[-1].link
    assert examination.head == examination.days["2026-11-21"].hash == last.hash.hex()
    assert examination.last_id == 20
    examination.await_links([an_event(21), an_event(22)])
    assert (examination.waiting, examination.waiting_since) == (2, "2026-11-20T12:00:21.250000Z")


def test_no_chain_is_whole_too() -> None:
    assert examined([]) is None


def test_an_event_that_was_changed_is_named_with_what_it_says_now() -> None:
    other = Event(8, an_event(8, "delivery.dead").line)
    assert words(changed(a_chain(*IDS), 1, an_event(5), other)) == (
        "event 8 of 2026-11-20T12:00:08Z was changed; it says delivery.dead now"
    )


def test_an_event_that_is_gone_is_named() -> None:
    assert words(changed(a_chain(*IDS), 0, an_event(1), an_event(3))) == (
        "event 2 of 2026-11-20T12:00:02Z is missing"
    )


@pytest.mark.parametrize(("place", "id"), [(0, 0), (0, -4), (1, 4), (1, 7), (3, 15)])
def test_an_event_that_came_later_is_named(place: int, id: int) -> None:
    chain = a_chain(*IDS)
    events = sorted([*chain[place].events, an_event(id)], key=lambda event: event.id or 0)
    assert words(changed(chain, place, *events)).startswith(f"event {id} (signal.received of ")
    assert words(changed(chain, place, *events)).endswith("was added later: it is in no link")


@pytest.mark.parametrize(
    ("age", "told"),
    [
        (KEPT_AT_LEAST + timedelta(seconds=1), "whole"),
        (
            KEPT_AT_LEAST - timedelta(seconds=1),
            "event 2 of 2026-11-20T12:00:02Z is missing, and was too young to be forgotten",
        ),
    ],
)
def test_what_retention_took_is_accounted_for_if_it_was_old(age: timedelta, told: str) -> None:
    chain = changed(a_chain(*IDS), 0, an_event(1), an_event(3))
    gone = {2: NOON + timedelta(seconds=2) + age}
    examination = Examination()
    broken = examined([replace(chain[0], forgotten=gone), *chain[1:]], examination)
    assert (broken.words if broken else "whole") == told
    assert examination.forgotten == (told == "whole")


def test_the_seconds_of_an_entry_are_bound_too() -> None:
    """Who would have a young event taken for an old one changes the link."""
    chain = a_chain(*IDS)
    older = bytearray(chain[1].link.entries)
    older[8] -= 1
    link = replace(chain[1].link, entries=bytes(older))
    assert words([chain[0], replace(chain[1], link=link), *chain[2:]]) == "link 2 was changed"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"day": "2026-11-19"}, 2),
        ({"previous": bytes(32)}, 2),
        ({"hash": bytes(32)}, 2),
        ({"count": 3}, 2),
        ({"last_id": 9}, 2),
        ({"entries": b""}, 2),
        ({"number": 3}, 2),
        ({"number": 1}, 1),
        ({"number": -1}, -1),
    ],
)
def test_a_link_that_was_changed_is_named(changes: dict[str, object], named: int) -> None:
    chain = a_chain(*IDS)
    other = replace(chain[1].link, **changes)
    broken = examined([chain[0], replace(chain[1], link=other), *chain[2:]])
    assert broken
    assert broken.link == named
    assert broken.words in {f"link {named} was changed", f"link {named} is missing"}


def test_a_link_that_was_changed_with_its_hash_is_named_by_the_next() -> None:
    chain = a_chain(*IDS)
    found = words(made_anew(chain, 1, entries=chain[1].link.entries[:-5] + b"?" * 5))
    assert found == "link 2 was changed: link 3 was made after another"
    assert words(made_anew(chain, 1, day="2026-11-21")).startswith("link 2 was changed")


@pytest.mark.parametrize("gone", [1, 2, 3])
def test_a_link_that_is_gone_is_named(gone: int) -> None:
    chain = a_chain(*IDS)
    assert words([one for one in chain if one.link.number != gone]) == f"link {gone} is missing"


def test_the_first_broken_thing_is_named_not_the_last() -> None:
    chain = changed(a_chain(*IDS), 3, an_event(12))
    assert words(changed(chain, 1, an_event(8))).startswith("event 5 ")
    assert words([*changed(chain, 1, an_event(8))[:2], chain[3]]).startswith("event 5 ")


# ── Anchors ─────────────────────────────────────────────────────────────────────────────────


def test_a_tail_that_was_cut_off_is_found_by_a_log() -> None:
    chain = a_chain(*IDS)
    anchor = Anchor(4, chain[3].link.hash.hex(), "yesterday")
    assert words(chain, [anchor]) == "whole"
    assert words(chain[:2]) == "whole"
    assert words(chain[:2], [anchor]) == ("link 3 is missing: the log of yesterday knows link 4")
    assert words([], [anchor]) == "link 1 is missing: the log of yesterday knows link 4"


def test_a_chain_made_anew_from_its_beginning_is_found_by_a_log() -> None:
    chain = a_chain(*IDS)
    anchor = Anchor(2, chain[1].link.hash.hex(), "yesterday")
    forged = a_chain((1, 2), *IDS[1:])
    assert words(forged) == "whole"
    assert words(forged, [anchor]) == "link 2 was changed: the log of yesterday knows another"


# ── Any chain, any single change ────────────────────────────────────────────────────────────


@st.composite
def chains(draw: st.DrawFn) -> list[Stretch]:
    ids = sorted(draw(st.sets(st.integers(1, 200), min_size=1, max_size=14)))
    cuts = sorted(draw(st.sets(st.integers(1, len(ids)), max_size=4)) - {len(ids)})
    parts = [ids[a:b] for a, b in zip([0, *cuts], [*cuts, len(ids)], strict=True)]
    return a_chain(*parts)


def place_of(data: st.DataObject, chain: Sequence[Stretch]) -> tuple[int, int]:
    place = data.draw(st.integers(0, len(chain) - 1))
    return place, data.draw(st.integers(0, len(chain[place].events) - 1))


@FEW
@given(st.data(), chains())
def test_any_byte_of_any_event(data: st.DataObject, chain: list[Stretch]) -> None:
    place, index = place_of(data, chain)
    events = list(chain[place].events)
    line = bytearray(events[index].line)
    line[data.draw(st.integers(0, len(line) - 1))] ^= data.draw(st.integers(1, 255))
    events[index] = replace(events[index], line=bytes(line))
    broken = examined(changed(chain, place, *events))
    assert broken
    assert broken.event == events[index].id
    assert "was changed" in broken.words


@FEW
@given(st.data(), chains())
def test_any_event_that_is_taken_out(data: st.DataObject, chain: list[Stretch]) -> None:
    place, index = place_of(data, chain)
    events = list(chain[place].events)
    gone = events.pop(index)
    broken = examined(changed(chain, place, *events))
    assert broken
    assert (broken.event, broken.words.endswith("is missing")) == (gone.id, True)


@FEW
@given(st.data(), chains())
def test_any_event_that_is_put_in(data: st.DataObject, chain: list[Stretch]) -> None:
    there = {event.id for one in chain for event in one.events}
    new = data.draw(st.integers(-3, chain[-1].link.last_id).filter(lambda new: new not in there))
    place = next(n for n, one in enumerate(chain) if new < one.link.last_id)
    events = sorted([*chain[place].events, an_event(new)], key=lambda event: event.id or 0)
    broken = examined(changed(chain, place, *events))
    assert broken
    assert (broken.event, broken.words.endswith("it is in no link")) == (new, True)


@FEW
@given(st.data(), chains())
def test_any_two_events_that_change_places(data: st.DataObject, chain: list[Stretch]) -> None:
    everywhere = [(p, i) for p, one in enumerate(chain) for i in range(len(one.events))]
    drawn = [data.draw(st.sampled_from(everywhere)) for _ in range(2)]
    one, other = sorted(drawn)
    lines = {at: chain[at[0]].events[at[1]].line for at in everywhere}
    lines[one], lines[other] = lines[other], lines[one]
    swapped = [
        replace(s, events=[replace(e, line=lines[p, i]) for i, e in enumerate(s.events)])
        for p, s in enumerate(chain)
    ]
    broken = examined(swapped)
    assert (broken.event if broken else None) == (
        None if one == other else chain[one[0]].events[one[1]].id
    )


@FEW
@given(st.data(), chains())
def test_any_byte_of_any_link(data: st.DataObject, chain: list[Stretch]) -> None:
    place = data.draw(st.integers(0, len(chain) - 1))
    name = data.draw(st.sampled_from(("previous", "hash", "entries")))
    content = bytearray(getattr(chain[place].link, name))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    link = replace(chain[place].link, **{name: bytes(content)})
    broken = examined([*chain[:place], replace(chain[place], link=link), *chain[place + 1 :]])
    assert broken
    assert broken.words == f"link {place + 1} was changed"


@FEW
@given(st.data(), chains())
def test_any_links_that_change_places_or_go(data: st.DataObject, chain: list[Stretch]) -> None:
    order = data.draw(st.permutations(chain))[: data.draw(st.integers(1, len(chain)))]
    broken = examined(order)
    wrong = next((n for n, one in enumerate(order) if one is not chain[n]), None)
    assert (broken.link if broken else None) == (None if wrong is None else wrong + 1)


@FEW
@given(st.data(), chains())
def test_any_link_made_anew_with_its_events(data: st.DataObject, chain: list[Stretch]) -> None:
    """But for the last: that one only a log knows."""
    place = data.draw(st.integers(0, len(chain) - 1))
    events = [Event(e.id, e.line + b" ") for e in chain[place].events]
    link = a_link(place + 1, chain[place].link.previous, events, chain[place].link.day)
    forged = [*chain[:place], Stretch(link, events), *chain[place + 1 :]]
    last = place == len(chain) - 1
    assert (examined(forged) is None) == last
    anchor = Anchor(len(chain), chain[-1].link.hash.hex(), "yesterday")
    assert words(forged, [anchor]).startswith(f"link {place + 1} was changed: ")


@FEW
@given(chains())
def test_retention_takes_any_of_them(chain: list[Stretch]) -> None:
    gone = [
        Stretch(one.link, (), {event.id or 0: NOON + OLD for event in one.events}) for one in chain
    ]
    examination = Examination()
    assert examined(gone, examination) is None
    assert examination.forgotten == sum(one.link.count for one in chain)
