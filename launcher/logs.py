"""Logging: JSON lines in a rotated file, short lines for a person, no secret in either."""

import errno
import fcntl
import json
import logging
import logging.handlers
import queue
import re
import sys
from collections.abc import Collection, Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit

LONGEST, LONGEST_TRACE = 512, 8_000  # characters of one value; of one exception, its end
HIDDEN = "•••"
QUIET = ("alembic", "asyncio", "httpcore", "httpx", "uvicorn", "watchfiles")
STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
ADDRESSES = re.compile(r"""([?&](?:auth|token|key)=|/webhook/in/)[^&\s"'\\?]+""", re.IGNORECASE)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


class Redactor:
    """Replaces known secrets, in every spelling a line may give them, and tokens in addresses."""

    def __init__(self, secrets: Collection[str]) -> None:
        spellings = {spelling for secret in secrets for spelling in _spellings(secret)}
        longest_first = sorted(spellings, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def __call__(self, text: str) -> str:
        return ADDRESSES.sub(rf"\1{HIDDEN}", self._known.sub(HIDDEN, text))


def _spellings(secret: str) -> set[str]:
    """Return the secret as it is, and as it looks quoted once or twice: a body in a log field."""
    parts = [secret]
    with suppress(ValueError):  # an address: its password and its path are secrets by themselves
        parts += [urlsplit(secret).password or ""] if "://" in secret else []
    plain = {part for part in parts if len(part) >= 6}
    once = plain.union(*map(_quoted, plain))
    return once.union(*map(_quoted, once))


def _quoted(text: str) -> set[str]:
    return {quote(text, safe=""), json.dumps(text)[1:-1], repr(text)[1:-1]}


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {k: v for k, v in vars(record).items() if k not in STANDARD and not k.startswith("_")}


class JsonLines(logging.Formatter):
    """One JSON object a line: ts (UTC), level, logger, event, then the extra fields."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": self._cut(record.name),
            "event": self._cut(record.getMessage()),
            **{name: self._value(value) for name, value in _fields(record).items()},
        }
        if trace := _trace(record):
            line["exception"] = self._redact(trace)[-LONGEST_TRACE:]
        return json.dumps(line)  # redacted above: in the finished line it could break the JSON

    def _value(self, value: object) -> object:
        if value is None or isinstance(value, bool | int | float):
            return value
        return self._cut(str(value))

    def _cut(self, text: str) -> str:
        text = self._redact(text)  # before the cut, which could halve a secret
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
        text = self._redact(f"{record.getMessage()}{fields}").replace("\n", " ")
        trace = self._redact(_trace(record))[-LONGEST_TRACE:]
        line = f"{at} {record.levelname:<8} {text[:LONGEST]}" + (f"\n{trace}" if trace else "")
        return CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", line)


class _Enqueue(logging.handlers.QueueHandler):
    """Hands records to the writing thread; what does not fit is counted and said later."""

    dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        _trace(record)
        copy = logging.makeLogRecord(vars(record))
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


@contextmanager
def written(folder: Path, *, secrets: Collection[str], level: str) -> Generator[Path]:
    """Write the log of this process to ``folder`` and to stderr; yield the file's path."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path, lock = _own_file(folder)
    redact = Redactor(secrets)
    file = logging.handlers.RotatingFileHandler(path, maxBytes=10_000_000, backupCount=5)
    file.setFormatter(JsonLines(redact))
    stderr = logging.StreamHandler()
    stderr.setFormatter((ShortLines if sys.stderr.isatty() else JsonLines)(redact))
    stderr.addFilter(lambda record: not getattr(record, "_file_only", False))
    enqueue = _Enqueue(queue.Queue(maxsize=10_000))
    listener = logging.handlers.QueueListener(enqueue.queue, file, stderr)
    root = logging.getLogger()
    before = root.level, root.handlers
    root.handlers = [enqueue]
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    listener.start()
    try:
        yield path
    finally:
        listener.stop()
        root.level, root.handlers = before
        file.close()
        lock.close()


def _own_file(folder: Path) -> tuple[Path, IO[str]]:
    """Two processes must not rotate one file: replicas that share the folder take the first free.

    Raises OSError when a hundred are taken.
    """
    for number in range(1, 101):
        name = "relay" if number == 1 else f"relay-{number}"
        lock = (folder / f".{name}.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        return folder / f"{name}.log", lock
    raise OSError(errno.EAGAIN, "a hundred processes already write their logs here")
