"""The configuration as one file: /api/config/export and /api/config/import."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from fastapi import APIRouter

from database import channels, configuration, destinations, gate, screens, sources
from domain.config_diff import Difference, digest, repeated
from domain.rulebook import shown_rulebook
from domain.screen_terms import NamedScreen
from domain.source import told
from engines.universe import config_file
from web.config_sections import Step, Taking
from web.dependencies import SENSITIVE, Configurer, Parts, Reader, State
from web.errors import ProblemError
from web.payloads import invalid
from web.payloads_config import FORMAT, ConfigFile, ConfigImport

router = APIRouter(prefix="/api/config", tags=["configuration"])

Shown: TypeAlias = dict[str, Any]

MOST_BYTES = 1_048_576
DESTINATION = (
    *("name", "url", "mode", "guarantee", "windows", "concurrency", "timeout", "connect_timeout"),
    *("headers", "mapping"),
)
CHANNEL = ("name", "kind", "shown", "severity", "window", "enabled")
TAKEN = (screens.NameTakenError, destinations.NameTakenError, sources.NameTakenError)


@router.get("/export")
async def export_config(parts: Parts, _actor: Reader) -> Shown:
    """Screens, destinations, sources, rules and channels; no secret is in it."""
    vault = parts["vault"]
    async with parts["pages"].read() as connection:
        kept = await screens.listed(connection)
        named = [
            NamedScreen(name=one.name, note=one.note, active=one.active, screen=one.screen)
            for one in kept
        ]
        return {
            "format": FORMAT,
            "version": 1,
            "exported_at": parts["clock"](),
            "screens": config_file.exported(named),
            "destinations": _some(DESTINATION, await destinations.listed(connection, vault)),
            "sources": [
                {"name": one.source.name} | told(one.source)
                for one in await sources.listed(connection)
            ],
            "rules": shown_rulebook((await gate.read(connection)).rulebook),
            "channels": _some(CHANNEL, await channels.listed(connection)),
        }


def _some(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Shown]:
    return [{name: row[name] for name in names} for row in rows]


@router.post("/import", max_body_size=MOST_BYTES, dependencies=SENSITIVE)
async def import_config(given: ConfigImport, parts: Parts, actor: Configurer) -> Shown:
    """Say what the file comes to; with ``apply`` do that, all or nothing. Nothing is deleted."""
    _require_distinct(given.file)
    async with parts["pages"].write() as connection:
        taking = Taking(connection, parts, actor)
        steps = await taking.steps(given.file)
        differences = [found for found, _ in steps]
        name = digest(given.file.model_dump(mode="json"), differences)
        if given.apply:
            if given.digest != name:
                words = "It would come to something else now: look at the diff again."
                raise ProblemError(409, "changed_meanwhile", words, field="digest")
            await _apply(taking, steps, name)
    if given.apply:
        await _follow(parts, differences)
    return {
        "applied": given.apply,
        "digest": name,
        "differences": [one.told() for one in differences],
        "signing_secrets": taking.secrets,
    }


def _require_distinct(file: ConfigFile) -> None:
    for kind in ("destinations", "sources", "channels"):
        twice = repeated([one.name.strip() for one in getattr(file, kind)])
        if twice is not None:
            raise invalid(f"file.{kind}", f"{twice!r} stands twice")


async def _apply(taking: Taking, steps: Sequence[Step], name: str) -> None:
    try:
        for _, act in steps:
            if act:
                await act()
    except TAKEN:
        words = "One of the names is in use meanwhile: look at the diff again."
        raise ProblemError(409, "changed_meanwhile", words, field="digest") from None
    changes = [found.told() for found, _ in steps if found.acts]
    detail = {"digest": name, "changes": changes}
    await configuration.imported(taking.connection, detail, actor=taking.actor)


async def _follow(parts: State, differences: Sequence[Difference]) -> None:
    """Let those know who keep something in memory."""
    if any(one.acts for one in differences):
        parts["wake_keeper"]()
        await parts["keyring"].follow()
