"""The doorkeeper: who a token or a session belongs to, and what it allows."""

import base64
from dataclasses import dataclass

from database import access
from database.access import BegunWith, Listed, Session
from database.pool import Database
from domain.access import Grant, Scope, SessionPolicy, digest
from engines.access.keyring import Keyring
from engines.clock import Entropy

MOST_OF_AN_AGENT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A live session: what it allows, whether a token was shown lately, what is to be told."""

    grant: Grant
    proved: bool
    said: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Doorkeeper:
    """Tokens are looked up in the keyring; sessions are rows, so that they end everywhere at once.

    A session lasts no longer than the token it was begun with.
    """

    database: Database
    keyring: Keyring
    policy: SessionPolicy
    entropy: Entropy

    def grant(self, token: str | None, scope: Scope) -> Grant | None:
        """The grant of a token when it allows ``scope``."""
        return self.keyring.grant(token, scope)

    async def sign_in(
        self, token: str, origin: str, agent: str | None = None, *, instead: str | None = None
    ) -> str | None:
        """Exchange an admin token for a new session's id; None when it is not one.

        The session that this browser had until now, ``instead`` of which it gets one, ends.
        """
        grant = self.grant(token, Scope.ADMIN)
        if grant is None:
            return None
        id = base64.urlsafe_b64encode(self.entropy(32)).decode().rstrip("=")
        async with self.database.write() as connection:
            await access.sweep(connection, idle=self.policy.idle, absolute=self.policy.absolute)
            if instead:
                await access.end(
                    connection, digest(instead), actor=grant.name, reason="signed in again"
                )
            await access.begin(
                connection,
                digest(id),
                grant=grant,
                origin=origin,
                agent=agent and agent[:MOST_OF_AN_AGENT],
            )
        return id

    async def session(self, session: str | None) -> Grant | None:
        """What a session allows while it is live; being asked keeps it so."""
        visit = await self.visit(session)
        return visit and visit.grant

    async def visit(self, session: str | None) -> Visit | None:
        """A session while it is live; being asked keeps it so."""
        if not session:
            return None
        async with self.database.autocommit() as connection:
            found = await access.find(connection, digest(session))
            if found is None:
                return None
            grant = _grant_of_session(session, found.token)
            if not self._live(found, grant):
                await access.sweep(connection, idle=self.policy.idle, absolute=self.policy.absolute)
                return None
            await access.seen(connection, digest(session))
        proved = self.policy.proved(proved_at=found.proved_at, now=found.now)
        return Visit(grant=grant, proved=proved, said=found.said)

    def _live(self, found: Session, grant: Grant) -> bool:
        if not grant.live(found.now) or (found.token and found.token.revoked):
            return False
        return self.policy.live(created_at=found.created_at, seen_at=found.seen_at, now=found.now)

    async def is_signed_in(self, session: str | None) -> bool:
        """Whether this session is still live; being asked keeps it so."""
        return await self.session(session) is not None

    async def prove(self, session: str, token: str | None) -> bool:
        """Take an admin token as proof that the operator of this session is still there."""
        if self.grant(token, Scope.ADMIN) is None:
            return False
        async with self.database.autocommit() as connection:
            await access.proved(connection, digest(session))
        return True

    async def say(self, session: str, words: str) -> None:
        """Let the next page of this session tell what was done."""
        async with self.database.autocommit() as connection:
            await access.say(connection, digest(session), words)

    async def told(self, session: str) -> str | None:
        """What is to be told, once."""
        async with self.database.autocommit() as connection:
            return await access.take(connection, digest(session))

    async def sign_out(self, session: str) -> None:
        """End this session; nothing happens when it is no more."""
        async with self.database.write() as connection:
            found = await access.find(connection, digest(session))
            if found is not None:
                name = _grant_of_session(session, found.token).name
                await access.end(connection, digest(session), actor=name, reason="signed out")

    async def sessions(self, own: str) -> list[Listed]:
        """The live sessions; the one that asks is its ``own``."""
        async with self.database.read() as connection:
            return await access.listed(
                connection, digest(own), idle=self.policy.idle, absolute=self.policy.absolute
            )

    async def end(self, name: str, actor: str) -> bool:
        """End the session of this name in the list; False when it is no more."""
        async with self.database.write() as connection:
            return await access.end_named(
                connection, name, actor=actor, reason="ended from the list"
            )

    async def end_others(self) -> int:
        """End those begun with an admin token that the settings do not have any more.

        Who changes it because it leaked wants nobody in who came by it.
        """
        kept = [one.digest for one in self.keyring.of_settings if one.allows(Scope.ADMIN)]
        async with self.database.write() as connection:
            return await access.end_others(
                connection, kept, actor="its end", reason="ADMIN_TOKEN was changed"
            )

    async def end_all(self, actor: str) -> int:
        """End every session, everywhere; how many there were."""
        async with self.database.write() as connection:
            return await access.end_all(connection, actor=actor, reason="signed out everywhere")


def _grant_of_session(session: str, token: BegunWith | None) -> Grant:
    return Grant(
        name=f"session of token {token.name}" if token else "admin session",
        digest=digest(session),
        scopes=frozenset({Scope.ADMIN}),
        id=token and token.id,
        expires_at=token and token.expires_at,
    )


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
