"""Screens as files: /api/screens/export and /api/screens/import. Included before `screens`."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from fastapi import APIRouter

from database import screens
from database.screens import Kept
from domain.screen import ScreenError
from domain.screen_terms import NamedScreen
from engines.universe import config_file
from web.dependencies import Configurer, Parts, Reader, State
from web.errors import ProblemError
from web.payloads_screens import Import, named_fields
from web.screens import change, create, fresh, usual_refresh

router = APIRouter(prefix="/api/screens", tags=["screens"])

Shown: TypeAlias = dict[str, Any]


async def _all(parts: State) -> list[NamedScreen]:
    async with parts["pages"].read() as connection:
        found = await screens.listed(connection)
    return [
        NamedScreen(name=one.name, note=one.note, active=one.active, screen=one.screen)
        for one in found
    ]


@router.get("/export")
async def export_screens(parts: Parts, _actor: Reader) -> Shown:
    """Every screen that is not archived, as it can be imported elsewhere."""
    return {"screens": config_file.exported(await _all(parts))}


@router.post("/export")
async def write_screens(parts: Parts, _actor: Configurer) -> Shown:
    """Write them into FINVIZ_CONFIG_FILE, from which a relay with a new database starts."""
    path, found = parts["config_file"], await _all(parts)
    try:
        await asyncio.to_thread(config_file.write, path, found)
    except OSError as error:
        why = f"{path.name} cannot be written: {error.strerror}."
        raise ProblemError(409, "not_written", why) from error
    return {"file": path.name, "screens": len(found)}


@dataclass(frozen=True, slots=True)
class _Plan:
    """What an import comes to: new screens, those to change, and those that are so already."""

    created: Sequence[NamedScreen]
    changed: Sequence[Kept]
    unchanged: Sequence[Kept]


@router.post("/import")
async def import_screens(given: Import, parts: Parts, actor: Configurer) -> Shown:
    """Take over exported screens, all or none of them. None is activated."""
    refresh, now = usual_refresh(parts["rules"]), parts["clock"]()
    with named_fields():
        wanted = config_file.named_screens(given.screens, refresh=refresh, now=now)
    async with parts["pages"].write() as connection:
        kept = await screens.hold_all(connection)
        with named_fields():
            plan = _plan(wanted, kept)
        if not given.preview:
            _require_free(plan.changed, replacing=given.replace)
            for new in plan.created:
                await create(connection, fresh(parts, new), actor)
            for one in plan.changed:
                await change(connection, one, actor)
    if not given.preview and any(one.active for one in plan.changed):
        parts["wake_keeper"]()
    return {
        "preview": given.preview,
        "created": [one.name for one in plan.created],
        "changed": [one.name for one in plan.changed],
        "unchanged": [one.name for one in plan.unchanged],
    }


def _plan(wanted: Sequence[NamedScreen], kept: Sequence[Kept]) -> _Plan:
    """Raises ScreenError for a screen that would have to become one of another kind."""
    named = {one.name.lower(): one for one in kept if one.archived_at is None}
    meant = [_meant(place, one, named) for place, one in enumerate(wanted)]
    found = [(named[one.name.lower()], one) for one in meant if isinstance(one, Kept)]
    return _Plan(
        created=[one for one in meant if isinstance(one, NamedScreen)],
        changed=[one for before, one in found if one != before],
        unchanged=[one for before, one in found if one == before],
    )


def _meant(place: int, wanted: NamedScreen, named: dict[str, Kept]) -> Kept | NamedScreen:
    """The screen of this name as it would be afterwards; the wanted one where there is none."""
    kept = named.get(wanted.name.lower())
    if kept is None:
        return wanted
    if kept.screen.kind is not wanted.screen.kind:
        problem = f"is {wanted.screen.kind}: the screen of this name is {kept.screen.kind}"
        raise ScreenError(f"screens[{place}].kind", problem)
    return replace(kept, name=wanted.name, note=wanted.note, screen=wanted.screen)


def _require_free(changed: Sequence[Kept], *, replacing: bool) -> None:
    if changed and not replacing:
        names = ", ".join(one.name for one in changed)
        words = f"There are other screens of these names: {names}. With replace they are changed."
        raise ProblemError(409, "name_taken", words, field="screens")
