import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.access import (
    Grant,
    Scope,
    SessionPolicy,
    TokenError,
    by_digest,
    checked_expiry,
    checked_name,
    checked_scopes,
    digest,
    grant_of,
    hint_of,
    mint,
)

NOW = datetime(2030, 1, 2, 15, 4, 5, tzinfo=UTC)
READER = Grant(name="reader", digest=digest("r" * 32), scopes=frozenset({Scope.READ}))
ADMIN = Grant(name="admin", digest=digest("a" * 32), scopes=frozenset({Scope.ADMIN}))
POLICY = SessionPolicy(idle=timedelta(minutes=30), absolute=timedelta(hours=12))


@given(st.text())
def test_a_token_is_the_very_one_or_none(token: str) -> None:
    assert grant_of(token, by_digest([READER, ADMIN])) is None
    made = Grant(name="made", digest=digest(token), scopes=frozenset())
    found = grant_of(token, by_digest([READER, made, ADMIN]))
    assert found is (made if token else None)


def test_tokens_are_told_apart() -> None:
    assert grant_of("r" * 32, by_digest([READER, ADMIN])) is READER
    assert grant_of("a" * 32, by_digest([READER, ADMIN])) is ADMIN
    assert grant_of("R" * 32, by_digest([READER, ADMIN])) is None
    assert grant_of("r" * 32 + " ", by_digest([READER, ADMIN])) is None
    assert grant_of("r" * 32, {}) is None


def test_a_token_with_half_a_character_is_only_wrong() -> None:
    assert grant_of("\ud800", by_digest([READER])) is None


@pytest.mark.parametrize("scope", Scope)
def test_admin_includes_all(scope: Scope) -> None:
    assert ADMIN.allows(scope)
    assert READER.allows(scope) == (scope is Scope.READ)


@pytest.mark.parametrize(
    ("created", "seen", "live"),
    [
        (0, 0, True),
        (1799, 1799, True),
        (1800, 1800, False),
        (12 * 3600 - 1, 0, True),
        (12 * 3600, 0, False),
        (12 * 3600 - 1, 1800, False),
    ],
)
def test_a_session_ends_unused_and_in_any_case(created: float, seen: float, *, live: bool) -> None:
    ago = [NOW - timedelta(seconds=seconds) for seconds in (created, seen)]
    assert POLICY.live(created_at=ago[0], seen_at=ago[1], now=NOW) == live


# ── Tokens that operators make ──────────────────────────────────────────────────────────────

DAY = timedelta(days=1)


def test_a_minted_token_is_its_entropy_and_nothing_less() -> None:
    one, other = mint(bytes(range(32))), mint(bytes(range(1, 33)))
    assert re.fullmatch(r"tsp_[A-Za-z0-9_-]{43}", one)
    assert one != other
    assert hint_of(one) == one[-4:]


@pytest.mark.parametrize(("later", "live"), [(-1e-6, True), (0, False), (1e-6, False)])
def test_a_token_ends_at_its_very_moment(later: float, *, live: bool) -> None:
    grant = Grant(name="a", digest=b"", scopes=frozenset({Scope.READ}), expires_at=NOW)
    assert grant.live(NOW + timedelta(seconds=later)) is live
    assert READER.live(NOW)


@pytest.mark.parametrize(
    ("maker", "ends", "wanted", "until", "may"),
    [
        (ADMIN, None, {Scope.ADMIN}, None, True),
        (ADMIN, NOW + DAY, {Scope.READ}, NOW + DAY, True),
        (ADMIN, NOW + DAY, {Scope.READ}, NOW + 2 * DAY, False),
        (ADMIN, NOW + DAY, {Scope.READ}, None, False),
        (READER, None, {Scope.READ}, None, True),
        (READER, None, {Scope.READ, Scope.TRADE}, None, False),
        (READER, None, {Scope.ADMIN}, None, False),
    ],
)
def test_nobody_gives_away_more_than_he_has(
    maker: Grant, ends: datetime | None, wanted: set[Scope], until: datetime | None, *, may: bool
) -> None:
    assert replace(maker, expires_at=ends).covers(wanted, until) is may


def test_the_token_of_a_source_posts_alerts_and_does_nothing_else() -> None:
    assert checked_scopes([Scope.INGEST], "momentum") == {Scope.INGEST}
    assert checked_scopes([Scope.READ, Scope.READ], None) == {Scope.READ}
    for scopes, source in (([], None), ([Scope.READ], "a"), ([Scope.INGEST, Scope.READ], "a")):
        with pytest.raises(TokenError, match=r"^scopes "):
            checked_scopes(scopes, source)


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 65, "\ud800"])
def test_a_token_has_a_name_people_can_read(name: str) -> None:
    with pytest.raises(TokenError, match=r"^name "):
        checked_name(name)
    assert checked_name(" my script ") == "my script"


def test_a_token_may_end() -> None:
    assert checked_expiry(None, None, now=NOW) is None
    assert checked_expiry(NOW + DAY, None, now=NOW) == NOW + DAY
    assert checked_expiry(None, 0.5, now=NOW) == NOW + DAY / 2
    for at, days, field in (
        (NOW, None, "expires_at"),
        (NOW + 3_651 * DAY, None, "expires_at"),
        (NOW + DAY, 1, "expires_at"),
        (None, 0, "expires_in_days"),
        (None, -1e308, "expires_in_days"),
        (None, 3_651, "expires_in_days"),
        (None, 1e308, "expires_in_days"),
    ):
        with pytest.raises(TokenError) as refused:
            checked_expiry(at, days, now=NOW)
        assert refused.value.field == field
