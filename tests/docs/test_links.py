"""Every link leads somewhere: files, headings, and, with --long, addresses of others."""

import re
from collections import Counter
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.docs.blocks import DOCUMENTS, ROOT, prose

LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")
SPAN = re.compile(r"`[^`\n]*`")
HEADING = re.compile(r"^#{1,6} (.+?)\s*#*$", re.MULTILINE)
OURS = {"relay.example.com"}
"""Names of examples; not asked."""


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def targets(path: Path) -> list[str]:
    """Of links in prose, with their code taken away."""
    text = re.sub(r"\[(`[^`]*`)\]", "[x]", prose(path))
    return LINK.findall(SPAN.sub("", text))


@cache
def anchors(path: Path) -> frozenset[str]:
    """As GitHub makes them of headings; the second of a kind gets -1."""
    seen = Counter[str]()
    found: set[str] = set()
    for heading in HEADING.findall(prose(path)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        plain = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        found.add(f"{plain}-{seen[plain]}" if seen[plain] else plain)
        seen[plain] += 1
    return frozenset(found)


def outside() -> dict[str, str]:
    """Every address of others, and the first document that has it."""
    return {
        target: named(path)
        for path in reversed(DOCUMENTS)
        for target in targets(path)
        if "://" in target
    }


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_links_lead_to_files_and_headings(path: Path) -> None:
    missing: list[str] = []
    for target in targets(path):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        if not there.exists() or (anchor and anchor not in anchors(there)):
            missing.append(target)
    assert missing == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_links_stay_inside_the_repository(path: Path) -> None:
    inside = [t for t in targets(path) if "://" not in t]
    assert all(not target.startswith("/") for target in inside)
    files = [(path.parent / target.partition("#")[0]).resolve() for target in inside]
    assert all(file.is_relative_to(ROOT) for file in files)


def test_outside_addresses_are_https_and_whole() -> None:
    known = outside()
    assert known
    for target in known:
        parts = urlsplit(target)
        assert parts.scheme == "https", target
        assert re.fullmatch(r"[a-z0-9.-]+\.[a-z]{2,}", parts.netloc), target


def test_every_page_can_be_reached_from_the_readme() -> None:
    """Following links from page to page, as a reader would."""
    seen: set[Path] = set()
    ahead = [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in seen or page.suffix != ".md" or not page.is_file():
            continue
        seen.add(page)
        inside = [t.partition("#")[0] for t in targets(page) if "://" not in t]
        ahead += [(page.parent / file).resolve() for file in inside if file]
    assert [named(path) for path in DOCUMENTS if path not in seen] == []


def test_addresses_of_others_answer(request: pytest.FixtureRequest) -> None:
    """Only when asked for: a page of somebody else's that moved breaks no change of ours."""
    if not request.config.getoption("--long"):
        pytest.skip("--long asks the network for every outside address")
    gone: list[str] = []
    with httpx.Client(follow_redirects=True, timeout=20) as http:
        for target, place in outside().items():
            if urlsplit(target).netloc in OURS:
                continue
            try:
                status = http.get(target).status_code
            except httpx.HTTPError as error:
                gone.append(f"{place}: {target}: {type(error).__name__}")
                continue
            gone += [f"{place}: {target}: {status}"] if status in {404, 410} else []
    assert gone == []
