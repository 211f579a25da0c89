"""The page of the rules: a form for them, tried on the past before they are saved, and versions."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import ValidationError

from database import gate, sources
from domain.rulebook import shown_rulebook
from web import rules as rule_calls
from web.dependencies import Parts, State
from web.errors import ProblemError
from web.pages.forms import Done, Fields, act
from web.pages.settings import EVERYWHERE, first_problem, number, shown, tickers, whole
from web.pages.shell import Page, Visiting, Visitor
from web.payloads_rules import RulebookPut
from web.views.settings_rules import (
    EVERY,
    LABELS,
    NO_RULES,
    RuleSet,
    RulesView,
    TriedView,
    changes,
    prefix_of,
    rule_set,
    tried_view,
    version_rows,
)
from web.whatif import WhatIfIn, what_if

router = APIRouter(prefix="/admin", include_in_schema=False)

DAY = timedelta(days=1)
VERSIONS, FLIPS = 100, 50
MOST_BYTES = 262_144
"""Of the form: some thousand tickers, each end of line written as six bytes."""


@router.get("/settings")
async def rules_page(
    visitor: Visiting,
    version: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
) -> Response:
    """The rules in force; with ``version`` those of an older one, to be looked at and saved."""
    given = None if version is None else await _of_version(visitor.parts, version)
    return Page("settings.html", await _view(visitor, given, taken=version)).render()


@router.post("/settings/rules", max_body_size=MOST_BYTES)
async def save(visitor: Visiting, parts: Parts) -> Response:
    """Let these be the rules."""

    async def do(fields: Fields) -> Done:
        given = _rulebook(fields)
        if given.version is None:
            raise ProblemError(400, "invalid_field", "version: it is missing", field="version")
        was = await _of_version(parts, given.version)
        with _labelled():
            done = await rule_calls.replace(parts, given, visitor.name, given.version)
        changed = changes(was, done)
        if not changed:
            return Done("/admin/settings", "Nothing was changed: these are the rules already.")
        words = f"Version {done['version']} counts {EVERYWHERE}. {'. '.join(changed[:6])}."
        return Done("/admin/settings", words)

    return await act(visitor, do, _again(visitor), most=MOST_BYTES)


@router.post("/settings/rules/try", max_body_size=MOST_BYTES)
async def try_out(visitor: Visiting, parts: Parts) -> Response:
    """Say what these rules would have done in the last 24 hours; nothing is changed."""

    async def do(fields: Fields) -> Page:
        given, now = _rulebook(fields), parts["clock"]()
        asked = WhatIfIn.model_validate(
            {
                "from": now - DAY,
                "rules": given.model_dump(include={"every", "sources"}),
                "limit": 10_000,
            }
        )
        with _labelled():
            tried = tried_view(await what_if(asked, parts, visitor.name), now, FLIPS)
        return Page("settings.html", await _view(visitor, _typed(fields), fields, tried=tried))

    return await shown(visitor, do, _again(visitor), most=MOST_BYTES)


@contextmanager
def _labelled() -> Generator[None]:
    """Let a refusal name its field as the form does."""
    try:
        yield
    except ProblemError as problem:
        path = problem.more.get("field", "").split(".")
        label = next((LABELS[part] for part in path if part in LABELS), None)
        words = f"{label}: {problem.detail}" if label else problem.detail
        raise ProblemError(problem.status, problem.code, words, **problem.more) from None


def _again(visitor: Visitor) -> Any:
    async def again(fields: Fields, words: str) -> Page:
        view = await _view(visitor, _typed(fields), fields, refused=words)
        return Page("settings.html", view)

    return again


async def _view(
    visitor: Visitor,
    given: Mapping[str, Any] | None,
    fields: Mapping[str, str] | None = None,
    *,
    taken: int | None = None,
    tried: TriedView | None = None,
    refused: str | None = None,
) -> RulesView:
    """The form with what was ``given``, else with what is in force."""
    parts, fields = visitor.parts, fields or {}
    async with parts["pages"].read() as connection:
        shell = await visitor.shell(connection, "settings")
        current = await gate.read(connection)
        known = [one.source.name for one in await sources.listed(connection)]
        versions = await gate.versions(connection, before=None, limit=VERSIONS)
    rulebook = given or shown_rulebook(current.rulebook)
    typed = fields.get("version", "")
    return RulesView(
        shell=shell,
        version=current.version,
        sets=_sets(rulebook, known, typed=bool(fields)),
        reason=fields.get("reason", ""),
        taken=taken,
        overtaken=bool(typed) and typed != str(current.version),
        tried=tried,
        versions=version_rows(versions, parts["clock"]()),
        refused=refused,
    )


def _sets(rulebook: Mapping[str, Any], known: Sequence[str], *, typed: bool) -> list[RuleSet]:
    """That of every source first, then one for each source there is, or has rules."""
    own: Mapping[str, Any] = rulebook["sources"]
    names = [*known, *sorted(set(own) - set(known))]
    return [
        rule_set(EVERY, rulebook["every"], open=True, typed=typed),
        *(
            rule_set(name, own.get(name, {}), open=name in own, typed=typed and name in own)
            for name in names
        ),
    ]


async def _of_version(parts: State, version: int) -> dict[str, Any]:
    """The rules of a version of the gate. Raises ProblemError."""
    async with parts["pages"].read() as connection:
        rows = await gate.versions(connection, before=version + 1, limit=1)
    if not rows or rows[0]["version"] != version:
        raise ProblemError(404, "no_such_version", "There is no such version of the rules.")
    return {"every": {}, "sources": {}} | rows[0]["rules"]


# ── The form ────────────────────────────────────────────────────────────────────────────────


def _names(fields: Mapping[str, str]) -> list[str]:
    """Whose rules the form holds."""
    return [name for name in fields.get("of", "").split("\n") if name]


def _typed(fields: Mapping[str, str]) -> dict[str, Any]:
    """What was typed, to be typed on."""
    sets = {name: _typed_of(fields, prefix_of(name)) for name in _names(fields)}
    every = sets.pop(EVERY, {})
    return {"every": every, "sources": {k: one for k, one in sets.items() if one != NO_RULES}}


def _typed_of(fields: Mapping[str, str], prefix: str) -> dict[str, Any]:
    given = {name: fields.get(f"{prefix}-{name}") for name in LABELS}
    lists = {name: tickers(fields, f"{prefix}-{name}") for name in ("refused", "allowed")}
    hours = given["market_hours"] is not None
    return {**given, **lists, "cooldown_sec": given["cooldown_sec"] or 0, "market_hours": hours}


def _rulebook(fields: Mapping[str, str]) -> RulebookPut:
    """What is to be in force. Raises ProblemError in the words of the form."""
    sets = {name: _rules_of(fields, prefix_of(name)) for name in _names(fields)}
    every = sets.pop(EVERY, {})
    given = {
        "every": every,
        "sources": {name: one for name, one in sets.items() if one != NO_RULES},
        "version": whole(fields, "version", "version"),
        "reason": fields.get("reason"),
    }
    try:
        return RulebookPut.model_validate(given)
    except ValidationError as error:
        raise first_problem(error, {**LABELS, "reason": "Why"}) from None


def _rules_of(fields: Mapping[str, str], prefix: str) -> dict[str, Any]:
    def field(name: str) -> str:
        return f"{prefix}-{name}"

    cooldown = number(fields, field("cooldown_sec"), LABELS["cooldown_sec"])
    return {
        "refused": tickers(fields, field("refused")),
        "allowed": tickers(fields, field("allowed")),
        "cooldown_sec": cooldown or 0,
        "max_positions": whole(fields, field("max_positions"), LABELS["max_positions"]),
        "market_hours": field("market_hours") in fields,
        "min_price": fields.get(field("min_price")),
        "max_price": fields.get(field("max_price")),
    }
