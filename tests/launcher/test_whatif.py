"""`run.py whatif`: what it asks, what it prints, and one line for whatever goes wrong."""

import json
import signal
import sys
from collections.abc import Callable, Generator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from config import Settings
from engines.clock import utc_now
from launcher.command_line import main

TOKEN = "made-up-finviz-update-token-0123456789abcdef"

Ask = Callable[..., tuple[int, list[str], str]]


def a_flip(was: str = "rejected", would: str = "approved") -> dict[str, Any]:
    return {
        "signal_id": "01a1fc1f-537e-78ef-a699-c5d9b4210879",
        "at": "2026-11-20T14:31:07.123456Z",
        "ticker": "AAPL",
        "side": "buy",
        "was": {"status": was},
        "would": {"status": would},
        "words": "rejected (not in list), rank 17 of 15; would be approved, rank 17 of 20",
    }


FOUND: dict[str, Any] = {
    "judged": 214,
    "flips": [a_flip(), a_flip(), a_flip("approved", "expired")],
    "more": 0,
    "notes": ["Lists of this period hold 20 rows."],
}


class Relay:
    """Answers every request with what it is told to, and remembers it."""

    def __init__(self) -> None:
        self.status, self.answer = 200, json.dumps(FOUND).encode()
        self.asked: list[tuple[str, str | None, dict[str, Any]]] = []
        relay = self

        class Answering(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                relay.asked.append((self.path, self.headers["authorization"], json.loads(body)))
                self.send_response(relay.status)
                self.send_header("location", "/elsewhere")
                self.send_header("content-length", str(len(relay.answer)))
                self.end_headers()
                self.wfile.write(relay.answer)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)

    @property
    def port(self) -> int:
        return self.server.server_port


