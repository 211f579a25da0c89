"""Tokens as an operator makes and ends them: /api/tokens."""

from typing import Any, TypeAlias
from uuid import UUID

from fastapi import APIRouter

from database import tokens
from database.pool import Connection
from database.tokens import Kept, NameTakenError
from domain.access import (
    Grant,
    TokenId,
    checked_name,
    checked_scopes,
    digest,
    hint_of,
    mint,
)
from domain.signal import uuid7
from web.dependencies import SENSITIVE, Admin, Parts, State
from web.errors import ProblemError
from web.payloads import Word
from web.payloads_access import TokenNew, named_fields

router = APIRouter(prefix="/api/tokens", tags=["tokens"])

Shown: TypeAlias = dict[str, Any]


def shown(kept: Kept) -> Shown:
    """A token without itself."""
    return {
        "id": kept.id,
        "name": kept.name,
        "hint": kept.hint,
        "scopes": sorted(kept.scopes),
        "source": kept.source,
        "made_at": kept.made_at,
        "made_by": kept.made_by,
        "expires_at": kept.expires_at,
        "last_used_at": kept.last_used_at,
        "revoked_at": kept.revoked_at,
        "revoked_by": kept.revoked_by,
        "of_settings": False,
    }


def _of_settings(grant: Grant) -> Shown:
    """What is known of a token that stands in the settings."""
    unknown = ("hint", "source", "made_at", "made_by", "expires_at", "last_used_at")
    return {
        "id": None,
        "name": grant.name,
        "scopes": sorted(grant.scopes),
        **dict.fromkeys((*unknown, "revoked_at", "revoked_by")),
        "of_settings": True,
    }


def minted(parts: State) -> tuple[str, TokenId]:
    """A token nobody has yet, and an id for it."""
    return mint(parts["entropy"](32)), TokenId(uuid7(parts["clock"](), parts["entropy"](10)))


async def keep(connection: Connection, grant: Grant, token: str, actor: str) -> None:
    """Write it down. Raises ProblemError when its name is taken or there is no such source."""
    try:
        kept = await tokens.create(connection, grant, hint=hint_of(token), actor=actor)
    except NameTakenError:
        words = "Another token has this name: revoke that one, or choose another."
        raise ProblemError(409, "name_taken", words, field="name") from None
    if not kept:
        raise ProblemError(404, "no_such_source", "There is no source of this name, or no more.")


@router.get("")
async def list_tokens(parts: Parts, _actor: Admin, *, revoked: bool = False) -> Shown:
    """Those of the settings, then the newest first; with ``revoked`` those too that are no more."""
    async with parts["pages"].read() as connection:
        found = await tokens.listed(connection, revoked=revoked)
    of_settings = [_of_settings(grant) for grant in parts["keyring"].of_settings]
    return {"items": [*of_settings, *map(shown, found)], "next": None}


@router.post("", status_code=201, dependencies=SENSITIVE)
async def create_token(given: TokenNew, parts: Parts, actor: Admin) -> Shown:
    """Make a token. This answer is the only place where it ever stands."""
    ends = given.ends(parts["clock"]())
    if not actor.covers(given.scopes, ends):
        words = "expires_at must not be after the end of the token that makes it"
        raise ProblemError(400, "invalid_field", words, field="expires_at")
    token, id = minted(parts)
    with named_fields():
        grant = Grant(
            id=id,
            name=checked_name(given.name),
            digest=digest(token),
            scopes=checked_scopes(given.scopes, given.source),
            source=given.source,
            expires_at=ends,
        )
    async with parts["pages"].write() as connection:
        await keep(connection, grant, token, actor.name)
        kept = await tokens.one(connection, id)
    await parts["keyring"].follow()
    return (shown(kept) if kept else {}) | {"token": token}


@router.post("/{id}/revoke")
async def revoke(id: UUID, parts: Parts, actor: Admin, given: Word | None = None) -> Shown:
    """End a token for good: here at once, in other replicas within two seconds."""
    reason = given and given.reason
    async with parts["pages"].write() as connection:
        changed = await tokens.revoke(connection, id, actor=actor.name, reason=reason)
        kept = await tokens.one(connection, id)
    if kept is None:
        raise ProblemError(404, "no_such_token", "There is no token with this id.")
    await parts["keyring"].follow()
    return shown(kept) | {"changed": changed}
