"""H17: whatever reaches the log, an event is a line, and a line cannot steer a terminal."""

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.logs import JsonLines, Redactor, ShortLines, written

FORGED = '{"ts": "2026-01-01T00:00:00.000+00:00", "level": "CRITICAL", "event": "forged"}'
HOSTILE = {
    "CR LF": f"a\r\n{FORGED}\r\n",
    "LF": f"\n{FORGED}\n",
    "CR alone": f"harmless\r{FORGED}",
    "an empty line": "\n\n\n",
    "vertical tab and form feed": f"a\x0b{FORGED}\x0c{FORGED}",
    "the separators of str.splitlines": f"a\x1c{FORGED}\x1d{FORGED}\x1e{FORGED}\x85{FORGED}",
    "line separator": f"a\u2028{FORGED}",
    "paragraph separator": f"a\u2029{FORGED}",
    "escaped in JSON": f'a\\n{FORGED}\\u000a"',
    "the end of a string": f'", "level": "INFO"}}\n{FORGED}',
    "ANSI colours": "\x1b[31mred\x1b[0m",
    "clear the screen": "\x1b[2J\x1b[1;1H",
    "a window title": "\x1b]0;owned\x07",
    "a hyperlink": "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "answer back": "\x1b[6n\x05\x1b[c",
    "CSI in one byte": "\x9b2J\x9d0;owned\x9c",
    "bell and backspace": "\x07" * 9 + "\x08" * 99 + "shown instead",
    "delete": "\x7f" * 20,
    "NUL": "a\0b\0",
    "a lone surrogate": "a\ud800b\udfff",
    "not UTF-8": b"\xff\xfe\r\n\x1b[2J".decode("utf-8", "surrogateescape"),
    "latin-1 of a header": "\xff\x9b1m\xad",
    "percent signs": "%s %d %(event)s %n {0} {event}",
    "a megabyte": "x" * 1_000_000,
    "a megabyte of lines": f"{FORGED}\n" * 12_000,
    "a megabyte of escapes": "\x1b[31m" * 200_000,
    "quotes and backslashes": '"\\' * 5_000,
    "astral": "\U0001f4a3" * 600,
}
LONGEST = 512 + len("…")
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

Log = Callable[[logging.Logger, str], None]


def failing(text: str) -> None:
    raise ValueError(text)


def _exception(log: logging.Logger, text: str) -> None:
    try:
        failing(text)
    except ValueError:
        log.exception("it failed")


INLETS: dict[str, Log] = {
    "event": lambda log, text: log.info("%s", text),
    "event without arguments": lambda log, text: log.info(text.replace("%", "%%"), *()),
    "user agent": lambda log, text: log.info("request", extra={"user_agent": text}),
    "ticker": lambda log, text: log.info("signal.judged", extra={"ticker": text, "n": 1}),
    "a value in a list": lambda log, text: log.info("read", extra={"tickers": [text, text]}),
    "a value by name": lambda log, text: log.info("read", extra={"body": {text: text}}),
    "bytes": lambda log, text: log.info("read", extra={"raw": text.encode("utf-8", "replace")}),
    "name": lambda log, text: log.getChild(text.replace(".", "")[:2_000]).info("named"),
    "error": lambda log, text: log.warning("failed", extra={"error": ValueError(text)}),
    "exception": _exception,
    "field": lambda log, text: log.info("field", extra={f"x{text[:100]}": 1}),
}


@pytest.mark.parametrize("inlet", INLETS)
def test_an_event_is_a_line_that_parses(inlet: str, tmp_path: Path) -> None:
    """In the file, through the queue: lines = events, each value cut, nothing forged."""
    log = logging.getLogger("fuzz")
    with written(tmp_path, secrets=["a-long-secret"], level="INFO") as path:
        for text in HOSTILE.values():
            INLETS[inlet](log, text)
    raw = path.read_bytes()
    assert raw.isascii()
    lines = raw.splitlines()
    assert len(lines) == len(HOSTILE), "as many lines as events"
    for line in map(json.loads, lines):
        assert line["event"] != "forged"
        assert line["level"] in {"INFO", "WARNING", "ERROR"}
        values = {name: value for name, value in line.items() if name != "exception"}
        assert all(len(str(value)) <= LONGEST for value in values.values())
        assert len(line.get("exception", "")) <= 8_000


@pytest.mark.parametrize("inlet", INLETS)
def test_a_terminal_shows_an_event_as_what_it_is(inlet: str) -> None:
    """No control character; what is more than a line is the trace below it, set in."""
    made: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            made.append(ShortLines(Redactor([])).format(record))

    log = logging.Logger("fuzz")  # noqa: LOG001  apart from the others
    log.manager = logging.Logger.manager
    kept = Kept()
    log.addHandler(kept)
    for text in HOSTILE.values():
        INLETS[inlet](log, text)
    for line in made:
        first, *trace = line.split("\n")
        assert not any(map(CONTROLS.search, (first, *trace)))
        assert bool(trace) <= (inlet == "exception")
        assert all(each.startswith("  ") for each in trace), "a forged line stands apart"
        assert len(first) < 5 * LONGEST, "cut, and then escaped"


def test_a_number_nobody_can_write_does_not_lose_the_line() -> None:
    record = logging.makeLogRecord({"name": "n", "msg": "n", "n": 10**5_000, "nan": float("nan")})
    line = JsonLines(Redactor([])).format(record)
    assert json.loads(line, parse_constant=pytest.fail)["event"] == "n"
