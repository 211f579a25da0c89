"""`run.py send` and `run.py replay`: asked first, followed to the end, and its exit code."""

import io
import json
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from database.replays import Refusal
from launcher.replay import NEVER, WORDS
from tests.launcher.answering import Answering, Run, answering

ID, NEW = "01a1fc1f-537e-78ef-a699-c5d9b4210879", "01a1ffc3-ac5f-7491-a627-0ae3efe682e3"
MESSAGE = '{"ticker": "AAPL", "action": "buy"}'
STORED = {"signal_id": ID, "status": "received", "ticker": "AAPL", "duplicate": False}
ATTEMPT: dict[str, Any] = {
    "number": 1,
    "outcome": "delivered",
    "status": 200,
    "error": None,
    "answer": "thanks",
}
DELIVERY: dict[str, Any] = {
    "id": "d1",
    "destination": "main",
    "state": "delivered",
    "reason": None,
    "due_at": "2026-11-21T15:04:13Z",
    "attempts": [ATTEMPT],
}
SIGNAL: dict[str, Any] = {
    "id": ID,
    "ticker": "AAPL",
    "side": "buy",
    "status": "delivered",
    "received_at": "2026-11-21T15:04:13Z",
    "waits_until": None,
    "why": "Approved. Rank 3 of 15.",
    "body": MESSAGE,
    "deliveries": [DELIVERY],
}
NONE: list[Any] = []
REJECTED = SIGNAL | {"status": "rejected", "why": "Buying was paused.", "deliveries": NONE}
WAITING = SIGNAL | {"status": "received", "why": "Waiting for its verdict.", "deliveries": NONE}
REHEARSED: dict[str, Any] = {
    "reading": {
        "alert": {"side": "buy", "ticker": "AAPL", "price": None},
        "advice": ["It does not say when it was sent."],
    },
    "decision": {"status": "approved", "why": "Approved. Rank 3 of 15.", "repeats": None},
    "requests": [
        {"destination": "main", "url": "https://x/•••", "mode": "live", "state": "enabled"}
        | {"breaker": "closed"}
    ],
}


@pytest.fixture
def relay() -> Generator[Answering]:
    with answering() as relay:
        relay.put("POST /webhook/in", STORED, status=202)
        relay.put("POST /api/rehearsals", REHEARSED)
        relay.put(f"GET /api/signals/{ID}", SIGNAL)
        relay.put(f"GET /api/signals/{NEW}", SIGNAL | {"id": NEW})
        relay.put("POST /api/signals/replay", {"would": 1, "refused": {}})
        relay.put(f"POST /api/signals/{ID}/replay", {"signal_id": NEW}, status=202)
        yield relay


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launcher.fate.PAUSE", 0.001)


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def typing(monkeypatch: pytest.MonkeyPatch, text: str, *, terminal: bool = True) -> None:
    raw = io.BytesIO(text.encode())
    monkeypatch.setattr(sys, "stdin", Terminal(raw) if terminal else io.TextIOWrapper(raw))


def sent(relay: Answering) -> list[bytes]:
    return [one.body for one in relay.asked if one.what == "POST /webhook/in"]


def test_it_is_sent_as_it_is_and_followed_to_its_end(relay: Answering, run: Run) -> None:
    queued = DELIVERY | {"state": "queued", "attempts": NONE}
    relay.put(f"GET /api/signals/{ID}", WAITING, SIGNAL | {"deliveries": [queued]}, SIGNAL)
    code, out, said = run("send", MESSAGE, "--yes")
    assert (code, said, sent(relay)) == (0, "", [MESSAGE.encode()])
    assert out.splitlines() == [
        f"Stored as {ID}, AAPL.",
        "Approved. Rank 3 of 15.",
        "Delivered to main: attempt 1, HTTP 200.",
    ]


@pytest.mark.parametrize(
    ("found", "code", "words"),
    [
        (REJECTED, 3, "Rejected. Buying was paused."),
        (
            SIGNAL
            | {
                "deliveries": [
                    DELIVERY
                    | {"state": "dead", "reason": "http 404"}
                    | {"attempts": [ATTEMPT | {"outcome": "permanent", "status": 404}]}
                ]
            },
            4,
            "Given up at main: http 404, attempt 1, HTTP 404, it said thanks.",
        ),
        (SIGNAL | {"deliveries": [DELIVERY, DELIVERY | {"state": "held"}]}, 4, "nobody knows"),
        (WAITING, 5, "Waiting for its verdict."),
        (
            SIGNAL | {"deliveries": [DELIVERY | {"state": "queued"}]},
            5,
            "Waits to be sent to main: attempt 1, HTTP 200, it said thanks, again at 15:04:13",
        ),
    ],
)
def test_the_exit_code_says_how_it_ended(
    relay: Answering, run: Run, found: dict[str, Any], code: int, words: str
) -> None:
    relay.put(f"GET /api/signals/{ID}", found)
    wait = "0.05" if code == 5 else "60"  # who has ended is not waited for
    ended, out, _ = run("send", MESSAGE, "--yes", "--wait", wait)
    assert ended == code
    assert words in out


