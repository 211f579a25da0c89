import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from database.vault import UNBOUND, SealError, Vault
from tests.conftest import KEY
from tests.database.sealing import unbound

VAULT = Vault.from_key(KEY)
OTHER = base64.b64encode(bytes(range(32))).decode()


@given(st.binary(max_size=2_000))
def test_what_is_sealed_opens_to_the_same(plain: bytes) -> None:
    sealed = VAULT.seal(plain)
    assert VAULT.open(sealed) == plain
    assert len(plain) < 4 or plain not in sealed


def test_the_same_is_never_sealed_the_same() -> None:
    assert len({VAULT.seal(b"secret") for _ in range(100)}) == 100


def test_another_key_does_not_open_it() -> None:
    other = Vault.from_key(base64.urlsafe_b64encode(b"o" * 32).decode())
    with pytest.raises(SealError, match="ENCRYPTION_KEY"):
        other.open(VAULT.seal(b"secret"))


@given(st.integers(0, 34), st.integers(1, 255))
def test_no_byte_can_be_altered(place: int, by: int) -> None:
    sealed = bytearray(VAULT.seal(b"secret"))
    sealed[place] ^= by
    with pytest.raises(SealError):
        VAULT.open(bytes(sealed))


@given(st.binary(max_size=40))
def test_what_was_never_sealed_does_not_open(noise: bytes) -> None:
    with pytest.raises(SealError):
        VAULT.open(noise)


@pytest.mark.parametrize(
    "key", ["", "short", "MDEy", "*" * 44, base64.b64encode(b"k" * 31).decode(), "ä" * 44]
)
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError):
        Vault.from_key(key)


def test_it_opens_only_in_its_place() -> None:
    """Who can write to the database cannot give one destination the address of another (H15)."""
    sealed = VAULT.seal(b"https://mine.example/", "destination 1 address")
    assert VAULT.open(sealed, "destination 1 address") == b"https://mine.example/"
    for place in ("destination 2 address", "destination 1 headers", "body"):
        with pytest.raises(SealError):
            VAULT.open(sealed, place)


def test_what_was_sealed_before_there_were_places_still_opens() -> None:
    sealed = unbound(b"secret")
    assert VAULT.open(sealed, "anywhere") == b"secret"
    assert not VAULT.is_current(sealed, "anywhere")
    bound = UNBOUND + VAULT.seal(b"secret", "here")[1:]
    with pytest.raises(SealError):  # its version cannot be taken back
        VAULT.open(bound, "here")


def test_two_keys_open_and_the_first_seals() -> None:
    both, new = Vault.from_key(OTHER, KEY), Vault.from_key(OTHER)
    assert both.open(VAULT.seal(b"secret")) == b"secret"
    assert both.key_of(VAULT.seal(b"secret")) == 1
    assert new.open(both.seal(b"secret")) == b"secret"
    assert both.is_current(both.seal(b"secret"))
    assert both.fingerprints == (*new.fingerprints, *VAULT.fingerprints)
    assert KEY not in repr(both)


def test_secrets_that_pass_are_told_and_bodies_are_not() -> None:
    told: list[bytes] = []
    vault = VAULT.telling(told.append)
    vault.open(vault.seal(b"a body"))
    assert told == []
    vault.open(vault.seal(b"an address", "here"), "here")
    assert set(told) == {b"an address"}


def test_both_alphabets_of_base64_are_read() -> None:
    raw = b"\xfb\xff" * 16
    sealed = Vault.from_key(base64.b64encode(raw).decode()).seal(b"secret")
    assert Vault.from_key(base64.urlsafe_b64encode(raw).decode()).open(sealed) == b"secret"
