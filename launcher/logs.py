"""Logging: JSON lines in a rotated file, short lines for a person, no secret in either."""

import errno
import fcntl
import json
import logging
import logging.handlers
import os
import queue
import re
import sys
import threading
import traceback
from collections.abc import Collection, Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import TextIOWrapper
from math import isfinite
from pathlib import Path
from typing import IO, Any, TextIO, cast

from launcher.redactor import Redactor

LONGEST, LONGEST_TRACE = 512, 8_000  # characters of one value; of one exception, its end
MOST = 32_768  # characters that are looked at for so few
QUIET = ("alembic", "asyncio", "httpcore", "httpx", "uvicorn", "watchfiles")
PLAIN = frozenset({"ts", "event", "signal_id", "trace_id", "delivery_id", "ticker", "side"})
"""Of the stages of signals: ids and words that are ours."""
STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
log = logging.getLogger(__name__)

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    found = {k: v for k, v in vars(record).items() if k not in STANDARD and not k.startswith("_")}
    number = getattr(record, "_process", 0)  # which of several, where there are several
    return {"process": number, **found} if number else found


class JsonLines(logging.Formatter):
    """One JSON object a line: ts (UTC), level, logger, event, then the extra fields."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        if lines := getattr(record, "_lines", None):
            return self._of_signals(record, lines)
        line = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": self._cut(str(record.name)),
            "event": self._cut(record.getMessage()),
            **{name: self._value(value) for name, value in _fields(record).items()},
        }
        if trace := _trace(record):
            line["exception"] = self._redact(trace[-MOST:])[-LONGEST_TRACE:]
        return json.dumps(line)  # redacted above: in the finished line it could break the JSON

    def _of_signals(self, record: logging.LogRecord, lines: list[dict[str, Any]]) -> str:
        """Many told together (`engines.chronicle.lines`), made once for the file and stderr."""
        if text := getattr(record, "_text", None):
            return str(text)
        number = getattr(record, "_process", 0)
        head: dict[str, Any] = {"level": record.levelname, "logger": record.name}
        head |= {"process": number} if number else {}
        told = [{"ts": line["ts"], **head, **self._of_signal(line)} for line in lines]
        vars(record)["_text"] = text = "\n".join(map(json.dumps, told))
        return text

    def _of_signal(self, line: dict[str, Any]) -> dict[str, Any]:
        return {name: one if name in PLAIN else self._value(one) for name, one in line.items()}

    def _value(self, value: object) -> object:
        match value:
            case None | bool():
                return value
            case int():  # of thousands of digits Python makes no text
                return value if value.bit_length() < 64 else self._cut(hex(value))
            case float():
                return value if isfinite(value) else str(value)
            case _:
                return self._cut(str(value))

    def _cut(self, text: str) -> str:
        text = self._redact(text[:MOST])  # before the cut, which could halve a secret
        return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _trace(record: logging.LogRecord) -> str:
    """Return the traceback: its own, or the text of one that happened elsewhere."""
    if elsewhere := getattr(record, "_trace", ""):
        return str(elsewhere)
    if record.exc_info and not record.exc_text:
        record.exc_text = logging.Formatter().formatException(record.exc_info)
    return record.exc_text or ""


class ShortLines(logging.Formatter):
    """For a terminal: time, level, event, fields; control characters made visible."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        text = self._redact(f"{record.getMessage()}{fields}"[:MOST]).replace("\n", " ")
        trace = self._redact(_trace(record)[-MOST:])[-LONGEST_TRACE:].replace("\n", "\n  ")
        line = f"{at} {record.levelname:<8} {text[:LONGEST]}" + (f"\n  {trace}" if trace else "")
        return CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", line)


