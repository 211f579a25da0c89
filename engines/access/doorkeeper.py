"""The doorkeeper: who a token or a session belongs to, and what it allows."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from database import access
from database.pool import Database
from domain.access import Grant, Scope, SessionPolicy, digest, grant_of
from engines.clock import Entropy


@dataclass(frozen=True, slots=True, kw_only=True)
class Doorkeeper:
    """Tokens come from the settings; sessions are rows, so that they end everywhere at once."""

    database: Database
    grants: Sequence[Grant]
    policy: SessionPolicy
    entropy: Entropy

    def grant(self, token: str | None, scope: Scope) -> Grant | None:
        """The grant of a token when it allows ``scope``."""
        found = grant_of(token or "", self.grants)
        return found if found and token and found.allows(scope) else None

    async def sign_in(self, token: str, origin: str) -> str | None:
        """Exchange an admin token for a new session's id; None when it is not one."""
        grant = self.grant(token, Scope.ADMIN)
        if grant is None:
            return None
        id = base64.urlsafe_b64encode(self.entropy(32)).decode().rstrip("=")
        async with self.database.write() as connection:
            await access.begin(connection, digest(id), actor=grant.name, origin=origin)
        return id

    async def is_signed_in(self, session: str | None) -> bool:
        """Whether this session is still live; being asked keeps it so."""
        if not session:
            return False
        async with self.database.autocommit() as connection:
            found = await access.find(connection, digest(session))
            if found is None or not self.policy.live(
                created_at=found.created_at, seen_at=found.seen_at, now=found.now
            ):
                return False
            await access.seen(connection, digest(session))
        return True

    async def sign_out(self, session: str) -> None:
        async with self.database.autocommit() as connection:
            await access.end(connection, digest(session))


def grants_of(webhook: str, finviz_update: str, admin: str) -> list[Grant]:
    """The three tokens of the settings and their scopes (design, section 1)."""
    scopes = {
        "webhook token": (webhook, {Scope.INGEST}),
        "finviz update token": (finviz_update, {Scope.READ, Scope.CONFIG, Scope.TRADE}),
        "admin token": (admin, {Scope.ADMIN}),
    }
    return [
        Grant(name=name, digest=digest(token), scopes=frozenset(allowed))
        for name, (token, allowed) in scopes.items()
    ]
