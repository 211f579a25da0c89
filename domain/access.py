"""Access: scopes, tokens and sessions. Tokens are compared as digests, in constant time."""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class Scope(StrEnum):
    """What a caller may do. ADMIN includes all."""

    READ = "read"
    INGEST = "ingest"
    TRADE = "trade"
    CONFIG = "config"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A token's digest and what it allows; ``name`` stands for it in the audit trail."""

    name: str
    digest: bytes
    scopes: frozenset[Scope]

    def allows(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPolicy:
    """How long a signed-in browser stays so: without use, and at all."""

    idle: timedelta
    absolute: timedelta

    def live(self, *, created_at: datetime, seen_at: datetime, now: datetime) -> bool:
        return now - seen_at < self.idle and now - created_at < self.absolute


def digest(token: str) -> bytes:
    """SHA-256 of a token, also of one from JSON with lone surrogates: kept instead of it."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def grant_of(token: str, grants: Iterable[Grant]) -> Grant | None:
    """The grant of a token, or None. Looks at every grant, so that time tells nothing."""
    wanted = digest(token)
    found = None
    for grant in grants:
        if hmac.compare_digest(wanted, grant.digest):
            found = grant
    return found
