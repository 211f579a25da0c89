"""Known weaknesses of what is pinned: `python -m tests.security.weaknesses`, as `.ci/run` does.

pip-audit asks the advisory service. Where that is out of reach, it skips packages and still says
that none is weak, unless it is strict: then it fails. So: strict, and when it fails without having
found anything, `advisories.json` decides, a snapshot: a floor, no proof. What was done is said.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

from tests.security.lock import read

ROOT = Path(__file__).parents[2]
SNAPSHOT = Path(__file__).with_name("advisories.json")
LOCKS = (ROOT / "requirements.txt",)
PATIENCE = 60.0
"""Seconds until the service counts as out of reach."""


@dataclass(frozen=True, slots=True)
class Known:
    """A weakness of a pinned package."""

    package: str
    version: str
    id: str
    says: str

    def __str__(self) -> str:
        return f"{self.package} {self.version}: {self.id} {self.says}".rstrip()


def in_snapshot(lock: Path) -> list[Known]:
    """What the snapshot knows of the versions in a lock file."""
    return [
        Known(one.name, one.version, advisory["id"], advisory["says"])
        for one in read(lock)
        for advisory in json.loads(SNAPSHOT.read_text())["advisories"]
        if advisory["package"] == one.name
        and SpecifierSet(advisory["affected"]).contains(one.version, prereleases=True)
    ]


def asked(lock: Path) -> list[Known] | None:
    """What the advisory service knows; None when it could not be asked about every package."""
    command = [sys.executable, "-m", "pip_audit", "--strict", "--require-hashes", "--disable-pip"]
    try:
        done = subprocess.run(
            [*command, "--progress-spinner=off", "--format=json", "-r", lock],
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return None
    return answered(done.stdout, done.returncode)


def answered(output: str, code: int) -> list[Known] | None:
    """Read what a strict pip-audit said. Without an answer about everything there is no output."""
    try:
        packages = json.loads(output)["dependencies"]
    except (ValueError, KeyError):
        return None
    found = list(_found(packages))
    skipped = any("skip_reason" in package for package in packages)
    return found if found or (code == 0 and packages and not skipped) else None


def _found(packages: list[dict[str, Any]]) -> Iterator[Known]:
    for package in packages:
        for one in package.get("vulns", ()):
            fixed = ", ".join(one.get("fix_versions", ())) or "no version yet"
            yield Known(package["name"], package["version"], one["id"], f"fixed in {fixed}")


def look(
    locks: Sequence[Path] = LOCKS,
    ask: Callable[[Path], list[Known] | None] = asked,
    say: Callable[[str], object] = print,
) -> int:
    """Return 1 when something is known, else 0; say what was done."""
    taken = json.loads(SNAPSHOT.read_text())["taken"]
    known: list[Known] = []
    for lock in locks:
        live = ask(lock)
        if live is None:
            say(f"{lock.name}: NOT audited: the advisory service is out of reach. Snapshot only.")
        else:
            say(f"{lock.name}: the advisory service was asked: {len(live)} known.")
        kept = in_snapshot(lock)
        say(f"{lock.name}: held against the snapshot of {taken}: {len(kept)} known.")
        known += [*(live or ()), *kept]
    for one in known:
        say(f"WEAK  {one}")
    return int(bool(known))


if __name__ == "__main__":
    sys.exit(look(tuple(map(Path, sys.argv[1:])) or LOCKS))
