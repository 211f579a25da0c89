"""Events in plain words: every event that a signal can have has a sentence."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from domain.delivery import DeliveryState
from domain.gate import Reason
from domain.position import PositionState
from domain.signal import SignalStatus
from web.views.life import span_words, steps_of
from web.views.story import SENTENCES, rest, sentence

GLOSSARY = Path(__file__).parents[2] / "docs" / "glossary.md"
NOW = datetime(2030, 1, 2, 15, 4, 5, tzinfo=UTC)


def test_every_event_of_a_signal_has_a_sentence_and_no_other() -> None:
    told = set(re.findall(r"`((?:signal|delivery|position)\.[a-z_]+)`", GLOSSARY.read_text()))
    assert {*SENTENCES} == told
    stated = {
        *(f"signal.{one}" for one in SignalStatus),
        *(f"delivery.{one}" for one in DeliveryState),
        *(f"position.{one}" for one in PositionState),
    }
    assert stated <= {*SENTENCES}


@pytest.mark.parametrize("event", SENTENCES)
def test_a_sentence_can_be_said_whatever_is_known(event: str) -> None:
    for detail in ({}, {"reason": None}, {"reason": "x{y}", "attempt": 2, "source": "{z}"}):
        words = sentence(event, detail, "")
        assert words
        assert words[0].isupper()
    assert "main" in sentence(event, {}, "main") or "{destination}" not in SENTENCES[event]


@pytest.mark.parametrize("reason", Reason)
def test_a_rejection_says_why_in_words(reason: Reason) -> None:
    words = sentence("signal.rejected", {"reason": str(reason)}, "")
    assert words.startswith("Rejected: ")
    assert not words.endswith(".")
    assert "_" not in words


@pytest.mark.parametrize(
    ("event", "detail", "words"),
    [
        (
            "delivery.delivered",
            {"attempt": 1, "outcome": "delivered", "status": 200},
            "outcome delivered, status 200",
        ),
        ("delivery.retrying", {"due_at": "2030-01-02T15:04:05.5+00:00"}, "not before 15:04:05 UTC"),
        (
            "delivery.retrying",
            {"due_at": "soon", "outcome": "not_sent"},
            "not before soon, outcome not sent",
        ),
        ("signal.approved", {"list_age_ms": 5978, "rank": 3}, "list age 6 s, rank 3"),
        ("delivery.sending", {"attempt": 2, "possible_resend": True}, "possible resend yes"),
        ("delivery.sending", {"attempt": 1, "possible_resend": False}, ""),
        (
            "delivery.delivered",
            {"receipt": {"id": "a-1"}, "duration_ms": 17},
            "receipt id a-1, took 17 ms",
        ),
        ("signal.rejected", {"reason": "cooldown"}, ""),
        ("delivery.dead", {"reason": "http 404"}, "reason http 404"),
    ],
)
def test_the_rest_of_an_event_is_told_beside(
    event: str, detail: dict[str, Any], words: str
) -> None:
    assert rest(event, detail) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "+0.000 s"),
        (0.4123, "+0.412 s"),
        (-1, "+0.000 s"),
        (59.9, "+59.900 s"),
        (200, "+3 min 20 s"),
        (7500, "+2 h 5 min"),
        (3 * 86_400 + 3600, "+3 d 1 h"),
    ],
)
def test_durations_are_told_as_precisely_as_they_matter(seconds: float, words: str) -> None:
    assert span_words(NOW, NOW + timedelta(seconds=seconds)) == words


def test_a_life_runs_in_the_order_of_time_and_names_destinations() -> None:
    delivery = uuid4()

    def one(id: int, after_ms: int, event: str, **more: Any) -> dict[str, Any]:
        at = NOW + timedelta(milliseconds=after_ms)
        told = {"id": id, "at": at, "event": event, "delivery_id": None, "actor": None}
        return {**told, "detail": dict[str, Any](), **more}

    steps = steps_of(
        [
            one(1, 0, "signal.received"),
            one(2, 50, "signal.approved"),
            one(4, 90, "delivery.delivered", delivery_id=delivery),
            one(3, 60, "delivery.sending", delivery_id=delivery, detail={"attempt": 1}),
            one(5, 90, "signal.replayed", actor="anna"),
        ],
        {delivery: "main"},
        NOW,
    )
    assert [step.words for step in steps[2:4]] == [
        "On its way to main, attempt 1",
        "Delivered to main",
    ]
    assert [step.since_first for step in steps] == [
        "+0.000 s",
        "+0.050 s",
        "+0.060 s",
        "+0.090 s",
        "+0.090 s",
    ]
    assert [step.since_last for step in steps] == ["", "0.050 s", "0.010 s", "0.030 s", ""]
    assert steps[4].by == "anna"
