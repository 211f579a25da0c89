"""The pages of sources: what came from each, its policy, its tokens, and its end."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import Response
from pydantic import ValidationError

from database import attention_items
from database.attention_items import Sought
from domain.attention import Cause
from domain.signal import Side
from web import sources as source_calls
from web.dependencies import Parts, State
from web.errors import ProblemError
from web.pages.forms import Done, Fields, act
from web.pages.settings import EVERYWHERE, first_problem, number, proved, shown, whole
from web.pages.settings_tokens import last_day
from web.pages.shell import Page, Visiting, Visitor
from web.payloads import Word
from web.payloads_access import SOURCE, SourceChange, SourceNew, SourceToken
from web.posted import PATH
from web.views.settings_sources import (
    SECONDS,
    SourcesView,
    SourceView,
    source_form,
    source_row,
    source_tokens,
)
from web.views.settings_tokens import MadeView
from web.views.words import counted

router = APIRouter(prefix="/admin", include_in_schema=False)

HERE = "/admin/settings/sources"
WATCHED = (Cause.NEAR_LIMIT, Cause.SOURCE_SILENT)
NAMES = {
    "name": "Name",
    "note": "Note",
    "direction": "It may send",
    "dedupe_sec": "Repeats within",
    "buy_ttl_sec": "A buy lives",
    "sell_ttl_sec": "A sell lives",
    "time_field": "Field with the send time",
    "expected_every_sec": "Expected at least every",
    "expires_at": "Last day",
    "senders": "Its alerts come from",
}

Name = Annotated[str, Path(pattern=SOURCE)]


@router.get("/settings/sources")
async def sources_page(visitor: Visiting, *, archived: bool = False) -> Response:
    """Every source, and the form for another."""
    return Page("settings_sources.html", await _sources(visitor, archived=archived)).render()


@router.get("/partials/settings/sources")
async def sources_partial(visitor: Visiting, *, archived: bool = False) -> Response:
    """What a live page reads again."""
    view = await _sources(visitor, archived=archived)
    return Page("partials/settings_sources.html", view).render()


@router.get("/settings/sources/{name}")
async def source_page(name: Name, visitor: Visiting) -> Response:
    """One source: its policy, its tokens, its end."""
    return Page("settings_source.html", await _source(visitor, name)).render()


@router.post("/settings/sources")
async def create(visitor: Visiting, parts: Parts) -> Response:
    """Keep one more source, and show its first token this once."""

    async def do(fields: Fields) -> Page:
        try:
            given = SourceNew.model_validate({"name": fields.get("name", ""), **_terms(fields)})
        except ValidationError as error:
            raise first_problem(error, NAMES) from None
        made = await source_calls.create_source(given, visitor.request, parts, visitor.name)
        return Page(
            "settings_source.html", await _source(proved(visitor), given.name, made=_made(made))
        )

    async def again(fields: Fields, words: str) -> Page:
        return Page("settings_sources.html", await _sources(visitor, fields, refused=words))

    return await shown(visitor, do, again, sensitive=True)


@router.post("/settings/sources/{name}")
async def change(name: Name, visitor: Visiting, parts: Parts) -> Response:
    """Change the policy of a source."""

    async def do(fields: Fields) -> Done:
        version = whole(fields, "version", "version")
        try:
            given = SourceChange.model_validate({"version": version, **_terms(fields)})
        except ValidationError as error:
            raise first_problem(error, NAMES) from None
        done = await source_calls.change_source(name, given, parts, visitor.name)
        words = f"Saved: it counts {EVERYWHERE}." if done["changed"] else "Nothing was changed."
        return Done(f"{HERE}/{name}", words)

    return await act(visitor, do, _again(visitor, name, "change"))


@router.post("/settings/sources/{name}/tokens")
async def make_token(name: Name, visitor: Visiting, parts: Parts) -> Response:
    """Make one more token of a source, and show it this once."""

    async def do(fields: Fields) -> Page:
        try:
            given = SourceToken.model_validate({"name": fields.get("token"), **last_day(fields)})
        except ValidationError as error:
            raise first_problem(error, NAMES) from None
        made = await source_calls.create_token(name, visitor.request, parts, visitor.name, given)
        return Page("settings_source.html", await _source(proved(visitor), name, made=_made(made)))

    return await shown(visitor, do, _again(visitor, name, "token"), sensitive=True)


@router.post("/settings/sources/{name}/archive")
async def archive(name: Name, visitor: Visiting, parts: Parts) -> Response:
    """Put a source away for good, and revoke its tokens."""

    async def do(fields: Fields) -> Done:
        before = await _listed(parts, name)
        why = Word(reason=fields.get("reason"))
        await source_calls.archive(name, parts, visitor.name, why)
        gone = counted(len(before["tokens"]), "token of it is", "tokens of it are")
        return Done(HERE, f"{name} is archived, and {gone} revoked: refused {EVERYWHERE}.")

    return await act(visitor, do, _again(visitor, name, "archive"), sensitive=True)


def _again(visitor: Visitor, name: str, tried: str) -> Any:
    async def again(fields: Fields, words: str) -> Page:
        typed = fields if tried == "change" else None
        view = await _source(visitor, name, typed, tried=tried, refused=words)
        return Page("settings_source.html", view)

    return again


def _terms(fields: Mapping[str, str]) -> dict[str, Any]:
    """All terms of a source: an empty one is as the settings say."""
    return {
        "note": fields.get("note", ""),
        "direction": fields.get("direction", "both"),
        **{name: number(fields, name, NAMES[name]) for name in SECONDS},
        "time_field": fields.get("time_field"),
        "expected_in_hours": "expected_in_hours" in fields,
        "pairs": "pairs" in fields,
        "senders": fields.get("senders", "").replace(",", " ").split(),
    }


def _made(made: Mapping[str, Any]) -> MadeView:
    return MadeView(name=made["token_name"], token=made["token"], webhook=made["webhook"])


async def _listed(parts: State, name: str) -> dict[str, Any]:
    """A source as the API lists it. Raises ProblemError."""
    found = await source_calls.list_sources(parts, "", archived=True)
    for one in found["items"]:
        if one["name"] == name:
            return one
    raise ProblemError(404, "no_such_source", "There is no source of this name.")


async def _warnings(visitor: Visitor) -> tuple[Any, dict[str, list[str]]]:
    """The shell, and what is open about each source."""
    found: dict[str, list[str]] = {}
    async with visitor.parts["pages"].read() as connection:
        shell = await visitor.shell(connection, "settings")
        for cause in WATCHED:
            for item in await attention_items.page(connection, Sought(cause=cause, limit=20)):
                found.setdefault(item["source"] or "", []).append(item["text"])
    return shell, found


async def _sources(
    visitor: Visitor,
    fields: Mapping[str, str] | None = None,
    *,
    archived: bool = False,
    refused: str | None = None,
) -> SourcesView:
    parts = visitor.parts
    shell, warnings = await _warnings(visitor)
    found = await source_calls.list_sources(parts, visitor.name, archived=archived)
    now = parts["clock"]()
    return SourcesView(
        shell=shell,
        sources=[source_row(one, warnings.get(one["name"], ()), now) for one in found["items"]],
        name=(fields or {}).get("name", ""),
        form=source_form(fields or {"expected_in_hours": True}, _usual(parts)),
        archived=archived,
        refused=refused,
    )


async def _source(
    visitor: Visitor,
    name: str,
    fields: Mapping[str, str] | None = None,
    *,
    made: MadeView | None = None,
    tried: str | None = None,
    refused: str | None = None,
) -> SourceView:
    parts, now = visitor.parts, visitor.parts["clock"]()
    shell, warnings = await _warnings(visitor)
    found = await _listed(parts, name)
    return SourceView(
        shell=shell,
        source=source_row(found, warnings.get(name, ()), now),
        version=found["version"],
        built_in=found["built_in"],
        form=source_form(fields or found, _usual(parts)),
        tokens=source_tokens(found, now),
        webhook=f"{source_calls.root(visitor.request, parts)}{PATH}",
        made=made,
        tried=tried,
        refused=refused,
    )


def _usual(parts: State) -> dict[str, str]:
    """What the settings say where a source says nothing."""
    rules = parts["rules"]
    spans = {
        "dedupe_sec": rules.dedupe_window,
        "buy_ttl_sec": rules.lifetimes[Side.BUY],
        "sell_ttl_sec": rules.lifetimes[Side.SELL],
    }
    return {name: f"{span.total_seconds():g}" for name, span in spans.items()}
