"""`run.py status`: a sentence, what is wrong and what to do, numbers; and the exit code."""

import json
from collections.abc import Generator
from typing import Any

import pytest

from tests.launcher.answering import Answering, Run, answering

DESTINATION: dict[str, Any] = {
    "id": "01a1fc1f-5153-7df5-b339-8fdd5b624d57",
    "name": "main",
    "windows": [{"limit": 60, "seconds": 60}, {"limit": 500, "seconds": 3600}],
    "used": [12, 40],
    "state": "enabled",
    "mode": "live",
    "breaker": "closed",
    "breaker_since": None,
    "breaker_cause": None,
    "held": 0,
    "held_for": None,
    "waiting": 2,
    "oldest": None,
}
LIST: dict[str, Any] = {
    "trust": "fresh",
    "age_sec": 14.2,
    "last_fetch": {"outcome": "ok", "at": "2026-11-21T15:04:05Z", "detail": "20 of 45 rows"},
    "paused": None,
    "pending": None,
}
STATUS: dict[str, Any] = {
    "version": "0.1.0",
    "revision": "6d23e14ab012",
    "process": {"number": 1, "of": 1},
    "list": LIST,
    "buying": {"paused": None},
    "backlog": {
        "undecided": 0,
        "waiting": 1,
        "unfinished": 2,
        "undecided_for": None,
        "unfinished_for": 3.4,
    },
    "last_24h": [
        {"status": "approved", "reason": None, "signals": 12},
        {"status": "rejected", "reason": "not_in_list", "signals": 3},
    ],
    "dead_24h": 0,
    "positions": {"open": 5},
    "destinations": [DESTINATION],
    "workers": [{"name": "intake", "failures_in_row": 0, "last_failure": None}],
}
NONE: list[Any] = []
ITEM: dict[str, Any] = {
    "cause": "held",
    "severity": "warning",
    "text": "A buy of \x1b[31mAAPL is held.",
    "count": 3,
    "signal_id": "01a1fc1f-537e-78ef-a699-c5d9b4210879",
    "position_id": None,
}


@pytest.fixture
def relay() -> Generator[Answering]:
    with answering() as relay:
        relay.put("GET /status", STATUS)
        relay.put("GET /api/attention?limit=100", {"items": []})
        yield relay


def test_all_well_is_a_sentence_and_numbers(run: Run) -> None:
    code, out, said = run("status")
    assert (code, said) == (0, "")
    assert out.startswith("Forwarding. List fresh, 14 s old. 2 deliveries waiting.\n\n24 hours")
    for words in (
        "12 approved, 3 rejected (not in list)",
        "0 undecided, 2 deliveries, 1 for the list; the oldest since 3 s",
        "main: enabled, 2 waiting, sent 12 of 60 in 60 s, 40 of 500 in 60 min",
        "0.1.0 (revision 6d23e14ab012), process 1 of 1",
    ):
        assert words in out