class _Failing(logging.Handler):
    """Says that a line could not be written, not which: what it holds is not redacted yet."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's name
        with suppress(OSError, ValueError):
            kind = type(sys.exception()).__name__
            sys.stderr.write(f"log.failed: a line of {record.name} was not written ({kind})\n")


class _Lines(_Failing, logging.StreamHandler[TextIO]):
    """Lines on stderr."""


def _is_for_stderr(record: logging.LogRecord) -> bool:
    """A terminal is not told each stage of each signal."""
    mark = "_lines" if sys.stderr.isatty() else "_file_only"
    return not (getattr(record, "_file_only", False) or getattr(record, mark, False))


class _File(_Failing, logging.handlers.RotatingFileHandler):
    """A rotated file for our eyes alone."""

    def _open(self) -> TextIOWrapper:
        file = open(self.baseFilename, "a", encoding="utf-8", opener=_private)  # noqa: SIM115
        os.fchmod(file.fileno(), 0o600)
        return file


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class _Enqueue(_Failing, logging.handlers.QueueHandler):
    """Hands records to the writing thread; what does not fit is counted and said later."""

    dropped = 0
    process = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        _trace(record)
        marks = {"_process": self.process} if self.process else {}
        copy = logging.makeLogRecord(vars(record) | marks)
        copy.msg, copy.args, copy.exc_info = record.getMessage(), None, None
        return copy

    def enqueue(self, record: logging.LogRecord) -> None:
        if self.dropped:
            record.dropped_before = self.dropped
        try:
            self.queue.put_nowait(record)
            self.dropped = 0
        except queue.Full:
            self.dropped += 1


_redactors: list[Redactor] = []
"""Those of logs being written."""


def conceal(secret: bytes) -> None:
    """Hide this secret too, from now on: one that the database holds (`database.vault`)."""
    for redact in _redactors:
        redact.add(secret)


@contextmanager
def _caught(redact: Redactor) -> Generator[None]:
    """What Python would print of an exception that nobody caught goes into the log instead.

    One that ends the program is printed when the log is closed, so that hook stays.
    """
    before = sys.excepthook, sys.unraisablehook, threading.excepthook

    def ending(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        sys.stderr.write(redact("".join(traceback.format_exception(kind, error, trace))))

    def ignored(found: Any) -> None:
        failed = (found.exc_type, found.exc_value, found.exc_traceback)
        log.error("python.unraisable", exc_info=failed)

    def thread(found: threading.ExceptHookArgs) -> None:
        log.error("thread.failed", exc_info=cast("Any", found[:3]))

    sys.excepthook, sys.unraisablehook, threading.excepthook = ending, ignored, thread
    try:
        yield
    finally:
        if sys.exception() is None or isinstance(sys.exception(), SystemExit):
            sys.excepthook = before[0]
        sys.unraisablehook, threading.excepthook = before[1:]


@contextmanager
def _handled(handler: logging.Handler, level: str) -> Generator[None]:
    """The root logger has this handler alone; what it had before comes back."""
    root = logging.getLogger()
    before, handlers = root.level, root.handlers
    root.handlers = [handler]
    root.setLevel(level)
    try:
        yield
    finally:
        root.handlers = handlers
        root.setLevel(before)  # a level that is only assigned lets loggers remember the other one


@contextmanager
def written(
    folder: Path, *, secrets: Collection[str], level: str, process: int = 0
) -> Generator[Path]:
    """Write the log of this process to ``folder`` and to stderr; yield the file's path.

    ``process`` says which of several it is: its lines tell, and its file is named after it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path, lock = _own_file(folder, f"process-{process}" if process else "relay")
    redact = Redactor(secrets)
    file = _File(path, maxBytes=10_000_000, backupCount=5)
    file.setFormatter(JsonLines(redact))
    stderr = _Lines()
    stderr.setFormatter((ShortLines if sys.stderr.isatty() else JsonLines)(redact))
    stderr.addFilter(_is_for_stderr)
    enqueue = _Enqueue(queue.Queue(maxsize=10_000))
    enqueue.process = process
    listener = logging.handlers.QueueListener(enqueue.queue, file, stderr)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    listener.start()
    _redactors.append(redact)
    try:
        with _handled(enqueue, level), _caught(redact):
            yield path
    finally:
        _redactors.remove(redact)
        listener.stop()
        file.close()
        lock.close()


def _own_file(folder: Path, stem: str) -> tuple[Path, IO[str]]:
    """Two processes must not rotate one file: replicas that share the folder take the first free.

    Raises OSError when a hundred are taken.
    """
    for number in range(1, 101):
        name = stem if number == 1 else f"{stem}-{number}"
        lock = (folder / f".{name}.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        return folder / f"{name}.log", lock
    raise OSError(errno.EAGAIN, "a hundred processes already write their logs here")
