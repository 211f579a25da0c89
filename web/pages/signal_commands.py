"""Pages of what is done with everything a search finds: export it, replay it."""

import json
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import Response

from database import exporting, searching, selections
from database.batches import BatchKind
from database.searching import Cursor, Found
from database.selections import MOST, Selection
from domain.access import Scope
from engines.relay.replayer import SUBJECTS
from web import replays, searches
from web.dependencies import Parts, actor_with
from web.errors import ProblemError
from web.pages.forms import Done, Fields, act
from web.pages.shell import Page, Visiting, Visitor
from web.payloads_replay import ManyReplays
from web.searches import Asked, Meant
from web.signals import before, cursor
from web.views.search import Chip, chips_of
from web.views.search_commands import (
    ExportView,
    ReplayView,
    export_words,
    refusals,
    replay_words,
)
from web.views.shell import Shell

router = APIRouter(prefix="/admin/signals", include_in_schema=False)


@dataclass(frozen=True, slots=True)
class _Look:
    """What a search finds, and what a replay of it would come to."""

    shell: Shell
    meant: Meant
    found: Found
    seen: selections.Found | None
    forcible: bool

    @property
    def fits(self) -> bool:
        """Whether all of it is done in one command."""
        return not self.found.more or self.found.looked_to is not None


@router.get("/export")
async def export_page(visitor: Visiting, parts: Parts) -> Response:
    """What an export would hold, before it begins."""
    asked, refused, total = Asked.of(visitor.request.query_params), None, 0
    chips: list[Chip] = []
    async with parts["pages"].read() as connection:
        shell = await visitor.shell(connection, "signals")
        try:
            choices = await searching.choices(connection)
            meant = await searches.meant(connection, asked, choices, parts["clock"]())
            total = (await exporting.span(connection, meant.wanted)).total
            chips = chips_of(asked, meant.parts, meant.tickers, parts["clock"]())
        except ProblemError as problem:
            refused = problem.detail
    view = ExportView(
        shell=shell,
        chips=chips,
        sentence="" if refused else export_words(total),
        query=asked.query(),
        total=total or 0,
        empty=total == 0,
        refused=refused,
    )
    return Page("signals_export.html", view).render(400 if refused else 200)


@router.get("/replay")
async def replay_page(visitor: Visiting) -> Response:
    """What a replay would do, before it is done."""
    force = bool(visitor.request.query_params.get("force"))
    try:
        return Page("signals_replay.html", await _replay_view(visitor, force=force)).render()
    except ProblemError as problem:
        return _nothing(await _shell(visitor), problem.detail).render(problem.status)


@router.post("/replay")
async def replay_all(request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Replay exactly as many as were seen."""

    async def do(fields: Fields) -> Done:
        actor = await actor_with(request, Scope.TRADE)
        ids = (await _look(visitor, fields.get("newest"), force="force" in fields)).found.signals
        given = ManyReplays(
            ids=[one["id"] for one in ids] or None,
            expect=_number(fields.get("expect", "")),
            force="force" in fields,
            reason=_reason(fields),
        )
        told = await replays.replay_many(given, parts, actor, None, Response())
        if isinstance(told, Response):
            raise ProblemError(told.status_code, "changed_meanwhile", _detail(told))
        return Done(f"/admin/batches/{told['batch_id']}", f"{told['done']} signals are replayed.")

    async def again(fields: Fields, words: str) -> Page:
        try:
            view = await _replay_view(
                visitor, force="force" in fields, refused=words, reason=fields.get("reason", "")
            )
        except ProblemError as problem:
            return _nothing(await _shell(visitor), problem.detail)
        return Page("signals_replay.html", view)

    return await act(visitor, do, again)


def _reason(fields: Fields) -> str | None:
    """Raises ProblemError 400."""
    reason = fields.get("reason")
    if reason and (len(reason) > 200 or not reason.isprintable()):
        raise ProblemError(400, "invalid_field", "A reason has at most 200 characters.")
    return reason


def _number(given: str) -> int:
    """Raises ProblemError 400."""
    if not given.isdecimal() or not 1 <= int(given[:9]) <= MOST:
        raise ProblemError(400, "invalid_field", "How many were seen is not there: look again.")
    return int(given)


def _detail(told: Response) -> str:
    return str(json.loads(bytes(told.body))["detail"])


async def _look(visitor: Visitor, newest: str | None, *, force: bool) -> _Look:
    """Raises ProblemError 400 for a search that means nothing."""
    parts, asked = visitor.parts, Asked.of(visitor.request.query_params)
    top = before(newest)
    async with parts["pages"].read() as connection:
        shell = await visitor.shell(connection, "signals")
        choices = await searching.choices(connection)
        meant = await searches.meant(connection, asked, choices, parts["clock"]())
        place = Cursor(before=None if top is None else top + 1)
        found = await searching.page(connection, meant.wanted, place, limit=MOST)
        ids = [one["id"] for one in found.signals]
        chosen, subject = Selection(ids=ids), SUBJECTS[BatchKind.REPLAY]
        seen = await selections.look(connection, subject, chosen, force=force) if ids else None
    forcible = bool(seen and not force and {*seen.refused} & {*subject.forced})
    return _Look(shell, meant, found, seen, forcible)


async def _replay_view(
    visitor: Visitor, *, force: bool, refused: str | None = None, reason: str = ""
) -> ReplayView:
    asked = Asked.of(visitor.request.query_params)
    look = await _look(visitor, None, force=force)
    now, seen = visitor.parts["clock"](), look.seen if look.fits else None
    return ReplayView(
        shell=look.shell,
        chips=chips_of(asked, look.meant.parts, look.meant.tickers, now),
        sentence=replay_words(look.found, seen),
        refusals=refusals(seen.refused, {str(one): told for one, told in replays.WORDS.items()})
        if seen
        else [],
        query=asked.query(),
        would=seen.would if seen else 0,
        newest=cursor(look.found.signals[0]["seq"]) if look.found.signals else "",
        force=force,
        forcible=look.forcible and look.fits,
        refused=refused,
        reason=reason,
    )


async def _shell(visitor: Visitor) -> Shell:
    async with visitor.parts["pages"].read() as connection:
        return await visitor.shell(connection, "signals")


def _nothing(shell: Shell, words: str) -> Page:
    """The page of a search that means nothing."""
    view = ReplayView(
        shell=shell,
        chips=[],
        sentence="Nothing was done.",
        refusals=[],
        query="",
        would=0,
        newest="",
        force=False,
        forcible=False,
        refused=words,
        reason="",
    )
    return Page("signals_replay.html", view)
