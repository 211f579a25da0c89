"""All that needs the packages: settings, database, list source, destinations, the outside."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import httpx
from aiolimiter import AsyncLimiter

from config import Settings
from database import screens
from database.pool import FAILED, Database, UnavailableError
from database.vault import Vault
from domain.screen import ScreenError, ScreenKind, ScreenUrl
from engines.universe.finviz import one_a_second
from furnishing import vault_of
from launcher.doctor import clock, outside, pages, places, setup, store
from launcher.doctor.findings import (
    CLOCK,
    DATABASE,
    DESTINATIONS,
    LIST,
    PUBLIC,
    Area,
    Finding,
)
from launcher.doctor.pages import Folder
from launcher.terminal import Refusal

LONGEST = 90
"""Seconds for any part: Finviz is asked six times, a second apart, each with a deadline of 15."""

Step: TypeAlias = Callable[[str], None]
Active: TypeAlias = "asyncio.Future[screens.Kept | None]"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line wants. ``transport`` and ``spacing`` play Finviz in tests."""

    save: Path | None = None
    force: bool = False
    offline: bool = False
    transport: httpx.AsyncBaseTransport | None = None
    spacing: Callable[[], AsyncLimiter] = one_a_second


def examine(asked: Asked, step: Step, overrides: Mapping[str, object]) -> list[Finding]:
    """Read the settings, then look at all the rest at the same time. Raises Refusal."""
    read = setup.examine(overrides)
    if read.settings is None:
        words = "not looked at before the settings can be read"
        skipped = [area.skipped("all", words) for area in (LIST, DESTINATIONS)]
        return [*read.findings, clock.system(), *skipped]
    folder = _folder(asked, read.settings)
    found = asyncio.run(_all(asked, read.settings, folder, step))
    return [*read.findings, clock.system(), *found]


def _folder(asked: Asked, settings: Settings) -> Folder | None:
    if asked.save is None:
        return None
    try:
        return Folder.made(asked.save, pages.redactor(settings), force=asked.force)
    except OSError as error:
        words = f"--save-pages: {asked.save} cannot be written: {error.strerror}"
        raise Refusal(words, 2) from None


async def _all(
    asked: Asked, settings: Settings, folder: Folder | None, step: Step
) -> list[Finding]:
    active: Active = asyncio.get_running_loop().create_future()
    parts = [
        _bounded(DATABASE, "the database", step, _database(asked, settings, active)),
        _bounded(LIST, "Finviz", step, _list(asked, settings, folder, active, step)),
        _bounded(PUBLIC, "PUBLIC_URL", step, _outside(asked, settings)),
    ]
    found = await asyncio.gather(*parts)
    return [one for part in found for one in part]


async def _bounded(
    area: Area, what: str, step: Step, looking: Awaitable[list[Finding]]
) -> list[Finding]:
    try:
        async with asyncio.timeout(LONGEST):
            return await looking
    except TimeoutError:
        todo = "try again; if it stays, look at the network"
        return [area.fails(what, f"nothing was said within {LONGEST} s", todo)]
    finally:
        step(what)


async def _database(asked: Asked, settings: Settings, active: Active) -> list[Finding]:
    """What is there; ``active`` learns which screen is in force, None where nobody knows."""
    reach, vault = store.reach(settings), vault_of(settings)
    try:
        if reach.url is None:
            elsewhere = await places.of_settings(settings, offline=asked.offline)
            return [reach.finding, *store.not_asked(), *elsewhere]
        database = Database.connect(reach.url, pool=1, patience=store.PATIENCE)
        try:
            return [reach.finding, *await _asked(asked, database, vault, settings, active)]
        finally:
            await database.close()
    finally:
        if not active.done():
            active.set_result(None)


async def _asked(
    asked: Asked, database: Database, vault: Vault, settings: Settings, active: Active
) -> list[Finding]:
    found = await store.examine(database, settings, vault)
    if not found.usable:
        return [*found.findings, *await places.of_settings(settings, offline=asked.offline)]
    try:
        async with database.read() as connection:
            active.set_result(await screens.active(connection))
        there = await places.of_database(database, vault, settings, offline=asked.offline)
    except (*FAILED, UnavailableError) as error:
        return [*found.findings, store.unreachable(error, settings)]
    return [*found.findings, *there]


async def _list(
    asked: Asked, settings: Settings, folder: Folder | None, active: Active, step: Step
) -> list[Finding]:
    try:
        kept = await active
        url = kept.screen.url if kept else pages.screen_url(settings)
    except ScreenError:
        return [LIST.skipped("Finviz", "not asked: the screen is none, see settings")]
    if kept and kept.screen.kind is ScreenKind.FIXED:
        words = f"not asked: the screen in force, {kept.name}, is a fixed list"
        return [LIST.skipped("Finviz", words)]
    name = f"{kept.name}, in force" if kept else "that of the first start"
    return [LIST.ok("screen", name), *await _finviz(asked, settings, url, folder, step)]


async def _finviz(
    asked: Asked, settings: Settings, url: ScreenUrl, folder: Folder | None, step: Step
) -> list[Finding]:
    if asked.offline:
        return [
            LIST.skipped("Finviz", "not asked: --offline"),
            CLOCK.skipped("against Finviz", "not asked: --offline"),
        ]
    try:
        looked = await pages.examine(
            settings, url, folder, transport=asked.transport, spacing=asked.spacing, step=step
        )
    except OSError as error:
        words = f"--save-pages: {asked.save} cannot be written: {error.strerror}"
        raise Refusal(words, 2) from None
    silent = CLOCK.skipped("against Finviz", "no answer said what time it is")
    return [pages.finding(looked, asked.save), *(looked.times[:1] or [silent])]


async def _outside(asked: Asked, settings: Settings) -> list[Finding]:
    if settings.public_url is None:
        return []
    if asked.offline:
        return [PUBLIC.skipped("reachable", "not reached for: --offline")]
    return await outside.examine(settings.public_url)
