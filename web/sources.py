"""Sources as an operator keeps them: /api/sources."""

from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Header, Path, Request

from database import sources, tokens
from database.pool import Connection
from database.sources import Counts, Kept, NameTakenError
from domain.access import Grant, Scope, checked_name, digest, hint_of
from domain.source import changed_source, new_source, told
from web import tokens as web_tokens
from web.dependencies import SENSITIVE, Configurer, Parts, Reader, State
from web.errors import ProblemError
from web.payloads import Word, meant_version
from web.payloads_access import SOURCE, SourceChange, SourceNew, SourceToken, named_fields
from web.posted import PATH

router = APIRouter(prefix="/api/sources", tags=["sources"])

Shown: TypeAlias = dict[str, Any]
Name: TypeAlias = Annotated[str, Path(pattern=SOURCE)]


def _missing() -> ProblemError:
    return ProblemError(404, "no_such_source", "There is no source of this name.")


def _shown(kept: Kept) -> Shown:
    return {
        "name": kept.source.name,
        "built_in": kept.source.built_in,
        "version": kept.version,
        **told(kept.source),
        "made_at": kept.made_at,
        "updated_at": kept.updated_at,
        "archived_at": kept.archived_at,
    }


def _counted(counts: Counts) -> Shown:
    return {
        "today": counts.today,
        "last_3_min": counts.lately,
        "last_signal_at": counts.last_at,
    }


async def _answer(parts: State, name: str) -> Shown:
    async with parts["pages"].read() as connection:
        kept = await sources.one(connection, name)
    if kept is None:
        raise _missing()
    return _shown(kept)


@router.get("")
async def list_sources(parts: Parts, _actor: Reader, *, archived: bool = False) -> Shown:
    """Each with what came from it and its tokens; with ``archived`` those put away too."""
    async with parts["pages"].read() as connection:
        found = await sources.listed(connection, archived=archived)
        counts = await sources.counts(connection, archived=archived)
        kept = await tokens.listed(connection)
    items = [
        _shown(one)
        | _counted(counts.get(one.source.name, Counts()))
        | {"tokens": [web_tokens.shown(own) for own in kept if own.source == one.source.name]}
        for one in found
    ]
    return {"items": items, "next": None}


@router.post("", status_code=201, dependencies=SENSITIVE)
async def create_source(
    given: SourceNew, request: Request, parts: Parts, actor: Configurer
) -> Shown:
    """Keep one more source, and make its first token: it stands in this answer only."""
    with named_fields():
        source = new_source(given.name, given.terms())
    async with parts["pages"].write() as connection:
        try:
            await sources.create(connection, source, actor=actor)
        except NameTakenError:
            words = "There is, or was, a source of this name: its signals keep it."
            raise ProblemError(409, "name_taken", words, field="name") from None
        made = await _make_token(connection, request, parts, source.name, SourceToken(), actor)
    await parts["keyring"].follow()
    return await _answer(parts, source.name) | made


@router.patch("/{name}")
async def change_source(
    name: Name,
    given: SourceChange,
    parts: Parts,
    actor: Configurer,
    if_match: Annotated[str | None, Header(max_length=40)] = None,
) -> Shown:
    """Change its policy: here at once, in other replicas within two seconds."""
    meant = meant_version(if_match, given.version)
    async with parts["pages"].write() as connection:
        kept = await _hold(connection, name)
        if meant not in {None, kept.version}:
            words = f"Somebody has changed it: it is at version {kept.version} now."
            raise ProblemError(409, "changed_meanwhile", words)
        with named_fields():
            wanted = changed_source(kept.source, given.terms())
        changed = wanted != kept.source
        if changed:
            await sources.change(connection, wanted, version=kept.version, actor=actor)
    await parts["keyring"].follow()
    return await _answer(parts, name) | {"changed": changed}


async def _hold(connection: Connection, name: str) -> Kept:
    kept = await sources.hold(connection, name)
    if kept is None:
        raise _missing()
    if kept.archived_at is not None:
        raise ProblemError(409, "wrong_state", "It is archived, for good: make another one.")
    return kept


@router.post("/{name}/archive")
async def archive(name: Name, parts: Parts, actor: Configurer, given: Word | None = None) -> Shown:
    """Put it away for good and revoke its tokens: its alerts are refused from now on."""
    async with parts["pages"].write() as connection:
        kept = await _hold(connection, name)
        if kept.source.built_in:
            words = "It is the source of the settings' token, and always there."
            raise ProblemError(409, "wrong_state", words)
        await sources.archive(connection, name, actor=actor, reason=given and given.reason)
    await parts["keyring"].follow()
    return await _answer(parts, name)


@router.post("/{name}/tokens", status_code=201, dependencies=SENSITIVE)
async def create_token(
    name: Name,
    request: Request,
    parts: Parts,
    actor: Configurer,
    given: SourceToken | None = None,
) -> Shown:
    """Make one more token of a source: change its alerts to it, then revoke the one before."""
    async with parts["pages"].write() as connection:
        made = await _make_token(connection, request, parts, name, given or SourceToken(), actor)
    await parts["keyring"].follow()
    return made


async def _make_token(
    connection: Connection,
    request: Request,
    parts: State,
    source: str,
    given: SourceToken,
    actor: str,
) -> Shown:
    token, id = web_tokens.minted(parts)
    with named_fields():
        grant = Grant(
            id=id,
            name=checked_name(given.name or f"{source} {hint_of(token)}"),
            digest=digest(token),
            scopes=frozenset({Scope.INGEST}),
            source=source,
            expires_at=given.ends(parts["clock"]()),
        )
    await web_tokens.keep(connection, grant, token, actor)
    return {
        "token_id": id,
        "token_name": grant.name,
        "token": token,
        "expires_at": grant.expires_at,
        "webhook": f"{root(request, parts)}{PATH}/{token}",
    }


def root(request: Request, parts: State) -> str:
    """The address others reach us by, else the one that this caller did."""
    return parts["rules"].public_url or str(request.base_url).rstrip("/")
