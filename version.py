"""Which relay this is: its version, and the Git revision where that is known. Python alone."""

import re
from functools import cache
from pathlib import Path

VERSION = "1.0.0"
"""The one place; pyproject.toml and the bill of materials are tested against it."""

ROOT = Path(__file__).parent
FILE = "REVISION"
"""Beside this module where there is no `.git`: an image, an archive."""

HASH = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


@cache
def revision(root: Path = ROOT) -> str | None:
    """The commit this is, as 12 digits; None where nobody says."""
    found = _read(root / FILE) or _head(_git(root)) or ""
    return found[:12] if HASH.fullmatch(found) else None


def named() -> str:
    """For people: `1.0.0 (revision 6d23e14ab012)`."""
    commit = revision()
    return f"{VERSION} (revision {commit})" if commit else VERSION


def _git(root: Path) -> Path:
    """`.git` is a folder, or in a worktree a file that names one."""
    place = root / ".git"
    named = _read(place).removeprefix("gitdir: ")
    return root / named if named else place


def _head(git: Path) -> str:
    """What HEAD is: a commit, or a branch whose commit is in a file of its own or a packed one."""
    head = _read(git / "HEAD")
    if not head.startswith("ref: "):
        return head
    name = head.removeprefix("ref: ")
    shared = git / (_read(git / "commondir") or ".")  # a worktree's branches are the repository's
    return _read(shared / name) or _packed(_read(shared / "packed-refs"), name)


def _packed(text: str, name: str) -> str:
    lines = (line.partition(" ") for line in text.splitlines())
    return next((commit for commit, _, ref in lines if ref == name), "")


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
