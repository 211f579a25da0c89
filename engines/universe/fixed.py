"""Lists that nobody is asked for: what the operator typed. And which source a screen has."""

from dataclasses import dataclass
from datetime import UTC

from domain.screen import Screen, ScreenKind
from domain.universe import FetchOutcome, Row
from engines.universe.source import Answer, UniverseSource


@dataclass(frozen=True, slots=True)
class FixedList:
    """Answers a fixed screen with its own tickers, in the order in which they were typed."""

    async def fetch(self, screen: Screen) -> Answer:
        rows = [Row(rank=rank, ticker=one) for rank, one in enumerate(screen.tickers, start=1)]
        return Answer(
            outcome=FetchOutcome.OK,
            detail=_told(screen),
            rows=tuple(rows),
            total=len(rows),
            witness="typed by the operator",
            certain=True,
        )


def _told(screen: Screen) -> str:
    count = len(screen.tickers)
    words = f"{count} {'ticker' if count == 1 else 'tickers'}"
    if screen.valid_until is None:
        return words
    return f"{words}, until {screen.valid_until.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceByKind:
    """Asks the source that screens of this kind have."""

    finviz: UniverseSource
    fixed: UniverseSource

    async def fetch(self, screen: Screen) -> Answer:
        sources = {ScreenKind.FINVIZ: self.finviz, ScreenKind.FIXED: self.fixed}
        return await sources[screen.kind].fetch(screen)
