"""docs/security.md and docs/asvs.md: every item and threat has its row, every proof is there."""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from domain.weak import WEAK

ROOT = Path(__file__).parents[2]
SECURITY, ASVS = ROOT / "docs" / "security.md", ROOT / "docs" / "asvs.md"
ITEM = re.compile(r"\bV\d+\.\d+\.\d+\b")
CITED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
VERDICTS = {"met", "partly", "not met", "n/a"}

# Sections of OWASP ASVS 5.0.0, with the level of each of their items in its order.
LEVELS = {
    "V1.1": "22",
    "V1.2": "1111122223",
    "V1.3": "112222222223",
    "V1.4": "222",
    "V1.5": "123",
    "V2.1": "122",
    "V2.2": "112",
    "V2.3": "12223",
    "V2.4": "23",
    "V3.1": "3",
    "V3.2": "113",
    "V3.3": "12223",
    "V3.4": "11222233",
    "V3.5": "11122333",
    "V3.6": "3",
    "V3.7": "22333",
    "V4.1": "12233",
    "V4.2": "23333",
    "V4.3": "22",
    "V4.4": "1222",
    "V5.1": "2",
    "V5.2": "112333",
    "V5.3": "113",
    "V5.4": "222",
    "V6.1": "122",
    "V6.2": "111111112222",
    "V6.3": "11223333",
    "V6.4": "112233",
    "V6.5": "22222333",
    "V6.6": "2223",
    "V6.7": "33",
    "V6.8": "2222",
    "V7.1": "222",
    "V7.2": "1111",
    "V7.3": "22",
    "V7.4": "11222",
    "V7.5": "223",
    "V7.6": "22",
    "V8.1": "1233",
    "V8.2": "1123",
    "V8.3": "133",
    "V8.4": "23",
    "V9.1": "111",
    "V9.2": "1222",
    "V10.1": "22",
    "V10.2": "223",
    "V10.3": "22223",
    "V10.4": "1111122222233333",
    "V10.5": "22222",
    "V10.6": "22",
    "V10.7": "222",
    "V11.1": "2233",
    "V11.2": "22233",
    "V11.3": "11233",
    "V11.4": "1222",
    "V11.5": "23",
    "V11.6": "23",
    "V11.7": "33",
    "V12.1": "12233",
    "V12.2": "11",
    "V12.3": "22223",
    "V13.1": "2333",
    "V13.2": "222223",
    "V13.3": "2233",
    "V13.4": "1222233",
    "V14.1": "22",
    "V14.2": "12223333",
    "V14.3": "122",
    "V15.1": "12233",
    "V15.2": "12233",
    "V15.3": "1222222",
    "V15.4": "3333",
    "V16.1": "2",
    "V16.2": "22222",
    "V16.3": "2222",
    "V16.4": "222",
    "V16.5": "2223",
    "V17.1": "23",
    "V17.2": "22223333",
    "V17.3": "22",
}
WANTED = {
    f"{section}.{number}": level
    for section, levels in LEVELS.items()
    for number, level in enumerate(levels, 1)
    if level in "12"
}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def rows(path: Path, begin: str) -> list[list[str]]:
    """The rows of tables whose first cell begins so."""
    lines = path.read_text().splitlines()
    return [cells(line) for line in lines if re.match(rf"\| {begin}", line)]


ITEMS = rows(ASVS, r"V\d")
THREATS = rows(SECURITY, r"H\d+ \|")


@cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(
        node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def is_proof(words: str) -> bool:
    """A test, a page that says it, or why nothing is to be run."""
    links = re.search(r"\]\(\w+\.md", words)
    return bool(CITED.search(words) or links) or "by design: " in words


# ── The standard ────────────────────────────────────────────────────────────────────────────


def test_the_list_is_the_whole_standard() -> None:
    levels = Counter("".join(LEVELS.values()))
    assert levels == {"1": 70, "2": 183, "3": 92}


def test_every_item_stands_once() -> None:
    assert Counter(ITEM.findall(" ".join(row[0] for row in ITEMS))) == Counter(WANTED.keys())


@pytest.mark.parametrize("row", ITEMS, ids=lambda row: row[0])
def test_an_item_is_answered(row: list[str]) -> None:
    ids, level, asked, verdict, how = row
    levels = [WANTED[item] for item in ITEM.findall(ids)]
    assert level in {", ".join(levels), "".join(set(levels))}
    assert 1 <= len(asked.split()) <= 10, "in our own words"
    assert verdict in VERDICTS
    assert how
    assert verdict != "met" or is_proof(how)


def test_the_sums_are_right() -> None:
    counted = Counter[str]()
    for row in ITEMS:
        counted[row[3]] += len(ITEM.findall(row[0]))
    stated = {row[0]: int(row[1]) for row in rows(ASVS, "(?:met|partly|not met|n/a|together) ")}
    assert stated == {**counted, "together": len(WANTED)}


# ── Threats ─────────────────────────────────────────────────────────────────────────────────


def test_every_threat_stands_once() -> None:
    assert [row[0] for row in THREATS] == [f"H{number}" for number in range(1, 33)]


@pytest.mark.parametrize("row", THREATS, ids=lambda row: row[0])
def test_a_threat_has_a_control_and_a_test(row: list[str]) -> None:
    _, threat, control, proof = row
    assert threat
    assert control
    assert CITED.search(proof)


# ── Proofs ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", [SECURITY, ASVS], ids=lambda path: path.name)
def test_every_test_that_is_named_is_there(path: Path) -> None:
    cited = CITED.findall(path.read_text())
    assert cited
    missing = [(file, name) for file, name in cited if not (ROOT / file).is_file()]
    assert missing == []
    assert [(file, name) for file, name in cited if name and name not in names_in(file)] == []


def test_every_heading_that_is_linked_is_there() -> None:
    text = SECURITY.read_text()
    there = {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings(text)}
    linked = re.findall(r"security\.md#([\w-]+)", ASVS.read_text())
    linked += re.findall(r"\]\(#([\w-]+)\)", text)
    assert linked
    assert set(linked) <= there


def headings(text: str) -> list[str]:
    return re.findall(r"^#+ (.+)$", text, re.MULTILINE)


def test_words_that_no_secret_may_hold_are_listed() -> None:
    """ASVS 6.1.2."""
    assert [word for word in WEAK if f"`{word}`" not in SECURITY.read_text()] == []
