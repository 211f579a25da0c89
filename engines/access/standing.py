"""Standing: whether those who hold a socket open may still do so. Being asked is no use of it."""

from collections.abc import Collection
from dataclasses import dataclass

from database import standing
from database.pool import Database
from domain.access import Scope, SessionPolicy, digest
from domain.feed import Holder
from engines.access.keyring import Keyring


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Sessions are asked of the database, all in one query; tokens of the keyring."""

    database: Database
    keyring: Keyring
    policy: SessionPolicy

    async def of_session(self, session: str | None) -> Holder | None:
        """Who holds this session, while it is live."""
        holder = Holder(digest(session or ""), by_session=True)
        return holder if session and not await self.ended({holder}) else None

    def of_token(self, token: str) -> Holder | None:
        """Who holds this token, when it may read."""
        found = self.keyring.grant(token, Scope.READ)
        return found and Holder(found.digest, by_session=False)

    async def ended(self, holders: Collection[Holder]) -> set[Holder]:
        """Those whose session or token is no more, or may not read any more."""
        sessions = {holder.digest for holder in holders if holder.by_session}
        live = await self._live(sessions) if sessions else set[bytes]()
        return {
            holder
            for holder in holders
            if not (
                holder.digest in live
                if holder.by_session
                else self.keyring.allows(holder.digest, Scope.READ)
            )
        }

    async def _live(self, sessions: Collection[bytes]) -> set[bytes]:
        async with self.database.autocommit() as connection:
            return await standing.live(
                connection, sessions, idle=self.policy.idle, absolute=self.policy.absolute
            )
