"""Secrets nobody has to invent: made once, kept in DATA_DIR/secrets.env, never changed."""

import base64
import fcntl
import os
import secrets
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

FILE = "secrets.env"
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
    """Read the NAME=value lines of an env file; a missing file has none."""
    try:
        text = path.read_text("utf-8-sig")
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
        new = {name: make() for name, make in MAKERS.items() if not known.get(name)}
        if path.exists():
            path.chmod(0o600)
        if new:
            _append(path, new)
        return new


def _append(path: Path, new: Mapping[str, str]) -> None:
    """Replace the file in one step: a crash leaves the old one or the new one, nothing between."""
    old = path.read_text("utf-8-sig") if path.exists() else HEADER
    lines = "".join(f"{name}={value}\n" for name, value in new.items())
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(old + ("" if old.endswith("\n") else "\n") + lines)
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
