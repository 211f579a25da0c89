"""The file of a backup: written beside its place, read back, and put there whole. Python alone."""

import errno
import fcntl
import gzip
import os
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from domain.backup import DamagedError, NotABackupError, Reading

UNFINISHED = ".unfinished"
LEVEL = 3
"""Half of the time of the usual 6, for a file that is a tenth larger."""

LONGEST = 1 << 28
"""Of a line, in bytes: a row is a line."""

BEGINNING = b'{"backup":'


OF_DISKS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


class InTheWayError(Exception):
    """Nothing is written there; the message says why."""


@contextmanager
def opened(path: Path) -> Generator[Reading]:
    """Read a backup. Raises OSError, NotABackupError, and DamagedError while it is read."""
    with path.open("rb") as file:
        yield _reading(file)


@contextmanager
def written(path: Path) -> Generator[BinaryIO]:
    """Yield what is to be filled. It takes its place once it was read back whole, else it goes.

    A killed process leaves ``path`` as it was; what it had begun beside it is replaced by the next.
    """
    _refuse_what_is_there(path)
    unfinished = path.with_name(path.name + UNFINISHED)
    with _alone(unfinished) as file:
        try:
            with gzip.GzipFile("", "wb", LEVEL, file, 0) as packed:
                yield packed  # pyright: ignore[reportReturnType]  it can all that is asked
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            _reading(file).check()
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        unfinished.rename(path)
    _keep_name(path.parent)


def is_of_files(error: OSError) -> bool:
    """Whether it is the file that cannot be written, and not the database that cannot be had."""
    return error.filename is not None or error.errno in OF_DISKS


def _refuse_what_is_there(path: Path) -> None:
    """A backup may be replaced by another; whatever else has the name stays."""
    try:
        with path.open("rb") as file:
            _reading(file)
    except FileNotFoundError:
        return
    except (NotABackupError, DamagedError):
        raise InTheWayError(f"{path} is there, and is no backup: it is left alone") from None


@contextmanager
def _alone(path: Path) -> Generator[IO[bytes]]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InTheWayError(f"another backup is being written to {path}") from None
        os.fchmod(descriptor, 0o600)
        file.truncate()
        yield file


def _keep_name(folder: Path) -> None:
    """A name is on disk once its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reading(file: IO[bytes]) -> Reading:
    return Reading(_lines(file))


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Raises DamagedError, or NotABackupError where nothing could be read at all."""
    with gzip.GzipFile(fileobj=file, mode="rb") as packed:
        first = True
        try:
            while line := packed.readline(LONGEST):
                if first and not line.startswith(BEGINNING):
                    raise NotABackupError
                yield line
                first = False
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            if first:
                raise NotABackupError from None
            cut = isinstance(error, EOFError)
            raise DamagedError("it is cut off" if cut else "it cannot be read") from None