@pytest.fixture
def relay() -> Generator[Relay]:
    relay = Relay()
    thread = Thread(target=relay.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield relay
    relay.server.shutdown()
    relay.server.server_close()
    thread.join()


@pytest.fixture
def ask(
    relay: Relay,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Generator[Ask]:
    """The command in a folder where a relay has run; its exit code, what it prints, and errors."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "secrets.env").write_text(f"FINVIZ_UPDATE_TOKEN={TOKEN}\n")
    (tmp_path / ".env").write_text(f"HOST=0.0.0.0\nPORT={relay.port}\nADMIN_TOKEN=\n")

    def run(*arguments: str) -> tuple[int, list[str], str]:
        with pytest.raises(SystemExit) as ended:
            sys.exit(main(["whatif", *arguments]))
        printed = capsys.readouterr()
        assert TOKEN not in printed.out + printed.err
        assert isinstance(ended.value.code, int)
        return ended.value.code, printed.out.splitlines(), printed.err

    before = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, before)


def test_it_asks_the_relay_of_the_settings_for_what_is_given(relay: Relay, ask: Ask) -> None:
    times = ("--from", "2026-11-20T14:30:00Z", "--to", "2026-11-20T21:00:00+00:00")
    terms = ("--top-n", "20", "--margin", "5", "--hold", "30", "--list-max-age", "300")
    lives = ("--buy-ttl", "60", "--sell-ttl", "900", "--sell-policy", "always", "--limit", "7")
    assert ask(*times, *terms, *lives)[0] == 0
    ((path, authorization, body),) = relay.asked
    assert (path, authorization) == ("/api/whatif", f"Bearer {TOKEN}")
    assert body == {
        "from": "2026-11-20T14:30:00+00:00",
        "to": "2026-11-20T21:00:00+00:00",
        "top_n": 20,
        "margin": 5,
        "wait": 30.0,
        "list_max_age": 300.0,
        "buy_ttl": 60.0,
        "sell_ttl": 900.0,
        "sell_policy": "always",
        "limit": 7,
    }


def test_rules_come_from_a_file(relay: Relay, ask: Ask, tmp_path: Path) -> None:
    file, rules = tmp_path / "rules.json", {"every": {"max_positions": 3}, "sources": {}}
    file.write_text(json.dumps(rules))
    assert ask("--rules", str(file))[0] == 0
    assert relay.asked[0][2]["rules"] == rules
    file.write_text("{")
    for wrong in (str(file), str(tmp_path / "nothing.json"), str(tmp_path)):
        assert ask("--rules", wrong)[0] == 2
    assert len(relay.asked) == 1


@pytest.mark.parametrize(
    ("given", "hours"), [((), 24), (("--since", "90m"), 1.5), (("--since", "7d"), 168)]
)
def test_a_period_may_be_said_by_its_length(
    relay: Relay, ask: Ask, given: tuple[str, ...], hours: float
) -> None:
    before = utc_now()
    assert ask(*given)[0] == 0
    body = relay.asked[0][2]
    since, until = (datetime.fromisoformat(body[name]) for name in ("from", "to"))
    assert until - since == timedelta(hours=hours)
    assert before <= until <= utc_now()


def test_it_prints_a_table_a_summary_and_the_notes(ask: Ask) -> None:
    code, lines, error = ask()
    assert (code, error) == (0, "")
    assert lines == [
        "received (UTC)       ticker  side  it was; would be",
        *[f"2026-11-20 14:31:07  AAPL    buy   {a_flip()['words']}"] * 3,
        "3 of 214 verdicts would flip: 2 rejected → approved, 1 approved → expired.",
        "Note: Lists of this period hold 20 rows.",
    ]


def test_it_says_when_nothing_flips_and_when_not_all_is_listed(relay: Relay, ask: Ask) -> None:
    relay.answer = json.dumps(FOUND | {"flips": [], "notes": []}).encode()
    assert ask()[1] == ["0 of 214 verdicts would flip."]
    relay.answer = json.dumps(FOUND | {"more": 40}).encode()
    more, summary, _ = ask()[1][4:]
    assert more == "… and 40 more (--limit)"
    assert summary.startswith("43 of 214 verdicts would flip: 2 rejected → approved, 1 app")
    assert summary.endswith("expired, the others not listed.")


def test_json_is_the_answer_itself(ask: Ask) -> None:
    code, lines, _ = ask("--json")
    assert (code, json.loads("\n".join(lines))) == (0, FOUND)


def test_another_address_may_be_given(relay: Relay, ask: Ask, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=1\n")
    assert ask("--url", f"http://127.0.0.1:{relay.port}/behind/")[0] == 0
    assert relay.asked[0][0] == "/behind/api/whatif"


@pytest.mark.parametrize(
    ("status", "answer", "code", "words"),
    [
        (400, {"detail": "top_n: too small"}, 2, "top_n: too small"),
        (401, {"detail": "A token is needed."}, 1, "does not take this FINVIZ_UPDATE_TOKEN."),
        (429, {"detail": "Another what-if"}, 1, "Another what-if"),
        (503, {"detail": "The database"}, 1, "The database"),
        (307, "moved", 1, "is not this relay (HTTP 307)."),
        (404, {"error": "no"}, 1, "is not this relay (HTTP 404)."),
        (200, ["flips"], 1, "is not this relay (HTTP 200)."),
    ],
)
def test_a_refusal_is_one_line(
    relay: Relay, ask: Ask, status: int, answer: object, code: int, words: str
) -> None:
    relay.status, relay.answer = status, json.dumps(answer).encode()
    found, lines, error = ask()
    assert (found, lines, len(relay.asked)) == (code, [], 1)
    assert error.count("\n") == 1
    assert words in error


def test_a_relay_that_is_not_there_is_one_line(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=1\n")
    code, lines, error = ask()
    assert (code, lines) == (1, [])
    assert error.startswith("No relay answers at http://127.0.0.1:1: start it")
    assert error.count("\n") == 1


def test_without_a_token_it_says_which_is_needed(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "data" / "secrets.env").unlink()
    code, _, error = ask()
    assert (code, error.count("\n")) == (2, 1)
    assert "FINVIZ_UPDATE_TOKEN or ADMIN_TOKEN" in error


@pytest.mark.parametrize(
    "wrong",
    [
        ("--since", "24"),
        ("--from", "yesterday"),
        ("--from", "2026-11-20", "--since", "24h"),
        ("--url", "localhost:8000"),
        ("--url", "http://localhost:x"),
        ("--top-n", "many"),
        ("--sell-policy", "never"),
        ("--top", "20"),
    ],
)
def test_a_wrong_command_asks_nobody(relay: Relay, ask: Ask, wrong: tuple[str, ...]) -> None:
    assert ask(*wrong)[0] == 2
    assert relay.asked == []
