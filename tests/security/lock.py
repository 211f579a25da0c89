"""Lock files, as uv writes them: what is pinned, by which hashes, and who asked for it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PIN = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?==(?P<version>[^\s;\\]+)\s*(?:;\s*(?P<marker>[^\\#]+))?"
)
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
VIA = re.compile(r"^ +# +(?:via +)?(\S.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Pinned:
    """One package at one version; `marker` says where, empty: everywhere."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]
    wanted_by: tuple[str, ...]


def pins(text: str) -> list[Pinned]:
    """Every requirement of a lock file, or of a file of wishes."""
    return list(_pins(text))


def read(path: Path) -> list[Pinned]:
    return pins(path.read_text())


def _pins(text: str) -> Iterator[Pinned]:
    for block in re.split(r"^(?=[^\s#-])", text, flags=re.MULTILINE):
        if found := PIN.match(block):
            wanted = (name for name in VIA.findall(block) if name != "via")
            yield Pinned(
                name=normal(found["name"]),
                version=found["version"],
                marker=(found["marker"] or "").strip(),
                hashes=tuple(HASH.findall(block)),
                wanted_by=tuple(normal(name) for name in wanted if not name.startswith("-r ")),
            )


def normal(name: str) -> str:
    """As PEP 503 compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()
