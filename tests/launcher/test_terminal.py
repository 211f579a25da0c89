"""The line that moves: drawn at once and again, gone when it is over; elsewhere plain lines."""

import io
import sys
import threading

import pytest

from launcher import terminal
from launcher.terminal import Progress


class Terminal(io.StringIO):
    """Notes what is drawn, and that something was."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn = threading.Semaphore(0)

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if text.startswith("\r\x1b[K") and len(text) > 4:
            self.drawn.release()
        return super().write(text)


def a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Called by the test itself: pytest takes the output back between fixtures and test."""
    found = Terminal()
    monkeypatch.setattr(sys, "stdout", found)
    monkeypatch.setattr(terminal, "TICK", 0.01)
    monkeypatch.setenv("COLUMNS", "40")
    return found


def test_it_is_drawn_at_once_and_again_without_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = a_terminal(monkeypatch)
    progress = Progress("Making", clock=lambda: 0)
    assert shown.getvalue() == "\r\x1b[KMaking … 0.0 s "
    for _ in range(3):
        assert shown.drawn.acquire(timeout=30)
    progress.done("made")
    assert shown.getvalue().endswith("\r\x1b[KMaking: made in 0.0 s\n")


def test_what_is_over_is_drawn_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = a_terminal(monkeypatch)
    progress = Progress("Making", clock=lambda: 0)
    progress.step("x" * 90)
    assert "xxx" in shown.getvalue()
    assert all(len(line) <= 39 for line in shown.getvalue().split("\r\x1b[K"))
    progress.abandoned()
    before = shown.getvalue()
    progress.step("late")
    progress.abandoned()
    assert shown.getvalue() == before


def test_elsewhere_it_says_two_plain_lines_or_none(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("Making", clock=lambda: 0)
    progress.step("unseen")
    progress.done()
    Progress("Starting", plain=False).abandoned()
    assert capsys.readouterr().out == "Making …\n  done in 0.0 s\n"
