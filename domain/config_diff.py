"""What the import of a configuration comes to, thing by thing; nothing is ever deleted by it."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What a configuration consists of."""

    SCREEN = "screen"
    DESTINATION = "destination"
    SOURCE = "source"
    RULES = "rules"
    CHANNEL = "channel"


class Effect(StrEnum):
    """What an import does to a thing. CANNOT leaves it as it is; ONLY_HERE is not in the file."""

    CREATE = "create"
    CHANGE = "change"
    UNCHANGED = "unchanged"
    CANNOT = "cannot"
    ONLY_HERE = "only_here"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """``fields`` are those that become otherwise; ``notes`` what the import cannot bring along."""

    kind: Kind
    name: str
    effect: Effect
    fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    notes: Sequence[str] = ()

    @property
    def acts(self) -> bool:
        return self.effect in {Effect.CREATE, Effect.CHANGE}

    def told(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "name": self.name,
            "effect": self.effect,
            "fields": self.fields,
            "notes": self.notes,
        }


def difference(
    kind: Kind,
    name: str,
    was: Mapping[str, Any] | None,
    becomes: Mapping[str, Any],
    *,
    secrets: Collection[str] = (),
    notes: Sequence[str] = (),
) -> Difference:
    """How a thing that ``was`` so becomes otherwise; None: there is none yet.

    Of ``secrets``, which become others, only the masks are known here.
    """
    before, after = _plain(was or {}), _plain(becomes)
    fields = {
        field: {"was": before.get(field), "becomes": after[field]}
        for field in after
        if before.get(field) != after[field]
    }
    if was is not None:
        for one in secrets:
            fields.setdefault(one, {"was": before[one], "becomes": "another, not shown"})
    effect = Effect.CREATE if was is None else Effect.CHANGE if fields else Effect.UNCHANGED
    return Difference(kind=kind, name=name, effect=effect, fields=fields, notes=notes)


def cannot(kind: Kind, name: str, why: str) -> Difference:
    return Difference(kind=kind, name=name, effect=Effect.CANNOT, notes=(why,))


def only_here(kind: Kind, here: Iterable[str], given: Iterable[str]) -> list[Difference]:
    """What is here and not in the file; letter case makes no difference."""
    named = {name.lower() for name in given}
    return [
        Difference(kind=kind, name=name, effect=Effect.ONLY_HERE)
        for name in here
        if name.lower() not in named
    ]


def repeated(names: Sequence[str]) -> str | None:
    """A name that stands twice; letter case makes no difference."""
    lower = [name.lower() for name in names]
    return next((name for name in names if lower.count(name.lower()) > 1), None)


def digest(file: object, differences: Iterable[Difference]) -> str:
    """Names exactly this import of this file: what was seen is what is applied."""
    told = json.dumps([file, [one.told() for one in differences]], sort_keys=True, default=_shown)
    return hashlib.sha256(told.encode(errors="surrogatepass")).hexdigest()


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(dict(values), default=_shown))


def _shown(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
