"""What is wrong now, each with the page on which it is mended."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from database.statistics import Snapshot, Standing
from domain.breaker import BreakerState
from domain.destination import DestinationState
from domain.universe import FetchOutcome, Trust
from web.views.lists import ListView
from web.views.words import counted, duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """``words`` say what is wrong, ``action`` what one does about it on the page ``to``."""

    words: str
    action: str
    to: str
    tone: str = "bad"


def problems(view: ListView, found: Snapshot, sick: Sequence[str], now: datetime) -> list[Problem]:
    """What is wrong, the worst first."""
    return [
        *(Problem(words=f"{words}.", action="See the workers", to="#workers") for words in sick),
        *_about_destinations(found, now),
        *_about_list(view),
    ]


def _about_destinations(found: Snapshot, now: datetime) -> list[Problem]:
    """Where there is none, the first steps say so."""
    if found.standings and all(one.state == DestinationState.DISABLED for one in found.standings):
        words = "Every destination is disabled: signals are rejected, sells as well."
        return [Problem(words=words, action="Enable one", to="/admin/destinations")]
    return [problem for one in found.standings for problem in _about_destination(one, now)]


def _about_destination(one: Standing, now: datetime) -> list[Problem]:
    there = f"/admin/destinations/{one.id}"
    found: list[Problem] = []
    if one.held_for and one.state != DestinationState.DISABLED:
        wait = duration(one.held_for)
        words = (
            f"{one.name} asked us to wait: nothing more goes there for {wait}."
            " A sell is tried once a minute."
        )
        found.append(
            Problem(words=words, action=f"See {one.name}, or end its wait", to=there, tone="warn")
        )
    if one.fails:
        words = f"{one.name}: {breaker_words(one, now)}. It is tried now and then; the rest waits."
        found.append(Problem(words=words, action=f"See {one.name}, or close its breaker", to=there))
    if one.held:
        held = counted(one.held, "delivery is", "deliveries are")
        words = (
            f"{held} held for {one.name}, outcome unknown: look there, then resolve each,"
            " or it is given up after 24 hours."
        )
        found.append(Problem(words=words, action="Resolve what is held", to="/admin/attention"))
    if one.state == DestinationState.PAUSED:
        kept = counted(one.waiting, "delivery waits", "deliveries wait")
        words = f"{one.name} is paused: {kept}, and is given up when its time is over."
        found.append(Problem(words=words, action=f"Resume {one.name}", to=there, tone="warn"))
    return found


def breaker_words(one: Standing, now: datetime) -> str:
    state = "open" if one.breaker == BreakerState.OPEN else "half open"
    since = f" for {duration(now - one.breaker_since)}" if one.breaker_since else ""
    return f"breaker {state}{since}: {one.breaker_cause or 'being tried'}"


MEANWHILE = {
    Trust.FRESH: " Until then the last good list counts, as long as it is fresh.",
    Trust.STALE: " Until then nothing is bought.",
    Trust.UNKNOWN: " Until then nothing is bought.",
}
"""What a refusal of Finviz means for buys."""


def _about_list(view: ListView) -> list[Problem]:
    found: list[Problem] = []
    if view.paused:
        words = f"Finviz is not asked: paused by {view.paused}."
        found.append(Problem(words=words, action="Ask Finviz again", to="/admin/list", tone="warn"))
    if view.ends and view.trust != Trust.FRESH:
        words = f"The fixed list ended at {view.ends.words}: give it a new end, or another."
        found.append(Problem(words=words, action="See the screens", to="/admin/list/screens"))
    elif view.outcome not in {FetchOutcome.OK, FetchOutcome.EMPTY}:
        found.append(_about_looks(view))
    if view.pending:
        words = (
            f"A list waits to be believed: {view.pending}. It is taken when a second look agrees."
        )
        found.append(
            Problem(words=words, action="Accept or refuse it", to="/admin/list", tone="warn")
        )
    if view.quotes == "delayed: this account is not Elite":
        words = "FINVIZ_USE_ELITE is set, but Finviz says this account is not Elite."
        found.append(Problem(words=words, action="See the list", to="/admin/list", tone="warn"))
    return found


def _about_looks(view: ListView) -> Problem:
    return Problem(
        words=f"Finviz, for {view.outcome_for}: {view.outcome}. {view.detail.rstrip('.')}."
        f" Next try in {view.next_try}.{MEANWHILE[Trust(view.trust)]}",
        action="See the looks",
        to="/admin/list/looks",
        tone="warn" if view.trust == Trust.FRESH else "bad",
    )
