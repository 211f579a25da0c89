"""The rules as a form, what they would have done, and what they were before."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from web.views.shell import Shell
from web.views.words import NOTHING, Moment, counted, moment

EVERY = "every"
NO_RULES: Mapping[str, Any] = {
    "refused": [],
    "allowed": [],
    "cooldown_sec": 0,
    "max_positions": None,
    "market_hours": False,
    "min_price": None,
    "max_price": None,
}
LABELS: Mapping[str, str] = {
    "refused": "Never buy",
    "allowed": "Always allowed",
    "cooldown_sec": "Cooldown in seconds",
    "max_positions": "Most positions",
    "market_hours": "Market hours only",
    "min_price": "Lowest price",
    "max_price": "Highest price",
}
SHOWN_TICKERS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """The rules of every source, or of one: what the fields of its form hold.

    ``prefix`` begins the names of these fields; ``words`` say what the rules are.
    """

    prefix: str
    title: str
    words: str
    open: bool
    refused: str
    allowed: str
    cooldown_sec: str
    max_positions: str
    market_hours: bool
    min_price: str
    max_price: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipRow:
    """A signal that would have come out otherwise."""

    id: str
    at: Moment
    ticker: str
    side: str
    was: str
    would: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedView:
    """What rules would have done; ``more`` flips are not shown."""

    sentence: str
    flips: Sequence[FlipRow]
    more: int
    notes: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRow:
    """A version at which the rules became others: who made it, and what he changed."""

    version: int
    at: Moment
    by: str
    changes: Sequence[str]
    in_force: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesView:
    """templates/settings.html.

    ``taken`` is the old version that the form was filled from; ``tried`` says what the rules of the
    form would have done. Neither is in force. ``overtaken``: what is, was changed since it was
    filled.
    """

    shell: Shell
    version: int
    sets: Sequence[RuleSet]
    reason: str
    taken: int | None
    overtaken: bool
    tried: TriedView | None
    versions: Sequence[VersionRow]
    refused: str | None


def title(whose: str) -> str:
    return "Every source" if whose == EVERY else f"Source {whose}, in addition"


def prefix_of(whose: str) -> str:
    return whose if whose == EVERY else f"source-{whose}"


def rule_set(whose: str, rules: Mapping[str, Any], *, open: bool, typed: bool = False) -> RuleSet:
    """A rule set as its form shows it; one that was only ``typed`` may be none at all."""
    rules = {**NO_RULES, **rules}
    return RuleSet(
        prefix=prefix_of(whose),
        title=title(whose),
        words="not saved" if typed else "; ".join(_told(rules)) or "no rules",
        open=open,
        refused=_typed(rules["refused"]),
        allowed=_typed(rules["allowed"]),
        cooldown_sec=_typed(rules["cooldown_sec"] or None),
        max_positions=_typed(rules["max_positions"]),
        market_hours=rules["market_hours"] is True,
        min_price=_typed(rules["min_price"]),
        max_price=_typed(rules["max_price"]),
    )


def _typed(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return "\n".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType]  JSON
    return f"{value:g}" if isinstance(value, float) else str(value)


def _told(rules: Mapping[str, Any]) -> Iterator[str]:
    """The rules there are, in words."""
    if rules["refused"]:
        yield f"{counted(len(rules['refused']), 'ticker', 'tickers')} never bought"
    if rules["allowed"]:
        yield f"{counted(len(rules['allowed']), 'ticker', 'tickers')} always allowed"
    if rules["cooldown_sec"]:
        yield f"{rules['cooldown_sec']:g} s cooldown"
    if rules["max_positions"] is not None:
        yield f"at most {counted(rules['max_positions'], 'position', 'positions')}"
    if rules["market_hours"]:
        yield "market hours only"
    if rules["min_price"] is not None:
        yield f"from {rules['min_price']}"
    if rules["max_price"] is not None:
        yield f"up to {rules['max_price']}"


# ── What changed ────────────────────────────────────────────────────────────────────────────


def changes(was: Mapping[str, Any], becomes: Mapping[str, Any]) -> list[str]:
    """What became otherwise between two rulebooks, a line for each rule."""
    before, after = _by_whom(was), _by_whom(becomes)
    return [
        f"{title(whose)}: {line}"
        for whose in sorted({*before, *after}, key=lambda one: (one != EVERY, one))
        for line in _changed(before.get(whose, NO_RULES), after.get(whose, NO_RULES))
    ]


def _by_whom(rulebook: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    sets = {EVERY: rulebook.get("every", {}), **rulebook.get("sources", {})}
    return {whose: {**NO_RULES, **rules} for whose, rules in sets.items()}


def _changed(was: Mapping[str, Any], becomes: Mapping[str, Any]) -> Iterator[str]:
    for name, label in LABELS.items():
        if was[name] == becomes[name]:
            continue
        if isinstance(was[name], list):
            yield f"{label}: {_moved(was[name], becomes[name])}"
        else:
            yield f"{label}: {_said(was[name])} → {_said(becomes[name])}"


def _moved(was: Sequence[str], becomes: Sequence[str]) -> str:
    come = [one for one in becomes if one not in set(was)]
    gone = [one for one in was if one not in set(becomes)]
    lists = ((sign, names) for sign, names in (("+", come), ("\N{MINUS SIGN}", gone)) if names)
    return "; ".join(f"{sign} {_some(names)}" for sign, names in lists)


def _some(names: Sequence[str]) -> str:
    more = len(names) - SHOWN_TICKERS
    return ", ".join(names[:SHOWN_TICKERS]) + (f" and {more} more" if more > 0 else "")


def _said(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def version_rows(rows: Sequence[Mapping[str, Any]], now: datetime) -> list[VersionRow]:
    """Those of the gate's versions, newest first, that changed the rules; the oldest is a start."""
    found: list[VersionRow] = []
    for row, before in zip(rows, [*rows[1:], None], strict=True):
        changed = changes(before["rules"] if before else {}, row["rules"])
        if changed and row["made_by"]:
            found.append(
                VersionRow(
                    version=row["version"],
                    at=moment(row["made_at"], now),
                    by=row["made_by"],
                    changes=changed if before else ["As far back as is shown"],
                    in_force=not found,
                )
            )
    return found


