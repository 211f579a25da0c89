"""The vault: seals what must not be readable in a stolen database (AES-256-GCM)."""

import base64
import binascii
import os
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = b"\x01"
NONCE = 12


class SealError(Exception):
    """A sealed value cannot be opened: another ENCRYPTION_KEY, or altered bytes."""


@dataclass(frozen=True, slots=True)
class Vault:
    """Seals with a fresh 96-bit nonce each time (NIST SP 800-38D); the version byte is bound in."""

    _cipher: AESGCM

    @classmethod
    def from_key(cls, key: str) -> Self:
        """Take ENCRYPTION_KEY: base64 of 32 bytes. Raises ValueError otherwise."""
        try:
            raw = base64.b64decode(key, altchars=b"-_", validate=True)
        except binascii.Error as error:
            raise ValueError("ENCRYPTION_KEY: is not base64") from error
        if len(raw) != 32:
            raise ValueError("ENCRYPTION_KEY: must be base64 of 32 bytes")
        return cls(AESGCM(raw))

    def seal(self, plain: bytes) -> bytes:
        nonce = os.urandom(NONCE)
        return VERSION + nonce + self._cipher.encrypt(nonce, plain, VERSION)

    def open(self, sealed: bytes) -> bytes:
        """Return what was sealed. Raises SealError."""
        try:
            return self._cipher.decrypt(sealed[1 : 1 + NONCE], sealed[1 + NONCE :], sealed[:1])
        except (InvalidTag, ValueError) as error:
            raise SealError(
                "a sealed value does not open: is ENCRYPTION_KEY the one it was sealed with?"
            ) from error
