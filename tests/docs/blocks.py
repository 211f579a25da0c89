"""Every fenced block of every document: its language, and who runs it or why nobody does.

The words after the language decide, and GitHub shows none of them:

    sh                          run here, one after another, as one session a page
    sh answers: 409             the same, and the relay refuses with this status
    sh run-by: tests/x/test_y.py    run by that test
    sh not-run: needs Docker    run by nobody, because of that
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "deploy").rglob("*.md"),
        ROOT / "bench" / "README.md",
    ],
    key=str,
)
COMMANDS = ("sh", "python", "javascript", "pine")
DATA = ("json", "yaml", "toml", "dotenv", "ini", "caddy", "nginx", "mermaid", "sql")
TEXT = "text"
OPENING = re.compile(r"^( *)(`{3,})([^\s`]*) *([^`]*)$")
NOTE = re.compile(r"(not-run|run-by|answers): (.+)")


REACHES_OUT = re.compile(
    r"(?:^|[|;&(]|\bsudo) *(?:docker|sudo|ssh|scp|systemctl|apt|apt-get|git|pip|uv|rm|mv|nginx"
    r"|caddy|\.ci/run|\.venv|crontab|psql|pg_dump|python run\.py *(?:$|#|--(?!help)|test|docker)"
    r"|python -m (?!.*--help))",
    re.MULTILINE,
)
"""What a test does not type for you: it would change the machine, or never end."""


class Fate(StrEnum):
    """What becomes of a block."""

    SESSION = "run here"
    ELSEWHERE = "run by a test"
    NOT_RUN = "not run"
    PARSED = "parsed"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Block:
    """What stands between two fences."""

    path: Path
    line: int
    language: str
    note: str
    code: str

    @property
    def place(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"

    @property
    def fate(self) -> Fate:
        if self.language in DATA:
            return Fate.PARSED
        if self.language not in COMMANDS:
            return Fate.TEXT
        kind = self.told[0]
        return {"not-run": Fate.NOT_RUN, "run-by": Fate.ELSEWHERE}.get(kind, Fate.SESSION)

    @property
    def reaches_out(self) -> bool:
        return self.language == "sh" and bool(REACHES_OUT.search(self.code))

    @property
    def told(self) -> tuple[str, str]:
        """The word and what it says; two blanks where there is none, or one that is not known."""
        found = NOTE.fullmatch(self.note)
        return (found[1], found[2]) if found else ("", "")


def blocks_of(path: Path) -> list[Block]:
    """All of a document, with what is indented in a list moved to the left."""
    return list(_blocks(path, path.read_text().splitlines()))


def _blocks(path: Path, lines: Sequence[str]) -> Iterator[Block]:
    number = 0
    while number < len(lines):
        number += 1
        if not (opening := OPENING.match(lines[number - 1])):
            continue
        indent, fence, language, note = opening.groups()
        first = number
        while lines[number].strip() != fence:
            number += 1  # a fence that is never closed ends in an IndexError
        code = [line.removeprefix(indent) for line in lines[first:number]]
        number += 1
        yield Block(path, first, language, note.strip(), "\n".join([*code, ""]))


def prose(path: Path) -> str:
    """A document without its fenced blocks."""
    lines = path.read_text().splitlines()
    for block in blocks_of(path):
        for number in range(block.line - 1, block.line + block.code.count("\n") + 1):
            lines[number] = ""
    return "\n".join(lines)


def everything() -> list[Block]:
    return [block for path in DOCUMENTS for block in blocks_of(path)]


def counts(blocks: Sequence[Block]) -> tuple[int, int]:
    """How many commands and snippets are run, of all."""
    fates = Counter(block.fate for block in blocks)
    run = fates[Fate.SESSION] + fates[Fate.ELSEWHERE]
    return run, run + fates[Fate.NOT_RUN]


def table(blocks: Sequence[Block]) -> str:
    """By document, then the reasons of those that are not run."""
    rows = [f"{'document':<28}" + "".join(f"{fate:>15}" for fate in Fate)]
    for path in DOCUMENTS:
        fates = Counter(block.fate for block in blocks if block.path == path)
        if fates:
            name = str(path.relative_to(ROOT))
            rows.append(f"{name:<28}" + "".join(f"{fates[fate]:>15}" for fate in Fate))
    fates = Counter(block.fate for block in blocks)
    rows.append(f"{'together':<28}" + "".join(f"{fates[fate]:>15}" for fate in Fate))
    rows += ["", *(f"{b.place}: {b.told[1]}" for b in blocks if b.fate is Fate.NOT_RUN)]
    run, of = counts(blocks)
    return "\n".join([*rows, "", f"commands and snippets: {run} run of {of} in all"])
