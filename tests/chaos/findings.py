"""A finding: what counting one invariant came to, in one line."""

from collections.abc import Iterable
from dataclasses import dataclass

SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """``faults`` are the violations, each in words; None when the invariant does not apply here."""

    id: str
    name: str
    words: str
    faults: tuple[str, ...] | None = ()

    @property
    def ok(self) -> bool:
        return not self.faults

    @property
    def line(self) -> str:
        verdict = "n/a" if self.faults is None else "ok" if self.ok else "VIOLATED"
        return f"{self.id} {self.name} … {verdict} ({self.words})"

    @property
    def lines(self) -> list[str]:
        """The line, and the first violations below it."""
        return [self.line, *(f"    {fault}" for fault in (self.faults or ())[:SHOWN])]


def found(id: str, name: str, words: str, faults: Iterable[str]) -> Finding:
    every = tuple(faults)
    return Finding(id=id, name=name, words=f"{words}, {len(every):,} violations", faults=every)


def inapplicable(id: str, name: str, reason: str) -> Finding:
    return Finding(id=id, name=name, words=reason, faults=None)
