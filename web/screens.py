"""Screens as an operator keeps them: /api/screens."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Any, TypeAlias
from uuid import UUID

from fastapi import APIRouter, Header, Response

from database import screens, universes
from database.pool import Connection
from database.screens import Kept, NameTakenError, ScreenId, Version
from domain.screen import Screen, warnings
from domain.screen_terms import (
    NamedScreen,
    changed_screen,
    checked_name,
    checked_note,
    copy_name,
    new_screen,
    told,
)
from domain.signal import uuid7
from web.dependencies import Configurer, Parts, Reader, Rules, State
from web.errors import ProblemError
from web.payloads import meant_version
from web.payloads_screens import (
    Copy,
    ScreenChange,
    ScreenNew,
    named_fields,
)

router = APIRouter(prefix="/api/screens", tags=["screens"])

Shown: TypeAlias = dict[str, Any]


def missing() -> ProblemError:
    return ProblemError(404, "no_such_screen", "There is no screen with this id.")


def taken() -> ProblemError:
    return ProblemError(409, "name_taken", "Another screen has this name.", field="name")


def usual_refresh(rules: Rules) -> timedelta:
    """The refresh of a screen for which none is given: that of Finviz's own pages."""
    return timedelta(seconds=15 if rules.elite else 180)


def warned(screen: Screen, rules: Rules, now: datetime, total: int | None = None) -> list[str]:
    """What is allowed but probably not meant, in words."""
    found = warnings(screen, elite=rules.elite, total=total)
    if screen.valid_until and screen.valid_until <= now:
        found.append("This list has ended: buys are rejected until it gets a new valid_until.")
    return found


def _shown(kept: Kept, warned_of: list[str]) -> Shown:
    return {
        "id": kept.id,
        "name": kept.name,
        "note": kept.note,
        "version": kept.version,
        "active": kept.active,
        "archived_at": kept.archived_at,
        **told(kept.screen),
        "updated_at": kept.updated_at,
        "warnings": warned_of,
    }


async def _answer(parts: State, id: ScreenId) -> Shown:
    """A screen as it is now; of the active one it is known how many rows it has in all."""
    async with parts["pages"].read() as connection:
        kept = await screens.one(connection, id)
        current = await universes.current(connection)
    if kept is None:
        raise missing()
    total = current.universe.total if current.universe and kept.active else None
    return _shown(kept, warned(kept.screen, parts["rules"], current.now, total))


@router.get("")
async def list_screens(parts: Parts, _actor: Reader, *, archived: bool = False) -> Shown:
    """The active screen first, then the others by name; with ``archived`` those put away too."""
    async with parts["pages"].read() as connection:
        found = await screens.listed(connection, archived=archived)
        current = await universes.current(connection)
    total = current.universe and current.universe.total
    items = [
        _shown(one, warned(one.screen, parts["rules"], current.now, total if one.active else None))
        for one in found
    ]
    return {"items": items, "next": None}


@router.post("", status_code=201)
async def create_screen(given: ScreenNew, parts: Parts, actor: Configurer) -> Shown:
    """Keep one more screen. It is not in force until it is activated."""
    now, refresh = parts["clock"](), usual_refresh(parts["rules"])
    with named_fields():
        wanted = NamedScreen(
            name=checked_name(given.name),
            note=checked_note(given.note or ""),
            screen=new_screen(given.terms(), refresh=refresh, now=now),
        )
    kept = fresh(parts, wanted)
    async with parts["pages"].write() as connection:
        await create(connection, kept, actor)
    return await _answer(parts, kept.id)


def fresh(parts: State, wanted: NamedScreen) -> Kept:
    """A screen that is not kept yet."""
    return Kept(
        id=ScreenId(uuid7(parts["clock"](), parts["entropy"](10))),
        name=wanted.name,
        note=wanted.note,
        version=1,
        active=False,
        screen=wanted.screen,
    )


async def create(connection: Connection, kept: Kept, actor: str) -> None:
    """Keep one more. Raises ProblemError when its name is taken."""
    try:
        await screens.create(connection, kept, actor=actor)
    except NameTakenError:
        raise taken() from None


async def change(connection: Connection, kept: Kept, actor: str) -> None:
    """Make its next version. Raises ProblemError when its name is taken, or it is archived."""
    if kept.archived_at is not None:
        raise ProblemError(409, "wrong_state", "It is archived: restore it first.")
    try:
        await screens.change(connection, kept, actor=actor)
    except NameTakenError:
        raise taken() from None