@pytest.mark.parametrize(
    ("changed", "sentence", "problem"),
    [
        ({"buying": {"paused": {"reason": "news"}}}, "Buying is paused.", "is paused: news."),
        ({"destinations": []}, "Not forwarding: no destination", "Signals go nowhere"),
        (
            {"destinations": [DESTINATION | {"state": "paused"}]},
            "Not forwarding",
            "main is paused: 2 deliveries wait",
        ),
        (
            {"destinations": [DESTINATION | {"breaker": "half_open", "breaker_cause": "http 500"}]},
            "Forwarding.",
            "main fails, its breaker is half open: http 500.",
        ),
        (
            {"destinations": [DESTINATION | {"held": 1, "held_for": 30}]},
            "Waiting for main.",
            "1 delivery is held for main",
        ),
        (
            {"list": LIST | {"trust": "stale"}},
            "List stale, 14 s old: buys are rejected",
            "There is no fresh list",
        ),
        (
            {"list": LIST | {"last_fetch": LIST["last_fetch"] | {"outcome": "wrong_page"}}},
            "List fresh",
            "Finviz: wrong page. 20 of 45 rows.",
        ),
        ({"list": LIST | {"paused": {"by": "x"}}}, "List fresh", "Finviz is not asked"),
        (
            {"list": LIST | {"pending": {"reason": "few rows"}}},
            "List fresh",
            "waits to be believed: few rows",
        ),
        (
            {"workers": [{"name": "intake", "failures_in_row": 3, "last_failure": "OSError"}]},
            "Forwarding.",
            "The worker intake fails: OSError.",
        ),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(
    relay: Answering, run: Run, changed: dict[str, Any], sentence: str, problem: str
) -> None:
    relay.put("GET /status", STATUS | changed)
    code, out, _ = run("status")
    assert code == 3
    assert sentence in out.splitlines()[0]
    [line] = [line for line in out.splitlines() if line.startswith("  ! ")]
    assert problem in line
    assert len(out.splitlines()[out.splitlines().index(line) + 1].strip()) > 20


def test_what_fails_and_is_disabled_is_no_alarm(relay: Answering, run: Run) -> None:
    failing = {"breaker": "open", "breaker_cause": "ConnectError", "held_for": 30}
    relay.put(
        "GET /status",
        STATUS | {"destinations": [DESTINATION, DESTINATION | failing | {"state": "disabled"}]},
    )
    code, out, _ = run("status")
    assert (code, "  ! " in out) == (0, False)
    assert out.startswith("Forwarding.")


def test_what_wants_attention_is_said_once_and_commands_no_terminal(
    relay: Answering, run: Run
) -> None:
    items = [ITEM, ITEM | {"severity": "info"}, ITEM | {"cause": "breaker_open"}]
    relay.put("GET /api/attention?limit=100", {"items": items})
    code, out, _ = run("status")
    assert code == 3
    assert out.count("  ! ") == 1
    assert "Warning: A buy of  [31mAAPL is held. (3 times)" in out
    assert f":{relay.port}/admin/signals/{ITEM['signal_id']}" in out


def test_json_has_everything(relay: Answering, run: Run) -> None:
    relay.put("GET /api/attention?limit=100", {"items": [ITEM] * 7})
    code, out, _ = run("status", "--json")
    found = json.loads(out)
    assert (code, found["state"], len(found["problems"])) == (3, "attention", 7)
    assert found["status"] == STATUS
    assert "… and 2 more" in run("status")[1]


def test_a_database_that_is_away_needs_attention(relay: Answering, run: Run) -> None:
    relay.put("GET /status", {"detail": "The database does not answer just now."}, status=503)
    code, out, _ = run("status")
    assert code == 3
    assert out.startswith("It runs, but does not work.\n\n  ! The database does not answer")


def test_a_relay_that_is_not_there_is_told_with_what_to_do(run: Run) -> None:
    code, out, _ = run("status", "--url", "http://127.0.0.1:1")
    assert code == 1
    assert out.startswith("No relay answers at http://127.0.0.1:1: start it")
    assert "docker compose ps" in out
    code, out, _ = run("status", "--url", "http://127.0.0.1:1", "--json")
    assert (code, json.loads(out)["state"]) == (1, "unreachable")


def test_a_token_that_is_not_taken_is_one_line(relay: Answering, run: Run) -> None:
    relay.put("GET /status", {"detail": "no"}, status=401)
    code, out, said = run("status")
    assert (code, out, said.count("\n")) == (1, "", 1)


def test_watching_looks_again_until_it_is_ended(
    relay: Answering, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.put("GET /status", STATUS, STATUS | {"destinations": NONE})
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("launcher.status.time.sleep", sleep)
    code, out, _ = run("status", "--watch", "--json", "--every", "0.5")
    assert (code, slept) == (3, [0.5, 0.5])
    assert [json.loads(line)["state"] for line in out.splitlines()] == ["well", "attention"]
    assert run("status", "--every", "0")[0] == 2
