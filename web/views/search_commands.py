"""What can be done with everything a search finds: export it, replay it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from database.searching import Found
from database.selections import MOST
from database.selections import Found as Seen
from web.views.search import Chip
from web.views.shell import Shell
from web.views.words import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportView:
    """templates/signals_export.html. ``total`` is 0 where nobody counted."""

    shell: Shell
    chips: Sequence[Chip]
    sentence: str
    query: str
    total: int
    empty: bool
    refused: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """How many are not replayed, and why."""

    number: int
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayView:
    """templates/signals_replay.html.

    ``would`` are replayed, at most as new as ``newest``; ``force`` overrides what may be
    overridden, ``forcible`` says that there is something of that kind.
    """

    shell: Shell
    chips: Sequence[Chip]
    sentence: str
    refusals: Sequence[Refused]
    query: str
    would: int
    newest: str
    force: bool
    forcible: bool
    refused: str | None
    reason: str


def export_words(total: int | None) -> str:
    """What an export of now will hold."""
    if total is None:
        return (
            "Every signal whose body has this text, looked for through all there are: how many"
            " that will be is known only at its end."
        )
    number = counted(total, "signal", "signals").replace(str(total), f"{total:,}", 1)
    return f"{number}, each with its events, the oldest first. What comes from now on is not in it."


def replay_words(found: Found, seen: Seen | None) -> str:
    """What would be done, in numbers."""
    if found.more and not found.looked_to:
        return f"More than {MOST} signals are like this. Narrow the search first."
    if seen is None or not seen.matching:
        return "No signal is like this: there is nothing to replay."
    beyond = " Older ones have not been looked through." if found.looked_to else ""
    matching = counted(seen.matching, "signal is", "signals are")
    return f"{matching} like this; {seen.would} of them would be replayed.{beyond}"


def refusals(refused: Mapping[str, int], words: Mapping[str, str]) -> list[Refused]:
    """The most frequent first."""
    by_number = sorted(refused.items(), key=lambda one: -one[1])
    return [Refused(number=number, words=words[name]) for name, number in by_number]
