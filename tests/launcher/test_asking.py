"""Asking the relay: where it is looked for, by which token, and one line when it fails."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.launcher.answering import (
    ADMIN_TOKEN,
    UPDATE_TOKEN,
    WEBHOOK_TOKEN,
    Answering,
    Run,
    answering,
)

REHEARSED: dict[str, Any] = {
    "reading": {"advice": [], "code": "no_ticker", "detail": "no ticker", "answer": 422},
    "decision": None,
    "requests": [],
}
DRY = ("send", "--dry-run", "{}")


@pytest.fixture
def relay() -> Generator[Answering]:
    with answering() as relay:
        relay.put("POST /api/rehearsals", REHEARSED)
        yield relay


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_token_that_allows_least_is_shown(relay: Answering, run: Run, tmp_path: Path) -> None:
    relay.put("POST /webhook/in", {"signal_id": "1", "ticker": "A", "duplicate": False}, status=202)
    run(*DRY)
    run("send", "{}", "--yes", "--wait", "0")
    write(tmp_path / "data" / "secrets.env", f"ADMIN_TOKEN={ADMIN_TOKEN}\n")
    run(*DRY)
    assert [one.by for one in relay.asked] == [
        "FINVIZ_UPDATE_TOKEN",
        "WEBHOOK_TOKEN",
        "ADMIN_TOKEN",
    ]


def test_tokens_stand_in_files_as_they_do_for_the_relay(
    relay: Answering, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data" / "secrets.env").unlink()
    write(tmp_path / "token", f"{UPDATE_TOKEN}\n")
    with (tmp_path / ".env").open("a") as file:
        file.write("FINVIZ_UPDATE_TOKEN_FILE=token\nADMIN_TOKEN_FILE=nothing\n")
    run(*DRY)
    assert relay.asked[-1].by == "FINVIZ_UPDATE_TOKEN"
    monkeypatch.setenv("FINVIZ_UPDATE_TOKEN", UPDATE_TOKEN)
    code, _, said = run(*DRY)
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith("FINVIZ_UPDATE_TOKEN_FILE: FINVIZ_UPDATE_TOKEN is set too")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read: No such file"),
        ("\n", "the file is empty"),
        (f"{UPDATE_TOKEN}\nsecond line", "holds characters that no token has"),
        (f"{UPDATE_TOKEN}é", "holds characters that no token has"),
    ],
)
def test_a_token_that_cannot_be_is_not_told(
    relay: Answering, run: Run, tmp_path: Path, text: str | None, words: str
) -> None:
    if text is not None:
        write(tmp_path / "token", text)
    code, out, said = run(*DRY, "--token-file", str(tmp_path / "token"))
    assert (code, out, said.count("\n"), relay.asked) == (2, "", 1, [])
    assert words in said


def test_a_token_of_ones_own_is_shown_instead(relay: Answering, run: Run, tmp_path: Path) -> None:
    write(tmp_path / "token", WEBHOOK_TOKEN)
    run(*DRY, "--token-file", str(tmp_path / "token"))
    assert relay.asked[-1].by == "WEBHOOK_TOKEN"
    relay.put("POST /api/rehearsals", {"detail": "A token is needed."}, status=401)
    code, _, said = run(*DRY, "--token-file", str(tmp_path / "token"))
    assert (code, said) == (
        1,
        f"The relay at http://127.0.0.1:{relay.port} does not take this token of --token-file.\n",
    )


@pytest.mark.parametrize("place", [("--demo", *DRY), (*DRY, "--demo")])
def test_the_demo_is_asked_by_its_own_tokens(
    relay: Answering, run: Run, tmp_path: Path, place: tuple[str, ...]
) -> None:
    (tmp_path / "data" / "secrets.env").unlink()
    (tmp_path / "data" / "demo").mkdir()
    write(tmp_path / "data" / "demo" / "secrets.env", f"FINVIZ_UPDATE_TOKEN={UPDATE_TOKEN}\n")
    code, _, said = run(*DRY)
    assert code == 2
    assert "of the demo: --demo" in said
    run(*place)
    assert relay.asked[-1].by == "FINVIZ_UPDATE_TOKEN"


def test_a_token_follows_no_redirect_and_takes_no_proxy(
    relay: Answering, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.put("POST /api/rehearsals", b"moved", status=307)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    code, _, said = run(*DRY)
    assert (code, len(relay.asked), said.count("\n")) == (1, 1, 1)
    assert "is not this relay (HTTP 307)" in said


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:1", "No relay answers at http://127.0.0.1:1: start it"),
        ("http://me:secret@127.0.0.1:1/x", "No relay answers at http://127.0.0.1:1: start it"),
        ("http://no.such.host.invalid", "No relay answers at http://no.such.host.invalid"),
        (f"http://{'ä' * 70}.invalid", "No relay answers at"),
    ],
)
def test_nobody_there_is_one_line(run: Run, url: str, words: str) -> None:
    code, out, said = run(*DRY, "--url", url)
    assert (code, out, said.count("\n")) == (1, "", 1)
    assert said.startswith(words)
    assert "secret" not in said


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (".env", "PORT=many", "HOST, PORT: no address"),
        (".env", f"FINVIZ_UPDATE_TOKEN={UPDATE_TOKEN}é", "holds characters that no token has"),
        (".env", None, ".env cannot be read: Is a directory."),
        ("data/secrets.env", None, "data/secrets.env cannot be read: Is a directory."),
    ],
)
def test_settings_that_cannot_be_are_one_line(
    relay: Answering, run: Run, tmp_path: Path, name: str, content: str | None, words: str
) -> None:
    if content:
        (tmp_path / name).write_text(content)
    else:
        (tmp_path / name).unlink()
        (tmp_path / name).mkdir()
    code, out, said = run(*DRY)
    assert (code, out, said.count("\n"), relay.asked) == (2, "", 1, [])
    assert words in said