async def _hold(connection: Connection, id: UUID) -> Kept:
    kept = await screens.hold(connection, ScreenId(id))
    if kept is None:
        raise missing()
    return kept


@router.get("/{id}")
async def read_screen(id: UUID, parts: Parts, _actor: Reader, response: Response) -> Shown:
    """One screen with its versions, the newest first."""
    screen = ScreenId(id)
    shown = await _answer(parts, screen)
    async with parts["pages"].read() as connection:
        versions = await screens.history(connection, screen)
    response.headers["etag"] = f'"{shown["version"]}"'
    return shown | {"versions": [_version_shown(one) for one in versions]}


def _version_shown(one: Version) -> Shown:
    head = {"version": one.version, "active": one.active}
    return head | told(one.screen) | {"made_at": one.made_at, "made_by": one.made_by}


@router.patch("/{id}")
async def change_screen(
    id: UUID,
    given: ScreenChange,
    parts: Parts,
    actor: Configurer,
    if_match: Annotated[str | None, Header(max_length=40)] = None,
) -> Shown:
    """Make a new version. A change of the active one is looked at once."""
    meant, now = meant_version(if_match, given.version), parts["clock"]()
    async with parts["pages"].write() as connection:
        kept = await _hold(connection, id)
        if meant not in {None, kept.version}:
            words = f"Somebody has changed it: it is at version {kept.version} now."
            raise ProblemError(409, "changed_meanwhile", words)
        wanted = _wanted(kept, given, now)
        if wanted != kept:
            await change(connection, wanted, actor)
    if wanted != kept and kept.active:
        parts["wake_keeper"]()
    return await _answer(parts, kept.id) | {"changed": wanted != kept}


def _wanted(kept: Kept, given: ScreenChange, now: datetime) -> Kept:
    with named_fields():
        return replace(
            kept,
            name=kept.name if given.name is None else checked_name(given.name),
            note=kept.note if given.note is None else checked_note(given.note),
            screen=changed_screen(kept.screen, given.terms(), now=now),
        )


@router.post("/{id}/duplicate", status_code=201)
async def duplicate(id: UUID, parts: Parts, actor: Configurer, given: Copy | None = None) -> Shown:
    """Keep a second screen of the same terms, which is not in force."""
    name = given and given.name
    async with parts["pages"].write() as connection:
        kept = await _hold(connection, id)
        others = await screens.listed(connection)
        with named_fields():
            chosen = (
                copy_name(kept.name, frozenset(one.name for one in others))
                if name is None
                else checked_name(name)
            )
        copy = fresh(parts, NamedScreen(name=chosen, note=kept.note, screen=kept.screen))
        await create(connection, copy, actor)
    return await _answer(parts, copy.id)


@router.post("/{id}/activate")
async def activate(id: UUID, parts: Parts, actor: Configurer) -> Shown:
    """Put it in force instead of the active one; it is looked at once."""
    async with parts["pages"].write() as connection:
        held = {one.id: one for one in await screens.hold_all(connection)}
        kept = held.get(ScreenId(id))
        if kept is None:
            raise missing()
        if kept.archived_at is not None:
            raise ProblemError(409, "wrong_state", "It is archived: restore it first.")
        if not kept.active:
            await screens.activate(connection, kept.id, actor=actor)
    if not kept.active:
        parts["wake_keeper"]()
    return await _answer(parts, kept.id) | {"changed": not kept.active}


@router.post("/{id}/archive")
async def archive(id: UUID, parts: Parts, actor: Configurer) -> Shown:
    """Put it away, with its history; its name is free again."""
    async with parts["pages"].write() as connection:
        kept = await _hold(connection, id)
        if kept.active:
            raise ProblemError(409, "wrong_state", "It is in force: activate another one first.")
        changed = await screens.archive(connection, kept.id, archived=True, actor=actor)
    return await _answer(parts, kept.id) | {"changed": changed}


@router.post("/{id}/restore")
async def restore(id: UUID, parts: Parts, actor: Configurer) -> Shown:
    """Take an archived one out again."""
    async with parts["pages"].write() as connection:
        kept = await _hold(connection, id)
        try:
            changed = kept.archived_at is not None and await screens.archive(
                connection, kept.id, archived=False, actor=actor
            )
        except NameTakenError:
            raise taken() from None
    return await _answer(parts, kept.id) | {"changed": changed}
