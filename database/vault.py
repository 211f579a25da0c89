"""The vault: seals what must not be readable in a stolen database (AES-256-GCM)."""

import base64
import binascii
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

UNBOUND, BOUND = b"\x01", b"\x02"
NONCE = 12

BODY = "body"
"""The place of every alert's body: a replay copies one from signal to signal as it is sealed."""


class SealError(Exception):
    """A sealed value cannot be opened: another key, another place, or altered bytes."""


def nobody(_secret: bytes) -> None:
    """Be told a secret, and do nothing about it."""


@dataclass(frozen=True, slots=True)
class Vault:
    """Seals with the first key, a fresh 96-bit nonce each time (NIST SP 800-38D); opens with any.

    The place of a value is bound in, so that it opens nowhere else: who can write to the database
    cannot give one destination the address of another. What was sealed before there were places
    (version 1) still opens everywhere. ``conceal`` is told every secret that passes, bodies aside.
    """

    _ciphers: tuple[AESGCM, ...] = field(repr=False)
    fingerprints: tuple[str, ...]
    conceal: Callable[[bytes], None] = field(default=nobody, repr=False)

    @classmethod
    def from_key(cls, key: str, old: str | None = None) -> Self:
        """Take ENCRYPTION_KEY and _OLD: base64 of 32 bytes each. Raises ValueError."""
        named = {"ENCRYPTION_KEY": key, "ENCRYPTION_KEY_OLD": old}
        keys = [_raw(name, text) for name, text in named.items() if text is not None]
        return cls(tuple(map(AESGCM, keys)), tuple(map(_fingerprint, keys)))

    def telling(self, conceal: Callable[[bytes], None]) -> Self:
        """The same vault, which tells this one of secrets."""
        return replace(self, conceal=conceal)

    def seal(self, plain: bytes, place: str = BODY) -> bytes:
        self._tell(plain, place)
        nonce = os.urandom(NONCE)
        sealed = self._ciphers[0].encrypt(nonce, plain, BOUND + place.encode())
        return BOUND + nonce + sealed

    def open(self, sealed: bytes, place: str = BODY) -> bytes:
        """Return what was sealed there. Raises SealError."""
        for cipher in self._ciphers:
            if (plain := _opened(cipher, sealed, place)) is not None:
                self._tell(plain, place)
                return plain
        raise SealError(
            "a sealed value does not open: is ENCRYPTION_KEY the one it was sealed with?"
        )

    def key_of(self, sealed: bytes, place: str = BODY) -> int | None:
        """Which key opens it, counted from 0; None: none does."""
        opens = (_opened(cipher, sealed, place) is not None for cipher in self._ciphers)
        return next((number for number, does in enumerate(opens) if does), None)

    def is_current(self, sealed: bytes, place: str = BODY) -> bool:
        """Whether it is sealed with the first key, and bound to its place."""
        return sealed[:1] == BOUND and self.key_of(sealed, place) == 0

    def _tell(self, plain: bytes, place: str) -> None:
        if place != BODY:
            self.conceal(plain)


def _raw(name: str, key: str) -> bytes:
    try:
        raw = base64.b64decode(key, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"{name}: is not base64") from error
    if len(raw) != 32:
        raise ValueError(f"{name}: must be base64 of 32 bytes")
    return raw


def _fingerprint(raw: bytes) -> str:
    """Tells keys apart, and says nothing of them: they are 256 random bits."""
    return hashlib.sha256(b"fingerprint\0" + raw).hexdigest()[:12]


def _opened(cipher: AESGCM, sealed: bytes, place: str) -> bytes | None:
    version = sealed[:1]
    bound = version + place.encode() if version == BOUND else version
    try:
        return cipher.decrypt(sealed[1 : 1 + NONCE], sealed[1 + NONCE :], bound)
    except (InvalidTag, ValueError):
        return None