def test_a_message_comes_from_anywhere_but_from_one_place(
    relay: Answering, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "alert").write_bytes(b"buy \xff")
    typing(monkeypatch, "order buy @ 33 filled on AAPL", terminal=False)
    for given in (("-",), ("--file", "alert"), ("--ticker", "AAPL", "--action", "buy")):
        assert run("send", "--yes", *given)[0] == 0
    composed = b'{"ticker": "AAPL", "action": "buy"}'
    assert sent(relay) == [b"order buy @ 33 filled on AAPL", b"buy \xff", composed]
    posts = [one for one in relay.asked if one.what == "POST /webhook/in"]
    labels = [one.headers["content-type"] for one in posts]
    assert labels == ["text/plain", "text/plain", "application/json"]
    assert len({one.headers["idempotency-key"] for one in posts}) == 3
    for wrong in ((), ("{}", "--ticker", "A"), ("--ticker", "A"), (" ",), ("--file", "nothing")):
        assert run("send", "--yes", *wrong)[0] == 2
    assert len(sent(relay)) == 3


def test_whoever_is_there_is_asked_first_and_told_what_would_happen(
    relay: Answering, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    typing(monkeypatch, "n\n")
    code, out, said = run("send", MESSAGE)
    assert (code, out, sent(relay)) == (1, "", [])
    assert said.splitlines() == [
        f"This is a real alert for the relay at http://127.0.0.1:{relay.port}.",
        "Read as: buy AAPL.",
        "Now: Approved. Rank 3 of 15.",
        "It would be sent to main (https://x/•••).",
        "Advice: It does not say when it was sent.",
        "Send it? [y/N] Nothing was sent.",
    ]
    typing(monkeypatch, "y\n")
    assert run("send", MESSAGE)[0] == 0
    assert len(sent(relay)) == 1


def test_without_anybody_there_it_is_not_sent_unless_that_is_said(
    relay: Answering, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    typing(monkeypatch, "y\n", terminal=False)
    assert run("send", MESSAGE)[0] == run("replay", ID)[0] == 2
    assert sent(relay) == []


@pytest.mark.parametrize(("status", "code"), [("approved", 0), ("received", 3), ("rejected", 3)])
def test_a_rehearsal_sends_nothing(relay: Answering, run: Run, status: str, code: int) -> None:
    decision = REHEARSED["decision"] | {"status": status}
    relay.put("POST /api/rehearsals", REHEARSED | {"decision": decision})
    found, out, _ = run("send", MESSAGE, "--dry-run")
    assert (found, sent(relay)) == (code, [])
    assert out.endswith("Nothing was sent or kept.\n")
    assert relay.asked[0].json == {"body": MESSAGE, "content_type": "application/json"}
    assert json.loads(run("send", MESSAGE, "--dry-run", "--json")[1])["requests"]


@pytest.mark.parametrize(
    ("status", "answer", "code", "words"),
    [
        (422, {"signal_id": ID, "code": "no_action", "detail": "no action"}, 3, "Refused: no act"),
        (401, {"code": "unauthorized", "detail": "no"}, 1, "does not take this WEBHOOK_TOKEN"),
        (503, {"code": "backlog_full", "detail": "Too much waits."}, 1, "Too much waits."),
        (200, STORED | {"duplicate": True}, 0, f"A repeat of {ID}"),
        (302, b"", 1, "To make sure without sending it twice: --key "),
    ],
)
def test_what_is_not_taken_is_told(
    relay: Answering, run: Run, status: int, answer: object, code: int, words: str
) -> None:
    relay.put("POST /webhook/in", answer, status=status)
    found, out, said = run("send", MESSAGE, "--yes")
    assert found == code
    assert words in out + said


def test_json_is_the_signal_as_it_ended(run: Run) -> None:
    assert json.loads(run("send", MESSAGE, "--yes", "--json")[1]) == SIGNAL
    assert json.loads(run("send", MESSAGE, "--yes", "--json", "--wait", "0")[1]) == STORED
    assert json.loads(run("replay", ID, "--yes", "--json")[1])["id"] == NEW


# ── Replay ──────────────────────────────────────────────────────────────────────────────────


def test_a_replay_is_seen_first_then_done(
    relay: Answering, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    typing(monkeypatch, "yes\n")
    code, out, said = run("replay", ID, "--force", "--reason", "it was down", "--key", "mine")
    assert code == 0
    assert out.splitlines()[0] == f"Replayed as {NEW}."
    assert said.startswith(f"{ID}: buy AAPL, came 2026-11-21T15:04:13Z, delivered. Approved.")
    preview, done = (one for one in relay.asked if one.what.endswith("/replay"))
    assert preview.json["preview"] is True
    assert done.json == {"force": True, "reason": "it was down"}
    assert done.headers["idempotency-key"] == "mine"


@pytest.mark.parametrize("code", ["stale", "imported"])
def test_what_makes_no_sense_is_not_replayed(relay: Answering, run: Run, code: str) -> None:
    relay.put("POST /api/signals/replay", {"would": 0, "refused": {code: 1}})
    found, out, said = run("replay", ID, "--yes")
    assert (found, out) == (3, "")
    assert ("--force" in said) is (code == "stale")
    assert not any(one.what == f"POST /api/signals/{ID}/replay" for one in relay.asked)


def test_every_refusal_has_words() -> None:
    assert set(WORDS) == set(Refusal)
    assert set(WORDS) > NEVER


def test_an_id_may_be_short_where_it_is_the_only_one(relay: Answering, run: Run) -> None:
    relay.put(
        "GET /api/signals?limit=2&q=01a1fc1f",
        {"items": [SIGNAL]},
        {"items": [SIGNAL, SIGNAL]},
        {"items": []},
    )
    assert [run("replay", "01a1fc1f", "--yes")[0] for _ in range(3)] == [0, 2, 2]
    for wrong in ("01a1", "nonsense", "../../sell/all", "0" * 36):
        assert run("replay", wrong, "--yes")[0] == 2
    assert run("replay", ID, "--yes", "--force")[0] == 2
