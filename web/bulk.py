"""Commands of which there is exactly one: over as many as were seen, and once for each key."""

from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Annotated, Any, TypeAlias

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel

from database import answers
from database.answers import Asked, KeyReusedError
from database.audit import Facts
from database.pool import Connection
from database.selections import Found
from web.dependencies import State
from web.errors import ProblemError, problem
from web.payloads_replay import too_many

Shown: TypeAlias = dict[str, Any]
Work: TypeAlias = Callable[[Connection], Awaitable[Shown]]


def _key(
    request: Request,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> bytes | None:
    """A digest of the caller's `Idempotency-Key`, for this path; None without one."""
    return key_of(request.url.path, idempotency_key)


def key_of(path: str, given: str | None) -> bytes | None:
    """A digest of the key of a command at this path; None without one."""
    named = f"{path}\0{given}".encode("utf-8", "surrogateescape")
    return sha256(named).digest() if given else None


Key = Annotated[bytes | None, Depends(_key)]


async def once(parts: State, key: bytes | None, given: BaseModel | None, work: Work) -> Facts:
    """Do the work in one transaction; for a key that was used before, say what was said then.

    Raises ProblemError 409 when something else was asked under it.
    """
    async with parts["pages"].write() as connection:
        if key is None:
            return await work(connection)
        said = given.model_dump_json() if given else ""
        asked = Asked(key, sha256(said.encode()).digest())
        try:
            told = await answers.take(connection, asked)
        except KeyReusedError:
            words = "Something else was asked under this Idempotency-Key before."
            raise ProblemError(409, "key_reused", words) from None
        if told is None:
            told = await work(connection)
            await answers.keep(connection, asked, told)
        return told


def preview(found: Found) -> Shown:
    """What a command would do. Raises ProblemError 400 when too many match to be looked through."""
    if found.beyond:
        raise too_many()
    return {**counts(found), "examples": found.examples}


def counts(found: Found) -> Shown:
    return {"matching": found.matching, "would": found.would, "refused": found.refused}


def changed_meanwhile(found: Found) -> Response:
    """Refuse with the numbers as they are now."""
    if found.beyond:
        raise too_many()
    words = f"{found.would} would be done now, not as many as expected: look again."
    return problem(409, "changed_meanwhile", words, **counts(found))
