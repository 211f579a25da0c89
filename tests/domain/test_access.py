from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.access import Grant, Scope, SessionPolicy, digest, grant_of

NOW = datetime(2030, 1, 2, 15, 4, 5, tzinfo=UTC)
READER = Grant(name="reader", digest=digest("r" * 32), scopes=frozenset({Scope.READ}))
ADMIN = Grant(name="admin", digest=digest("a" * 32), scopes=frozenset({Scope.ADMIN}))
POLICY = SessionPolicy(idle=timedelta(minutes=30), absolute=timedelta(hours=12))


@given(st.text())
def test_a_token_is_the_very_one_or_none(token: str) -> None:
    assert grant_of(token, [READER, ADMIN]) is None
    made = Grant(name="made", digest=digest(token), scopes=frozenset())
    assert grant_of(token, [READER, made, ADMIN]) is made


def test_tokens_are_told_apart() -> None:
    assert grant_of("r" * 32, [READER, ADMIN]) is READER
    assert grant_of("a" * 32, [READER, ADMIN]) is ADMIN
    assert grant_of("R" * 32, [READER, ADMIN]) is None
    assert grant_of("r" * 32 + " ", [READER, ADMIN]) is None
    assert grant_of("r" * 32, []) is None


def test_a_token_with_half_a_character_is_only_wrong() -> None:
    assert grant_of("\ud800", [READER]) is None


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
