"""Secrets nobody has to invent: made once, kept in DATA_DIR/secrets.env; the key rotates."""

import base64
import fcntl
import os
import secrets
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

FILE = "secrets.env"
KEY, OLD_KEY = "ENCRYPTION_KEY", "ENCRYPTION_KEY_OLD"
HEADER = "# Made by run.py. Keep a copy: without ENCRYPTION_KEY stored secrets cannot be read.\n"


def _token() -> str:
    return secrets.token_urlsafe(32)


def _key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def _signing_secret() -> str:
    """Return a secret as Standard Webhooks writes them: https://www.standardwebhooks.com."""
    return f"whsec_{_key()}"


MAKERS: Mapping[str, Callable[[], str]] = {
    "ADMIN_TOKEN": _token,
    "FINVIZ_UPDATE_TOKEN": _token,
    "WEBHOOK_TOKEN": _token,
    "ENCRYPTION_KEY": _key,
    "DEST_WEBHOOK_SIGNING_SECRET": _signing_secret,
}


def read(path: Path) -> dict[str, str]:
    """Read the NAME=value lines of an env file; a missing file has none.

    What is not UTF-8 `config.load` refuses.
    """
    try:
        text = path.read_text("utf-8-sig", errors="replace")
    except FileNotFoundError:
        return {}
    pairs = (
        line.strip().removeprefix("export ").partition("=")
        for line in text.splitlines()
        if "=" in line and not line.lstrip().startswith("#")
    )
    return {name.strip().upper(): _plain(value) for name, _, value in pairs}


def _plain(value: str) -> str:
    value = value.strip()
    if value[:1] in {"'", '"'}:
        return value[1:].partition(value[0])[0]
    return (
        value
        if not value.startswith("#") and " #" not in value
        else value.partition("#")[0].strip()
    )


def complete(folder: Path, given: Mapping[str, str]) -> dict[str, str]:
    """Make what neither ``given`` nor the file in ``folder`` has; return only what is new.

    Lines already in the file stay byte for byte. A blank value counts as none.
    """
    with _alone_in(folder):
        path = folder / FILE
        known = read(path) | {name: value for name, value in given.items() if value}
        new = {
            name: make()
            for name, make in MAKERS.items()
            if not known.get(name) and not known.get(f"{name}_FILE")
        }
        if path.exists():
            path.chmod(0o600)
        if new:
            _append(path, new)
        return new


def add(folder: Path, names: Mapping[str, str]) -> None:
    """Put these behind what the file in ``folder`` has; it keeps its owner and its mode.

    Raises OSError.
    """
    with _alone_in(folder):
        path = folder / FILE
        text = path.read_text("utf-8-sig")
        end = "" if not text or text.endswith("\n") else "\n"
        with path.open("a", encoding="utf-8") as file:
            file.write(end + "".join(f"{name}={value}\n" for name, value in names.items()))
            file.flush()
            os.fsync(file.fileno())


def begin_rotation(folder: Path) -> None:
    """Make another key; the one before stays beside it. Nothing is done where one is there."""
    with _alone_in(folder):
        path = folder / FILE
        known = read(path)
        if not known.get(OLD_KEY):
            rest = _lines_but(path, {KEY, OLD_KEY})
            _replace(path, f"{rest}{KEY}={_key()}\n{OLD_KEY}={known[KEY]}\n")


def end_rotation(folder: Path) -> None:
    """Forget the key before."""
    with _alone_in(folder):
        path = folder / FILE
        _replace(path, _lines_but(path, {OLD_KEY}))


def new_key() -> str:
    """A key, for who keeps his own elsewhere."""
    return _key()


def exposed(folder: Path) -> list[Path]:
    """What holds secrets, and others on this machine can read: the operator may mend it."""
    env_file = Path(".env")
    holds = env_file.exists() and any(
        value for name, value in read(env_file).items() if name in MAKERS or "URL" in name
    )
    watched = [folder, folder / FILE, *([env_file] if holds else [])]
    return [path for path in watched if path.exists() and path.stat().st_mode & 0o077]


def _lines_but(path: Path, names: set[str]) -> str:
    """The file without the lines of these names; what stays is byte for byte as it was."""
    lines = path.read_text("utf-8-sig").splitlines(keepends=True)
    kept = [line for line in lines if _name(line) not in names]
    text = "".join(kept)
    return text if not text or text.endswith("\n") else f"{text}\n"


def _name(line: str) -> str:
    return line.strip().removeprefix("export ").partition("=")[0].strip().upper()


def _append(path: Path, new: Mapping[str, str]) -> None:
    old = path.read_text("utf-8-sig") if path.exists() else HEADER
    lines = "".join(f"{name}={value}\n" for name, value in new.items())
    _replace(path, old + ("" if old.endswith("\n") else "\n") + lines)


def _replace(path: Path, text: str) -> None:
    """Replace the file in one step: a crash leaves the old one or the new one, nothing between."""
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)


@contextmanager
def _alone_in(folder: Path) -> Generator[None]:
    """Hold a lock on the folder itself: replicas that share it make one set of secrets."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
