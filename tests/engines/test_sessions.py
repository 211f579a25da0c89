"""Sessions as a thief meets them: no copy of one outlives its end, however it came to it."""

import random  # noqa: TID251  seeded by the test
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count

import pytest

from database import tokens
from database.pool import Database
from domain.access import Grant, Scope, SessionPolicy, TokenId, digest
from engines.access.doorkeeper import Doorkeeper, grants_of
from engines.access.keyring import Keyring
from engines.clock import utc_now
from tests.database.rows import Rows, new_id

ADMIN, OTHER, LESS = "a" * 32, "o" * 47, "f" * 32
POLICY = SessionPolicy(idle=timedelta(minutes=30), absolute=timedelta(hours=12))
HERE = "192.0.2.7"


@pytest.fixture
async def doorkeeper(database: Database, rows: Rows) -> Doorkeeper:
    """A door with the settings' tokens, and one that an operator made."""
    numbers = count(1)
    grants = grants_of(webhook="w" * 32, finviz_update=LESS, admin=ADMIN)
    keyring = Keyring(database=database, of_settings=grants, clock=utc_now)
    grant = Grant(
        id=TokenId(new_id()),
        name="colleague",
        digest=digest(OTHER),
        scopes=frozenset({Scope.ADMIN}),
    )
    async with rows.database.write() as connection:
        assert await tokens.create(connection, grant, hint="oooo", actor="me")
    await keyring.refresh()
    return Doorkeeper(
        database=database,
        keyring=keyring,
        policy=POLICY,
        entropy=lambda size: next(numbers).to_bytes(size, "big"),
    )


async def begun(doorkeeper: Doorkeeper, token: str = ADMIN, instead: str | None = None) -> str:
    session = await doorkeeper.sign_in(token, HERE, "curl/8", instead=instead)
    assert session
    return session


# ── A token shown again ─────────────────────────────────────────────────────────────────────


async def proved(doorkeeper: Doorkeeper, session: str) -> bool:
    visit = await doorkeeper.visit(session)
    assert visit
    return visit.proved


async def test_a_proof_lasts_five_minutes(doorkeeper: Doorkeeper, rows: Rows) -> None:
    session = await begun(doorkeeper)
    assert await proved(doorkeeper, session), "signing in is one"
    for age, still in (("4 min 55 s", True), ("5 min", False), ("1 h", False)):
        await rows.sql(f"UPDATE sessions SET proved_at = clock_timestamp() - interval '{age}'")
        assert await proved(doorkeeper, session) is still, age
    assert await doorkeeper.prove(session, ADMIN)
    assert await proved(doorkeeper, session)


@pytest.mark.parametrize("token", [None, "", "wrong", LESS, ADMIN[:-1], f" {ADMIN}", "\ud800"])
async def test_a_wrong_proof_is_none(doorkeeper: Doorkeeper, rows: Rows, token: str | None) -> None:
    session = await begun(doorkeeper)
    await rows.sql("UPDATE sessions SET proved_at = proved_at - interval '6 min'")
    assert not await doorkeeper.prove(session, token)
    assert not await proved(doorkeeper, session)


async def test_the_token_of_another_admin_proves_this_session_alone(
    doorkeeper: Doorkeeper, rows: Rows
) -> None:
    one, two = await begun(doorkeeper), await begun(doorkeeper)
    await rows.sql("UPDATE sessions SET proved_at = proved_at - interval '6 min'")
    assert await doorkeeper.prove(one, OTHER)
    assert await proved(doorkeeper, one)
    assert not await proved(doorkeeper, two)


async def test_what_is_said_is_told_once(doorkeeper: Doorkeeper) -> None:
    one, two = await begun(doorkeeper), await begun(doorkeeper)
    await doorkeeper.say(one, "Three positions are sold.")
    visit = await doorkeeper.visit(one)
    assert visit
    assert visit.said == "Three positions are sold."
    assert await doorkeeper.told(two) is None
    assert await doorkeeper.told(one) == "Three positions are sold."
    assert await doorkeeper.told(one) is None