# ── What they would have done ───────────────────────────────────────────────────────────────


def tried_view(answer: Mapping[str, Any], now: datetime, most: int) -> TriedView:
    """The answer of a what-if as a page tells it."""
    flips = answer["flips"]
    return TriedView(
        sentence=_sentence(answer, flips),
        flips=[_flip_row(one, now) for one in flips[:most]],
        more=max(len(flips) - most, 0) + answer["more"],
        notes=answer["notes"],
    )


def _sentence(answer: Mapping[str, Any], flips: Sequence[Mapping[str, Any]]) -> str:
    if not answer["judged"]:
        return "Nothing was judged in the last 24 hours: there is nothing to try these rules on."
    away = [one for one in flips if one["was"]["status"] == "approved"]
    buys = sum(one["side"] == "buy" for one in away)
    sells = len(away) - buys
    passed = sum(one["would"]["status"] == "approved" for one in flips)
    follow = f", and {counted(sells, 'sell', 'sells')} of what was not bought" if sells else ""
    would = counted(buys, "buy that passed", "buys that passed") if buys else "no buy that passed"
    return (
        f"Of {counted(answer['judged'], 'signal', 'signals')} judged in the last 24 hours these"
        f" rules would have turned away {would}{follow}, and let"
        f" {counted(passed, 'signal', 'signals') if passed else 'none'} pass that was turned away."
    )


def _flip_row(one: Mapping[str, Any], now: datetime) -> FlipRow:
    return FlipRow(
        id=str(one["signal_id"]),
        at=moment(one["at"], now),
        ticker=one["ticker"] or NOTHING,
        side=str(one["side"]),
        was=str(one["was"]["status"]),
        would=str(one["would"]["status"]),
        why=one["words"],
    )
