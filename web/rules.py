"""The rules an operator sets: /api/rules."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response

from database import gate
from database.gate import Gate
from database.pool import Connection, ReadConnection
from domain.rulebook import shown_rulebook
from domain.rules import Rulebook
from web.dependencies import Configurer, Parts, Reader, State
from web.errors import ProblemError
from web.payloads import meant_version
from web.payloads_rules import RulebookPatch, RulebookPut
from web.signals import before, cursor

router = APIRouter(prefix="/api/rules", tags=["rules"])

IfMatch = Annotated[str | None, Header(max_length=40)]


async def _shown(connection: ReadConnection) -> dict[str, Any]:
    found, changed = await gate.read(connection), await gate.ruled(connection)
    return {
        "version": found.version,
        **shown_rulebook(found.rulebook),
        "directions": found.rulebook.directions,
        "changed_at": changed and changed[0],
        "changed_by": changed and changed[1],
    }


def _tagged(response: Response, shown: dict[str, Any]) -> dict[str, Any]:
    response.headers["etag"] = f'"{shown["version"]}"'
    return shown


@router.get("")
async def read_rules(response: Response, parts: Parts, _actor: Reader) -> dict[str, Any]:
    """The rules in force, and which sources may send one side only."""
    async with parts["pages"].read() as connection:
        return _tagged(response, await _shown(connection))


@router.put("")
async def replace_rules(
    given: RulebookPut,
    response: Response,
    parts: Parts,
    actor: Configurer,
    if_match: IfMatch = None,
) -> dict[str, Any]:
    """Let these be the rules, whole; they count from the next verdict on, in every replica."""
    meant = meant_version(if_match, given.version)
    return _tagged(response, await replace(parts, given, actor, meant))


async def replace(
    parts: State, given: RulebookPut, actor: str, meant: int | None
) -> dict[str, Any]:
    """Let these be the rules, if the gate is at the version that was meant."""
    async with parts["pages"].write() as connection:
        current = await _held(connection, meant)
        wanted = given.rulebook(await gate.sources(connection))
        await _change(connection, current, wanted, actor, given.reason)
        return await _shown(connection)


@router.patch("")
async def change_rules(
    given: RulebookPatch,
    response: Response,
    parts: Parts,
    actor: Configurer,
    if_match: IfMatch = None,
) -> dict[str, Any]:
    """Change one part of the rules, and leave the others."""
    async with parts["pages"].write() as connection:
        current = await _held(connection, meant_version(if_match, given.version))
        known = await gate.sources(connection)
        wanted = given.applied_to(current.rulebook).rulebook(known)
        await _change(connection, current, wanted, actor, given.reason)
        return _tagged(response, await _shown(connection))


async def _held(connection: Connection, meant: int | None) -> Gate:
    """The gate, held until the end of this transaction. Raises ProblemError at another version."""
    await gate.hold_alone(connection)
    current = await gate.read(connection)
    if meant not in {None, current.version}:
        words = f"Somebody has changed the gate: it is at version {current.version} now."
        raise ProblemError(409, "changed_meanwhile", words, version=str(current.version))
    return current


async def _change(
    connection: Connection, current: Gate, wanted: Rulebook, actor: str, reason: str | None
) -> None:
    """What changes nothing makes no version."""
    if shown_rulebook(wanted) != shown_rulebook(current.rulebook):
        await gate.change_rules(
            connection, wanted, version=current.version, actor=actor, reason=reason
        )


@router.get("/versions")
async def list_versions(
    parts: Parts,
    _actor: Reader,
    *,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor_: Annotated[str | None, Query(alias="cursor", max_length=40)] = None,
) -> dict[str, Any]:
    """What the gate obeyed at each of its versions, rules and buying pause, the newest first."""
    async with parts["pages"].read() as connection:
        found = await gate.versions(connection, before=before(cursor_), limit=limit + 1)
    more = len(found) > limit
    return {
        "items": [_version_shown(row) for row in found[:limit]],
        "next": cursor(found[limit - 1]["version"]) if more else None,
    }


def _version_shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "version": row["version"],
        "at": row["made_at"],
        "by": row["made_by"],
        "rules": {"every": {}, "sources": {}} | row["rules"],
        "paused": row["paused"],
        "paused_until": row["paused_until"],
    }