# ── Stolen copies (reliability.md, H11) ─────────────────────────────────────────────────────


@dataclass(slots=True)
class Street:
    """Every session there ever was, each with a copy in a thief's hands; which are live."""

    doorkeeper: Doorkeeper
    rows: Rows
    dice: random.Random
    live: dict[str, bool] = field(default_factory=dict[str, bool])
    of_colleague: set[str] = field(default_factory=set[str])

    def any(self) -> str | None:
        return self.dice.choice(list(self.live)) if self.live else None

    async def sign_in(self, instead: str | None = None) -> None:
        token = self.dice.choice((ADMIN, OTHER))
        session = await begun(self.doorkeeper, token, instead)
        assert session not in self.live, "always a new one: nothing can be fixed beforehand"
        if instead:
            self.live[instead] = False
        self.live[session] = True
        if token == OTHER:
            self.of_colleague.add(session)

    async def sign_in_again(self) -> None:
        """With the cookie of another session, live or ended."""
        await self.sign_in(self.any())

    async def refuse(self) -> None:
        """A sign-in that fails ends nothing."""
        assert await self.doorkeeper.sign_in("wrong", HERE, instead=self.any()) is None

    async def sign_out(self) -> None:
        if session := self.any():
            await self.doorkeeper.sign_out(session)
            self.live[session] = False

    async def leave(self) -> None:
        await self._age("seen_at = seen_at - interval '31 min'")

    async def outlast(self) -> None:
        await self._age("created_at = created_at - interval '12 h 1 min'")

    async def _age(self, how: str) -> None:
        if session := self.any():
            await self.rows.sql(
                f"UPDATE sessions SET {how} WHERE id_hash = :id", id=digest(session)
            )
            self.live[session] = False

    async def use(self) -> None:
        """The thief tries what he has; it brings nothing back."""
        if session := self.any():
            await self.doorkeeper.visit(session)
            await self.doorkeeper.prove(session, ADMIN)
            await self.doorkeeper.say(session, "boo")

    async def end_one(self) -> None:
        if session := self.any():
            name = digest(session).hex()[:12]
            assert await self.doorkeeper.end(name, "me") is self.live[session]
            self.live[session] = False

    async def end_all(self) -> None:
        await self.doorkeeper.end_all("me")
        self.live = dict.fromkeys(self.live, False)

    async def check(self) -> None:
        """Who is in is in, and who is out is out; in the list stands exactly who is in."""
        listed = {one.name for one in await self.doorkeeper.sessions("nobody")}
        assert listed == {digest(one).hex()[:12] for one, live in self.live.items() if live}
        for session, live in self.live.items():
            assert await self.doorkeeper.is_signed_in(session) is live

    async def revoke(self) -> None:
        await self.rows.sql("UPDATE tokens SET revoked_at = now(), revoked_by = 'me'")
        for session in self.of_colleague:
            self.live[session] = False


@pytest.mark.parametrize("seed", range(4))
async def test_no_copy_of_a_session_outlives_it(
    doorkeeper: Doorkeeper, rows: Rows, seed: int
) -> None:
    street = Street(doorkeeper, rows, random.Random(seed))
    often = [street.sign_in, street.sign_in_again, street.use]
    steps = [
        *(often * 2),
        *(street.refuse, street.sign_out, street.leave, street.outlast, street.end_one),
    ]
    for turn in range(60):
        step = street.end_all if turn == 40 else street.dice.choice(steps)
        await step()
        await street.check()
    await street.revoke()
    await street.check()
    ended = await rows.sql("SELECT count(*) FROM events WHERE event = 'session.ended'")
    kept = await rows.sql("SELECT count(*) FROM sessions")
    begun_ = await rows.sql("SELECT count(*) FROM events WHERE event = 'session.begun'")
    assert ended[0] + kept[0] == begun_[0], "each end is told once"
