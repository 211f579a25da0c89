"""A rulebook as it is kept and shown: plain JSON, checked when it is read from an operator."""

from collections.abc import Collection, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from domain.rules import Direction, Rulebook, Rules
from domain.ticker import Ticker, normalise

MOST_TICKERS = 5_000
LONGEST_COOLDOWN = timedelta(days=7)
MOST_POSITIONS = 100_000
HIGHEST_PRICE = Decimal(10**9)


class RuleError(ValueError):
    """What cannot be a rule; ``field`` names it as the API does."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(problem)
        self.field = field


def read_rulebook(kept: Mapping[str, Any], directions: Mapping[str, str]) -> Rulebook:
    """The rulebook of `shown_rulebook`, with the directions that sources may send."""
    return Rulebook(
        every=_read_rules(kept.get("every", {})),
        of_source={name: _read_rules(one) for name, one in kept.get("sources", {}).items()},
        directions={name: Direction(one) for name, one in directions.items()},
    )


def checked_rulebook(given: Mapping[str, Any], sources: Collection[str]) -> Rulebook:
    """A rulebook as an operator wrote it, for these sources. Raises RuleError.

    Its members have the types of `shown_rulebook`; tickers may be spelled in any way.
    """
    every = _checked_rules("every", given.get("every", {}))
    of_source: dict[str, Rules] = {}
    for name, one in given.get("sources", {}).items():
        if name not in sources:
            raise RuleError(f"sources.{name}", "there is no source of this name")
        of_source[name] = _checked_rules(f"sources.{name}", one)
    return Rulebook(every=every, of_source=of_source)


def shown_rulebook(rulebook: Rulebook) -> dict[str, Any]:
    """Everything but the directions, which belong to the sources."""
    return {
        "every": _shown_rules(rulebook.every),
        "sources": {name: _shown_rules(one) for name, one in rulebook.of_source.items()},
    }


def merged(kept: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """The one changed by the other: a JSON merge patch (RFC 7396), where null takes away."""
    result = dict(kept)
    for name, value in change.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, Mapping):
            before = result.get(name)
            inner: Mapping[str, Any] = before if isinstance(before, Mapping) else {}  # pyright: ignore[reportUnknownVariableType]  JSON
            result[name] = merged(inner, value)  # pyright: ignore[reportUnknownArgumentType]  JSON
        else:
            result[name] = value
    return result


def _checked_rules(path: str, given: Mapping[str, Any]) -> Rules:
    spelled = {
        name: _tickers(f"{path}.{name}", given.get(name, ())) for name in ("refused", "allowed")
    }
    rules = _read_rules({**given, **spelled})
    both = sorted(rules.refused & rules.allowed)
    if both:
        raise RuleError(f"{path}.allowed", f"{both[0]} is refused too")
    low, high = rules.min_price, rules.max_price
    if low is not None and high is not None and low > high:
        raise RuleError(f"{path}.min_price", "it must not be above max_price")
    return rules


def _tickers(field: str, given: Collection[str]) -> list[Ticker]:
    found: list[Ticker] = []
    for place, text in enumerate(given):
        try:
            found.append(normalise(text))
        except ValueError as error:
            raise RuleError(f"{field}.{place}", str(error)) from None
    return found


def _read_rules(kept: Mapping[str, Any]) -> Rules:
    return Rules(
        refused=frozenset(map(Ticker, kept.get("refused", ()))),
        allowed=frozenset(map(Ticker, kept.get("allowed", ()))),
        cooldown=timedelta(seconds=kept.get("cooldown_sec", 0)),
        max_positions=kept.get("max_positions"),
        market_hours=kept.get("market_hours", False),
        min_price=_price(kept.get("min_price")),
        max_price=_price(kept.get("max_price")),
    )


def _price(kept: object) -> Decimal | None:
    return None if kept is None else Decimal(str(kept))


def _shown_rules(rules: Rules) -> dict[str, Any]:
    return {
        "refused": sorted(rules.refused),
        "allowed": sorted(rules.allowed),
        "cooldown_sec": rules.cooldown.total_seconds(),
        "max_positions": rules.max_positions,
        "market_hours": rules.market_hours,
        "min_price": None if rules.min_price is None else format(rules.min_price, "f"),
        "max_price": None if rules.max_price is None else format(rules.max_price, "f"),
    }
