"""What the doctor found: each ok, a warning or a failure, in a line, with a line of what to do."""

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

from launcher.terminal import bold


class Grade(StrEnum):
    """`skipped`: it could not be looked at, and the words say why."""

    OK = "ok"
    WARNING = "warning"
    FAILS = "fails"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. ``todo`` says what to do, ``more`` what was seen in detail."""

    area: str
    name: str
    grade: Grade
    words: str
    todo: str = ""
    more: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Area:
    """Makes the findings of one area."""

    name: str

    def ok(self, name: str, words: str) -> Finding:
        return Finding(self.name, name, Grade.OK, words)

    def warning(self, name: str, words: str, todo: str) -> Finding:
        return Finding(self.name, name, Grade.WARNING, words, todo)

    def fails(self, name: str, words: str, todo: str) -> Finding:
        return Finding(self.name, name, Grade.FAILS, words, todo)

    def skipped(self, name: str, words: str, todo: str = "") -> Finding:
        return Finding(self.name, name, Grade.SKIPPED, words, todo)


MACHINE, FILES, SETTINGS, PORT = map(Area, ("machine", "files", "settings", "port"))
DATABASE, KEYS, CLOCK = map(Area, ("database", "keys", "clock"))
LIST, DESTINATIONS, PUBLIC = map(Area, ("list source", "destinations", "public address"))
TOLD = Area("being told")

AREAS = tuple(
    one.name
    for one in (
        *(MACHINE, FILES, SETTINGS, PORT, DATABASE, KEYS, CLOCK),
        *(LIST, DESTINATIONS, PUBLIC, TOLD),
    )
)
"""In the order in which they are shown."""


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda one: AREAS.index(one.area))


def fails(findings: Iterable[Finding]) -> bool:
    return any(one.grade is Grade.FAILS for one in findings)


WIDTH = 100
INDENT = " " * 13


def lines(findings: Sequence[Finding]) -> Iterator[str]:
    """The report for a person."""
    width = max((len(one.name) for one in findings), default=0)
    area = ""
    for one in in_order(findings):
        if one.area != area:
            area = one.area
            yield ""
            yield bold(area)
        grade = f"{one.grade:<9}"
        first, *rest = _filled(INDENT, f"{one.name:<{width}}  {one.words}", " " * (width + 2))
        yield f"  {bold(grade) if one.grade is Grade.FAILS else grade}  {first.lstrip()}"
        yield from rest
        if one.todo:
            yield from _filled(f"{INDENT}→ ", one.todo, "  ")
        yield from (f"{INDENT}  {line}" for line in one.more)
    yield ""
    yield summary(findings)


def _filled(start: str, text: str, indent: str) -> list[str]:
    """Long words, such as paths, stay whole: they are copied."""
    found = textwrap.wrap(
        text,
        WIDTH - max(len(INDENT), len(start)),
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
    first, *rest = found or [""]
    return [start + first, *(INDENT + line for line in rest)]


def summary(findings: Sequence[Finding]) -> str:
    counts = Counter(one.grade for one in findings)
    parts = (
        (counts[Grade.FAILS], "failure", "failures"),
        (counts[Grade.WARNING], "warning", "warnings"),
        (counts[Grade.OK], "ok", "ok"),
        (counts[Grade.SKIPPED], "not looked at", "not looked at"),
    )
    said = (f"{number} {one if number == 1 else many}" for number, one, many in parts if number)
    return ", ".join(said) + "."


def told(findings: Sequence[Finding], **about: object) -> Mapping[str, object]:
    """The report for a program."""
    counts = Counter(one.grade for one in findings)
    return {
        **about,
        "ok": not fails(findings),
        "counts": {str(grade): counts[grade] for grade in Grade},
        "findings": [asdict(replace(one, more=list(one.more))) for one in in_order(findings)],
    }
