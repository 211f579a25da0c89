"""Access: scopes, tokens and sessions. Of a token nothing is kept but its digest."""

import base64
import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType
from uuid import UUID

TokenId = NewType("TokenId", UUID)

PREFIX = "tsp_"
"""Begins every token we make, so that scanners of leaked secrets can tell one."""

ENTROPY = 32
HINT = 4
NAME_MAX = 64
LONGEST = timedelta(days=3_650)


class Scope(StrEnum):
    """What a caller may do. ADMIN includes all."""

    READ = "read"
    INGEST = "ingest"
    TRADE = "trade"
    CONFIG = "config"
    ADMIN = "admin"


class TokenError(ValueError):
    """What a token cannot be; ``field`` is what is wrong with it."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A token's digest and what it allows; ``name`` stands for its holder in the audit trail.

    One of the settings has no ``id`` and never expires. ``source`` is whose alerts it posts; those
    of a token without one come from the source of the settings.
    """

    name: str
    digest: bytes
    scopes: frozenset[Scope]
    id: TokenId | None = None
    source: str | None = None
    expires_at: datetime | None = None

    def allows(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def live(self, now: datetime) -> bool:
        return self.expires_at is None or now < self.expires_at

    def covers(self, scopes: Collection[Scope], expires_at: datetime | None) -> bool:
        """Whether its holder may give this away: nobody gives more than he has, or for longer."""
        ends = self.expires_at
        lasts = ends is None or (expires_at is not None and expires_at <= ends)
        return lasts and all(self.allows(scope) for scope in scopes)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPolicy:
    """How long a signed-in browser stays so: without use, and at all."""

    idle: timedelta
    absolute: timedelta
    proof: timedelta = timedelta(minutes=5)

    def proved(self, *, proved_at: datetime, now: datetime) -> bool:
        """Whether a token was shown so lately that what hurts need not ask for one again."""
        return now - proved_at < self.proof

    def live(self, *, created_at: datetime, seen_at: datetime, now: datetime) -> bool:
        return now - seen_at < self.idle and now - created_at < self.absolute


def digest(token: str) -> bytes:
    """SHA-256 of a token, also of one from JSON with lone surrogates: kept instead of it."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def by_digest(grants: Iterable[Grant]) -> dict[bytes, Grant]:
    return {grant.digest: grant for grant in grants}


def grant_of(token: str, grants: Mapping[bytes, Grant]) -> Grant | None:
    """The grant of a token, or None.

    How long a lookup takes may tell something of digests that begin alike. It helps nobody: who
    wants a digest that begins so has to try tokens, and learns nothing of the right one by it.
    """
    return grants.get(digest(token)) if token else None


def mint(entropy: bytes) -> str:
    """A new token of 32 random bytes."""
    return PREFIX + base64.urlsafe_b64encode(entropy[:ENTROPY]).decode().rstrip("=")


def hint_of(token: str) -> str:
    """What tells tokens apart in a list, and gives nothing away."""
    return token[-HINT:]


def checked_name(text: str) -> str:
    """A token's name, trimmed. Raises TokenError, as do the functions below."""
    name = text.strip()
    if not 1 <= len(name) <= NAME_MAX or not name.isprintable():
        raise TokenError("name", f"must be 1 to {NAME_MAX} visible characters")
    return name


def checked_scopes(scopes: Collection[Scope], source: str | None) -> frozenset[Scope]:
    """What a token may do. One that posts as a source may do nothing else."""
    if not scopes:
        raise TokenError("scopes", f"must be some of {', '.join(Scope)}")
    if source is not None and set(scopes) != {Scope.INGEST}:
        raise TokenError("scopes", f"of a source's token must be {Scope.INGEST} alone")
    return frozenset(scopes)


def checked_expiry(at: datetime | None, days: float | None, *, now: datetime) -> datetime | None:
    """When a token ends: at a time, or after so many days; None for never."""
    if at is not None and days is not None:
        raise TokenError("expires_at", "and expires_in_days exclude each other")
    field = "expires_at" if days is None else "expires_in_days"
    if days is not None:
        at = now + timedelta(days=min(max(days, -1), 1e6))
    if at is not None and not now < at <= now + LONGEST:
        raise TokenError(field, f"must be ahead, by at most {LONGEST.days} days")
    return at
